// Our client as an object: starts signalling_driver.rs and speaks JSON lines with it.

import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Recorder, within } from "./dev_server.mjs";

const PROGRAM =
  process.env.METERED_SIGNALLING_DRIVER ??
  fileURLToPath(new URL("../../target/debug/examples/signalling-driver", import.meta.url));

const EVENTS = [
  "connected", "disconnected", "message", "direct", "presence", "resubscribed", "resubscribe-failed", "server-error",
  "going-away", "token-wanted",
];

/** A request that our client did not carry out; the members of its error are members of this. */
export class Refused extends Error {
  constructor(error) {
    super(error.text);
    Object.assign(this, error);
  }
}

/** A `SignallingClient` of ours in a process of its own. */
export class RustClient extends EventEmitter {
  /** `options` as for the SDK: url, and apiKey or tokenProvider. */
  constructor({ url, apiKey, tokenProvider, initialDelayMs = 50, inactivityMs }) {
    super();
    this.child = spawn(PROGRAM, { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = once(this.child, "exit");
    this.waiting = new Map();
    this.lastId = 0;
    this.events = new Recorder(this, ...EVENTS);
    createInterface({ input: this.child.stdout }).on("line", (line) => this.#heard(JSON.parse(line)));
    this.on("token-wanted", async () => this.call("token", { token: await tokenProvider() }));
    this.#say({ url, apiKey, initialDelayMs, inactivityMs });
  }

  #say(line) {
    this.child.stdin.write(`${JSON.stringify(line)}\n`);
  }

  #heard({ id, event, ...rest }) {
    if (event !== undefined) {
      this.emit(event, rest);
      return;
    }
    const { done, failed } = this.waiting.get(id);
    this.waiting.delete(id);
    if (rest.error) failed(new Refused(rest.error));
    else done(rest);
  }

  /** Asks for something; calls are carried out in this order. */
  call(name, parameters = {}) {
    const id = ++this.lastId;
    const answer = new Promise((done, failed) => this.waiting.set(id, { done, failed }));
    this.#say({ id, call: name, ...parameters });
    return answer;
  }

  next(name, fits) {
    return this.events.next(name, fits);
  }

  async connect() {
    return (await this.call("connect")).connected;
  }

  async status() {
    return (await this.call("status")).status;
  }

  subscribe(channel, options = {}) {
    return this.call("subscribe", { channel, ...options });
  }

  unsubscribe(channel) {
    return this.call("unsubscribe", { channel });
  }

  publish(channel, data) {
    return this.call("publish", { channel, data });
  }

  send(to, data) {
    return this.call("send", { to, data });
  }

  /** Ends the connection and the process. */
  async end() {
    this.child.stdin.end();
    const [code] = await within("the driver's end", this.ended);
    if (code !== 0) throw new Error(`the driver ended with ${code}`);
  }
}
