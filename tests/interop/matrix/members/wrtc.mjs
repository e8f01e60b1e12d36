// The member on native libwebrtc, without a browser. Orders come as lines of JSON, see `serve`.
import { createInterface } from "node:readline";
import { MeteredPeer } from "@metered-ca/realtime";
import wrtc from "@roamhq/wrtc";
import WebSocket from "ws";
import { Member } from "./member.mjs";

const { RTCAudioSink, RTCAudioSource, RTCVideoSink, RTCVideoSource } = wrtc.nonstandard;
const SIZE = { width: 320, height: 240 };
const RATE = 48_000;
/** What RTCAudioSource takes at a time: 10 ms. */
const SAMPLES = RATE / 100;
/** Louder than comfort noise, far below the tone. */
const LOUD = 500;

globalThis.RTCPeerConnection = wrtc.RTCPeerConnection;
globalThis.RTCSessionDescription = wrtc.RTCSessionDescription;
globalThis.RTCIceCandidate = wrtc.RTCIceCandidate;
globalThis.MediaStream = wrtc.MediaStream;

/** Calls `task` every so many milliseconds, also those that were missed, until the track ends. */
function every(ms, track, task) {
  const begin = performance.now();
  let done = 0;
  const timer = setInterval(() => {
    if (track.readyState !== "live") clearInterval(timer);
    else for (; done * ms < performance.now() - begin; done++) task(done);
  }, ms);
}

const make = {
  video() {
    const source = new RTCVideoSource();
    const track = source.createTrack();
    every(1000 / 15, track, (count) => {
      const data = new Uint8Array((SIZE.width * SIZE.height * 3) / 2).fill(128);
      data.fill((count * 5) % 200 + 20, 0, SIZE.width * SIZE.height);
      source.onFrame({ ...SIZE, data });
    });
    return track;
  },
  audio() {
    const source = new RTCAudioSource();
    const track = source.createTrack();
    every(10, track, (count) => {
      const samples = Int16Array.from({ length: SAMPLES }, (_, n) =>
        8000 * Math.sin((2 * Math.PI * 600 * (count * SAMPLES + n)) / RATE),
      );
      source.onData({ samples, sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: SAMPLES });
    });
    return track;
  },
};

// What each received track has brought.
const sinks = new Map();

function sinkOf(track) {
  if (sinks.has(track)) return sinks.get(track);
  const entry = { count: 0, sink: track.kind === "video" ? new RTCVideoSink(track) : new RTCAudioSink(track) };
  entry.sink.onframe = () => (entry.count += 1);
  entry.sink.ondata = ({ samples }) => (entry.count += samples.some((sample) => Math.abs(sample) > LOUD));
  sinks.set(track, entry);
  return entry;
}

const platform = {
  stream: (kinds) => new wrtc.MediaStream(kinds.map((kind) => make[kind]())),

  counts: (pc) =>
    pc.getTransceivers().map(({ mid, receiver }) => ({ mid, count: sinkOf(receiver.track).count })),

  // The SDK expects one message at a time, as browsers deliver them.
  socket: (url) => new WebSocket(url, { allowSynchronousEvents: false }),
};

/** Standard input: { id, method, argument }; standard output: { id, value } or { id, error }. Its end ends the program. */
async function serve(member) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, method, argument } = JSON.parse(line);
    const answer = await Promise.resolve()
      .then(() => member[method](argument))
      .then((value) => ({ id, value: value ?? null }))
      .catch((error) => ({ id, error: String(error?.stack ?? error) }));
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  // Native threads would keep the program alive.
  process.exit(0);
}

await serve(new Member(MeteredPeer, platform));
