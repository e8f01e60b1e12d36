// Programs that a test starts, and waiting for what they and others do.
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";

export { sleep };

/** Whether to print what programs and pages say, as they say it. */
export const VERBOSE = Boolean(process.env.METERED_TEST_VERBOSE);

/** A Chromium that has a camera and a microphone, and asks nobody. */
export const BROWSER_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  "--allow-loopback-in-peer-connection",
];

/** Lines that are kept of each. */
export const KEPT_LINES = 400;

// --- Processes ---

export class Program {
  lines = []; // [{ stream: "out" | "err", text }]
  exit = null; // { code, signal } once it ended
  #partial = { out: "", err: "" };
  #watchers = [];

  constructor(name, command, args, { env = {}, cwd, stdin = "ignore" } = {}) {
    this.name = name;
    this.child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: [stdin, "pipe", "pipe"],
    });
    this.ended = new Promise((resolve) => {
      this.child.on("error", (error) => {
        this.#line("err", String(error));
        resolve((this.exit ??= { code: null, signal: null, error }));
      });
      this.child.on("close", (code, signal) => resolve((this.exit ??= { code, signal })));
    });
    for (const [stream, pipe] of [
      ["out", this.child.stdout],
      ["err", this.child.stderr],
    ]) {
      pipe.setEncoding("utf8");
      pipe.on("data", (chunk) => this.#chunk(stream, chunk));
    }
  }

  get output() {
    return this.lines.map(({ text }) => text).join("\n");
  }

  /** The first line so far that matches, as the match; undefined if there is none yet. */
  find(pattern) {
    for (const { text } of this.lines) {
      const match = pattern.exec(text);
      if (match) return match;
    }
    return undefined;
  }

  /** Wait for a line; fails at once when the program ends without having printed it. */
  line(pattern, timeoutMs = 10_000) {
    return waitFor(
      `${this.name} to print ${pattern}`,
      () => {
        const match = this.find(pattern);
        if (!match && this.exit) throw new Fatal(`${this.name} ended: ${inspect(this.exit)}`);
        return match;
      },
      timeoutMs,
      { sources: [this] },
    );
  }

  /** Call `watcher(text)` for every line to come; a line for which it returns true is not kept. */
  watch(watcher) {
    this.#watchers.push(watcher);
  }

  /** Interrupt, then kill if it does not listen. */
  async stop({ signal = "SIGINT", graceMs = 5000 } = {}) {
    if (!this.exit) {
      this.child.kill(signal);
      const late = setTimeoutUnref(() => this.child.kill("SIGKILL"), graceMs);
      await this.ended;
      clearTimeout(late);
    }
    return this.exit;
  }

  dump() {
    return `--- ${this.name} (${this.exit ? inspect(this.exit) : "running"})\n${this.lines
      .slice(-60)
      .map(({ text }) => `  ${text.slice(0, 400)}`)
      .join("\n")}`;
  }

  #chunk(stream, chunk) {
    const parts = (this.#partial[stream] + chunk).split(/\r?\n/);
    this.#partial[stream] = parts.pop();
    for (const text of parts) this.#line(stream, text);
  }

  #line(stream, text) {
    if (this.#watchers.map((watcher) => watcher(text)).some(Boolean)) return;
    this.lines.push({ stream, text });
    if (this.lines.length > KEPT_LINES) this.lines.shift();
    if (VERBOSE) console.error(`[${this.name}] ${text}`);
  }
}

function setTimeoutUnref(callback, ms) {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return timer;
}

/** Split like a shell would: white space, with "…" and '…' kept together. */
export function words(text) {
  return [...text.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g)].map(([word]) =>
    word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"),
  );
}

// --- Waiting ---

/** Thrown inside a condition to give up at once. */
export class Fatal extends Error {}

/**
 * Poll until `condition` returns something truthy, and return that. Otherwise throw an error that
 * tells the last value, the last exception and whatever the `sources` (anything with `dump()`) saw.
 */
export async function waitFor(what, condition, timeoutMs = 15_000, { sources = [], every = 100 } = {}) {
  const begin = Date.now();
  let value, error;
  do {
    try {
      error = undefined;
      value = await condition();
      if (value) return value;
    } catch (caught) {
      error = caught;
      if (caught instanceof Fatal) break;
    }
    await sleep(every);
  } while (Date.now() - begin < timeoutMs);
  const seen = [];
  for (const source of sources)
    seen.push(await Promise.race([source.dump(), sleep(5000, "(dump timed out)")]).catch(String));
  throw new Error(
    [
      `Waited ${Date.now() - begin} ms for ${what}`,
      error ? `last exception: ${error.message}` : `last value: ${inspect(value, { depth: 6 })}`,
      ...seen,
    ].join("\n"),
  );
}
