// The kinds of peers. All of them are asked the same things, as Element is: see Peer.
//
//   METERED_CHROMIUM     (/usr/bin/chromium)
//   METERED_FIREFOX      (/usr/bin/firefox-esr)
//   METERED_PYTHON       with the vendor's Python SDK (../.venv/bin/python)
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";
import { BROWSER_ARGS, Program } from "../browser/process.mjs";
import { Element } from "./element.mjs";
import { ROOT } from "./room.mjs";

const MEMBERS = fileURLToPath(new URL("members/", import.meta.url));
const PYTHON = process.env.METERED_PYTHON ?? join(ROOT, "tests/interop/.venv/bin/python");

const BROWSERS = {
  chromium: {
    browser: "chrome",
    executablePath: process.env.METERED_CHROMIUM ?? "/usr/bin/chromium",
    args: BROWSER_ARGS,
  },
  firefox: {
    browser: "firefox",
    executablePath: process.env.METERED_FIREFOX ?? "/usr/bin/firefox-esr",
    extraPrefsFirefox: {
      "media.navigator.streams.fake": true,
      "media.navigator.permission.disabled": true,
      "media.autoplay.default": 0,
      "media.autoplay.blocking_policy": 0,
      "media.peerconnection.ice.loopback": true,
      // H.264 would be a download.
      "media.gmp-manager.updateEnabled": false,
    },
  },
};

export const KINDS = ["chromium", "firefox", "wrtc", "aiortc", "element"];

/** A reason to skip the tests of a kind, or false. */
export function lacking(kind) {
  const file = kind in BROWSERS ? BROWSERS[kind].executablePath : kind === "aiortc" ? PYTHON : null;
  return file !== null && !existsSync(file) && `needs ${file}`;
}

/** Starts a peer and lets it join. `kinds` are what it publishes from the start. */
export async function start(room, kind, id, { kinds, against } = {}) {
  const peer =
    kind === "element" ? new OwnPeer(id, against)
    : kind in BROWSERS ? new BrowserPeer(kind, id)
    : new ProgramPeer(kind, id);
  await peer.open(room, kinds);
  if (kind !== "element") room.members.push(peer);
  const credentials = { url: room.ws, token: await room.token(id), channel: room.channel, kinds };
  peer.stream = await peer.join(credentials);
  await room.waitFor(`${id} to join`, () => peer.joined());
  return peer;
}

/** A process and all that descend from it. */
function tree(pid) {
  const parents = new Map();
  for (const name of readdirSync("/proc").filter((each) => /^\d+$/.test(each)))
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It has ended meanwhile.
    }
  const found = [pid];
  for (const each of found) for (const [child, parent] of parents) if (parent === each) found.push(child);
  return found;
}

function signal(pid, name) {
  for (const each of tree(pid))
    try {
      process.kill(each, name);
    } catch {
      // It has ended meanwhile.
    }
}

/** What every kind can do; most by asking its member (members/member.mjs). */
class Peer {
  constructor(kind, id) {
    this.kind = kind;
    this.id = id;
  }

  join = (credentials) => this.call("join", credentials);
  report = () => this.call("report");
  publish = (kinds) => this.call("publish", { kinds });
  unpublish = (stream) => this.call("unpublish", { stream });
  openChannel = (peerId) => this.call("openChannel", { peerId });

  async joined() {
    return (await this.report()).state === "joined";
  }

  async remote(peerId) {
    return (await this.report()).remotes[peerId] ?? null;
  }

  async streams(peerId) {
    return (await this.remote(peerId))?.streams ?? {};
  }

  freeze = () => signal(this.pid, "SIGSTOP");
  thaw = () => signal(this.pid, "SIGCONT");

  async dump() {
    const told = this.dead ? "(was killed)" : await Promise.all([this.report(), this.call("describe")]);
    return `--- ${this.kind} ${this.id}\n${JSON.stringify(told, null, 1)}\n${this.notes?.() ?? ""}`;
  }
}

/** The JavaScript SDK in Node with native libwebrtc, or the Python SDK with aiortc. */
class ProgramPeer extends Peer {
  #asked = 0;
  #answers = new Map();

  async open(room) {
    this.room = room;
    const [command, file] = this.kind === "wrtc" ? [process.execPath, "wrtc.mjs"] : [PYTHON, "python_member.py"];
    this.program = new Program(this.id, command, [join(MEMBERS, file)], { stdin: "pipe" });
    this.program.watch((text) => {
      if (!text.startsWith('{"id"')) return false;
      const answer = JSON.parse(text);
      this.#answers.set(answer.id, answer);
      return true;
    });
  }

  get pid() {
    return this.program.child.pid;
  }

  notes = () => this.program.dump();

  async call(method, argument) {
    const id = ++this.#asked;
    this.program.child.stdin.write(`${JSON.stringify({ id, method, argument })}\n`);
    const { error, value } = await this.#answer(id, method);
    if (error) throw new Error(`${method} of ${this.id}: ${error}`);
    return value;
  }

  async #answer(id, method) {
    const deadline = Date.now() + 20_000;
    while (!this.#answers.has(id)) {
      if (this.program.exit || Date.now() > deadline) throw new Error(`${this.id} does not answer ${method}\n${this.program.dump()}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const answer = this.#answers.get(id);
    this.#answers.delete(id);
    return answer;
  }

  async kill() {
    this.dead = this.program.asked = true;
    await this.program.stop({ signal: "SIGKILL" });
  }

  async end() {
    this.program.asked = true;
    this.thaw();
    this.program.child.stdin.end();
    await this.program.stop({ graceMs: 3000 });
  }
}

// One browser of a kind for all tests of a file; each peer has a context of its own.
const running = new Map();

async function browser(kind) {
  if (!running.get(kind)?.connected) running.set(kind, await puppeteer.launch({ headless: true, ...BROWSERS[kind] }));
  return running.get(kind);
}

// The pages' files, at an address where they may use a camera.
const FILES = {
  "/": [join(MEMBERS, "index.html"), "text/html"],
  "/page.mjs": [join(MEMBERS, "page.mjs"), "text/javascript"],
  "/member.mjs": [join(MEMBERS, "member.mjs"), "text/javascript"],
  "/sdk.mjs": [fileURLToPath(import.meta.resolve("@metered-ca/realtime")), "text/javascript"],
};
let pages = null;

async function address() {
  if (!pages) {
    pages = createServer(({ url }, response) => {
      const [file, type] = FILES[url] ?? [];
      response.writeHead(file ? 200 : 404, { "content-type": type ?? "text/plain" });
      response.end(file && readFileSync(file));
    });
    await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  }
  return `http://127.0.0.1:${pages.address().port}/`;
}

after(async () => {
  for (const each of running.values()) await each.close().catch(() => {});
  pages?.close();
  pages?.closeAllConnections();
});

class BrowserPeer extends Peer {
  #console = [];

  async open() {
    this.browser = await browser(this.kind);
    this.context = await this.browser.createBrowserContext();
    this.page = await this.context.newPage();
    this.page.on("console", (message) => this.#console.push(`  ${message.text()}`));
    this.page.on("pageerror", (error) => this.#console.push(`  exception ${error.stack}`));
    await this.page.goto(await address());
    await this.page.waitForFunction("window.member");
  }

  get pid() {
    return this.browser.process().pid;
  }

  notes = () => this.#console.slice(-20).join("\n");

  call(method, argument) {
    return this.page.evaluate((m, a) => window.member[m](a), method, argument);
  }

  async kill() {
    this.dead = true;
    signal(this.pid, "SIGKILL");
    running.delete(this.kind);
  }

  /** "frozen" as what the browser does to pages that are not looked at, or "active". */
  async lifecycle(state) {
    this.session ??= await this.page.createCDPSession();
    await this.session.send("Page.setWebLifecycleState", { state });
  }

  /** Its page goes without a word; the browser stays. */
  async close() {
    this.dead = true;
    await this.context.close();
  }

  async end() {
    if (this.dead) return;
    this.thaw();
    await this.context.close();
  }
}

/** Our own elements: what publishes meets a source, what watches meets a sink. */
class OwnPeer {
  kind = "element";

  constructor(id, against) {
    this.id = id;
    this.against = against;
  }

  async open(room, kinds) {
    this.element = await Element.start(room, this.against === "src" ? "sink" : "src", this.id, {
      kinds: this.against === "src" ? kinds : undefined,
    });
    this.program = this.element.program;
  }

  join = async () => (this.against === "src" ? "cam" : null);
  joined = () => this.element.joined();
  remote = (peerId) => this.element.remote(peerId);
  streams = (peerId) => this.element.streams(peerId);
  publish = (kinds) => this.element.publish(kinds);
  unpublish = (stream) => this.element.unpublish(stream);
  freeze = () => signal(this.element.pid, "SIGSTOP");
  thaw = () => signal(this.element.pid, "SIGCONT");
  kill = () => this.element.kill();
}
