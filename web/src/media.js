// Own camera, microphone and screen.
//
// Switching off the camera or the screen removes its track from every connection and stops the device;
// switching on adds a new one. The microphone is added once and then muted, so that talking back and
// forth does not renegotiate.
import { Emitter } from "./emitter.js";

export class Media extends Emitter {
  #turn = Promise.resolve();
  camera = null; // tracks
  mic = null;
  screen = null;
  cameraStream = new MediaStream();
  screenStream = null;

  constructor(video) {
    super();
    this.videoConstraints = video;
  }

  get micOn() {
    return Boolean(this.mic?.enabled);
  }

  /** Everything that is being sent: what a new connection has to start with. */
  published() {
    const list = [];
    if (this.mic) list.push({ track: this.mic, stream: this.cameraStream, role: "camera" });
    if (this.camera) list.push({ track: this.camera, stream: this.cameraStream, role: "camera" });
    if (this.screen) list.push({ track: this.screen, stream: this.screenStream, role: "screen" });
    return list;
  }

  setCamera = (on) => this.#queue(() => this.#setCamera(on));
  setMic = (on) => this.#queue(() => this.#setMic(on));
  setScreen = (on) => this.#queue(() => this.#setScreen(on));

  /** One switch at a time: a device that is still opening must not be opened again. */
  #queue(task) {
    const result = this.#turn.then(task);
    this.#turn = result.catch(() => {}).then(() => this.emit("change"));
    return result;
  }

  async #setCamera(on) {
    if (on === Boolean(this.camera)) return;
    if (on) {
      const [track] = (await capture({ video: this.videoConstraints })).getVideoTracks();
      track.contentHint = "motion";
      track.onended = () => this.setCamera(false);
      this.camera = track;
      this.#publish(track, this.cameraStream, "camera");
    } else {
      const track = this.camera;
      this.camera = null;
      this.#withdraw(track, this.cameraStream);
    }
  }

  async #setMic(on) {
    if (this.mic) {
      this.mic.enabled = on;
    } else if (on) {
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
      const [track] = (await capture({ audio })).getAudioTracks();
      track.onended = () => {
        this.mic = null;
        this.#withdraw(track, this.cameraStream);
        this.emit("change");
      };
      this.mic = track;
      this.#publish(track, this.cameraStream, "camera");
    }
  }

  async #setScreen(on) {
    if (on === Boolean(this.screen)) return;
    if (on) {
      const stream = await captureScreen();
      const [track] = stream.getVideoTracks();
      track.contentHint = "detail";
      track.onended = () => this.setScreen(false);
      this.screen = track;
      this.screenStream = stream;
      this.#publish(track, stream, "screen");
    } else {
      const [track, stream] = [this.screen, this.screenStream];
      this.screen = this.screenStream = null;
      this.#withdraw(track, stream);
    }
  }

  #publish(track, stream, role) {
    if (!stream.getTracks().includes(track)) stream.addTrack(track);
    this.emit("add", { track, stream, role });
  }

  #withdraw(track, stream) {
    track.onended = null;
    this.emit("remove", { track });
    stream.removeTrack(track);
    track.stop();
  }
}

function devices() {
  if (!navigator.mediaDevices)
    throw new Error("This page may not use camera or microphone: open it over https or from localhost.");
  return navigator.mediaDevices;
}

const capture = (constraints) => devices().getUserMedia(constraints);

function captureScreen() {
  if (!devices().getDisplayMedia) throw new Error("This browser cannot share its screen.");
  return devices().getDisplayMedia({ video: { frameRate: { ideal: 30 } }, audio: false });
}

/** A sentence for a failed capture, or null when the person only changed their mind. */
export function captureProblem(what, error) {
  switch (error?.name) {
    case "NotAllowedError":
      return what === "screen"
        ? null
        : `The browser refuses access to the ${what}. Allow it in the address bar, then try again.`;
    case "NotFoundError":
    case "OverconstrainedError":
      return `No ${what} found.`;
    case "NotReadableError":
      return `The ${what} is in use by another program.`;
    default:
      return error?.message || `The ${what} cannot be opened.`;
  }
}
