// Two browsers with the demo page: what the elements' tests take for granted.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lab, missing } from "./lib.mjs";

const options = { skip: missing(), timeout: 120_000 };

async function two(t, first = {}, second = {}) {
  const lab = await Lab.open(t);
  const ada = await lab.page("Ada", { camera: true, mic: true, ...first });
  const ben = await lab.page("Ben", { camera: true, mic: true, ...second });
  const [benId, adaId] = [await lab.peerId(ada, ben), await lab.peerId(ben, ada)];
  await lab.connected(ada, benId);
  await lab.connected(ben, adaId);
  return { lab, ada, ben, adaId, benId };
}

test("two pages see and hear each other", options, async (t) => {
  const { lab, ada, ben, adaId, benId } = await two(t);
  for (const [viewer, peerId] of [
    [ada, benId],
    [ben, adaId],
  ]) {
    await lab.sees(viewer, { peerId });
    await lab.hears(viewer, { peerId });
    const video = await viewer.video({ peerId }, 2);
    assert.ok(video.fps > 5, `fps ${video.fps}`);
    assert.deepEqual([video.width, video.height], [320, 240]);
    const { different } = await viewer.pictures({ peerId });
    assert.ok(different > 1, "the picture does not change");
  }
  const [own] = await ben.sending();
  const [seen] = await ada.streams(benId);
  assert.equal(seen.streamId, own.streamId);
  assert.equal(seen.role, "camera");
  assert.deepEqual(seen.tracks.map(({ wireMetadata }) => wireMetadata?.label), ["Ben", "Ben"]);
  await lab.shots("call");
});

test("the harness measures pitch", options, async (t) => {
  // A page that "speaks" with a tone instead of the fake microphone's beeps.
  const init = () => {
    navigator.mediaDevices.getUserMedia = async () => {
      const audio = new AudioContext();
      const tone = new OscillatorNode(audio, { frequency: 440 });
      const out = audio.createMediaStreamDestination();
      tone.connect(new GainNode(audio, { gain: 0.3 })).connect(out);
      tone.start();
      return out.stream;
    };
  };
  const lab = await Lab.open(t);
  const tone = await lab.page("Tone", { mic: true, init });
  const listener = await lab.page("Listener");
  const peerId = await lab.peerId(listener, tone);
  await lab.hears(listener, { peerId });
  const audio = await listener.audio({ peerId }, 2);
  assert.ok(audio.energy > 0.01 && audio.packets > 50, JSON.stringify(audio));
  assert.ok(Math.abs(audio.peakHz - 440) < 5, `${audio.peakHz} Hz`);
});

test("a page without media receives", options, async (t) => {
  const { lab, ada, ben, adaId, benId } = await two(t, {}, { camera: false, mic: false });
  await lab.sees(ben, { peerId: adaId });
  // Nothing of its own is in the way, so the SDK knows the metadata.
  const [stream] = await ben.streams(adaId);
  assert.deepEqual(stream.metadata, { role: "camera", label: "Ada" });
  assert.deepEqual(await ada.streams(benId), []);
});

test("the camera goes off and on", options, async (t) => {
  const { lab, ada, ben, adaId } = await two(t);
  await lab.sees(ben, { peerId: adaId });
  for (let round = 0; round < 2; round++) {
    await ada.setCamera(false);
    await lab.waitFor("Ben to lose the picture", async () => !(await ben.tracks({ peerId: adaId, kind: "video" })).length);
    await lab.hears(ben, { peerId: adaId });
    await ada.setCamera(true);
    await lab.sees(ben, { peerId: adaId });
  }
});

test("a camera that comes on during the call keeps its role", options, async (t) => {
  const { lab, ada, ben, benId } = await two(t, {}, { camera: false, mic: false });
  await ben.setCamera(true);
  await ben.setScreen(true);
  await lab.sees(ada, { peerId: benId, role: "camera" });
  await lab.sees(ada, { peerId: benId, role: "screen" });
  // Ben's camera rides on a media section that Ada opened. What its SDP then says has nothing to do with
  // the announced id, which is why the SDK knows nothing of it.
  const [camera] = await ada.tracks({ peerId: benId, role: "camera" });
  const [sent] = await ben.sending();
  t.diagnostic(`announced ${sent.id}, in the SDP ${camera.senderTrackId}, received as ${camera.id}`);
  assert.deepEqual(camera.wireMetadata, { role: "camera", label: "Ben" });
});

test("the microphone is muted and opened", options, async (t) => {
  const { lab, ada, ben, adaId } = await two(t);
  await lab.hears(ben, { peerId: adaId });
  await ada.setMic(false);
  await lab.waitFor("silence", async () => (await ben.audio({ peerId: adaId }, 0.5)).energy < 1e-6);
  const hello = (await ben.peers()).find(({ peerId }) => peerId === adaId).hello;
  assert.deepEqual(hello, { name: "Ada", mic: false });
  await ada.setMic(true);
  await lab.hears(ben, { peerId: adaId });
});

test("a screen is shared, withdrawn and shared again", options, async (t) => {
  const { lab, ada, ben, adaId } = await two(t);
  await lab.sees(ben, { peerId: adaId, role: "camera" });
  for (let round = 0; round < 2; round++) {
    await ada.setScreen(true);
    await lab.sees(ben, { peerId: adaId, role: "screen" });
    await lab.sees(ben, { peerId: adaId, role: "camera" });
    const { different } = await ben.pictures({ peerId: adaId, role: "screen" });
    assert.ok(different > 1, "the shared screen does not change");
    await lab.shots(`screen-${round}`);
    await ada.setScreen(false);
    await lab.waitFor("the screen to go", async () => (await ben.streams(adaId)).length === 1);
  }
  await lab.sees(ben, { peerId: adaId, role: "camera" });
});

test("chat reaches everybody or one", options, async (t) => {
  const lab = await Lab.open(t);
  const [ada, ben, cleo] = [await lab.page("Ada"), await lab.page("Ben"), await lab.page("Cleo")];
  const benId = await lab.peerId(ada, ben);
  await lab.peerId(ben, ada);
  await lab.peerId(cleo, ada);
  await ada.send("hello all");
  await ada.sendTo(benId, "for you");
  await ada.send({ cue: 4 });
  const adaId = await ada.ownPeerId();
  const all = { from: adaId, kind: "broadcast", data: { type: "chat", text: "hello all" } };
  const one = { from: adaId, kind: "direct", data: { type: "chat", text: "for you" } };
  const raw = { from: adaId, kind: "broadcast", data: { cue: 4 } };
  await lab.waitFor("three messages", async () => (await ben.messages()).length === 3);
  assert.deepEqual(await ben.messages(), [all, one, raw]);
  await lab.waitFor("two messages", async () => (await cleo.messages()).length === 2);
  assert.deepEqual(await cleo.messages(), [all, raw]);
  assert.deepEqual(await ada.messages(), []);
  assert.equal((await cleo.peers()).length, 2);
  await lab.waitFor("names", async () => (await cleo.peers()).map(({ name }) => name).sort().join() === "Ada,Ben");
});

test("one leaves and returns", options, async (t) => {
  const { lab, ada, ben, adaId } = await two(t);
  await ben.leave();
  await lab.waitFor("Ada to be alone", async () => (await ada.peers()).length === 0);
  assert.equal(await ben.state(), "closed");
  await ben.setCamera(true);
  await ben.join();
  const again = await lab.peerId(ada, ben);
  await lab.connected(ada, again);
  await lab.sees(ada, { peerId: again });
  await lab.sees(ben, { peerId: adaId });
  await lab.hears(ben, { peerId: adaId });
});

test("a page that closes is gone", options, async (t) => {
  const { lab, ada, ben } = await two(t);
  await ben.close();
  await lab.waitFor("Ada to be alone", async () => (await ada.peers()).length === 0, 5000);
  assert.equal(await ada.evaluate(() => document.querySelectorAll(".tile").length), 1);
});

test("both return after the server restarts", options, async (t) => {
  const { lab, ada, ben } = await two(t);
  await lab.stopServer({ signal: "SIGTERM" });
  await lab.waitFor("both to notice", async () => (await Promise.all([ada.state(), ben.state()])).every((state) => state === "reconnecting"));
  await lab.shots("reconnecting");
  await lab.startServer(new URL(lab.http).port);
  await lab.waitFor("both to be back", async () => (await Promise.all([ada.state(), ben.state()])).every((state) => state === "joined"), 30_000);
  const [adaId, benId] = [await lab.peerId(ben, ada), await lab.peerId(ada, ben)];
  await lab.sees(ben, { peerId: adaId });
  await lab.sees(ada, { peerId: benId });
  await lab.hears(ada, { peerId: benId });
});

test("a key without permission to send is explained", options, async (t) => {
  const lab = await Lab.open(t, { serverArgs: ["--no-send"] });
  const ada = await lab.page("Ada", { camera: true });
  await lab.page("Ben");
  const banner = () => ada.evaluate(() => document.querySelector("#banners [role=alert]")?.innerText ?? "");
  await lab.waitFor("the banner", async () => /may not send/.test(await banner()));
  await lab.shots("no-send");
});

test("a member that is removed is told, and can return", options, async (t) => {
  const lab = await Lab.open(t, { serverArgs: ["--secret-key", "sk_id_test:sk_secret_test"] });
  const ada = await lab.page("Ada", { camera: true });
  const response = await fetch(new URL(`/v1/peers/${await ada.ownPeerId()}`, lab.http), {
    method: "DELETE",
    headers: { authorization: "Bearer sk_id_test:sk_secret_test" },
  });
  assert.equal(response.status, 200);
  await lab.waitFor("the end", async () => (await ada.state()) === "closed");
  const alerts = () => ada.evaluate(() => [...document.querySelectorAll("#banners [role=alert]")].map((b) => b.innerText));
  const [text, ...more] = await alerts();
  assert.match(text, /removed from the room/);
  assert.deepEqual(more, []);
  await lab.shots("kicked");
  await ada.page.getByRole("button", { name: "Join again" }).click();
  await lab.waitFor("the return", async () => (await ada.state()) === "joined");
  assert.deepEqual(await alerts(), []);
});
