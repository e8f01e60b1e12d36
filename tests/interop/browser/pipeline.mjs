// A gst-launch line in a program that tells every picture and takes orders: see pipeline.py.
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../pipeline.py", import.meta.url));

export class Pipeline {
  pictures = 0;
  sounds = 0;
  messages = [];

  /** `{room}` stands for url, channel and credential: the page's key, or a token of this member. */
  static async start(lab, name, line, { member } = {}) {
    const credential = member ? `token=${await lab.token(member)}` : `api-key=${lab.apiKey}`;
    const room = `url=${lab.ws} channel=${lab.channel} ${credential}`;
    return new Pipeline(lab.spawn(name, "/usr/bin/python3", [PROGRAM, line.replaceAll("{room}", room)], { stdin: "pipe" }));
  }

  constructor(program) {
    this.program = program;
    program.watch((text) => {
      const record = text.startsWith("{") ? JSON.parse(text) : {};
      this.pictures += "picture" in record;
      this.sounds += "sound" in record;
      if (record.message) this.messages.push(record);
      return "picture" in record || "sound" in record;
    });
  }

  /** Messages of this name. */
  told(name) {
    return this.messages.filter(({ message }) => message === name);
  }

  setState(state) {
    this.program.child.stdin.write(`${JSON.stringify({ state })}\n`);
  }
}
