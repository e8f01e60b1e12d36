// meteredwebrtcsink towards browsers: what viewers with the vendor's SDK see and hear.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lab, missing, sleep } from "./lib.mjs";

const options = { skip: missing("plugin"), timeout: 120_000 };
if (options.skip) console.error(`sink.test.mjs skips: ${options.skip}`);

const METADATA = "meta,role=camera,label=(string)Front";

/** A moving ball with a clock and a 440 Hz tone, published as the stream "cam". */
function publish(lab, { width = 1280, height = 720, fps = 30, properties = "", name = "sink" } = {}) {
  return lab.gst(
    name,
    `meteredwebrtcsink name=s {room} ${properties}
       video_0::stream-id=cam video_0::metadata=${METADATA}
       audio_0::stream-id=cam audio_0::metadata=${METADATA}
     videotestsrc is-live=true pattern=ball
       ! video/x-raw,width=${width},height=${height},framerate=${fps}/1 ! timeoverlay ! queue ! s.video_0
     audiotestsrc is-live=true freq=440 volume=0.5 ! audio/x-raw,rate=48000 ! queue ! s.audio_0`,
  );
}

/** Join as a viewer and find the sink: its peer id, once picture and sound arrive. */
async function meet(lab, sink, viewer, want = {}) {
  const others = new Set();
  for (const page of lab.pages) others.add(await page.ownPeerId().catch(() => null));
  const peerId = await lab.peerId(viewer, (peer) => !others.has(peer.peerId));
  await lab.sees(viewer, { peerId, ...want }, 20_000, { watch: [sink] });
  return peerId;
}

async function assertGood(viewer, peerId, { fps = 25, width = 1280, height = 720, seconds = 5 } = {}) {
  const video = await viewer.video({ peerId }, seconds);
  assert.ok(video.fps >= fps, `decoded ${video.fps.toFixed(1)} fps: ${JSON.stringify(video)}`);
  assert.deepEqual([video.width, video.height], [width, height]);
  const { different } = await viewer.pictures({ peerId });
  assert.ok(different > 2, `only ${different} different pictures`);
  return video;
}

async function assertTone(viewer, peerId, hertz = 440) {
  const audio = await viewer.audio({ peerId }, 2);
  assert.ok(audio.energy > 0, `no audio energy: ${JSON.stringify(audio)}`);
  assert.ok(Math.abs(audio.peakHz - hertz) < 10, `strongest frequency ${audio.peakHz} Hz, not ${hertz}`);
}

test("a viewer sees 720p at full rate, hears the tone, knows the stream", options, async (t) => {
  const lab = await Lab.open(t);
  const viewer = await lab.page("Viewer");
  const sink = publish(lab);
  const peerId = await meet(lab, sink, viewer);
  const video = await assertGood(viewer, peerId);
  await assertTone(viewer, peerId);
  t.diagnostic(`${video.codec} ${video.fps.toFixed(1)} fps, ${Math.round((video.bytes * 8) / 5000)} kbit/s`);

  const streams = await viewer.streams(peerId);
  assert.equal(streams.length, 1, "tracks with one stream-id are one stream");
  const [stream] = streams;
  assert.equal(stream.streamId, "cam");
  assert.deepEqual(stream.metadata, { role: "camera", label: "Front" });
  assert.deepEqual(stream.tracks.map(({ kind }) => kind).sort(), ["audio", "video"]);
  for (const track of stream.tracks) {
    // The SDK finds metadata by track id, so the id in the SDP and the announced one must be the same.
    assert.equal(track.id, track.senderTrackId);
    assert.deepEqual(track.metadata, { role: "camera", label: "Front" });
    assert.deepEqual(track.wireMetadata, track.metadata);
    assert.equal(track.muted, false);
  }
  assert.notEqual(stream.tracks[0].id, stream.tracks[1].id);
  const problems = (await viewer.events()).filter(({ type }) => /error|refused/.test(type));
  assert.deepEqual(problems, []);
  await lab.shots("sink");
});

test("a viewer that was there before, and one that comes late", options, async (t) => {
  const lab = await Lab.open(t);
  const early = await lab.page("Early");
  const sink = publish(lab, { width: 640, height: 360 });
  const peerId = await meet(lab, sink, early);
  await sleep(2000);

  const late = await lab.page("Late", { join: false });
  const begin = Date.now();
  await late.join();
  const joined = Date.now() - begin;
  await lab.sees(late, { peerId }, 10_000, { watch: [sink] });
  const picture = Date.now() - begin;
  t.diagnostic(`joined after ${joined} ms, picture after ${picture} ms`);
  assert.ok(picture - joined <= 2000, `first picture ${picture - joined} ms after the join`);
  await assertGood(late, peerId, { width: 640, height: 360, seconds: 3 });
  await assertGood(early, peerId, { width: 640, height: 360, seconds: 3 });
});

test("a viewer leaves and comes back, the others notice nothing", options, async (t) => {
  const lab = await Lab.open(t);
  const [stays, goes] = [await lab.page("Stays"), await lab.page("Goes")];
  const sink = publish(lab, { width: 640, height: 360 });
  const peerId = await meet(lab, sink, stays);
  await lab.sees(goes, { peerId });
  for (let round = 0; round < 3; round++) {
    await goes.leave();
    await sleep(500);
    await goes.join();
    await lab.sees(goes, { peerId }, 10_000, { watch: [sink] });
  }
  await assertTone(goes, peerId);
  const { freezes } = await assertGood(stays, peerId, { width: 640, height: 360, seconds: 3 });
  assert.ok(!freezes, `the other viewer's picture froze ${freezes} times`);
  const events = await stays.events();
  assert.equal(events.filter((e) => e.type === "stream-added" && e.peerId === peerId).length, 1);
  assert.equal(events.filter((e) => e.type === "connection-reset").length, 0);
});

for (const eager of [false, true])
  test(`a browser that publishes ${eager ? "at once" : "too"}, and shares its screen on and off`, options, async (t) => {
    const lab = await Lab.open(t);
    const browser = await lab.page("Browser", { camera: true, mic: true, eager });
    const sink = publish(lab, { width: 640, height: 360 });
    const peerId = await meet(lab, sink, browser);
    await assertGood(browser, peerId, { width: 640, height: 360, seconds: 3 });
    for (const on of [true, false, true]) {
      await browser.setScreen(on);
      await lab.waitFor(
        "the renegotiation to end",
        async () => {
          const { signalingState, transceivers } = await browser.connection(peerId);
          const sending = (await browser.sending()).map(({ id }) => id);
          return (
            signalingState === "stable" &&
            transceivers.every(({ currentDirection }) => currentDirection !== null) &&
            sending.every((id) => transceivers.some((transceiver) => transceiver.sending === id))
          );
        },
        10_000,
        { watch: [sink] },
      );
      await lab.connected(browser, peerId);
      await assertGood(browser, peerId, { width: 640, height: 360, seconds: 2 });
    }
    await assertTone(browser, peerId);
    // Own media does not hide the metadata: the sink's tracks are on media sections of its own.
    const [stream] = await browser.streams(peerId);
    assert.equal(stream.streamId, "cam");
    assert.deepEqual(stream.metadata, { role: "camera", label: "Front" });
    for (const { metadata } of stream.tracks) assert.equal(metadata?.role, "camera");
    const errors = (await browser.events()).filter(({ type }) => type === "negotiation-error");
    assert.deepEqual(errors, []);
  });

test("a publishing browser comes to a sink that is there", options, async (t) => {
  const lab = await Lab.open(t);
  const first = await lab.page("First");
  const sink = publish(lab, { width: 640, height: 360 });
  const peerId = await meet(lab, sink, first);
  for (const eager of [false, true, true]) {
    const browser = await lab.page(eager ? "Eager" : "Patient", { camera: true, mic: true, eager });
    await lab.sees(browser, { peerId }, 10_000, { watch: [sink] });
    await lab.hears(browser, { peerId });
    const [stream] = await browser.streams(peerId);
    assert.deepEqual(stream.metadata, { role: "camera", label: "Front" });
    await browser.close();
  }
});

test("a viewer whose camera goes off and on keeps receiving", options, async (t) => {
  const lab = await Lab.open(t);
  const browser = await lab.page("Browser", { camera: true, mic: true });
  const sink = publish(lab, { width: 640, height: 360 });
  const peerId = await meet(lab, sink, browser);
  for (const on of [false, true, false, true]) {
    await browser.setCamera(on);
    await sleep(700);
    await assertGood(browser, peerId, { width: 640, height: 360, seconds: 1.5 });
  }
});

// The sink's offer has numbered the formats by then, in ways that are not the browser's own.
test("a viewer that turns its camera on later keeps receiving", options, async (t) => {
  const lab = await Lab.open(t);
  const browser = await lab.page("Browser");
  const sink = publish(lab, { width: 640, height: 360 });
  const peerId = await meet(lab, sink, browser);
  await assertGood(browser, peerId, { width: 640, height: 360, seconds: 1.5 });
  for (const on of [true, false, true]) {
    await browser.setCamera(on);
    await browser.setMic(on);
    await sleep(700);
    await assertGood(browser, peerId, { width: 640, height: 360, seconds: 1.5 });
  }
  await assertTone(browser, peerId);
  const errors = (await browser.events()).filter(({ type }) => /error|reset/.test(type));
  assert.deepEqual(errors, []);
});

test("several streams of one sink", options, async (t) => {
  const lab = await Lab.open(t);
  const viewer = await lab.page("Viewer");
  const sink = lab.gst(
    "sink",
    `meteredwebrtcsink name=s {room}
       video_0::stream-id=cam video_0::metadata=meta,role=camera,label=(string)Front
       video_1::stream-id=screen video_1::metadata=meta,role=screen,label=(string)Slides
     videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! queue ! s.video_0
     videotestsrc is-live=true pattern=smpte ! video/x-raw,width=320,height=180,framerate=10/1 ! timeoverlay ! queue ! s.video_1`,
  );
  const peerId = await meet(lab, sink, viewer, { streamId: "cam" });
  await lab.sees(viewer, { peerId, streamId: "screen" });
  const streams = (await viewer.streams(peerId)).map(({ streamId, metadata }) => [streamId, metadata]);
  assert.deepEqual(Object.fromEntries(streams), {
    cam: { role: "camera", label: "Front" },
    screen: { role: "screen", label: "Slides" },
  });
  assert.equal((await viewer.video({ peerId, streamId: "cam" }, 2)).width, 640);
  assert.equal((await viewer.video({ peerId, streamId: "screen" }, 2)).width, 320);
});

test("the sink leaves when its pipeline ends", options, async (t) => {
  const lab = await Lab.open(t);
  const viewer = await lab.page("Viewer");
  const sink = publish(lab, { width: 320, height: 180 });
  await meet(lab, sink, viewer);
  const exit = await sink.stop();
  assert.equal(exit.code, 0, sink.dump());
  await lab.waitFor("the sink to be gone", async () => (await viewer.peers()).length === 0, 3000);
});

test("the call outlives a restart of the server", options, async (t) => {
  const lab = await Lab.open(t);
  const viewer = await lab.page("Viewer");
  const sink = publish(lab, { width: 640, height: 360 });
  await meet(lab, sink, viewer);
  await lab.restartServer();
  await lab.waitFor("the viewer to be back", async () => (await viewer.state()) === "joined", 30_000);
  const peerId = await meet(lab, sink, viewer);
  await assertGood(viewer, peerId, { width: 640, height: 360, seconds: 3 });
  await assertTone(viewer, peerId);
});
