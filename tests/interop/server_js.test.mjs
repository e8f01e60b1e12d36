// metered-dev-server against the vendor's JavaScript SDK: what the SDK expects of the service, the server does.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { MeteredPeer, SignallingClient } from "@metered-ca/realtime";
import { DevServer, Recorder, within } from "./dev_server.mjs";

const CLIENT_EVENTS = [
  "connected", "disconnected", "message", "direct", "presence", "server-error", "going-away", "token-provider-error",
];
const PEER_EVENTS = ["joined", "left", "peer-joined", "peer-left", "data", "error", "state-change"];

let server;
before(async () => {
  server = await DevServer.start();
});
after(() => server.stop());

async function connect(options) {
  const client = new SignallingClient(options);
  const events = new Recorder(client, ...CLIENT_EVENTS);
  await client.connect();
  return { client, events, welcome: await events.next("connected") };
}

/** A connection that never negotiates: these tests send no media. */
function idleConnection() {
  return {
    connectionState: "new",
    signalingState: "stable",
    iceConnectionState: "new",
    addEventListener() {},
    removeEventListener() {},
    getSenders: () => [],
    close() {},
  };
}

async function join(channel, options, joinOptions) {
  const peer = new MeteredPeer({ ...options, rtcPeerConnectionFactory: idleConnection });
  const events = new Recorder(peer, ...PEER_EVENTS);
  await peer.join(channel, joinOptions);
  return { peer, events };
}

const isPeer = (id) => (event) => event.peer.id === id;

describe("rooms", () => {
  test("join, presence, broadcast, direct, peerMetadata, leave", async () => {
    const withName = (name) => ({ peerMetadata: { username: name } });
    const ana = await join("room", server.options("ana", withName("Ana")), { includeSenderMetadata: true });
    const ben = await join("room", server.options("ben", withName("Ben")));
    const seen = await ana.events.next("peer-joined", isPeer("ben"));
    assert.deepEqual(seen.peer.metadata, { username: "Ben" });
    await ben.events.next("peer-joined", isPeer("ana"));

    await ben.peer.send({ cue: 4 });
    assert.deepEqual(await ana.events.next("data"), {
      senderPeerId: "ben", data: { cue: 4 }, kind: "broadcast", senderMetadata: { username: "Ben" },
    });
    await ana.peer.send(null);
    const plain = await ben.events.next("data");
    assert.deepEqual([plain.senderPeerId, plain.data, plain.senderMetadata], ["ana", null, undefined]);
    await ana.peer.sendTo("ben", "hi");
    assert.deepEqual(await ben.events.next("data"), {
      senderPeerId: "ana", data: "hi", kind: "direct", senderMetadata: { username: "Ana" },
    });

    await ben.peer.close();
    await ana.events.next("peer-left", isPeer("ben"));
    assert.equal(ana.events.count("data"), 0, "no echo");
    await ana.peer.close();
  });

  test("a publishable key gets a new id at every connect, and its peers see left and joined", async () => {
    const watcher = await connect(server.options("watcher"));
    await watcher.client.subscribe("keys");
    await watcher.events.next("presence");
    const guest = await join("keys", { ...server.keyless(), apiKey: "pk_dev" });
    const first = guest.peer.peerId;
    assert.deepEqual((await watcher.events.next("presence")).joined.map((p) => p.peerId), [first]);
    await server.hook("close", { peerId: first, code: 1006 });
    assert.deepEqual((await watcher.events.next("presence")).left.map((p) => p.peerId), [first]);
    const [second] = (await watcher.events.next("presence")).joined;
    assert.notEqual(second.peerId, first);
    await guest.peer.close();
    await watcher.client.close();
  });

  test("a room of eight is complete on every side", async () => {
    const ids = Array.from({ length: 8 }, (_, number) => `p${number}`);
    const members = await Promise.all(ids.map((id) => join("crowd", server.options(id))));
    for (const [index, member] of members.entries()) {
      for (const other of ids.filter((id) => id !== ids[index])) {
        await member.events.next("peer-joined", isPeer(other));
      }
    }
    await Promise.all(members.map((member) => member.peer.close()));
  });
});

describe("credentials", () => {
  test("permissions and channels of a token", async () => {
    const claims = { channels: ["room/*"], permissions: ["subscribe", "presence"] };
    const { client } = await connect(server.options("viewer", claims));
    await client.subscribe("room/1");
    await assert.rejects(client.publish("room/1", 1), { name: "action_not_permitted" });
    await assert.rejects(client.send("viewer", 1), { name: "action_not_permitted" });
    await assert.rejects(client.subscribe("lobby"), { name: "channel_not_authorized" });
    await assert.rejects(client.subscribe("_System/x"), { name: "channel_reserved" });
    await client.close();
  });

  test("a peer that is not there, and a target without a name", async () => {
    const { client } = await connect(server.options("caller"));
    await assert.rejects(client.send("nobody", 1), { name: "peer_not_found" });
    await client.close();
  });

  test("welcome: sizes, expiry, ICE servers", async () => {
    const iceServers = [{ urls: ["turn:127.0.0.1:3478"], username: "u", credential: "c" }];
    const { client, welcome } = await connect(server.options("ice", { metadata: { iceServers } }));
    assert.equal(welcome.peerId, "ice");
    assert.equal(welcome.maxMessageSize, 65_536);
    assert.equal(welcome.isReconnect, false);
    assert.ok(Math.abs(welcome.expiresAt - welcome.serverTime - 3600) <= 2, JSON.stringify(welcome));
    assert.deepEqual(welcome.iceServers, iceServers);
    await client.close();
  });

  test("an expiring token is replaced by the next one from the provider", async () => {
    let asked = 0;
    const tokenProvider = () => server.token("mayfly", { expiresInSec: ++asked === 1 ? 2 : 600 });
    const { client, events } = await connect({ ...server.keyless(), tokenProvider });
    await client.subscribe("expiry");
    await events.next("presence");
    const lost = await events.next("disconnected");
    assert.deepEqual([lost.code, lost.willReconnect], [4002, true]);
    const again = await events.next("connected");
    assert.deepEqual([again.isReconnect, again.peerId, asked], [true, "mayfly", 2]);
    await events.next("presence");
    await client.close();
  });

  for (const [what, credential, code] of [
    ["an unknown key", { apiKey: "pk_unknown" }, 4001],
    ["a token that cannot be parsed", { tokenProvider: async () => "nonsense" }, 1006],
  ]) {
    test(`${what} fails the first connect with ${code}`, async () => {
      const client = new SignallingClient({ ...server.keyless(), ...credential });
      await assert.rejects(client.connect(), { closeCode: code });
      assert.equal(client.state, "closed");
    });
  }
});

describe("close codes", () => {
  for (const code of [4001, 4003, 4012, 4020]) {
    test(`${code} is final`, async () => {
      const { client, events } = await connect(server.options(`end-${code}`));
      await server.hook("close", { peerId: `end-${code}`, code, reason: "test" });
      const lost = await events.next("disconnected");
      assert.deepEqual(lost, { code, reason: "test", willReconnect: false });
      assert.equal(client.state, "closed");
    });

    test(`${code} ends a room with an error`, async () => {
      const { events } = await join(`room-${code}`, server.options(`peer-${code}`));
      await server.hook("close", { peerId: `peer-${code}`, code });
      await events.next("error");
      await events.next("left");
    });
  }

  for (const code of [1000, 1001, 1006, 1008, 1009, 4002, 4011, 4999]) {
    test(`${code} reconnects and subscribes again`, async () => {
      const { client, events } = await connect(server.options(`back-${code}`));
      await client.subscribe(`back/${code}`);
      await events.next("presence");
      await server.hook("close", { peerId: `back-${code}`, code });
      const lost = await events.next("disconnected");
      assert.deepEqual([lost.code, lost.willReconnect], [code, true]);
      assert.equal((await events.next("connected")).isReconnect, true);
      await events.next("presence");
      await client.close();
    });
  }

  test("4010 waits for the slow delay", async () => {
    const { client, events } = await connect(server.options("slow"));
    await server.hook("close", { peerId: "slow", code: 4010 });
    const lost = await events.next("disconnected");
    assert.deepEqual([lost.code, lost.willReconnect], [4010, true]);
    assert.equal(client.state, "reconnecting");
    await client.close();
  });

  test("kicking over REST closes with 4020", async () => {
    const { events } = await connect(server.options("kicked"));
    assert.deepEqual(await server.request("DELETE", "v1/peers/kicked"), { peerId: "kicked", closed: 1 });
    assert.equal((await events.next("disconnected")).code, 4020);
  });

  test("an oversized frame closes with 1009", async () => {
    const { client, events } = await connect(server.options("large"));
    // The SDK measures the data alone, the server the whole frame.
    await assert.rejects(client.publish("c", "x".repeat(65_500)));
    assert.equal((await events.next("disconnected")).code, 1009);
    await client.close();
  });

  test("more than the burst closes with 4011", async () => {
    const { client, events } = await connect(server.options("hasty"));
    const results = await Promise.allSettled(Array.from({ length: 400 }, () => client.publish("c", 1)));
    assert.equal((await events.next("disconnected")).code, 4011);
    assert.ok(results.filter((result) => result.status === "fulfilled").length >= 200);
    await client.close();
  });
});

describe("service messages", () => {
  test("a backend's publish reaches subscribers under its label", async () => {
    const { client, events } = await connect(server.options("listener"));
    await client.subscribe("news/today", { includeSenderMetadata: true });
    const roster = await server.request("GET", "v1/channels/news%2Ftoday/peers");
    assert.deepEqual(roster, { channel: "news/today", peers: [{ peerId: "listener" }] });
    const body = { data: { x: 1 }, from: "backend", peerMetadata: { role: "bot" } };
    await server.request("POST", "v1/channels/news%2Ftoday/publish", body);
    const message = await events.next("message");
    assert.equal(message.channel, "news/today");
    assert.deepEqual(message.data, { x: 1 });
    assert.ok(JSON.stringify(message).includes("bot"), JSON.stringify(message));
    await client.close();
  });

  test("the quota is an error, not a disconnect", async () => {
    const { client } = await connect(server.options("thrifty"));
    await server.hook("quota", { left: 1 });
    await client.publish("c", 1);
    await assert.rejects(client.publish("c", 2), { name: "over_message_quota" });
    await server.hook("quota", { left: null });
    await client.publish("c", 3);
    await client.close();
  });

  test("unknown frames and error codes are survived", async () => {
    const { client, events } = await connect(server.options("tough"));
    for (const text of ["{", '{"type":"new_thing"}', '{"type":"ack"}', '{"type":"presence"}']) {
      await server.hook("inject", { peerId: "tough", text });
    }
    await server.hook("inject", { peerId: "tough", text: '{"type":"error","code":"brand_new"}' });
    assert.equal((await events.next("server-error")).code, "brand_new");
    await client.publish("c", 1);
    await client.close();
  });

  test("a dead path is noticed by the watchdog", async () => {
    const options = { ...server.options("frozen"), inactivityTimeoutMs: 3_000 };
    let closing;
    const closed = new Promise((done) => (closing = done));
    const webSocketFactory = (url) => {
      const socket = options.webSocketFactory(url);
      const close = socket.close.bind(socket);
      socket.close = (code, reason) => {
        closing(code);
        close(code, reason);
      };
      return socket;
    };
    const { client, events } = await connect({ ...options, webSocketFactory });
    await server.hook("freeze", { peerId: "frozen", frozen: true });
    assert.equal(await within("the watchdog", closed), 4000);
    // `ws` now waits for a close handshake that cannot come.
    await server.hook("close", { peerId: "frozen", code: 1006 });
    assert.equal((await events.next("disconnected")).willReconnect, true);
    assert.equal((await events.next("connected")).isReconnect, true);
    await client.close();
  });

  test("going_away precedes 1001, also when the program is terminated", async () => {
    const other = await DevServer.start();
    const { client, events } = await connect(other.options("deployed"));
    await other.hook("going-away", { retryAfterMs: 1500 });
    assert.deepEqual(await events.next("going-away"), { retryAfterMs: 1500 });
    assert.equal((await events.next("disconnected")).code, 1001);
    assert.equal((await events.next("connected")).isReconnect, true);
    await other.stop();
    await events.next("going-away");
    const lost = await events.next("disconnected");
    assert.deepEqual([lost.code, lost.willReconnect], [1001, true]);
    await client.close();
  });
});
