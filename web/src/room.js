// The room: one MeteredPeer per stay, and what is known about the other members.
import { MeteredPeer } from "@metered-ca/realtime";
import { Emitter } from "./emitter.js";
import { log } from "./log.js";
import { warmUp } from "./warmup.js";
import { sectionOf, Wire } from "./wire.js";

/** Close codes after which the SDK does not come back. */
const FINAL_CODES = new Set([4001, 4003, 4012, 4020]);

/**
 * How long a newcomer waits for the members it finds before it offers media of its own.
 *
 * Members with media send an offer as soon as they see a newcomer. When the newcomer's offer crosses it,
 * one browser has to roll its own back, and Chromium does not always survive that: the connection may
 * never find candidates, or may refuse to add what the other side did not offer ("codec collision for
 * header extension"). So the residents go first. `?eager=1` does without, as simple programs do.
 */
const RESIDENTS_FIRST_MS = 400;

/** A call that takes longer than this will hardly come up by itself. */
const SLOW_MS = 12_000;

/** Streams of a replaced connection stay on show this long for their successors. */
const STALE_MS = 8000;

export class Room extends Emitter {
  #peer = null;
  #wire = null;
  #warm = null;
  #closeCode = null;
  #publishing = false; // own media goes to the members
  #media;
  name = "";
  channel = null;
  members = new Map(); // peer id -> Member

  constructor(media) {
    super();
    this.#media = media;
    media.on("add", (item) => this.#attempt("addTrack", () => this.#add(item)));
    media.on("remove", ({ track }) =>
      this.#attempt("removeTrack", () => this.#active && this.#peer.removeTrack(track)),
    );
    media.on("change", () => this.#announce());
  }

  get state() {
    return this.#peer?.state ?? "idle";
  }

  get ownPeerId() {
    return this.#peer?.peerId ?? null;
  }

  get #active() {
    return this.#peer && !["leaving", "closed"].includes(this.#peer.state);
  }

  async join({ url, apiKey, token, channel, name, eager = false }) {
    if (this.#active) throw new Error("Already in a room.");
    this.name = name;
    this.channel = channel;
    this.#closeCode = null;
    this.members.clear();
    const wire = new Wire({
      onRefused: (code, message) => {
        log("refused", { code, message });
        this.emit("refused", { code, message });
      },
      onClosed: (code, reason) => {
        this.#closeCode = code;
        log("socket-closed", { code, reason });
      },
    });
    const peer = new MeteredPeer({
      ...(url && { url }),
      ...(token ? { tokenProvider: async () => token } : { apiKey }),
      webSocketFactory: wire.socketFactory,
    });
    this.#peer = peer;
    this.#wire = wire;
    this.#listen(peer);
    this.#publishing = eager;
    if (eager) this.#publish();
    this.emit("change");
    await (this.#warm ??= warmUp());
    if (peer !== this.#peer || peer.state === "closed") return;
    try {
      await peer.join(channel, { includeSenderMetadata: true });
    } catch (error) {
      log("join-failed", { name: error.name, message: error.message });
      await peer.close().catch(() => {});
      throw error;
    } finally {
      this.emit("change");
    }
    if (!eager) this.#residentsFirst(peer);
  }

  /** Wait until every member that was there has made its offer, or is not going to. */
  async #residentsFirst(peer) {
    const begin = performance.now();
    const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
    await pause(); // the list of members follows the join
    while (
      performance.now() - begin < RESIDENTS_FIRST_MS &&
      ![...this.members.values()].every(({ settled }) => settled)
    )
      await pause();
    if (peer === this.#peer && this.#active) this.#publish();
  }

  #publish() {
    this.#publishing = true;
    this.#attempt("addTrack", () => {
      for (const item of this.#media.published()) this.#add(item);
    });
  }

  async leave() {
    if (this.#active) await this.#peer.close("left");
    this.emit("change");
  }

  send(data) {
    if (!this.#peer) return Promise.reject(new Error("Not in a room."));
    return this.#peer.send(data);
  }

  sendTo(peerId, data) {
    if (!this.#peer) return Promise.reject(new Error("Not in a room."));
    return this.#peer.sendTo(peerId, data);
  }

  #listen(peer) {
    // A peer of an earlier stay may still have something to say: only the present one counts.
    const on = (type, handler) =>
      peer.on(type, (event) => {
        if (peer !== this.#peer) return;
        handler(event);
        this.emit("change");
      });
    on("state-change", ({ from, to }) => log("state", { from, to }));
    on("joined", ({ peerId, channel }) => {
      this.#closeCode = null;
      log("joined", { peerId, channel });
    });
    on("left", ({ reason }) => {
      log("left", { reason, code: this.#closeCode });
      this.emit("left", { reason, code: this.#closeCode });
    });
    on("error", ({ err }) => {
      log("error", { name: err.name, message: err.message });
      // After a close for good, "left" is on its way and says it better.
      if (!FINAL_CODES.has(this.#closeCode)) this.emit("problem", err);
    });
    on("peer-joined", ({ peer: remote }) => this.#addMember(remote));
    on("peer-left", ({ peer: remote }) => {
      log("peer-left", { peerId: remote.id });
      if (this.members.get(remote.id)?.remote === remote) this.members.delete(remote.id);
      this.#wire.forget(remote.id);
    });
    on("data", ({ senderPeerId, data, kind, senderMetadata }) => {
      log("data", { from: senderPeerId, kind, data });
      const member = this.members.get(senderPeerId);
      if (data?.type === "hello") {
        if (member) member.hello = { name: String(data.name ?? ""), mic: data.mic !== false };
        return;
      }
      const name = member?.name ?? nameIn(senderMetadata) ?? shortId(senderPeerId);
      this.emit("message", { from: senderPeerId, name, data, direct: kind === "direct" });
    });
  }

  #addMember(remote) {
    log("peer-joined", { peerId: remote.id, metadata: remote.metadata });
    const member = new Member(remote, this.#wire);
    this.members.set(remote.id, member);
    member.on("change", () => this.emit("change"));
    member.on("problem", (err) => this.emit("peer-problem", { member, err }));
    this.#hello((data) => remote.send(data));
  }

  #add({ track, stream, role }) {
    if (!this.#active || !this.#publishing) return;
    const label = role === "screen" ? [this.name, "screen"].filter(Boolean).join(" · ") : this.name;
    this.#peer.addTrack(track, stream, { role, ...(label && { label }) });
  }

  /** Keys carry no name, so members of this page tell each other theirs. Others may ignore it. */
  #hello(deliver) {
    const { micOn } = this.#media;
    deliver({ type: "hello", name: this.name, mic: micOn }).catch((error) =>
      log("hello-failed", { message: error.message }),
    );
  }

  #announced = null;

  #announce() {
    const { micOn } = this.#media;
    if (this.#announced === micOn) return;
    this.#announced = micOn;
    if (this.state === "joined" && this.members.size) this.#hello((data) => this.#peer.send(data));
  }

  #attempt(what, action) {
    try {
      action();
    } catch (error) {
      log("error", { what, message: error.message });
      this.emit("problem", error);
    }
  }
}

export class Member extends Emitter {
  hello = null;
  streams = new Map(); // stream id -> { id, stream, metadata, tracks: Map(track -> {...}), staleSince }
  stats = null;
  #waiting = null;

  constructor(remote, wire) {
    super();
    this.remote = remote;
    this.wire = wire;
    const on = (type, handler) =>
      remote.on(type, (event) => {
        handler(event);
        this.emit("change");
      });
    const peerId = remote.id;
    on("state-change", ({ from, to }) => log("peer-state", { peerId, from, to }));
    on("track", ({ track, streams, metadata }) => this.#track(track, streams, metadata));
    on("stream-added", ({ stream, metadata }) => {
      log("stream-added", { peerId, streamId: stream.id, metadata });
      this.#entry(stream).metadata = metadata;
    });
    on("stream-removed", ({ stream }) => {
      log("stream-removed", { peerId, streamId: stream.id });
      this.streams.delete(stream.id);
    });
    on("connection-reset", () => {
      log("connection-reset", { peerId });
      for (const entry of this.streams.values()) entry.staleSince = performance.now();
    });
    on("negotiation-error", ({ err }) => {
      log("negotiation-error", { peerId, name: err.name, message: err.message });
      if (err.name === "IceRestartExhaustedError") this.emit("problem", err);
    });
    on("ice-candidate-error", ({ err }) =>
      log("ice-candidate-error", { peerId, message: err.message }),
    );
  }

  get id() {
    return this.remote.id;
  }

  get state() {
    return this.remote.state;
  }

  get name() {
    const labels = [...this.streams.values()].filter((entry) => entry.role !== "screen");
    return (
      nameIn(this.remote.metadata) ||
      this.hello?.name ||
      labels.map((entry) => entry.label).find(Boolean) ||
      shortId(this.id)
    );
  }

  /** An offer of the other side has been answered. */
  get settled() {
    const { remoteDescription, signalingState } = this.remote.pc;
    return remoteDescription !== null && signalingState === "stable";
  }

  /** Both sides have media to exchange, and still nothing connects. */
  slow(sending) {
    const idle = this.state === "idle" && !sending && !this.streams.size;
    if (this.state === "connected" || idle) this.#waiting = null;
    else this.#waiting ??= performance.now();
    return this.#waiting !== null && performance.now() - this.#waiting > SLOW_MS;
  }

  /** Once a second. Drop what a replaced connection did not bring back, and tracks without a stream that ended. */
  prune() {
    this.#match();
    const before = this.streams.size;
    for (const [id, entry] of this.streams) {
      const stale = entry.staleSince && performance.now() - entry.staleSince > STALE_MS;
      const gone = [...entry.tracks.keys()].every((track) => !this.#receiving(track));
      if (gone && (stale || entry.synthetic)) this.streams.delete(id);
    }
    if (this.streams.size !== before) this.emit("change");
  }

  #receiving(track) {
    return this.remote.pc
      .getTransceivers()
      .some(
        ({ receiver, currentDirection }) =>
          receiver.track === track && ["recvonly", "sendrecv", null].includes(currentDirection),
      );
  }

  #track(track, streams, metadata) {
    const { mid, trackId } = sectionOf(this.remote.pc, track);
    const ids = streams.map(({ id }) => id);
    log("track", { peerId: this.id, kind: track.kind, id: track.id, mid, trackId, streams: ids, metadata });
    // A track that its sender put into no stream still has to be shown.
    const homes = streams.length ? streams : [new MediaStream([track])];
    for (const stream of homes) {
      const entry = this.#entry(stream, !streams.length);
      entry.tracks.set(track, { mid, senderTrackId: trackId, metadata, wireMetadata: undefined });
    }
    this.#match();
    for (const type of ["mute", "unmute", "ended"])
      track.addEventListener(type, () => this.emit("change"));
  }

  /** What an announcement stands for can become clear with the next description only. */
  #match() {
    for (const { tracks } of this.streams.values())
      for (const [track, info] of tracks) {
        if (info.wireMetadata) continue;
        const { trackId, others } = sectionOf(this.remote.pc, track);
        info.wireMetadata = this.wire.metadata(this.id, trackId, others);
      }
  }

  #entry(stream, synthetic = false) {
    let entry = this.streams.get(stream.id);
    if (entry?.stream === stream) return entry;
    entry = new RemoteStream(stream, synthetic);
    this.streams.set(stream.id, entry);
    stream.addEventListener("removetrack", ({ track }) => {
      entry.tracks.delete(track);
      this.emit("change");
    });
    return entry;
  }
}

class RemoteStream {
  metadata = undefined; // as the SDK reports it
  tracks = new Map(); // track -> { mid, senderTrackId, metadata, wireMetadata }
  staleSince = null;

  constructor(stream, synthetic) {
    this.id = stream.id;
    this.stream = stream;
    this.synthetic = synthetic;
  }

  #field(name) {
    const bags = [this.metadata];
    for (const { metadata, wireMetadata } of this.tracks.values()) bags.push(metadata, wireMetadata);
    return bags.map((bag) => bag?.[name]).find((value) => typeof value === "string" && value) ?? "";
  }

  get role() {
    return this.#field("role");
  }

  get label() {
    return this.#field("label");
  }

  get hasVideo() {
    return this.stream.getVideoTracks().some((track) => track.readyState === "live");
  }

  get hasAudio() {
    return this.stream.getAudioTracks().some((track) => track.readyState === "live");
  }
}

export const shortId = (id) => (id.length > 12 ? `${id.slice(0, 8)}…` : id);

function nameIn(metadata) {
  const bag = metadata ?? {};
  return ["name", "displayName", "username", "label"]
    .map((key) => bag[key])
    .find((value) => typeof value === "string" && value);
}
