// Real inputs and outputs: a file, an RTSP camera, a recording, and a sink with nobody to see it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Lab, missing, sleep } from "./lib.mjs";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const clip = join(process.env.METERED_TEST_MEDIA ?? join(root, "target/media"), "bigbuckbunny.mp4");
const recorder = process.env.METERED_RECORDER ?? join(root, "target/debug/examples/record-room");
const rtspServer = join(root, "tests/interop/rtsp_server.py");

function skip(...files) {
  const lacking = files.find((file) => !existsSync(file));
  return missing("plugin") || (lacking && `needs ${lacking}`) || false;
}
const options = (...files) => ({ skip: skip(...files), timeout: 120_000 });

async function scratch(t) {
  const directory = await mkdtemp(join(tmpdir(), "meteredwebrtc-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** The clip many times over, in a container that GStreamer reads from start to end: 5 s are not enough to measure. */
async function longClip(t) {
  const file = join(await scratch(t), "long.ts");
  await run("ffmpeg", ["-v", "error", "-stream_loop", "11", "-i", clip, "-c", "copy", "-f", "mpegts", file]);
  return file;
}

async function watch(t, lab, viewer, sender, { fps = 20, sound = true } = {}) {
  const peerId = await lab.peerId(viewer);
  await lab.sees(viewer, { peerId }, 30_000, { watch: [sender] });
  if (sound) await lab.hears(viewer, { peerId }, 20_000, { watch: [sender] });
  const video = await viewer.video({ peerId }, 5);
  t.diagnostic(`${video.codec} ${video.width}x${video.height} ${video.fps.toFixed(1)} fps`);
  assert.ok(video.fps >= fps, `decoded ${video.fps} fps: ${JSON.stringify(video)}`);
  const { different } = await viewer.pictures({ peerId });
  assert.ok(different > 2, `only ${different} different pictures`);
  return video;
}

test("a file is published, decoded and encoded again", options(clip), async (t) => {
  const lab = await Lab.open(t);
  const viewer = await lab.page("Viewer");
  const sender = lab.gst(
    "file",
    `filesrc location=${await longClip(t)} ! tsdemux name=f
       f. ! queue ! h264parse ! avdec_h264 ! videoconvert ! meteredwebrtcsink name=s {room} video-caps=video/x-vp8
       f. ! queue ! aacparse ! avdec_aac ! audioconvert ! audioresample ! s.`,
  );
  const video = await watch(t, lab, viewer, sender);
  assert.deepEqual([video.width, video.height], [1280, 720]);
});

test("the H.264 of a file is published as it is", options(clip), async (t) => {
  const lab = await Lab.open(t);
  const viewer = await lab.page("Viewer");
  const sender = lab.gst(
    "file",
    `filesrc location=${await longClip(t)} ! tsdemux name=f
       f. ! queue ! h264parse ! meteredwebrtcsink name=s {room}
       f. ! queue ! aacparse ! avdec_aac ! audioconvert ! audioresample ! s.`,
  );
  const video = await watch(t, lab, viewer, sender);
  assert.match(String(video.codec), /h264/i);
});

for (const [name, args] of [["live test picture", []], ["file", [clip]]])
  test(`an RTSP camera is published (${name})`, options(clip), async (t) => {
    const lab = await Lab.open(t);
    const viewer = await lab.page("Viewer");
    const camera = lab.spawn("camera", "/usr/bin/python3", [rtspServer, ...args]);
    const [, url] = await camera.line(/^listening (rtsp:\S+)/);
    const sender = lab.gst(
      "sender",
      `rtspsrc location=${url} latency=100 ! rtph264depay ! h264parse ! avdec_h264 ! queue ! videoconvert
         ! meteredwebrtcsink {room}`,
    );
    await watch(t, lab, viewer, sender, { sound: false });
  });

test("a recording of the room plays and is as long as it took", options(recorder), async (t) => {
  const lab = await Lab.open(t);
  const directory = await scratch(t);
  const recording = lab.spawn("recorder", recorder, [lab.channel, directory], {
    env: { METERED_URL: lab.ws, METERED_API_KEY: lab.apiKey },
  });
  const sender = lab.gst(
    "sender",
    `videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! queue
       ! meteredwebrtcsink name=s {room}  audiotestsrc is-live=true ! queue ! s.`,
  );
  const [, file] = await recording.line(/^recording (.*)/, 30_000);
  const begin = Date.now();
  await lab.waitFor("the file to grow", async () => (await readFile(`${file}.part`)).length > 20_000, 20_000, { watch: [sender, recording] });
  // What is measured is a duration, so one has to pass.
  await sleep(8000);
  const { code } = await recording.stop();
  const seconds = (Date.now() - begin) / 1000;
  assert.equal(code, 0, recording.dump());
  assert.ok(recording.find(/^finished /), recording.dump());

  const probe = await run("ffprobe", ["-v", "error", "-of", "json", "-show_streams", "-show_format", file]);
  const { streams, format } = JSON.parse(probe.stdout);
  t.diagnostic(`recorded ${format.duration} s in ${seconds.toFixed(2)} s`);
  assert.deepEqual(streams.map((stream) => stream.codec_name).sort(), ["opus", "vp8"]);
  // It starts with what was gathered before the file had a name: 0.7 s.
  assert.ok(Math.abs(Number(format.duration) - seconds - 0.5) <= 1, `${format.duration} s recorded in ${seconds} s`);
  const player = lab.spawn("player", "gst-play-1.0", ["--no-interactive", "--videosink=fakesink", "--audiosink=fakesink", file]);
  await lab.waitFor("the player to reach the end", () => player.exit, 30_000);
  assert.equal(player.exit.code, 0, player.dump());
  assert.doesNotMatch(player.output, /error/i);
});

test("a sink alone in a room does not encode", options(), async (t) => {
  const lab = await Lab.open(t);
  const sender = lab.gst(
    "sender",
    `videotestsrc is-live=true pattern=black ! video/x-raw,width=640,height=360,framerate=30/1 ! queue
       ! meteredwebrtcsink name=s {room}`,
    { flags: "-m" },
  );
  await sender.line(/metered-joined/);
  const used = async () => {
    const fields = (await readFile(`/proc/${sender.child.pid}/stat`, "utf8")).replace(/^.*\) /, "").split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100; // USER_HZ is 100 on every Linux
  };
  const alone = await used();
  await sleep(60_000);
  const seconds = (await used()) - alone;
  t.diagnostic(`${seconds.toFixed(2)} CPU seconds in a minute`);
  // The test picture itself takes a little; an encoder of this size takes several seconds.
  assert.ok(seconds < 4, `${seconds} CPU seconds`);
});
