// The member in a browser's page: `window.member`.
import { MeteredPeer } from "/sdk.mjs";
import { Member } from "/member.mjs";

// Firefox decodes only what is shown.
const shown = new Map();

function show(pc) {
  for (const { receiver } of pc.getTransceivers()) {
    const { track } = receiver;
    if (shown.has(track) || track.readyState !== "live") continue;
    const element = document.createElement(track.kind);
    element.autoplay = true;
    element.srcObject = new MediaStream([track]);
    document.body.append(element);
    shown.set(track, element);
  }
  for (const [track, element] of shown)
    if (track.readyState !== "live") {
      element.remove();
      shown.delete(track);
    }
}

const platform = {
  // The browser's fake camera and microphone.
  stream: (kinds) =>
    navigator.mediaDevices.getUserMedia({
      audio: kinds.includes("audio"),
      video: kinds.includes("video") && { width: 320, height: 240, frameRate: 15 },
    }),

  async counts(pc) {
    show(pc);
    const counts = [];
    for (const report of (await pc.getStats()).values())
      if (report.type === "inbound-rtp")
        counts.push({
          mid: report.mid,
          count: report.kind === "video" ? (report.framesDecoded ?? 0) : (report.totalAudioEnergy ?? 0),
        });
    return counts;
  },
};

window.member = new Member(MeteredPeer, platform);
