// Puts the parts together and wires the buttons.
import { hideAllBanners, hideBanner, showBanner } from "./banner.js";
import { Chat } from "./chat.js";
import { loadConfig } from "./config.js";
import { icons, placeIcons } from "./icons.js";
import { captureProblem, Media } from "./media.js";
import { Room } from "./room.js";
import { measure } from "./stats.js";
import { expose } from "./surface.js";
import { Tiles } from "./tiles.js";

const $ = (selector) => document.querySelector(selector);
const STATES = {
  idle: "Not joined",
  joining: "Joining",
  joined: "Joined",
  reconnecting: "Reconnecting",
  leaving: "Leaving",
  closed: "Left",
};

placeIcons(document);
const config = await loadConfig();
const media = new Media(config.video);
const room = new Room(media);
const tiles = new Tiles($("#grid"), { onBlocked: (blocked) => ($("#sound").hidden = !blocked) });
const chat = new Chat($("#chat"), {
  room,
  onUnread: (count) => {
    for (const badge of document.querySelectorAll(".badge")) {
      badge.hidden = !count;
      badge.textContent = count > 99 ? "99+" : count;
    }
  },
  onFailed: (error) => showBanner("chat", `Not sent: ${sentence(error)}`, { tone: "bad", lasts: 8000 }),
});

// --- Joining and leaving ---

const form = $("#lobby form");
const field = (name) => form.elements[name];
field("channel").value = config.channel;
field("name").value = config.name;
field("url").value = config.url;
field("apiKey").value = config.apiKey;
field("token").value = config.token;

async function join() {
  hideAllBanners();
  chat.clear();
  try {
    await room.join({
      url: field("url").value.trim(),
      apiKey: field("apiKey").value.trim(),
      token: field("token").value.trim(),
      channel: field("channel").value.trim(),
      name: field("name").value.trim(),
      eager: config.eager,
    });
  } catch (error) {
    if (room.state === "joining") return;
    showBanner("join", `Could not join: ${sentence(error)}`, { tone: "bad" });
    throw error;
  }
}

/** Leave and join with camera, microphone and screen as they are. */
async function rejoin() {
  await room.leave();
  await join();
}

async function leave() {
  await room.leave();
  await Promise.all([media.setScreen(false), media.setCamera(false)]);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  join().catch(() => {});
});

// --- What the service says ---

const REASONS = {
  1006: "The server cannot be reached, or it refuses this page.",
  4001: "The service does not accept this key or token.",
  4002: "The token has expired.",
  4003: "This key or token is not valid for this room.",
  4010: "Too many connections are open for this account.",
  4012: "The account is suspended.",
  4020: "You were removed from the room by its owner.",
};

room.on("left", ({ reason, code }) => {
  hideBanner("reconnecting");
  if (reason === "left") return;
  showBanner("left", REASONS[code] ?? "The connection to the service was lost for good.", {
    tone: "bad",
    action: { label: "Join again", run: () => join().catch(() => {}) },
  });
});

room.on("refused", ({ code }) => {
  if (code === "action_not_permitted")
    showBanner(
      "permission",
      "This key may not send: others can be seen joining, but no call connects. Switch on “send” for the key.",
      { tone: "bad" },
    );
  else if (code === "over_message_quota")
    showBanner("quota", "The message quota of this account is used up.", { tone: "bad" });
});

room.on("problem", (error) => showBanner("problem", sentence(error), { tone: "bad" }));

room.on("peer-problem", ({ member }) =>
  showBanner(`peer-${member.id}`, `The connection to ${member.name} could not be restored.`, {
    tone: "bad",
    action: { label: "Join again", run: () => rejoin().catch(() => {}) },
  }),
);

function sentence(error) {
  const text = REASONS[error?.closeCode] ?? (error?.message || String(error));
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

// --- Buttons ---

const switches = {
  camera: { on: () => Boolean(media.camera), set: media.setCamera, what: "camera" },
  mic: { on: () => media.micOn, set: media.setMic, what: "microphone" },
  screen: { on: () => Boolean(media.screen), set: media.setScreen, what: "screen" },
};

async function flip(name, on) {
  const { set, what } = switches[name];
  hideBanner("capture");
  try {
    await set(on);
  } catch (error) {
    const text = captureProblem(what, error);
    if (text) showBanner("capture", text, { tone: "bad" });
    throw error;
  }
}

let numbers = config.stats;
const toggles = {
  chat: () => {
    chat.open = !chat.open;
    if (chat.open) chat.input.focus();
  },
  stats: () => (numbers = !numbers),
  leave: () => leave(),
  sound: () => tiles.enableSound(),
};

document.addEventListener("click", (event) => {
  const name = event.target.closest("[data-action]")?.dataset.action;
  if (!name) return;
  if (switches[name]) flip(name, !switches[name].on()).catch(() => {});
  else toggles[name]();
  schedule();
});

function renderButtons() {
  const pressed = (name, on) => {
    for (const button of document.querySelectorAll(`[data-action=${name}]`))
      button.setAttribute("aria-pressed", on);
  };
  for (const name of ["camera", "mic"]) {
    const on = switches[name].on();
    pressed(name, on);
    for (const button of document.querySelectorAll(`[data-action=${name}]`)) {
      const slot = button.querySelector("[data-icon]");
      const icon = on ? name : `${name}Off`;
      if (slot.dataset.icon !== icon) {
        slot.dataset.icon = icon;
        slot.innerHTML = icons[icon];
      }
    }
  }
  pressed("screen", switches.screen.on());
  pressed("chat", chat.open);
  pressed("stats", numbers);
}

// --- Drawing ---

function render() {
  const { state } = room;
  const inCall = ["joined", "reconnecting"].includes(state) || (state === "joining" && config.autojoin);
  document.body.dataset.state = state;
  document.body.classList.toggle("in-call", inCall);
  document.body.classList.toggle("show-numbers", numbers);
  $("#lobby").hidden = inCall;
  $("#call").hidden = !inCall;
  if (!inCall) chat.open = false;
  $("#state").textContent = STATES[state];
  $("#state").dataset.state = state;
  $("#room").textContent = inCall ? room.channel : "";
  const count = room.members.size + 1;
  $("#people").textContent = count;
  $("#people-words").textContent = `${count} ${count === 1 ? "person" : "people"} in the room`;
  $("#alone").hidden = room.members.size > 0;
  form.querySelector("[type=submit]").disabled = state === "joining";
  form.querySelector("[type=submit]").textContent = state === "joining" ? "Joining…" : "Join";
  const preview = $("#preview video");
  if (!inCall && preview.srcObject !== media.cameraStream) preview.srcObject = media.cameraStream;
  $("#preview").classList.toggle("no-video", !media.camera);
  if (state === "reconnecting")
    showBanner("reconnecting", "Connection to the service lost. Reconnecting; running calls continue.", {
      tone: "busy",
    });
  else hideBanner("reconnecting");
  document.title = inCall ? `${room.channel} · Metered room` : "Metered room";
  renderButtons();
  chat.render();
  if (inCall) tiles.render(room, media);
}

let scheduled = false;
function schedule() {
  if (scheduled) return;
  scheduled = true;
  queueMicrotask(() => {
    scheduled = false;
    render();
  });
}
room.on("change", schedule);
media.on("change", schedule);

/** Say once of every member whose connection is overdue, and take it back when that is over. */
const overdue = new Set();
function renderOverdue() {
  const sending = media.published().length > 0;
  const slow = [...room.members.values()].filter((member) => member.slow(sending));
  const ids = new Set(room.state === "joined" ? slow.map(({ id }) => id) : []);
  for (const id of overdue) if (!ids.has(id) && overdue.delete(id)) hideBanner(`slow-${id}`);
  for (const { id, name } of slow) {
    if (overdue.has(id) || !ids.has(id)) continue;
    overdue.add(id);
    showBanner(`slow-${id}`, `The connection to ${name} does not come up.`, {
      tone: "bad",
      action: { label: "Join again", run: () => rejoin().catch(() => {}) },
    });
  }
}

async function tick() {
  renderOverdue();
  for (const member of room.members.values()) {
    member.prune();
    try {
      member.stats = await measure(member.remote.pc);
    } catch {
      member.stats = null; // the connection was replaced meanwhile
    }
  }
  schedule();
}
setInterval(tick, 1000);

// --- Start ---

expose({
  room,
  media,
  actions: {
    join,
    leave,
    setCamera: (on) => flip("camera", on),
    setMic: (on) => flip("mic", on),
    setScreen: (on) => flip("screen", on),
    send: (data) => chat.send(data),
    sendTo: (peerId, data) => chat.sendTo(peerId, data),
  },
});

window.addEventListener("pagehide", () => room.leave());
for (const name of ["camera", "mic"]) if (config[name]) await flip(name, true).catch(() => {});
chat.open = config.chat && config.autojoin;
render();
if (config.autojoin) join().catch(() => {});
