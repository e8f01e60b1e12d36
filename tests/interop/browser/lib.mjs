// What the browser tests share: a signalling server, Chromium with the demo page, programs such as
// gst-launch-1.0, and measurements of what arrives. A `Lab` owns all of it and ends all of it.
//
//   METERED_DEV_SERVER   the metered-dev-server binary   (target/debug/metered-dev-server)
//   METERED_PAGE_DIR     the built demo page             (web/dist)
//   METERED_PLUGIN_DIR   directory with the plugin's .so (tests of the elements skip without it)
//   METERED_CHROMIUM     the browser                     (/usr/bin/chromium)
//   METERED_TEST_VERBOSE print what programs and pages say, as they say it
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { chromium } from "playwright-core";
import { BROWSER_ARGS, Fatal, KEPT_LINES, Program, VERBOSE, sleep, waitFor, words } from "./process.mjs";

export { Fatal, Program, sleep, waitFor, words };

const root = fileURLToPath(new URL("../../../", import.meta.url));
const SECRET_KEY = "sk_id_test:sk_secret_test";

export const settings = {
  server: process.env.METERED_DEV_SERVER ?? join(root, "target/debug/metered-dev-server"),
  page: process.env.METERED_PAGE_DIR ?? join(root, "web/dist"),
  plugins: process.env.METERED_PLUGIN_DIR ?? "",
  chromium: process.env.METERED_CHROMIUM ?? "/usr/bin/chromium",
  registry: join(tmpdir(), `meteredwebrtc-test-registry-${process.getuid?.() ?? 0}.bin`),
};

/** For `test(name, { skip: missing("page") }, …)`: a reason, or false when everything is there. */
export function missing(...needs) {
  const lacks = [];
  if (!existsSync(settings.server)) lacks.push(`METERED_DEV_SERVER (no file ${settings.server})`);
  if (!existsSync(join(settings.page, "app.js"))) lacks.push(`the page (run "npm ci && npm run build" in web/)`);
  if (!existsSync(settings.chromium)) lacks.push(`METERED_CHROMIUM (no file ${settings.chromium})`);
  if (needs.includes("plugin") && !settings.plugins)
    lacks.push("METERED_PLUGIN_DIR: set it to the directory with the built plugin, e.g. target/debug");
  return lacks.length ? `needs ${lacks.join("; ")}` : false;
}

// --- Browser ---

let browser = null;

/** One Chromium with an empty profile per test file; each page gets a context of its own. */
async function theBrowser() {
  if (browser?.isConnected()) return browser;
  browser = await chromium.launch({
    executablePath: settings.chromium,
    headless: true,
    args: ["--headless=new", ...BROWSER_ARGS],
  });
  return browser;
}

after(async () => {
  await browser?.close();
  browser = null;
});

// Headless Chromium without a desktop has no screen to share: a drawn one takes its place.
function drawnScreen() {
  navigator.mediaDevices.getDisplayMedia = async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
    const pen = canvas.getContext("2d");
    let turn = 0;
    const timer = setInterval(() => {
      turn += 1;
      pen.fillStyle = "#123";
      pen.fillRect(0, 0, 640, 360);
      pen.fillStyle = `hsl(${(turn * 7) % 360} 80% 60%)`;
      pen.fillRect((turn * 9) % 560, 100, 80, 160);
      pen.font = "48px sans-serif";
      pen.fillText(`Slide ${turn}`, 40, 70);
    }, 66);
    const stream = canvas.captureStream(15);
    const [track] = stream.getVideoTracks();
    const stop = track.stop.bind(track);
    track.stop = () => {
      clearInterval(timer);
      stop();
    };
    return stream;
  };
}

// Runs in the page: the live received tracks of a peer, narrowed by stream, role, kind.
const PICK = `(want) => meteredDemo.streams(want.peerId)
  .filter((s) => !s.stale && (!want.streamId || s.streamId === want.streamId) && (!want.role || s.role === want.role))
  .flatMap((s) => s.tracks.map((t) => ({ ...t, streamId: s.streamId })))
  .filter((t) => t.readyState === "live" && (!want.kind || t.kind === want.kind))`;

/** The demo page as one member of the room. Every method goes through `window.meteredDemo`. */
export class DemoPage {
  console = [];

  constructor(name, context, page) {
    this.name = name;
    this.context = context;
    this.page = page;
    const note = (text) => {
      this.console.push(text);
      if (this.console.length > KEPT_LINES) this.console.shift();
      if (VERBOSE) console.error(`[${name}] ${text}`);
    };
    page.on("console", (message) => note(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => note(`exception: ${error.stack ?? error}`));
    page.on("crash", () => note("the page crashed"));
  }

  /** Evaluate in the page; `body` is a function or an expression. */
  evaluate(body, argument) {
    return this.page.evaluate(body, argument);
  }

  call(method, ...args) {
    return this.page.evaluate(([m, a]) => window.meteredDemo[m](...a), [method, args]);
  }

  state = () => this.evaluate(() => window.meteredDemo.state);
  ownPeerId = () => this.evaluate(() => window.meteredDemo.ownPeerId);
  events = () => this.evaluate(() => window.meteredDemo.events);
  peers = () => this.call("peers");
  streams = (peerId) => this.call("streams", peerId);
  messages = () => this.call("messages");
  sending = () => this.call("sending");
  inbound = (peerId) => this.call("inbound", peerId);
  outbound = (peerId) => this.call("outbound", peerId);
  connection = (peerId) => this.call("connection", peerId);
  join = () => this.call("join");
  leave = () => this.call("leave");
  setCamera = (on) => this.call("setCamera", on);
  setMic = (on) => this.call("setMic", on);
  setScreen = (on) => this.call("setScreen", on);
  send = (data) => this.call("send", data);
  sendTo = (peerId, data) => this.call("sendTo", peerId, data);

  /** Close the page: for the room, its member is gone. */
  close = () => this.context.close();

  screenshot = (path) => this.page.screenshot({ path });

  /** Received tracks of a peer: `want` is { peerId, streamId?, role?, kind? }. */
  tracks(want) {
    return this.evaluate(`(${PICK})(${JSON.stringify(want)})`);
  }

  /** inbound-rtp statistics of the tracks that `want` describes. */
  async received(want) {
    const ids = (await this.tracks(want)).map(({ id }) => id);
    return (await this.inbound(want.peerId)).filter(({ trackIdentifier }) => ids.includes(trackIdentifier));
  }

  /** Decoded frames per second over a window, with the size and codec at its end. */
  async video(want, seconds = 2) {
    const sample = async () => (await this.received({ ...want, kind: "video" }))[0] ?? null;
    const first = await sample();
    await sleep(seconds * 1000);
    const last = await sample();
    if (!first || !last) return { fps: 0, frames: 0, width: 0, height: 0, codec: null };
    const frames = (last.framesDecoded ?? 0) - (first.framesDecoded ?? 0);
    return {
      fps: (frames * 1000) / (last.timestamp - first.timestamp),
      frames,
      width: last.frameWidth ?? 0,
      height: last.frameHeight ?? 0,
      codec: last.codec,
      lost: last.packetsLost,
      freezes: last.freezeCount,
      keyFrames: last.keyFramesDecoded,
      bytes: last.bytesReceived - first.bytesReceived,
    };
  }

  /** How many different pictures a viewer saw among `samples`, and the mean colour of the last. */
  async pictures(want, { samples = 6, gapMs = 150 } = {}) {
    return this.evaluate(
      `(async () => {
        const track = (${PICK})(${JSON.stringify({ ...want, kind: "video" })})[0];
        if (!track) return { different: 0, mean: null, width: 0 };
        const element = [...document.querySelectorAll(".tile[data-own=false] video")].find((v) =>
          v.srcObject?.getTracks().some((t) => t.id === track.id));
        if (!element) return { different: 0, mean: null, width: 0 };
        const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 90 });
        const pen = canvas.getContext("2d", { willReadFrequently: true });
        const hashes = new Set();
        let mean = null;
        for (let i = 0; i < ${samples}; i++) {
          if (i) await new Promise((r) => setTimeout(r, ${gapMs}));
          pen.drawImage(element, 0, 0, 160, 90);
          const { data } = pen.getImageData(0, 0, 160, 90);
          let hash = 2166136261;
          const sum = [0, 0, 0];
          for (let p = 0; p < data.length; p += 4)
            for (let c = 0; c < 3; c++) {
              hash = Math.imul(hash ^ data[p + c], 16777619);
              sum[c] += data[p + c];
            }
          hashes.add(hash);
          mean = sum.map((s) => Math.round(s / (160 * 90)));
        }
        return { different: hashes.size, mean, width: element.videoWidth, height: element.videoHeight };
      })()`,
    );
  }

  /** What can be heard over a window: energy by the decoder's count, and the strongest frequency. */
  async audio(want, seconds = 2) {
    const sample = async () => (await this.received({ ...want, kind: "audio" }))[0] ?? null;
    const first = await sample();
    const peak = await this.evaluate(
      `(async () => {
        const track = (${PICK})(${JSON.stringify({ ...want, kind: "audio" })})[0];
        const receiver = track && [...document.querySelectorAll(".tile[data-own=false] video")]
          .flatMap((v) => v.srcObject?.getAudioTracks() ?? []).find((t) => t.id === track.id);
        if (!receiver) return null;
        const audio = (window.testAudio ??= new AudioContext());
        await audio.resume();
        const source = audio.createMediaStreamSource(new MediaStream([receiver]));
        const analyser = new AnalyserNode(audio, { fftSize: 8192, smoothingTimeConstant: 0 });
        source.connect(analyser);
        const bins = new Float32Array(analyser.frequencyBinCount);
        const power = new Float64Array(bins.length);
        const end = performance.now() + ${seconds * 1000};
        while (performance.now() < end) {
          await new Promise((r) => setTimeout(r, 100));
          analyser.getFloatFrequencyData(bins);
          bins.forEach((dB, i) => { if (Number.isFinite(dB)) power[i] += 10 ** (dB / 10); });
        }
        source.disconnect();
        let best = 2;
        for (let i = 2; i < power.length - 1; i++) if (power[i] > power[best]) best = i;
        const [a, b, c] = [power[best - 1], power[best], power[best + 1]].map((p) => Math.log(p + 1e-20));
        const shift = a - 2 * b + c ? (a - c) / (2 * (a - 2 * b + c)) : 0;
        return { hertz: ((best + shift) * audio.sampleRate) / analyser.fftSize, power: power[best] };
      })()`,
    );
    const last = await sample();
    return {
      energy: (last?.totalAudioEnergy ?? 0) - (first?.totalAudioEnergy ?? 0),
      packets: (last?.packetsReceived ?? 0) - (first?.packetsReceived ?? 0),
      peakHz: peak?.power > 1e-9 ? peak.hertz : null,
      codec: last?.codec ?? null,
    };
  }

  async dump() {
    const lines = [`--- page ${this.name}`];
    const add = (name, value) =>
      lines.push(`  ${name}: ${inspect(value, { depth: 6, breakLength: 160, maxArrayLength: 60 })}`);
    try {
      add("state", await this.state());
      add("own peer id", await this.ownPeerId());
      add("sending", await this.sending());
      const peers = await this.peers();
      for (const peer of peers) {
        add("peer", peer);
        const { local, remote, ...rest } = await this.connection(peer.peerId);
        add("connection", rest);
        lines.push(`  local ${local?.type}\n${shortSdp(local?.sdp)}`);
        lines.push(`  remote ${remote?.type}\n${shortSdp(remote?.sdp)}`);
      }
      add("streams", await this.streams());
      for (const event of (await this.events()).slice(-60)) lines.push(`  ${JSON.stringify(event).slice(0, 300)}`);
    } catch (error) {
      lines.push(`  (no more: ${error.message})`);
    }
    for (const text of this.console.slice(-40)) lines.push(`  console ${text.slice(0, 400)}`);
    return lines.join("\n");
  }
}

/** The lines of a description that say what goes where; never its secrets. */
export function shortSdp(sdp = "") {
  return sdp
    .split(/\r?\n/)
    .filter((line) => /^(o=|m=|a=(group|mid|msid:|sendrecv|sendonly|recvonly|inactive|setup))/.test(line))
    .map((line) => `      ${line.slice(0, 140)}`)
    .join("\n");
}

// --- The lab ---

let labs = 0;

/**
 * A server, pages and programs for one test: `const lab = await Lab.open(t)`.
 * Everything is ended when the test ends, also after a failure.
 */
export class Lab {
  pages = [];
  programs = [];
  server = null;
  ws = "";
  http = "";
  apiKey = "";

  static async open(t, { channel = `test-${process.pid}-${++labs}`, serverArgs = [] } = {}) {
    const lab = new Lab(channel, serverArgs);
    t.after(() => lab.close());
    await lab.startServer();
    return lab;
  }

  constructor(channel, serverArgs) {
    this.channel = channel;
    this.serverArgs = serverArgs;
  }

  async startServer(port = 0) {
    const args = ["--port", String(port), "--page", settings.page, "--channel", this.channel];
    this.server = new Program("server", settings.server, [...args, ...this.serverArgs], {
      env: { METERED_DEV_SECRET_KEY: SECRET_KEY },
    });
    const [, ws, http] = await this.server.line(/^listening (ws:\S+) (http:\S+)/);
    this.ws = ws.replace(/\/$/, "");
    this.http = http;
    this.apiKey = (await (await fetch(new URL("config.json", http))).json()).apiKey;
    return this.server;
  }

  async #post(path, body) {
    const headers = { authorization: `Bearer ${SECRET_KEY}`, "content-type": "application/json" };
    const answer = await fetch(new URL(path, this.http), { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** A token for a member with this id, which it keeps when it comes back. */
  async token(peerId) {
    return (await this.#post("v1/tokens", { peerId })).token;
  }

  /** A fault of the server (with `--test-hooks`), such as `close` with { peerId, code, reason }. */
  hook(name, body) {
    return this.#post(`dev/${name}`, body);
  }

  stopServer(options) {
    return this.server.stop(options);
  }

  /** End the server and start another on the same port. */
  async restartServer({ downMs = 500 } = {}) {
    const { port } = new URL(this.http);
    await this.stopServer({ signal: "SIGTERM" });
    await sleep(downMs);
    return this.startServer(port);
  }

  /**
   * Open the demo page as `name`. By default it joins at once, without camera and microphone:
   * pass { camera: true, mic: true }. `eager` offers media at once, so that offers cross.
   */
  async page(name, { camera = false, mic = false, join = true, eager = false, video = "320x240@15", viewport, params = {}, init } = {}) {
    const context = await (await theBrowser()).newContext({
      permissions: ["camera", "microphone"],
      viewport: viewport ?? { width: 960, height: 640 },
    });
    const page = await context.newPage();
    const demo = new DemoPage(name, context, page);
    this.pages.push(demo);
    await page.addInitScript(drawnScreen);
    if (init) await page.addInitScript(init);
    const url = new URL(this.http);
    const all = { channel: this.channel, name, video, ...(join && { autojoin: 1 }), ...(camera && { camera: 1 }), ...(mic && { mic: 1 }), ...(eager && { eager: 1 }), ...params };
    for (const [key, value] of Object.entries(all)) url.searchParams.set(key, value);
    await page.goto(url.href);
    await this.waitFor(`${name} to load the page`, () => page.evaluate(() => Boolean(window.meteredDemo)));
    if (join) await this.waitFor(`${name} to join`, async () => (await demo.state()) === "joined");
    return demo;
  }

  /** Any program, ended with the lab. */
  spawn(name, command, args = [], { env = {}, ...options } = {}) {
    const program = new Program(name, command, args, { ...options, env: { ...this.gstEnv(), ...env } });
    this.programs.push(program);
    return program;
  }

  gstEnv() {
    return {
      ...(settings.plugins && {
        GST_PLUGIN_PATH: [settings.plugins, process.env.GST_PLUGIN_PATH].filter(Boolean).join(":"),
        GST_REGISTRY: settings.registry,
      }),
      GST_DEBUG_NO_COLOR: "1",
    };
  }

  /** gst-launch-1.0; the pipeline is written as on a command line. `{room}` stands for url, channel and key. */
  gst(name, pipeline, { flags = "-e", ...options } = {}) {
    const room = `url=${this.ws} channel=${this.channel} api-key=${this.apiKey}`;
    return this.spawn(name, "gst-launch-1.0", [...words(flags), ...words(pipeline.replaceAll("{room}", room))], options);
  }

  /** tests/interop/pipeline.py: a pipeline whose elements take action signals, and that tells what happens in JSON. */
  python(name, pipeline) {
    const room = `url=${this.ws} channel=${this.channel} api-key=${this.apiKey}`;
    const script = join(root, "tests/interop/pipeline.py");
    return this.spawn(name, "/usr/bin/python3", [script, pipeline.replaceAll("{room}", room)], { stdin: "pipe" });
  }

  /** `waitFor` that knows all pages and programs of this lab; also fails early if a program ended. */
  waitFor(what, condition, timeoutMs, { watch = [] } = {}) {
    const guarded = async () => {
      for (const program of watch)
        if (program.exit) throw new Fatal(`${program.name} ended: ${inspect(program.exit)}`);
      return condition();
    };
    return waitFor(what, guarded, timeoutMs, { sources: [...this.programs, ...this.pages, ...(this.server ? [this.server] : [])] });
  }

  /** The peer id that `viewer` sees for another page, or for the only member that `match`es. */
  async peerId(viewer, other) {
    const own = other instanceof DemoPage ? await other.ownPeerId() : null;
    const match = own ? ({ peerId }) => peerId === own : (other ?? (() => true));
    return this.waitFor(`${viewer.name} to see ${own ?? "a peer"}`, async () => (await viewer.peers()).find(match)?.peerId);
  }

  connected(viewer, peerId, timeoutMs = 20_000, options) {
    return this.waitFor(
      `${viewer.name} to be connected with ${peerId}`,
      async () => (await viewer.peers()).find((peer) => peer.peerId === peerId)?.state === "connected",
      timeoutMs,
      options,
    );
  }

  /** Wait until frames of a track are decoded. */
  sees(viewer, want, timeoutMs = 20_000, options) {
    return this.#grows(viewer, { ...want, kind: "video" }, "framesDecoded", timeoutMs, options);
  }

  /** Wait until sound of a track arrives. */
  hears(viewer, want, timeoutMs = 20_000, options) {
    return this.#grows(viewer, { ...want, kind: "audio" }, "totalAudioEnergy", timeoutMs, options);
  }

  async #grows(viewer, want, counter, timeoutMs, options) {
    let first = null;
    return this.waitFor(
      `${viewer.name} to receive ${JSON.stringify(want)}`,
      async () => {
        const [now] = await viewer.received(want);
        if (!now) return false;
        first ??= now;
        // A counter that starts anew belongs to a new track.
        if (now.trackIdentifier !== first.trackIdentifier || now[counter] < first[counter]) first = now;
        return now[counter] > first[counter] && now;
      },
      timeoutMs,
      options,
    );
  }

  /** Keep a picture of every page, for people: into METERED_SHOTS if that is set. */
  async shots(label) {
    const directory = process.env.METERED_SHOTS;
    if (!directory) return;
    await mkdir(directory, { recursive: true });
    for (const page of this.pages) await page.screenshot(join(directory, `${label}-${page.name}.png`)).catch(() => {});
  }

  async close() {
    await Promise.all(this.pages.map((page) => page.close().catch(() => {})));
    await Promise.all(this.programs.map((program) => program.stop({ graceMs: 4000 })));
    await this.server?.stop();
  }
}
