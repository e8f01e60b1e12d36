// A member that uses the vendor's JavaScript SDK, wherever there is WebRTC: in pages (page.mjs) and in Node
// (wrtc.mjs). What differs is the `platform`:
//
//   stream(kinds)       a MediaStream of new tracks that never stand still
//   counts(pc)          [{ mid, count }] of what has been decoded: pictures, or sound that is not silence
//   socket(url)         a WebSocket, if there is none

const NEWS_KEPT = 80;
const TELLING = /^(m=|a=(group|mid|msid:|sendrecv|sendonly|recvonly|inactive|setup|rtpmap:\d+ (opus|VP8)))/;

export class Member {
  #remotes = new Map();
  #streams = new Map();
  #news = [];
  #peer;

  constructor(MeteredPeer, platform) {
    this.MeteredPeer = MeteredPeer;
    this.platform = platform;
  }

  /** `kinds` are published before the room is entered, as `publish` does. */
  async join({ url, token, channel, kinds }) {
    const peer = new this.MeteredPeer({
      url,
      tokenProvider: async () => token,
      reconnect: { maxDelayMs: 4000 },
      ...(this.platform.socket && { webSocketFactory: this.platform.socket }),
    });
    this.#peer = peer;
    peer.on("state-change", ({ to }) => this.#note(`room ${to}`));
    peer.on("error", ({ err }) => this.#note(`error ${err.message}`));
    peer.on("peer-joined", ({ peer: remote }) => this.#joined(remote));
    peer.on("peer-left", ({ peer: remote }) => {
      this.#note(`peer-left ${remote.id}`);
      this.#remotes.delete(remote.id);
    });
    const stream = kinds && (await this.publish({ kinds }));
    await peer.join(channel);
    return stream ?? null;
  }

  #note(text) {
    this.#news.push(text);
    if (this.#news.length > NEWS_KEPT) this.#news.shift();
  }

  #joined(remote) {
    this.#note(`peer-joined ${remote.id}`);
    const entry = { remote, added: 0, removed: 0, errors: [], channel: null };
    this.#remotes.set(remote.id, entry);
    remote.on("state-change", ({ to }) => this.#note(`${remote.id} ${to}`));
    remote.on("connection-reset", () => this.#note(`${remote.id} connection-reset`));
    remote.on("negotiation-error", ({ err }) => {
      entry.errors.push(err.message);
      this.#note(`${remote.id} negotiation-error ${err.message}`);
    });
    remote.on("stream-added", ({ stream }) => {
      entry.added += 1;
      this.#note(`${remote.id} stream-added ${stream.id}`);
    });
    remote.on("stream-removed", ({ stream }) => {
      entry.removed += 1;
      this.#note(`${remote.id} stream-removed ${stream.id}`);
    });
  }

  /** Returns the id of the new stream. */
  async publish({ kinds }) {
    const stream = await this.platform.stream(kinds);
    this.#streams.set(stream.id, stream);
    this.#peer.addStream(stream, { role: "test" });
    return stream.id;
  }

  unpublish({ stream: id }) {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    this.#peer.removeStream(stream);
    for (const track of stream.getTracks()) track.stop();
    return null;
  }

  /** Opens a data channel of the application on the SDK's connection. */
  openChannel({ peerId }) {
    const entry = this.#remotes.get(peerId);
    entry.channel = entry.remote.pc.createDataChannel("cues");
    return null;
  }

  async report() {
    const remotes = {};
    for (const [id, { remote, added, removed, errors, channel }] of this.#remotes) {
      const { pc } = remote;
      remotes[id] = {
        state: remote.state,
        signalling: pc.signalingState,
        connection: pc.connectionState,
        channel: channel?.readyState ?? null,
        streams: await this.#received(pc),
        added,
        removed,
        errors,
      };
    }
    return { state: this.#peer?.state ?? "idle", remotes, news: this.#news };
  }

  /** { stream id: { kind: count } } of what the other side says that it sends. */
  async #received(pc) {
    const streams = {};
    const counts = await this.platform.counts(pc);
    for (const section of (pc.remoteDescription?.sdp ?? "").split(/^(?=m=)/m).slice(1)) {
      const msid = /^a=msid:(\S+)/m.exec(section)?.[1];
      if (!msid || msid === "-" || !/^a=send/m.test(section) || /^m=\S+ 0 /.test(section)) continue;
      const kind = /^m=(\S+)/.exec(section)[1];
      const mid = /^a=mid:(\S+)/m.exec(section)?.[1];
      (streams[msid.replace(/[{}]/g, "")] ??= {})[kind] = counts.find((each) => each.mid === mid)?.count ?? 0;
    }
    return streams;
  }

  /** What the descriptions say about what goes where. */
  describe() {
    const lines = (description) => description?.sdp.split(/\r?\n/).filter((line) => TELLING.test(line));
    return Object.fromEntries(
      [...this.#remotes].map(([id, { remote }]) => [
        id,
        { local: lines(remote.pc.localDescription), remote: lines(remote.pc.remoteDescription) },
      ]),
    );
  }

  async leave() {
    await this.#peer?.close();
    return null;
  }
}
