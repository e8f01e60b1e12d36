// What is silent and yet alive, and what only seems to be: no connection is renewed without need.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lab, missing, sleep } from "./lib.mjs";
import { Pipeline } from "./pipeline.mjs";

const options = { skip: missing("plugin"), timeout: 180_000 };
if (options.skip) console.error(`silence.test.mjs skips: ${options.skip}`);

/** Longer than any patience of an element. */
const SILENCE_MS = 28_000;

/** Keeps the page's connections where a test can reach their senders. */
function remember() {
  const Real = RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Real {
    constructor(...args) {
      super(...args);
      window.connections.push(this);
    }
  };
}

const senders = "connections.flatMap((pc) => pc.getSenders()).filter(({ track }) => track)";

function assertQuiet(pipeline) {
  const told = pipeline.messages.filter((message) => /reconnecting|connection_stalled/.test(JSON.stringify(message)));
  assert.deepEqual(told, []);
}

for (const [what, silence] of [
  ["muted", `for (const { track } of ${senders}) track.enabled = false;`],
  ["without tracks", `Promise.all(${senders}.map((sender) => sender.replaceTrack(null)))`],
])
  test(`a browser that is ${what}`, options, async (t) => {
    const lab = await Lab.open(t);
    const page = await lab.page("Browser", { camera: true, mic: true, init: remember });
    const source = await Pipeline.start(lab, "source", "meteredwebrtcsrc name=r {room}");
    await lab.waitFor("pictures", () => source.pictures > 60, 20_000, { watch: [source.program] });
    await page.evaluate(silence);
    await sleep(SILENCE_MS);
    assertQuiet(source);
  });

test("a browser with sound alone, without tracks", options, async (t) => {
  const lab = await Lab.open(t);
  const page = await lab.page("Browser", { mic: true, init: remember });
  const source = await Pipeline.start(lab, "source", "meteredwebrtcsrc name=r {room}");
  await lab.waitFor("sound", () => source.sounds > 0, 20_000, { watch: [source.program] });
  await sleep(5000);
  await page.evaluate(`Promise.all(${senders}.map((sender) => sender.replaceTrack(null)))`);
  await sleep(2 * SILENCE_MS);
  assertQuiet(source);
});

for (const [kind, media, counter] of [
  ["pictures", "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1", "sees"],
  ["sound", "audiotestsrc is-live=true", "hears"],
])
  test(`a browser that only receives ${kind}, and a sink that stops for a while`, options, async (t) => {
    const lab = await Lab.open(t);
    const viewer = await lab.page("Viewer");
    const sink = await Pipeline.start(lab, "sink", `${media} ! queue ! meteredwebrtcsink {room}`);
    const peerId = await lab.peerId(viewer);
    await lab[counter](viewer, { peerId }, 20_000, { watch: [sink.program] });
    // Reports come for some time.
    await sleep(5000);
    sink.setState("paused");
    await sleep(SILENCE_MS);
    assertQuiet(sink);
    sink.setState("playing");
    await lab[counter](viewer, { peerId }, 20_000, { watch: [sink.program] });
  });
