// One of our elements and one peer, in a room of their own.
import assert from "node:assert/strict";
import { Element } from "./element.mjs";
import { start } from "./peers.mjs";
import { Room } from "./room.mjs";

export const BOTH = ["video", "audio"];
const ELEMENT = "m-element";
/** Pictures, sounds or units of energy that have to come until media counts as flowing. */
const ENOUGH = { video: 10, audio: 0 };
/** After an outage of half a minute an element waits 24 to 36 s before it tries again. */
const REJOIN_MS = 60_000;

export class Meeting {
  /** `row` is { kind, against, manners, first }. */
  static async open(t, row, flags = []) {
    return new Meeting(await Room.open(t, ...flags), t, row);
  }

  constructor(room, t, { kind, against, manners, first }) {
    Object.assign(this, { room, t, kind, against, first });
    // The smaller id is the polite one.
    this.peerId = manners === "polite" ? `a-${kind}` : `z-${kind}`;
  }

  /** Both join; the peer publishes `kinds`, a sink of ours both, unless it is `quiet`, and a stream of `more`. */
  async begin({ kinds, quiet = false, more } = {}) {
    const peer = () => this.startPeer({ kinds });
    if (this.first === "peer") await peer();
    this.element = await Element.start(this.room, this.against, ELEMENT, {
      kinds: this.against === "sink" && !quiet ? BOTH : [],
    });
    await this.room.waitFor("the element to join", () => this.element.joined());
    if (more) this.more = await this.element.publish(more);
    if (this.first !== "peer") await peer();
    return this;
  }

  /** Whether the peer can publish: a source of ours cannot. */
  get publishes() {
    return this.kind !== "element" || this.against === "src";
  }

  async startPeer({ kinds } = {}) {
    this.peer = await start(this.room, this.kind, this.peerId, { kinds, against: this.against });
    return this.peer;
  }

  /** Who sends and who receives, as [sender, receiver, stream]. */
  get #ways() {
    return this.against === "sink" ? [this.element, this.peer, "cam"] : [this.peer, this.element, this.peer.stream];
  }

  /** New pictures and sounds of a stream arrive; without names those that were there from the start. */
  async flows(stream, kinds = BOTH) {
    const [sender, receiver, first] = this.#ways;
    await this.arrives(receiver, sender.id, stream ?? first, kinds);
  }

  async arrives(receiver, senderId, stream, kinds = BOTH) {
    const before = {};
    await this.room.waitFor(`${kinds} of ${stream} from ${senderId} at ${receiver.id}`, async () => {
      const all = await receiver.streams(senderId);
      const now = all[stream];
      if (!now) return void Object.keys(before).forEach((key) => delete before[key]);
      return kinds.every((kind) => {
        if (!(kind in now)) return false;
        // A counter that starts anew belongs to a new connection.
        if (!(before[kind] <= now[kind])) before[kind] = now[kind];
        return now[kind] - before[kind] > ENOUGH[kind];
      });
    });
  }

  /** A stream is not there any more. */
  async ends(receiver, senderId, stream) {
    await this.room.waitFor(
      `${stream} from ${senderId} to end at ${receiver.id}`,
      async () => !(stream in (await receiver.streams(senderId))),
    );
  }

  /** Each has the other in its room. */
  seen() {
    return this.room.waitFor(
      "both to see each other",
      async () => (await this.peer.remote(ELEMENT)) && (await this.element.remote(this.peerId)),
    );
  }

  connected() {
    return this.room.waitFor("both to be connected", async () => {
      const states = [(await this.peer.remote(ELEMENT))?.state, (await this.element.remote(this.peerId))?.state];
      return states.every((state) => state === "connected");
    });
  }

  /** Connected, and nobody is in the middle of something: what an offer needs to find an answer is over. */
  async settled() {
    await this.connected();
    await this.room.waitFor("an answer to every offer", async () => {
      const { signalling } = (await this.peer.remote(ELEMENT)) ?? {};
      // Our own elements do not tell.
      return this.kind === "element" || signalling === "stable";
    });
  }

  /** Settled, and nobody met an error. */
  async harmless() {
    await this.settled();
    assert.deepEqual((await this.peer.remote(ELEMENT)).errors, []);
    assert.deepEqual((await this.element.remote(this.peerId)).errors, []);
    assert.deepEqual(this.element.told("error"), []);
  }

  /** What the two say to the server, and what it says to them, is held back. */
  async deafen(deaf) {
    for (const peerId of [ELEMENT, this.peerId]) await this.room.hook("freeze", { peerId, frozen: deaf });
  }

  /** Both are in the room again after it was gone, and see each other. */
  async rejoined() {
    const back = () => this.element.told("metered-state-changed").at(-1)["new-state"] === "joined";
    await this.room.waitFor("the element to be back", back, REJOIN_MS);
    await this.room.waitFor("the peer to be back", () => this.peer.joined(), REJOIN_MS);
    await this.seen();
  }

  /** The server drops the peer's socket without telling anybody; the peer comes back by itself. */
  async loseSocket() {
    const peers = async () => (await this.room.peers()).filter((id) => id === this.peerId).length;
    await this.room.hook("close", { peerId: this.peerId, code: 1006 });
    await this.room.waitFor("the peer to be back", async () => (await peers()) > 0 && (await this.peer.joined()));
  }
}
