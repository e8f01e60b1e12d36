// The room of one test: a server, and everybody in it. All of it ends with the test.
//
//   METERED_DEV_SERVER   the metered-dev-server binary   (target/debug/metered-dev-server)
//   METERED_PLUGIN_DIR   directory with the plugin's .so (everything is skipped without it)
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { Fatal, Program, waitFor } from "../browser/process.mjs";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const SERVER = process.env.METERED_DEV_SERVER ?? join(ROOT, "target/debug/metered-dev-server");
const SECRET_KEY = "sk_id_test:sk_secret_test";
const CHANNEL = "matrix";

/** For the option `skip` of a test: a reason, or false when everything is there. */
export function missing() {
  if (!existsSync(SERVER)) return `needs METERED_DEV_SERVER (no file ${SERVER})`;
  if (!process.env.METERED_PLUGIN_DIR) return "needs METERED_PLUGIN_DIR, e.g. target/plugin-debug";
  return false;
}

export class Room {
  channel = CHANNEL;
  members = []; // whatever has dump() and end()

  static async open(t, ...flags) {
    const room = new Room(flags);
    t.after(() => room.#close());
    await room.startServer();
    return room;
  }

  constructor(flags) {
    this.flags = flags;
  }

  async startServer(port = 0) {
    this.server = new Program("server", SERVER, ["--port", String(port), "--test-hooks", ...this.flags], {
      env: { METERED_DEV_SECRET_KEY: SECRET_KEY },
    });
    const [, ws, http] = await this.server.line(/^listening (ws:\S+) (http:\S+)/);
    this.ws = ws;
    this.http = http;
  }

  /** At once, as a crash does. */
  killServer() {
    return this.server.stop({ signal: "SIGKILL" });
  }

  /** After `killServer`: on the same port. */
  restartServer() {
    return this.startServer(new URL(this.http).port);
  }

  async #request(path, options) {
    const headers = { authorization: `Bearer ${SECRET_KEY}`, "content-type": "application/json" };
    const answer = await fetch(new URL(path, this.http), { headers, ...options });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  #post = (path, body) => this.#request(path, { method: "POST", body: JSON.stringify(body) });

  /** The ids of those who are connected. */
  async peers() {
    return (await this.#request("dev/peers")).peers;
  }

  /** A token for a member with this id, which it keeps when it comes back. */
  async token(peerId) {
    return (await this.#post("v1/tokens", { peerId })).token;
  }

  /** A fault of the server, such as `freeze` with { peerId, frozen }. */
  hook(name, body) {
    return this.#post(`dev/${name}`, body);
  }

  /** `waitFor` that knows everybody in the room, and gives up when one of them ended unasked. */
  waitFor(what, condition, timeoutMs = 30_000) {
    const guarded = () => {
      for (const { program } of this.members)
        if (program?.exit && !program.asked) throw new Fatal(`${program.name} ended: ${inspect(program.exit)}`);
      return condition();
    };
    return waitFor(what, guarded, timeoutMs, { sources: [...this.members, this.server] });
  }

  async #close() {
    await Promise.all(this.members.map((member) => member.end().catch(() => {})));
    await this.server?.stop();
  }
}
