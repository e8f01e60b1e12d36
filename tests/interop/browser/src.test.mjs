// meteredwebrtcsrc: what a pipeline receives from a browser.
//
// The receiver is a gst-launch line whose `identity` elements report every buffer and whose fakesinks
// report caps; `Receiver` reads that. Another program can take its place if it prints the same lines.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lab, missing, sleep } from "./lib.mjs";

const options = { skip: missing("plugin"), timeout: 120_000 };
if (options.skip) console.error(`src.test.mjs skips: ${options.skip}`);

/** Counts what passes the identities `v` and `a` of a pipeline, from its verbose output. */
class Receiver {
  buffers = { v: [], a: [], w: [] }; // arrival times
  caps = {};

  constructor(program) {
    this.program = program;
    program.watch((text) => this.#line(text));
  }

  #line(text) {
    const [, name] = /GstIdentity:(\w+): last-message = chain /.exec(text) ?? [];
    if (name) this.buffers[name]?.push(Date.now());
    const [, of, caps] = /GstIdentity:(\w+)\.GstPad:sink: caps = (.*)/.exec(text) ?? [];
    if (of) this.caps[of] = caps.replaceAll("\\", "");
    return Boolean(name);
  }

  count(name) {
    return this.buffers[name].length;
  }

  async rate(name, seconds = 3) {
    const before = this.count(name);
    await sleep(seconds * 1000);
    return (this.count(name) - before) / seconds;
  }
}

const VIDEO = "queue ! videoconvert ! video/x-raw,format=I420 ! identity name=v silent=false ! fakesink sync=false";
const AUDIO = "queue ! audioconvert ! audioresample ! identity name=a silent=false ! fakesink sync=false";

function receive(lab, pipeline, name = "src", flags = "") {
  const program = lab.gst(name, pipeline, { flags: `-e -v ${flags}` });
  return new Receiver(program);
}

function arrives(lab, receiver, name, more = 10, timeoutMs = 20_000) {
  const before = receiver.count(name);
  return lab.waitFor(`${more} more buffers of ${name}`, () => receiver.count(name) >= before + more, timeoutMs, {
    watch: [receiver.program],
  });
}

test("camera and microphone of a browser arrive", options, async (t) => {
  const lab = await Lab.open(t);
  await lab.page("Browser", { camera: true, mic: true });
  const receiver = receive(lab, `meteredwebrtcsrc name=r {room} r.video_0 ! ${VIDEO} r.audio_0 ! ${AUDIO}`);
  await arrives(lab, receiver, "v");
  await arrives(lab, receiver, "a");
  const fps = await receiver.rate("v");
  assert.ok(fps > 8, `${fps} pictures a second`);
  assert.ok((await receiver.rate("a", 2)) > 20, "sound stutters");
  assert.match(receiver.caps.v, /video\/x-raw.*width=\(int\)320.*height=\(int\)240/);
  assert.match(receiver.caps.a, /audio\/x-raw/);
});

test("linking without pad names works", options, async (t) => {
  const lab = await Lab.open(t);
  await lab.page("Browser", { camera: true });
  const receiver = receive(lab, `meteredwebrtcsrc {room} ! ${VIDEO}`);
  await arrives(lab, receiver, "v");
});

test("a pipeline that was there first receives too", options, async (t) => {
  const lab = await Lab.open(t);
  const receiver = receive(lab, `meteredwebrtcsrc name=r {room} r.video_0 ! ${VIDEO} r.audio_0 ! ${AUDIO}`);
  await sleep(2000);
  await lab.page("Browser", { camera: true, mic: true });
  await arrives(lab, receiver, "v");
  await arrives(lab, receiver, "a");
});

test("a screen share beside the camera changes nothing for the camera", options, async (t) => {
  const lab = await Lab.open(t);
  const browser = await lab.page("Browser", { camera: true, mic: true });
  const receiver = receive(lab, `meteredwebrtcsrc name=r {room} r.video_0 ! ${VIDEO} r.audio_0 ! ${AUDIO}`);
  await arrives(lab, receiver, "v");
  for (const on of [true, false, true]) {
    await browser.setScreen(on);
    await arrives(lab, receiver, "v", 20);
    await arrives(lab, receiver, "a", 20);
  }
});

test("encoded media comes through untouched", options, async (t) => {
  const lab = await Lab.open(t);
  await lab.page("Browser", { camera: true });
  const receiver = receive(lab, "meteredwebrtcsrc {room} ! video/x-vp8 ! identity name=v silent=false ! fakesink sync=false");
  await arrives(lab, receiver, "v");
  assert.match(receiver.caps.v, /video\/x-vp8/);
});

test("the pipeline ends cleanly and leaves the room", options, async (t) => {
  const lab = await Lab.open(t);
  const browser = await lab.page("Browser", { camera: true });
  const receiver = receive(lab, `meteredwebrtcsrc name=r {room} r.video_0 ! ${VIDEO}`);
  await arrives(lab, receiver, "v");
  await lab.waitFor("the browser to see it", async () => (await browser.peers()).length === 1);
  const exit = await receiver.program.stop();
  assert.equal(exit.code, 0, receiver.program.dump());
  await lab.waitFor("the pipeline to be gone", async () => (await browser.peers()).length === 0, 3000);
});

test("the pipeline ends when the browser leaves", options, async (t) => {
  const lab = await Lab.open(t);
  const browser = await lab.page("Browser", { camera: true });
  const receiver = receive(lab, `meteredwebrtcsrc name=r {room} r.video_0 ! ${VIDEO}`);
  await arrives(lab, receiver, "v");
  await browser.close();
  // The end of the track reaches the only sink, and with it the end of the pipeline.
  await lab.waitFor("the end of the stream", () => receiver.program.exit || receiver.program.find(/Got EOS/), 10_000);
});

test("a restart of the server brings the browser back as a new member, with new streams", options, async (t) => {
  const lab = await Lab.open(t);
  const browser = await lab.page("Browser", { camera: true });
  // With a publishable key everybody returns under a new id, so the old pad ends. The second branch keeps the
  // pipeline from ending with it.
  const receiver = receive(
    lab,
    `meteredwebrtcsrc name=r {room} r.video_0 ! ${VIDEO} audiotestsrc is-live=true ! fakesink`,
    "src",
    "-m",
  );
  await arrives(lab, receiver, "v");
  const before = await browser.ownPeerId();
  await lab.restartServer();
  await lab.waitFor("the browser to be back", async () => (await browser.state()) === "joined", 30_000);
  const after = await browser.ownPeerId();
  assert.notEqual(after, before);
  const added = (peerId) => receiver.program.find(new RegExp(`metered-stream-added.*peer-id=\\(string\\)${peerId}`));
  await lab.waitFor("the streams of the new member", () => added(after), 20_000, { watch: [receiver.program] });
  assert.ok(added(before));
});

test("a sink and a source beside a browser that sends and receives", options, async (t) => {
  const lab = await Lab.open(t);
  const browser = await lab.page("Browser", { camera: true, mic: true });
  const sink = lab.gst(
    "sink",
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 ! " +
      "meteredwebrtcsink name=s {room} audiotestsrc is-live=true freq=440 ! s.",
  );
  const peerId = await lab.waitFor(
    "the browser to receive a stream",
    async () => (await browser.streams()).find(({ tracks }) => tracks.length === 2)?.peerId,
    20_000,
    { watch: [sink] },
  );
  await lab.sees(browser, { peerId }, 20_000, { watch: [sink] });
  await lab.hears(browser, { peerId });
  // A source takes everybody: the browser's tracks and the sink's.
  const receiver = receive(
    lab,
    `meteredwebrtcsrc name=r {room} r.video_0 ! ${VIDEO} r.audio_0 ! ${AUDIO} ` +
      "r.video_1 ! queue ! videoconvert ! identity name=w silent=false ! fakesink sync=false",
  );
  await arrives(lab, receiver, "v");
  await arrives(lab, receiver, "w");
  await arrives(lab, receiver, "a");
  const { fps } = await browser.video({ peerId }, 3);
  assert.ok(fps >= 25, `the browser decodes ${fps} fps of the sink`);
});
