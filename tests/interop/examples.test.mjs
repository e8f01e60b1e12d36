// The examples of the signalling client, as a person runs them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DevServer } from "./dev_server.mjs";
import { Program } from "./program.mjs";

async function service(t, ...flags) {
  const server = await DevServer.start(...flags);
  t.after(() => server.stop());
  return { server, env: { METERED_URL: server.url, METERED_API_KEY: "pk_dev" } };
}

const options = { timeout: 60_000 };

test("two people chat in several channels", options, async (t) => {
  const { env } = await service(t);
  const ana = Program.start(t, "chat", ["--name", "Ana", "lobby", "ops"], env);
  await ana.line(/you are in lobby/);
  const bo = Program.start(t, "chat", ["--name", "Bo", "lobby"], env);
  await bo.line(/you are in lobby/);
  await ana.line(/is called Bo/);
  await bo.line(/is called Ana/);

  ana.say("hello ünï 😀");
  await bo.line(/^\[lobby\] Ana: hello ünï 😀$/);
  ana.say("/msg Bo psst");
  await bo.line(/^\[to you\] Ana: psst$/);
  bo.say("/join ops");
  await ana.line(/has come to ops/);
  bo.say("about ops");
  await ana.line(/^\[ops\] Bo: about ops$/);
  ana.say("/who");
  await ana.line(/^\* lobby: Bo$/);
  bo.say("/leave");
  await ana.line(/Bo has left ops/);
  bo.say("/quit");
  assert.equal(await bo.exit(), 0);
  await ana.line(/Bo has left lobby/);
  ana.child.stdin.end();
  assert.equal(await ana.exit(), 0);
});

test("a chat says that the connection is lost, and goes on when it is back", options, async (t) => {
  const { server } = await service(t);
  const token = async (id) => ({ METERED_URL: server.url, METERED_TOKEN: await server.token(id) });
  const ana = Program.start(t, "chat", ["--name", "Ana", "lobby"], await token("ana"));
  await ana.line(/you are in lobby/);
  const bo = Program.start(t, "chat", ["--name", "Bo", "lobby"], await token("bo"));
  await ana.line(/is called Bo/);
  await server.hook("close", { peerId: "ana", code: 1001 });
  await ana.line(/connection lost \(1001/);
  await ana.line(/connected again, as ana/);
  await ana.line(/you are in lobby again/);
  bo.say("still there?");
  await ana.line(/^\[lobby\] Bo: still there\?$/);
});

test("telemetry counts what was acknowledged, over a lost connection", options, async (t) => {
  const { server } = await service(t);
  const env = { METERED_URL: server.url, METERED_TOKEN: await server.token("probe") };
  const telemetry = Program.start(t, "telemetry", ["fleet/7", "--rate", "50", "--report", "0.2"], env);
  await telemetry.line(/^[1-9]\d* acknowledged, 0 refused, 0 unknown/);
  await server.hook("close", { peerId: "probe", code: 1001 });
  await telemetry.line(/connection lost/);
  await telemetry.line(/connected as probe/);
  const before = Number((await telemetry.line(/^(\d+) acknowledged/))[1]);
  await telemetry.line(/^\d+ acknowledged/);
  telemetry.child.kill("SIGTERM");
  assert.equal(await telemetry.exit(), 0);
  assert.ok(Number(/^(\d+) acknowledged/.exec(telemetry.lines.at(-1))[1]) > before, telemetry.lines.join("\n"));
});

test("telemetry waits for its network, but not longer than its budget", options, async (t) => {
  const { server, env } = await service(t);
  await server.stop();
  const telemetry = Program.start(t, "telemetry", ["fleet/7", "--attempts", "2"], env);
  await telemetry.line(/could not be reached.*next attempt in/);
  assert.equal(await telemetry.exit(), 1);
});

test("examples say what is wrong with their options", options, async (t) => {
  const wrong = [
    [["lobby"], {}, /set --api-key, --token or --token-command/],
    [["lobby"], { METERED_API_KEY: "a", METERED_TOKEN: "b" }, /only one of/],
    [["_system/x"], { METERED_API_KEY: "a" }, /reserved/],
    [["lobby"], { METERED_API_KEY: "a", METERED_URL: "http://x" }, /must start with wss/],
  ];
  for (const [args, env, expected] of wrong) {
    for (const name of ["chat", "telemetry"]) {
      const program = Program.start(t, name, args, env);
      assert.notEqual(await program.exit(), 0);
      await program.line(expected);
    }
  }
});
