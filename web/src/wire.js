// A look at the signalling socket, beside the SDK.
//
// The SDK 1.2.0 files a track's metadata under the sender's track id and looks it up by the receiver's.
// The two differ as soon as the track arrives on a media section that this page opened, and then the
// SDK reports none. So the page keeps the same messages itself and finds the sender's id in the SDP.
// It also learns here of refusals (error frames, close codes) that the SDK only logs.
export class Wire {
  #metadata = new Map(); // peer id -> Map(sender's track id -> metadata)

  constructor({ onRefused, onClosed }) {
    this.onRefused = onRefused;
    this.onClosed = onClosed;
  }

  /** For the SDK's `webSocketFactory`: an ordinary socket that is also listened to. */
  socketFactory = (url) => {
    const socket = new WebSocket(url);
    socket.addEventListener("message", (event) => this.#frame(event.data));
    socket.addEventListener("close", (event) => this.onClosed(event.code, event.reason));
    return socket;
  };

  forget(peerId) {
    this.#metadata.delete(peerId);
  }

  /**
   * What the peer announced for its track `trackId`; `others` are the other ids in its description.
   *
   * A browser that adds a track after it has answered an offer puts it on the answered media section,
   * and Chromium then names a made-up id there. So an unknown id may stand for any announced track that
   * the description does not name; when all of those say the same, that is the answer.
   */
  metadata(peerId, trackId, others = []) {
    const announced = this.#metadata.get(peerId);
    if (!announced || !trackId) return undefined;
    if (announced.has(trackId)) return announced.get(trackId);
    const unnamed = [...announced].filter(([id]) => !others.includes(id)).map(([, bag]) => bag);
    const same = new Set(unnamed.map((bag) => JSON.stringify(bag))).size === 1;
    return same ? unnamed[0] : undefined;
  }

  #frame(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame?.type === "error") this.onRefused(String(frame.code), frame.message);
    const tag = frame?.type === "direct" && frame.data?.__meteredTrackMeta;
    if (!tag || typeof tag.trackId !== "string") return;
    if (!this.#metadata.has(frame.from)) this.#metadata.set(frame.from, new Map());
    const ofPeer = this.#metadata.get(frame.from);
    if (tag.metadata === undefined) ofPeer.delete(tag.trackId);
    else if (ofPeer.size < 512) ofPeer.set(tag.trackId, tag.metadata);
  }
}

/** The media section of a received track: its mid, the sender's id of the track, and all other such ids. */
export function sectionOf(pc, track) {
  const mid = pc.getTransceivers().find(({ receiver }) => receiver.track === track)?.mid ?? null;
  const sections = (pc.remoteDescription?.sdp ?? "").split(/\r?\n(?=m=)/).slice(1);
  const own = sections.find((section) => section.split(/\r?\n/).includes(`a=mid:${mid}`));
  const others = sections.filter((section) => section !== own).map(trackIdIn);
  return { mid, trackId: trackIdIn(own), others };
}

const trackIdIn = (section = "") =>
  /^a=msid:\S+ (\S+)/m.exec(section)?.[1].replace(/^\{(.*)\}$/, "$1") ?? null;
