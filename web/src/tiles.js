// The pictures: one tile per stream, a placeholder for a member without any, and one's own.
import { icons } from "./icons.js";
import { describe } from "./stats.js";

const STATES = {
  idle: "No media",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  closed: "Gone",
};
const ROLES = { camera: "Camera", screen: "Screen" };
const GAP = 12;

export class Tiles {
  #tiles = new Map(); // key -> Tile
  #pinned = null;
  #blocked = false;

  constructor(root, { onBlocked }) {
    this.root = root;
    this.onBlocked = onBlocked;
    new ResizeObserver(() => this.#layout()).observe(root);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#pinned) this.#pin(null);
    });
  }

  /** Bring what is shown in line with what there is. */
  render(room, media) {
    const wanted = new Map();
    for (const member of room.members.values()) for (const spec of ofMember(member)) wanted.set(spec.key, spec);
    for (const spec of ownTiles(room, media)) wanted.set(spec.key, spec);
    for (const [key, tile] of this.#tiles) {
      if (wanted.has(key)) continue;
      tile.remove();
      this.#tiles.delete(key);
    }
    for (const [key, spec] of wanted) {
      let tile = this.#tiles.get(key);
      if (!tile) {
        tile = new Tile(key, {
          onPin: () => this.#pin(this.#pinned === key ? null : key),
          onBlocked: () => this.#block(),
        });
        this.#tiles.set(key, tile);
        this.root.append(tile.element);
      }
      tile.update(spec);
    }
    if (!this.#tiles.has(this.#pinned)) this.#pinned = null;
    this.#layout();
  }

  /** The click on "enable sound" is the gesture that browsers ask for. */
  enableSound() {
    this.#blocked = false;
    this.onBlocked(false);
    for (const tile of this.#tiles.values()) tile.unmute();
  }

  #block() {
    if (this.#blocked) return;
    this.#blocked = true;
    this.onBlocked(true);
  }

  #pin(key) {
    this.#pinned = key;
    this.#layout();
  }

  #layout() {
    const tiles = [...this.#tiles.values()];
    const stage =
      tiles.find(({ key }) => key === this.#pinned) ??
      tiles.find(({ spec }) => spec.role === "screen" && !spec.own) ??
      null;
    const staged = stage && tiles.length > 1;
    this.root.classList.toggle("staged", Boolean(staged));
    for (const tile of tiles) {
      tile.element.classList.toggle("stage", Boolean(staged) && tile === stage);
      tile.pinned = tile.key === this.#pinned;
    }
    this.root.style.setProperty("--others", Math.max(1, tiles.length - 1));
    const { clientWidth, clientHeight } = this.root;
    this.root.style.setProperty("--high", `${clientHeight}px`);
    this.root.style.setProperty("--tile", `${tileWidth(tiles.length, clientWidth, clientHeight)}px`);
  }
}

/** The widest 16:9 tile of which `count` fit; narrow screens scroll instead of shrinking further. */
function tileWidth(count, width, height) {
  const least = Math.min(width, 260);
  let best = least;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const byWidth = (width - GAP * (columns - 1)) / columns;
    const byHeight = ((height - GAP * (rows - 1)) / rows) * (16 / 9);
    best = Math.max(best, Math.min(byWidth, byHeight));
  }
  return Math.floor(Math.min(best, width));
}

function ofMember(member) {
  const common = { name: member.name, state: member.state, peerId: member.id, member };
  const entries = [...member.streams.values()];
  if (!entries.length) return [{ ...common, key: `${member.id}/`, role: "", mic: null }];
  return entries.map((entry) => ({
    ...common,
    key: `${member.id}/${entry.id}`,
    name: entry.role !== "screen" && entry.label ? entry.label : member.name,
    role: entry.role,
    entry,
    stream: entry.stream,
    video: entry.hasVideo,
    // Only this page tells whether its microphone is muted.
    mic: entry.role === "screen" ? null : entry.hasAudio && member.hello?.mic !== false,
  }));
}

function ownTiles(room, media) {
  const common = { own: true, peerId: room.ownPeerId ?? "", name: room.name || "You", state: null };
  const specs = [
    {
      ...common,
      key: "own/camera",
      role: "camera",
      mirror: true,
      stream: media.cameraStream,
      video: Boolean(media.camera),
      mic: media.micOn,
    },
  ];
  if (media.screen)
    specs.push({
      ...common,
      key: "own/screen",
      role: "screen",
      stream: media.screenStream,
      video: true,
      mic: null,
    });
  return specs;
}

class Tile {
  spec = null;
  #tracks = "";

  constructor(key, { onPin, onBlocked }) {
    this.key = key;
    this.onBlocked = onBlocked;
    this.element = document.getElementById("tile").content.firstElementChild.cloneNode(true);
    const part = (name) => this.element.querySelector(`.${name}`);
    this.video = part("picture");
    this.parts = Object.fromEntries(
      ["avatar", "name", "role", "state", "mic", "numbers", "pin"].map((name) => [name, part(name)]),
    );
    this.parts.pin.innerHTML = icons.pin;
    this.parts.pin.addEventListener("click", onPin);
    this.parts.mic.innerHTML = icons.micOff;
    for (const type of ["loadeddata", "resize", "emptied"])
      this.video.addEventListener(type, () => this.#showPicture());
  }

  set pinned(on) {
    this.parts.pin.setAttribute("aria-pressed", on);
  }

  update(spec) {
    this.spec = spec;
    const { parts, element, video } = this;
    element.dataset.peerId = spec.peerId;
    element.dataset.streamId = spec.stream?.id ?? "";
    element.dataset.own = Boolean(spec.own);
    element.dataset.role = spec.role;
    element.classList.toggle("mirror", Boolean(spec.mirror));
    this.#showPicture();
    element.classList.toggle("fading", spec.state === "reconnecting" || Boolean(spec.entry?.staleSince));
    parts.name.textContent = spec.own ? `${spec.name}${spec.name === "You" ? "" : " (you)"}` : spec.name;
    parts.name.title = spec.peerId;
    parts.role.textContent = ROLES[spec.role] ?? spec.role;
    parts.role.hidden = !spec.role || (spec.role === "camera" && Boolean(spec.own));
    parts.state.textContent = spec.state ? (STATES[spec.state] ?? spec.state) : "";
    parts.state.dataset.state = spec.state ?? "";
    parts.state.hidden = !spec.state;
    parts.mic.hidden = spec.mic !== false;
    parts.avatar.textContent = initials(spec.name);
    parts.avatar.style.setProperty("--hue", hue(spec.peerId || spec.name));
    parts.pin.setAttribute("aria-label", `Enlarge ${parts.name.textContent} ${parts.role.textContent}`.trim());
    this.#showNumbers();
    this.#play(spec.stream ?? null, video);
  }

  unmute() {
    if (this.spec.own) return;
    this.video.muted = false;
    this.video.play().catch(() => {});
  }

  remove() {
    this.video.srcObject = null;
    this.element.remove();
  }

  /** Only once there is a picture; `track.muted` would be the way to know, but Chromium leaves it set. */
  #showPicture() {
    const { spec, video } = this;
    const ready = spec.video && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && video.videoWidth > 0;
    this.element.classList.toggle("no-video", !ready);
  }

  #showNumbers() {
    const { spec } = this;
    const parts = spec.own
      ? ownNumbers(spec)
      : spec.member?.stats
        ? describe(spec.member.stats, spec.stream?.getTracks() ?? [])
        : [];
    // Lines break between the values only.
    this.parts.numbers.textContent = parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
  }

  #play(stream, video) {
    // A stream can gain and lose tracks: setting it again makes the element notice.
    const tracks = stream?.getTracks().map(({ id }) => id).join() ?? "";
    if (video.srcObject === stream && this.#tracks === tracks) return;
    this.#tracks = tracks;
    video.srcObject = stream;
    if (this.spec.own) video.muted = true;
    if (!tracks) return;
    video.play().catch((error) => {
      if (error.name !== "NotAllowedError") return; // "AbortError": another stream took its place
      video.muted = true;
      video.play().catch(() => {});
      if (stream.getAudioTracks().length) this.onBlocked();
    });
  }
}

function ownNumbers({ stream, video }) {
  if (!video) return [];
  const { width, height, frameRate } = stream.getVideoTracks()[0]?.getSettings() ?? {};
  return width ? [`${width}×${height}`, `${Math.round(frameRate ?? 0)} fps`] : [];
}

function initials(name) {
  const words = name.split(/[\s·_-]+/).filter(Boolean);
  return ((words[0]?.[0] ?? "?") + (words.length > 1 ? words.at(-1)[0] : "")).toUpperCase();
}

function hue(text) {
  let sum = 0;
  for (const char of text) sum = (sum * 31 + char.codePointAt(0)) % 360;
  return sum;
}
