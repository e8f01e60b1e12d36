// A program under test: lines in, lines out.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";
import { within } from "./dev_server.mjs";

const EXAMPLES =
  process.env.METERED_EXAMPLES ?? fileURLToPath(new URL("../../target/debug/examples", import.meta.url));

export class Program {
  /** Runs an example, and ends it with the test. */
  static start(t, name, args, env) {
    const child = spawn(`${EXAMPLES}/${name}`, args, { env: { ...process.env, ...env } });
    const program = new Program(child);
    t.after(() => child.kill("SIGKILL"));
    return program;
  }

  constructor(child) {
    this.child = child;
    this.lines = [];
    this.read = 0;
    this.waiting = [];
    this.ended = once(child, "exit").then(([code]) => code);
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        this.waiting.splice(0).forEach((wake) => wake());
      });
    }
  }

  say(line) {
    this.child.stdin.write(`${line}\n`);
  }

  /** The next line that matches; those before it are skipped. */
  async line(pattern) {
    const find = async () => {
      for (;;) {
        while (this.read < this.lines.length) {
          const found = pattern.exec(this.lines[this.read++]);
          if (found) return found;
        }
        await new Promise((wake) => this.waiting.push(wake));
      }
    };
    try {
      return await within(`a line ${pattern}`, find());
    } catch (err) {
      err.message += `; lines:\n${this.lines.join("\n")}`;
      throw err;
    }
  }

  /** Its exit code. */
  exit() {
    return within("the program's end", this.ended);
  }
}
