// Our SignallingClient and the vendor's JavaScript SDK in the same channels: each hears the other as one of its own.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { SignallingClient } from "@metered-ca/realtime";
import { DEADLINE_MS, DevServer, Recorder } from "./dev_server.mjs";
import { RustClient } from "./signalling_driver.mjs";

const PAYLOADS = JSON.parse(readFileSync(new URL("payloads.json", import.meta.url), "utf8"));
const CLIENT_EVENTS = ["connected", "disconnected", "message", "direct", "presence", "server-error", "going-away"];
const ID = "x".repeat(36);

let server;
before(async () => {
  server = await DevServer.start();
});
after(() => server.stop());

const cleanups = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function rust(options) {
  const client = new RustClient(options);
  cleanups.push(() => client.end());
  const welcome = await client.connect();
  await client.next("connected");
  return { client, welcome, next: (name, fits) => client.next(name, fits) };
}

async function js(options) {
  const client = new SignallingClient(options);
  const events = new Recorder(client, ...CLIENT_EVENTS);
  cleanups.push(() => client.close());
  await client.connect();
  const welcome = await events.next("connected");
  return { client, welcome, events, next: (name, fits) => events.next(name, fits) };
}

/** One of each, with ids and claims of their own. */
async function both(prefix, rustClaims, jsClaims) {
  return {
    ours: await rust(server.options(`${prefix}-rust`, rustClaims)),
    theirs: await js(server.options(`${prefix}-js`, jsClaims)),
  };
}

const inChannel = (channel) => (event) => event.channel === channel;

/** Subscribes one after the other, so that each has seen the other in the channel. */
async function meet(channel, ours, theirs, options) {
  await ours.client.subscribe(channel, options);
  await ours.next("presence", inChannel(channel));
  await theirs.client.subscribe(channel, options);
  await theirs.next("presence", inChannel(channel));
  await ours.next("presence", inChannel(channel));
}

/** Sends the data in all four ways and gives it back as it arrived. */
async function thereAndBack({ ours, theirs }, channel, data) {
  await ours.client.publish(channel, data);
  await ours.client.send(theirs.welcome.peerId, data);
  await theirs.client.publish(channel, data);
  await theirs.client.send(ours.welcome.peerId, data);
  return Promise.all([
    theirs.next("message"), theirs.next("direct"), ours.next("message"), ours.next("direct"),
  ]);
}

describe("payloads", () => {
  test("every kind of value arrives as it was sent, published and direct, both ways", async () => {
    const pair = await both("values");
    await meet("values", pair.ours, pair.theirs);
    for (const [what, data] of Object.entries(PAYLOADS)) {
      for (const got of await thereAndBack(pair, "values", data)) assert.deepEqual(got.data, data, what);
    }
  });

  test("no float changes its last bit", async () => {
    const pair = await both("floats");
    await meet("floats", pair.ours, pair.theirs);
    const bits = new DataView(new ArrayBuffer(8));
    let seed = 1n;
    const random = () => {
      seed = BigInt.asUintN(64, seed * 6364136223846793005n + 1442695040888963407n);
      bits.setBigUint64(0, seed ^ (seed >> 33n));
      return bits.getFloat64(0);
    };
    const floats = Array.from({ length: 2000 }, random).filter(Number.isFinite);
    for (const got of await thereAndBack(pair, "floats", floats)) assert.deepEqual(got.data, floats);
  });

  test("names and metadata that are not ASCII", async () => {
    const metadata = { "näme": "Zoë 😀", rtl: "שלום", line: "a\u2028b", control: "\u0000\n", list: [null, 1.5] };
    // A token's subject is printable ASCII.
    const [rustId, jsId] = ['r "u\\s/t" <1>&%?', "j's+~{}"];
    const ours = await rust(server.options(rustId, { peerMetadata: metadata }));
    const theirs = await js(server.options(jsId, { peerMetadata: metadata }));
    assert.equal(ours.welcome.peerId, rustId);
    for (const channel of ["räume/größe", "频道", "канал/😀", "שלום", "a b\u2028c", "100%/?#&="]) {
      await ours.client.subscribe(channel, { includeSenderMetadata: true });
      await ours.next("presence", inChannel(channel));
      await theirs.client.subscribe(channel, { includeSenderMetadata: true });
      const { joined } = await theirs.next("presence", inChannel(channel));
      assert.deepEqual(joined, [{ peerId: rustId, metadata }]);
      const seen = await ours.next("presence", inChannel(channel));
      assert.deepEqual(seen.joined, [{ peerId: jsId, metadata }]);
      await ours.client.publish(channel, channel);
      const heard = await theirs.next("message");
      assert.deepEqual(
        [heard.channel, heard.from, heard.data, heard.fromMetadata], [channel, rustId, channel, metadata],
      );
      await theirs.client.publish(channel, channel);
      assert.deepEqual(
        await ours.next("message"), { channel, from: jsId, data: channel, fromMetadata: metadata },
      );
    }
    await ours.client.send(jsId, 1);
    assert.deepEqual((await theirs.next("direct")).from, rustId);
    await theirs.client.send(rustId, 1);
    assert.deepEqual(await ours.next("direct"), { from: jsId, data: 1, fromMetadata: metadata });
  });

  test("what our parser refuses costs that frame only", async () => {
    const pair = await both("hostile");
    await meet("hostile", pair.ours, pair.theirs);
    let deep = 0;
    for (let level = 0; level < 1000; level += 1) deep = [deep];
    await pair.theirs.client.publish("hostile", deep);
    await pair.theirs.client.publish("hostile", "half a pair: \ud83d");
    await pair.theirs.client.publish("hostile", "whole");
    assert.equal((await pair.ours.next("message")).data, "whole");
  });
});

describe("sizes", () => {
  const length = (value) => Buffer.byteLength(JSON.stringify(value));
  // The request's id has 36 characters in both clients.
  const overhead = {
    publish: length({ type: "publish", channel: "size", data: "", requestId: ID }),
    send: (to) => length({ type: "send", to, data: "", requestId: ID }),
  };

  test("a frame of exactly the server's maximum passes, one byte more is refused without a loss", async () => {
    const { ours, theirs } = await both("size");
    await meet("size", ours, theirs);
    const max = ours.welcome.maxMessageSize;
    assert.equal(max, theirs.welcome.maxMessageSize);
    for (const letter of ["x", "ü", "😀"]) {
      const width = Buffer.byteLength(letter);
      const fill = (room) => "x".repeat(room % width) + letter.repeat(Math.floor(room / width));
      const published = fill(max - overhead.publish);
      await ours.client.publish("size", published);
      assert.equal((await theirs.next("message")).data, published);
      await theirs.client.publish("size", published);
      assert.equal((await ours.next("message")).data, published);

      const toThem = fill(max - overhead.send("size-js"));
      await ours.client.send("size-js", toThem);
      assert.equal((await theirs.next("direct")).data, toThem);
      const toUs = fill(max - overhead.send("size-rust"));
      await theirs.client.send("size-rust", toUs);
      assert.equal((await ours.next("direct")).data, toUs);

      const refusal = { kind: "oversized", size: max + 1, cap: max, undone: true };
      await assert.rejects(ours.client.publish("size", `x${published}`), refusal);
      await assert.rejects(ours.client.send("size-js", `x${toThem}`), refusal);
    }
    await ours.client.publish("size", "still there");
    assert.equal((await theirs.next("message")).data, "still there");
    assert.equal(ours.client.events.count("disconnected"), 0);
  });
});

describe("channels", () => {
  test("sender metadata on and off, and always on directs", async () => {
    const [rustClaims, jsClaims] = [{ peerMetadata: { is: "rust" } }, { peerMetadata: { is: "js" } }];
    const { ours, theirs } = await both("meta", rustClaims, jsClaims);
    await meet("meta/off", ours, theirs);
    await meet("meta/on", ours, theirs, { includeSenderMetadata: true });
    for (const [channel, fromRust, fromJs] of [
      ["meta/off", undefined, null], ["meta/on", { is: "rust" }, { is: "js" }],
    ]) {
      await ours.client.publish(channel, 1);
      assert.deepEqual((await theirs.next("message")).fromMetadata, fromRust);
      await theirs.client.publish(channel, 1);
      assert.deepEqual((await ours.next("message")).fromMetadata, fromJs);
    }
    // Subscribing again changes how one listens.
    await ours.client.subscribe("meta/off", { includeSenderMetadata: true });
    await theirs.client.publish("meta/off", 2);
    assert.deepEqual((await ours.next("message")).fromMetadata, { is: "js" });
    await ours.client.send("meta-js", 1);
    assert.deepEqual((await theirs.next("direct")).fromMetadata, { is: "rust" });
    await theirs.client.send("meta-rust", 1);
    assert.deepEqual((await ours.next("direct")).fromMetadata, { is: "js" });
  });

  test("presence: snapshot, join, leave, a lost socket", async () => {
    const { ours, theirs } = await both("seen", { peerMetadata: { n: 1 } });
    const rustMember = { peerId: "seen-rust", metadata: { n: 1 } };
    await ours.client.subscribe("seen");
    const empty = await ours.next("presence");
    assert.deepEqual(empty, { channel: "seen", snapshot: true, joined: [], left: [] });
    await theirs.client.subscribe("seen");
    assert.deepEqual((await theirs.next("presence")).joined, [rustMember]);
    const joined = await ours.next("presence");
    assert.deepEqual([joined.snapshot, joined.joined], [false, [{ peerId: "seen-js", metadata: null }]]);

    await ours.client.unsubscribe("seen");
    assert.deepEqual((await theirs.next("presence")).left.map((peer) => peer.peerId), ["seen-rust"]);
    await ours.client.subscribe("seen");
    assert.deepEqual((await theirs.next("presence")).joined, [rustMember]);
    const again = await ours.next("presence");
    assert.deepEqual([again.snapshot, again.joined.map((peer) => peer.peerId)], [true, ["seen-js"]]);

    await theirs.client.unsubscribe("seen");
    assert.deepEqual((await ours.next("presence")).left, ["seen-js"]);
    await theirs.client.subscribe("seen");
    await ours.next("presence", (event) => event.joined.length === 1);
    await theirs.next("presence");
    await server.hook("close", { peerId: "seen-rust", code: 1006 });
    assert.deepEqual((await theirs.next("presence")).left.map((peer) => peer.peerId), ["seen-rust"]);
    assert.deepEqual((await theirs.next("presence")).joined, [rustMember]);
    await server.hook("close", { peerId: "seen-js", code: 1006 });
    await ours.next("presence", (event) => event.left[0] === "seen-js");
    await ours.next("presence", (event) => event.joined[0]?.peerId === "seen-js" && !event.snapshot);
  });

  test("fourteen channels come back after the sockets are dropped", async () => {
    const { ours, theirs } = await both("many");
    const channels = Array.from({ length: 14 }, (_, number) => `many/${number}`);
    for (const channel of channels) await meet(channel, ours, theirs);
    await ours.client.subscribe("many/left");
    await ours.client.unsubscribe("many/left");
    for (const round of [1, 2]) {
      await server.hook("close", { peerId: "many-rust", code: 1006 });
      await server.hook("close", { peerId: "many-js", code: 1006 });
      assert.equal((await ours.next("connected")).welcome.isReconnect, true);
      assert.equal((await theirs.next("connected")).isReconnect, true);
      const restored = [];
      for (let left = channels.length; left > 0; left -= 1) restored.push((await ours.next("resubscribed")).channel);
      assert.deepEqual(restored.sort(), [...channels].sort());
      for (const channel of channels) {
        // Ours has a snapshot, and theirs is there or comes.
        await ours.next("presence", (event) => event.channel === channel && event.snapshot);
        await reaches(theirs, ours, channel, round);
        await reaches(ours, theirs, channel, round);
      }
    }
    assert.equal(ours.client.events.count("resubscribed"), 0, "what was unsubscribed stays so");
  });

  /** Publishes once the receiver is in the channel. */
  async function reaches(from, to, channel, data) {
    const deadline = performance.now() + DEADLINE_MS;
    for (;;) {
      const { peers } = await server.request("GET", `v1/channels/${encodeURIComponent(channel)}/peers`);
      if (peers.some((peer) => peer.peerId === to.welcome.peerId)) break;
      assert.ok(performance.now() < deadline, `${to.welcome.peerId} is not in ${channel}: ${JSON.stringify(peers)}`);
    }
    await from.client.publish(channel, data);
    assert.equal((await to.next("message", inChannel(channel))).data, data);
  }

  test("2000 directs each way arrive in order", { timeout: 120_000 }, async () => {
    const { ours, theirs } = await both("flood");
    const count = 2000;
    const received = { ours: [], theirs: [] };
    ours.client.on("direct", (event) => received.ours.push(event.data));
    theirs.client.on("direct", (event) => received.theirs.push(event.data));
    const expected = Array.from({ length: count }, (_, number) => number);
    // Our client paces itself, but takes only so many at once.
    const sendOurs = async () => {
      for (let start = 0; start < count; start += 500) {
        await Promise.all(expected.slice(start, start + 500).map((number) => ours.client.send("flood-js", number)));
      }
    };
    // Theirs does not; the service allows 200 at once and 100 a second.
    const sendTheirs = async () => {
      const start = performance.now();
      for (const number of expected) {
        const due = start + Math.max(0, number - 150) * 12;
        if (due > performance.now()) await sleep(due - performance.now());
        await theirs.client.send("flood-rust", number);
      }
    };
    await Promise.all([sendOurs(), sendTheirs()]);
    // Both have been acknowledged; a last one each shows that the others have arrived.
    await ours.client.send("flood-js", "end");
    await theirs.next("direct", (event) => event.data === "end");
    await theirs.client.send("flood-rust", "end");
    await ours.next("direct", (event) => event.data === "end");
    assert.deepEqual(received.theirs, [...expected, "end"]);
    assert.deepEqual(received.ours, [...expected, "end"]);
    assert.equal(ours.client.events.count("disconnected"), 0);
  });
});

describe("refusals", () => {
  const outcome = (request) => request.then(() => "done", (error) => error.code ?? error.name);

  test("both hear the same codes", async () => {
    const claims = { channels: ["room/*"], permissions: ["subscribe", "presence"] };
    const { ours, theirs } = await both("viewer", claims, claims);
    const attempts = {
      "subscribe room/1": "done",
      "publish room/1": "action_not_permitted",
      "send viewer-js": "action_not_permitted",
      "subscribe lobby": "channel_not_authorized",
    };
    for (const [attempt, code] of Object.entries(attempts)) {
      const [name, target] = attempt.split(" ");
      const results = await Promise.all([ours, theirs].map(({ client }) => outcome(client[name](target, {}))));
      assert.deepEqual(results, [code, code], attempt);
    }
    const { ours: caller, theirs: other } = await both("caller");
    assert.equal(await outcome(caller.client.send("nobody", 1)), "peer_not_found");
    assert.equal(await outcome(other.client.send("nobody", 1)), "peer_not_found");
    await server.hook("fail-next", { code: "brand_new" });
    assert.equal(await outcome(caller.client.publish("c", 1)), "brand_new");
    // Names the service would refuse are refused before they are sent.
    await assert.rejects(caller.client.publish("_System/x", 1), { kind: "channel" });
    await assert.rejects(caller.client.subscribe(""), { kind: "channel" });
    assert.equal((await caller.client.status()).state, "connected");
  });

  test("an unknown key and a token that cannot be parsed", async () => {
    for (const [credential, ourCode, theirCode] of [
      [{ apiKey: "pk_unknown" }, 4001, 4001],
      [{ tokenProvider: async () => "nonsense" }, 1006, 1006],
    ]) {
      const ours = new RustClient({ ...server.keyless(), ...credential });
      cleanups.push(() => ours.end());
      await assert.rejects(ours.connect(), { closeCode: ourCode });
      assert.equal((await ours.status()).state, "closed");
      const theirs = new SignallingClient({ ...server.keyless(), ...credential });
      await assert.rejects(theirs.connect(), { closeCode: theirCode });
    }
  });
});

describe("ends", () => {
  const end = ({ code, reason, willReconnect }) => ({ code, reason, willReconnect });

  test("a kick is final for both", async () => {
    const { ours, theirs } = await both("kicked");
    await server.request("DELETE", "v1/peers/kicked-rust");
    await server.request("DELETE", "v1/peers/kicked-js");
    const [seen, expected] = [await ours.next("disconnected"), await theirs.next("disconnected")];
    assert.deepEqual(end(seen), end(expected));
    assert.deepEqual([seen.code, seen.willReconnect, seen.delayMs], [4020, false, null]);
    assert.equal((await ours.client.status()).state, "closed");
    await assert.rejects(ours.client.publish("c", 1), { kind: "not-connected" });
    // The same client can begin again.
    assert.equal((await ours.client.connect()).isReconnect, false);
  });

  test("every close code means the same to both", async () => {
    const { ours, theirs } = await both("codes");
    for (const code of [1000, 1001, 1006, 1008, 1009, 1011, 4002, 4011, 4999, 4001]) {
      await server.hook("close", { peerId: "codes-rust", code, reason: "why ü" });
      await server.hook("close", { peerId: "codes-js", code, reason: "why ü" });
      const [seen, expected] = [await ours.next("disconnected"), await theirs.next("disconnected")];
      assert.deepEqual(end(seen), end(expected));
      if (!expected.willReconnect) break;
      await Promise.all([ours.next("connected"), theirs.next("connected")]);
    }
  });

  test("an expired token is replaced by a fresh one", async () => {
    const expiring = (peerId) => {
      let asked = 0;
      const tokenProvider = () => server.token(peerId, { expiresInSec: ++asked === 1 ? 2 : 600 });
      return { ...server.keyless(), tokenProvider };
    };
    const [ours, theirs] = [await rust(expiring("fly-rust")), await js(expiring("fly-js"))];
    await meet("expiry", ours, theirs);
    assert.equal((await ours.next("token-wanted")).count, 1);
    const [seen, expected] = [await ours.next("disconnected"), await theirs.next("disconnected")];
    assert.deepEqual(end(seen), end(expected));
    assert.deepEqual([seen.code, seen.willReconnect], [4002, true]);
    assert.equal((await ours.next("token-wanted")).count, 2);
    const [back, theirBack] = [(await ours.next("connected")).welcome, await theirs.next("connected")];
    assert.deepEqual([back.isReconnect, back.peerId], [true, "fly-rust"]);
    assert.deepEqual([theirBack.isReconnect, theirBack.peerId], [true, "fly-js"]);
    assert.ok(back.expiresAt - back.serverTime > 500);
    assert.equal((await ours.next("resubscribed")).channel, "expiry");
  });

  test("a restart of the server is announced and survived", async () => {
    const first = await DevServer.start();
    const options = (peerId, provider) => ({ ...first.keyless(), tokenProvider: () => provider().token(peerId) });
    let current = first;
    const ours = await rust(options("deploy-rust", () => current));
    const theirs = await js(options("deploy-js", () => current));
    await meet("deploy", ours, theirs);
    await first.stop();
    const [away, expected] = [await ours.next("going-away"), await theirs.next("going-away")];
    assert.deepEqual(away, expected);
    const lost = await ours.next("disconnected");
    assert.deepEqual(end(lost), end(await theirs.next("disconnected")));
    assert.deepEqual([lost.code, lost.willReconnect], [1001, true]);
    assert.ok(lost.delayMs >= away.retryAfterMs, JSON.stringify(lost));
    current = await DevServer.start("--port", new URL(first.url).port);
    cleanups.unshift(() => current.stop());
    assert.equal((await ours.next("connected")).welcome.isReconnect, true);
    assert.equal((await theirs.next("connected")).isReconnect, true);
    assert.equal((await ours.next("resubscribed")).channel, "deploy");
    await ours.next("presence", (event) => event.joined.some((peer) => peer.peerId === "deploy-js"));
    await ours.client.publish("deploy", "back");
    assert.equal((await theirs.next("message")).data, "back");
  });
});
