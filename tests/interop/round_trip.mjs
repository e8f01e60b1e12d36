// The vendor's JavaScript SDK doing what benches/signalling/client.rs does, for the comparison of scripts/bench.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { SignallingClient } from "@metered-ca/realtime";
import WebSocket from "ws";

const WINDOW = 64;
const url = process.argv[2];
// The programs that are compared take turns on one server.
const channel = `bench-${process.pid}`;

async function connected() {
  const client = new SignallingClient({ url, apiKey: "pk_dev", webSocketFactory: (to) => new WebSocket(to) });
  await client.connect();
  return client;
}

async function trip(publisher, subscriber, count, rate) {
  const trips = [];
  const start = performance.now();
  for (let n = 0; n < count; n += 1) {
    const due = start + (n * 1000) / rate;
    if (due > performance.now()) await sleep(due - performance.now());
    const arrived = new Promise((resolve) => {
      subscriber.once("message", ({ data }) => resolve({ at: performance.now(), number: data.n }));
    });
    const sent = performance.now();
    const done = publisher.publish(channel, { n });
    const { at, number } = await arrived;
    if (number !== n) throw new Error(`${number} instead of ${n}`);
    trips.push((at - sent) * 1000);
    await done;
  }
  return trips;
}

async function publish(publisher, count) {
  const start = performance.now();
  const worker = async (first) => {
    for (let n = first; n < count; n += WINDOW) await publisher.publish("nobody", { n });
  };
  await Promise.all(Array.from({ length: WINDOW }, (_, first) => worker(first)));
  return (performance.now() - start) / 1000;
}

async function receive(client) {
  let count = 0;
  const start = performance.now();
  const ended = new Promise((resolve) => {
    client.on("message", ({ data }) => {
      if (data === "end") resolve((performance.now() - start) / 1000);
      else count += 1;
    });
  });
  await client.subscribe("flood");
  const seconds = await ended;
  return [count, seconds];
}

const client = await connected();
let subscriber;
for await (const line of createInterface({ input: process.stdin })) {
  const [command, count, rate] = line.split(" ");
  let answer;
  if (command === "trip") {
    if (subscriber === undefined) {
      subscriber = await connected();
      await subscriber.subscribe(channel);
    }
    answer = await trip(client, subscriber, Number(count), Number(rate));
  } else if (command === "publish") {
    answer = await publish(client, Number(count));
  } else {
    answer = await receive(client);
  }
  console.log(JSON.stringify(answer));
}
await subscriber?.close();
await client.close();
