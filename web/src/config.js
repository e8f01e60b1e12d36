// Where to join and as whom. The server that serves this page gives the defaults in /config.json,
// the address bar overrides them:
//
//   ?channel=demo      the room
//   ?name=Ada          shown to the others
//   ?url=wss://…       signalling server
//   ?key=pk_live_…     publishable key (also ?apiKey=)
//   ?token=eyJ…        a token instead of a key
//   ?autojoin=1        join without asking
//   ?camera=1&mic=1    start with camera and microphone
//   ?video=640x360@15  what to ask of the camera
//   ?eager=1           offer own media at once, also when others just do the same
//   ?chat=1            start with the chat open
//   ?stats=0           start without the lines of statistics
export async function loadConfig(location = window.location) {
  const defaults = await serverDefaults();
  const params = new URLSearchParams(location.search);
  const text = (...names) => names.map((name) => params.get(name)).find((value) => value);
  const flag = (name, fallback = false) =>
    params.has(name) ? !["0", "false", "no"].includes(params.get(name)) : fallback;

  return {
    url: text("url") ?? defaults.url ?? "",
    apiKey: text("key", "apiKey") ?? defaults.apiKey ?? "",
    token: text("token") ?? "",
    channel: text("channel") ?? defaults.channel ?? "demo",
    name: text("name") ?? "",
    autojoin: flag("autojoin"),
    camera: flag("camera"),
    mic: flag("mic"),
    eager: flag("eager"),
    chat: flag("chat"),
    stats: flag("stats", true),
    video: parseVideo(params.get("video")),
  };
}

async function serverDefaults() {
  try {
    const response = await fetch("config.json", { cache: "no-store" });
    return response.ok ? await response.json() : {};
  } catch {
    return {}; // a page opened from elsewhere has no such file
  }
}

function parseVideo(text) {
  const match = /^(\d+)x(\d+)(?:@(\d+))?$/.exec(text ?? "");
  if (!match) return { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
  const [, width, height, rate] = match.map(Number);
  return {
    width: { ideal: width },
    height: { ideal: height },
    ...(rate && { frameRate: { ideal: rate } }),
  };
}
