// What every kind of peer has to go through with each of our elements. A scenario:
//
//   against   the elements it is for
//   kinds     the peers, if not all
//   orders    whether it makes a difference who comes first
//   flags     for the server
//   sample    which rows are run every time; the others are with METERED_MATRIX=full
//   known     why a row cannot work, if so
//   run       what happens, told to a Meeting
import assert from "node:assert/strict";
import { sleep } from "../browser/process.mjs";
import { BOTH } from "./meeting.mjs";
import { KINDS } from "./peers.mjs";

/** Everybody's offer is on its way after this: the Python SDK waits 2 s for that of the other side. */
const OFFERS_MS = 3000;
/** Longer than elements take to miss a peer's media. */
const FROZEN_MS = 15_000;
const SHORT_OUTAGE_MS = 2000;
/** Longer than anybody waits for an answer, or for a sign of life on a path. */
const LONG_OUTAGE_MS = 30_000;
const ROUNDS = 10;
const GRACE = ["--presence-grace-ms", "60000"];

const ELEMENTS = ["sink", "src"];
/** Elements have no data channels and no pages. */
const SDKS = KINDS.filter((kind) => kind !== "element");

/** Both sides offer at once: neither hears the other until both have. */
async function collide(meeting, ...actions) {
  await meeting.deafen(true);
  await Promise.all(actions.map((action) => action()));
  await sleep(OFFERS_MS);
  await meeting.deafen(false);
}

/** The server is gone for a while; media goes on, and everybody finds the room again. */
const outage = (ms) => async (meeting) => {
  await meeting.begin({ kinds: BOTH });
  await meeting.flows();
  await meeting.connected();
  await meeting.room.killServer();
  await sleep(ms);
  await meeting.flows();
  await meeting.room.restartServer();
  await meeting.rejoined();
  await meeting.flows();
  await meeting.settled();
};

/** Nothing of the peer moves for a while. What our side does meanwhile has its effect afterwards. */
async function frozen(meeting, freeze, thaw) {
  await meeting.begin({ kinds: BOTH });
  await meeting.flows();
  await freeze();
  const late = meeting.against === "sink" && (await meeting.element.publish(["video"]));
  await sleep(FROZEN_MS);
  await thaw();
  await meeting.flows();
  if (late) await meeting.flows(late, ["video"]);
  await meeting.settled();
  await meeting.flows();
}

/** All that a sink sends is there before the peer is: it is in the first offer, as far as that may be. */
const manyAtOnce = (more) => async (meeting) => {
  await meeting.begin({ more });
  await meeting.flows();
  await meeting.flows(meeting.more, more);
  await meeting.harmless();
};

export const SCENARIOS = [
  {
    name: "media both ways",
    against: ELEMENTS,
    orders: true,
    sample: [
      { kind: "chromium", against: "src", manners: "polite", first: "peer" },
      { kind: "firefox", against: "sink", manners: "polite", first: "element" },
      { kind: "firefox", against: "src", manners: "impolite", first: "peer" },
      { kind: "wrtc", against: "sink", manners: "impolite", first: "peer" },
      { kind: "wrtc", against: "src", manners: "polite", first: "element" },
      { kind: "aiortc", against: "src", manners: "impolite", first: "element" },
      { kind: "element", against: "sink", manners: "polite", first: "peer" },
    ],
    async run(meeting) {
      await meeting.begin({ kinds: BOTH });
      await meeting.flows();
      await meeting.connected();
      await meeting.harmless();
    },
  },
  {
    name: "a peer that only watches",
    against: ["sink"],
    orders: true,
    sample: [
      { kind: "firefox", manners: "impolite", first: "element" },
      { kind: "wrtc", manners: "polite", first: "peer" },
    ],
    async run(meeting) {
      await meeting.begin();
      await meeting.flows();
      await meeting.connected();
      await meeting.harmless();
    },
  },
  {
    name: "two sounds and a picture at once",
    against: ["sink"],
    sample: [{ kind: "aiortc", manners: "polite" }],
    run: manyAtOnce(["audio"]),
  },
  {
    name: "two of each at once",
    against: ["sink"],
    sample: [{ kind: "aiortc", manners: "impolite" }],
    run: manyAtOnce(BOTH),
  },
  {
    name: "a data channel, then media",
    against: ELEMENTS,
    kinds: SDKS,
    sample: [
      { kind: "firefox", against: "src", manners: "polite" },
      { kind: "aiortc", against: "sink", manners: "polite" },
    ],
    async run(meeting) {
      await meeting.begin();
      if (meeting.against === "sink") await meeting.flows();
      await meeting.seen();
      await meeting.peer.openChannel(meeting.element.id);
      await meeting.settled();
      if (meeting.against === "sink") await meeting.flows();
      const late = meeting.against === "src" ? await meeting.peer.publish(BOTH) : await meeting.element.publish(BOTH);
      await meeting.flows(late);
      await meeting.harmless();
    },
  },
  {
    name: "the first offers collide",
    against: ["sink"],
    kinds: SDKS,
    sample: [
      { kind: "chromium", manners: "polite" },
      { kind: "firefox", manners: "impolite" },
    ],
    async run(meeting) {
      await meeting.begin({ quiet: true });
      await meeting.seen();
      let late;
      await collide(
        meeting,
        () => meeting.peer.publish(BOTH),
        async () => (late = await meeting.element.publish(BOTH)),
      );
      await meeting.flows(late);
      await meeting.settled();
    },
  },
  {
    name: "later offers collide",
    against: ELEMENTS,
    sample: [
      { kind: "wrtc", against: "src", manners: "impolite" },
      { kind: "element", against: "src", manners: "polite" },
    ],
    known: ({ kind, against }) =>
      kind === "aiortc" && against === "src" && "a new connection loses aiortc's second video: docs/upstream.md",
    async run(meeting) {
      const { against } = meeting;
      await meeting.begin({ kinds: against === "src" ? BOTH : undefined });
      await meeting.flows();
      let late;
      // An element that publishes nothing offers when it is asked to.
      await collide(
        meeting,
        async () => {
          const stream = meeting.publishes ? await meeting.peer.publish(BOTH) : null;
          if (against === "src") late = stream;
        },
        async () => {
          if (against === "src") await meeting.element.restartIce(meeting.peerId);
          else late = await meeting.element.publish(BOTH);
        },
      );
      await meeting.flows(late);
      await meeting.flows();
      await meeting.settled();
    },
  },
  {
    name: "late streams of the peer",
    against: ELEMENTS,
    timeout: 240_000,
    sample: [{ kind: "chromium", against: "src", manners: "impolite" }],
    known: ({ kind, against }) =>
      kind === "aiortc" && against === "src" && "the Python SDK sends a second stream on a dead sender: docs/upstream.md",
    async run(meeting) {
      const { peer, element } = await meeting.begin();
      if (!meeting.publishes) return meeting.t.skip("a source publishes nothing");
      await meeting.seen();
      for (let round = 0; round < ROUNDS; round++) {
        const kinds = round % 2 ? ["video"] : BOTH;
        const late = await peer.publish(kinds);
        if (meeting.against === "src") await meeting.flows(late, kinds);
        else await meeting.settled();
        await peer.unpublish(late);
        if (meeting.against === "src") await meeting.ends(element, peer.id, late);
        else await meeting.flows();
      }
      await meeting.settled();
      if (meeting.against === "src") await meeting.flows(await peer.publish(BOTH));
      await meeting.settled();
    },
  },
  {
    name: "late streams of ours",
    against: ["sink"],
    timeout: 240_000,
    sample: [{ kind: "firefox", manners: "polite" }],
    async run(meeting) {
      const { peer, element } = await meeting.begin({ kinds: BOTH });
      await meeting.flows();
      for (let round = 0; round < ROUNDS; round++) {
        const kinds = round % 2 ? ["video"] : BOTH;
        const late = await element.publish(kinds);
        await meeting.flows(late, kinds);
        await element.unpublish(late);
        await meeting.ends(peer, element.id, late);
      }
      await meeting.flows();
      await meeting.settled();
    },
  },
  {
    name: "the server is away for a moment",
    against: ELEMENTS,
    sample: [
      { kind: "wrtc", against: "sink", manners: "polite" },
      { kind: "element", against: "src", manners: "impolite" },
    ],
    run: outage(SHORT_OUTAGE_MS),
  },
  {
    name: "the server is away for long",
    against: ELEMENTS,
    timeout: 240_000,
    sample: [{ kind: "chromium", against: "src", manners: "impolite" }],
    run: outage(LONG_OUTAGE_MS),
  },
  {
    name: "a peer is frozen and thawed",
    against: ELEMENTS,
    timeout: 180_000,
    sample: [{ kind: "firefox", against: "sink", manners: "polite" }],
    run: (meeting) =>
      frozen(
        meeting,
        () => meeting.peer.freeze(),
        () => meeting.peer.thaw(),
      ),
  },
  {
    name: "a page is frozen and thawed",
    against: ELEMENTS,
    kinds: ["chromium"],
    sample: [{ kind: "chromium", against: "sink", manners: "impolite" }],
    run: (meeting) =>
      frozen(
        meeting,
        () => meeting.peer.lifecycle("frozen"),
        () => meeting.peer.lifecycle("active"),
      ),
  },
  {
    name: "a peer is killed and comes back",
    against: ELEMENTS,
    sample: [{ kind: "wrtc", against: "src", manners: "impolite" }],
    async run(meeting) {
      await meeting.begin({ kinds: BOTH });
      await meeting.flows();
      await meeting.peer.kill();
      await meeting.room.waitFor("the peer's leave", () => meeting.element.told("metered-peer-left", meeting.peerId).length);
      assert.deepEqual(await meeting.element.streams(meeting.peerId), {});
      await meeting.startPeer({ kinds: BOTH });
      await meeting.flows();
      await meeting.harmless();
    },
  },
  {
    name: "a peer is replaced unnoticed",
    against: ELEMENTS,
    sample: [{ kind: "aiortc", against: "src", manners: "impolite" }],
    async run(meeting) {
      await meeting.begin({ kinds: BOTH });
      await meeting.flows();
      // Nothing of the old socket reaches the server any more, not even its end.
      await meeting.room.hook("freeze", { peerId: meeting.peerId, frozen: true });
      await (meeting.peer.close ?? meeting.peer.kill).call(meeting.peer);
      await meeting.startPeer({ kinds: BOTH });
      await meeting.flows();
      await meeting.settled();
      assert.deepEqual(meeting.element.told("metered-peer-left"), []);
    },
  },
  {
    name: "a peer loses its socket unnoticed",
    against: ELEMENTS,
    flags: GRACE,
    sample: [{ kind: "firefox", against: "src", manners: "impolite" }],
    async run(meeting) {
      await meeting.begin({ kinds: BOTH });
      await meeting.flows();
      await meeting.connected();
      await meeting.loseSocket();
      await meeting.flows();
      await meeting.settled();
      assert.deepEqual(meeting.element.told("metered-peer-left"), []);
    },
  },
];
