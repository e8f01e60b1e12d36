// Starts metered-dev-server for one test file, and what the tests share.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";
import WebSocket from "ws";

const SECRET_KEY = "sk_id_test:sk_secret_test";
const PROGRAM =
  process.env.METERED_DEV_SERVER ??
  fileURLToPath(new URL("../../target/debug/metered-dev-server", import.meta.url));

/** Upper bound of every wait. */
export const DEADLINE_MS = 20_000;

/** A running server. */
export class DevServer {
  /** With a port of its own, unless the flags name one. */
  static async start(...flags) {
    const port = flags.includes("--port") ? [] : ["--port", "0"];
    const child = spawn(PROGRAM, [...port, "--test-hooks", ...flags], {
      env: { ...process.env, METERED_DEV_SECRET_KEY: SECRET_KEY },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout });
    const [line] = await within("the server's first line", Promise.race([once(lines, "line"), failed(child)]));
    const [, url, http] = line.split(" ");
    return new DevServer(child, url, http);
  }

  constructor(child, url, http) {
    this.child = child;
    this.url = url;
    this.http = http;
  }

  /** Ends it as a deploy does. */
  async stop() {
    this.child.kill("SIGTERM");
    if (this.child.exitCode === null) await within("the server's end", once(this.child, "exit"));
  }

  async request(method, path, body) {
    const response = await fetch(new URL(path, this.http), {
      method,
      headers: { authorization: `Bearer ${SECRET_KEY}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }

  async token(peerId, claims = {}) {
    return (await this.request("POST", "v1/tokens", { peerId, ...claims })).token;
  }

  /** A development-only fault, such as `close` with {peerId, code, reason}. */
  hook(name, body) {
    return this.request("POST", `dev/${name}`, body);
  }

  /** Constructor options of an SDK client with a token of this id. */
  options(peerId, claims) {
    return { ...this.keyless(), tokenProvider: () => this.token(peerId, claims) };
  }

  /** Options without a credential. Node 20 has no WebSocket of its own, hence the factory. */
  keyless() {
    return {
      url: this.url,
      webSocketFactory: (url) => new WebSocket(url),
      reconnect: { initialDelayMs: 50, jitterRatio: 0 },
    };
  }
}

async function failed(child) {
  const [code] = await once(child, "exit");
  throw new Error(`the server ended with ${code}`);
}

/** Fails with a message instead of waiting for ever. */
export async function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing in ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Records events of an SDK object, so that a test can wait for one that has already come. */
export class Recorder {
  constructor(emitter, ...names) {
    this.seen = [];
    this.waiting = [];
    for (const name of names) {
      emitter.on(name, (payload) => {
        this.seen.push({ name, payload });
        this.waiting.splice(0).forEach((wake) => wake());
      });
    }
  }

  /** The first event of this name that fits and was not returned before. */
  async next(name, fits = () => true) {
    const find = async () => {
      for (;;) {
        const index = this.seen.findIndex((event) => event.name === name && fits(event.payload));
        if (index >= 0) return this.seen.splice(index, 1)[0].payload;
        await new Promise((wake) => this.waiting.push(wake));
      }
    };
    try {
      return await within(name, find());
    } catch (err) {
      err.message += `; seen: ${this.seen.map((event) => event.name).join(", ")}`;
      throw err;
    }
  }

  count(name) {
    return this.seen.filter((event) => event.name === name).length;
  }
}
