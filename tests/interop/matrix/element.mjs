// One of our elements, in a pipeline of its own (../pipeline.py).
import { join } from "node:path";
import { Program } from "../browser/process.mjs";
import { ROOT } from "./room.mjs";

const SOURCES = {
  video: "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! queue",
  audio: "audiotestsrc is-live=true freq=440 ! audio/x-raw,rate=48000 ! queue",
};
/** Of half a second of sound: louder than comfort noise, far below a tone. */
const LOUD = 300;

export class Element {
  #pads = new Map(); // name -> { peerId, streamId, kind, count }
  #messages = [];
  #answers = [];
  #asked = 0;
  #published = new Map(); // stream id -> kinds

  /** `kind` is "sink" or "src"; `kinds` are published from the start as the stream "cam". */
  static async start(room, kind, id, { kinds = [] } = {}) {
    const token = await room.token(id);
    const streams = kinds.map((each) => `${each}_0::stream-id=cam`).join(" ");
    const line = [
      `meteredwebrtc${kind} name=m url=${room.ws} channel=${room.channel} token=${token} ${streams}`,
      ...kinds.map((each) => `${SOURCES[each]} ! m.${each}_0`),
    ].join(" ");
    const element = new Element(room, kind, id, line);
    if (kinds.length) element.#published.set("cam", kinds);
    room.members.push(element);
    return element;
  }

  constructor(room, kind, id, line) {
    this.room = room;
    this.kind = kind;
    this.id = id;
    const { METERED_PLUGIN_DIR: plugins, GST_PLUGIN_PATH: others } = process.env;
    this.program = new Program(id, "/usr/bin/python3", [join(ROOT, "tests/interop/pipeline.py"), line], {
      stdin: "pipe",
      env: { GST_PLUGIN_PATH: [plugins, others].filter(Boolean).join(":"), G_DEBUG: "fatal-criticals" },
    });
    this.program.watch((text) => text.startsWith("{") && this.#record(JSON.parse(text)));
  }

  get pid() {
    return this.program.child.pid;
  }

  /** True for what comes too often to be kept as a line. */
  #record(record) {
    if ("picture" in record || "sound" in record) {
      const pad = this.#pads.get(record.of ?? record.sound);
      if (pad) pad.count += record.rms === undefined || record.rms > LOUD ? 1 : 0;
      return true;
    }
    if ("added" in record) {
      const kind = record.added.split("_")[0];
      this.#pads.set(record.added, { peerId: record["peer-id"], streamId: record["stream-id"], kind, count: 0 });
    }
    if ("removed" in record) this.#pads.delete(record.removed);
    if ("answer" in record) this.#answers.push(record.answer);
    if ("message" in record) this.#messages.push({ name: record.message, ...record.fields });
    return false;
  }

  /** Messages of this name, such as "metered-peer-left", about a peer. */
  told(name, peerId) {
    return this.#messages.filter((each) => each.name === name && (!peerId || each["peer-id"] === peerId));
  }

  async joined() {
    return this.told("metered-joined").length > 0;
  }

  /** What is known about a peer; null if it is not in the room. */
  async remote(peerId) {
    const all = this.#messages.filter((each) => each["peer-id"] === peerId);
    const names = all.map(({ name }) => name);
    if (names.lastIndexOf("metered-peer-joined") <= names.lastIndexOf("metered-peer-left")) return null;
    const count = (wanted) => names.filter((name) => name === wanted).length;
    return {
      state: all.findLast(({ name }) => name === "metered-peer-state-changed")?.state ?? "idle",
      added: count("metered-stream-added"),
      removed: count("metered-stream-removed"),
      errors: all.filter(({ name }) => name === "metered-negotiation-error").map(({ text }) => text),
    };
  }

  /** { stream id: { kind: count } } of what comes from a peer. */
  async streams(peerId) {
    const streams = {};
    for (const pad of this.#pads.values())
      if (pad.peerId === peerId) (streams[pad.streamId] ??= {})[pad.kind] = pad.count;
    return streams;
  }

  async #ask(request) {
    const mine = this.#asked++;
    this.program.child.stdin.write(`${JSON.stringify(request)}\n`);
    const [answer] = await this.room.waitFor(
      `an answer to ${JSON.stringify(request)}`,
      () => this.#answers.length > mine && this.#answers.slice(mine, mine + 1),
    );
    if (!answer) throw new Error(`${this.id} refused ${JSON.stringify(request)}`);
  }

  /** A stream more, in request pads. */
  async publish(kinds) {
    const stream = `late-${this.#asked}`;
    for (const each of kinds)
      await this.#ask({
        publish: `${stream} ${each}`,
        line: SOURCES[each],
        element: "m",
        pad: `${each}_%u`,
        "stream-id": stream,
      });
    this.#published.set(stream, kinds);
    return stream;
  }

  async unpublish(stream) {
    for (const each of this.#published.get(stream)) await this.#ask({ unpublish: `${stream} ${each}` });
    this.#published.delete(stream);
  }

  restartIce = (peerId) => this.#ask({ element: "m", action: "restart-ice", arguments: [peerId] });

  async dump() {
    const pads = [...this.#pads].map(([name, pad]) => `  ${name} ${JSON.stringify(pad)}`);
    return [this.program.dump(), ...pads].join("\n");
  }

  async kill() {
    this.program.asked = true;
    return this.program.stop({ signal: "SIGKILL" });
  }

  async end() {
    this.program.asked = true;
    this.program.child.stdin.end();
    await this.program.stop({ graceMs: 8000 });
  }
}
