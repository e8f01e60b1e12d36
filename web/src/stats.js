// Once a second: what each connection carries, as numbers and as one line of text.

const previous = new WeakMap(); // RTCPeerConnection -> Map(stats id -> { bytes, at })

/** Everything `getStats` says about received media, with the codec spelled out. */
export async function inbound(pc) {
  return rtp(await pc.getStats(), "inbound-rtp");
}

export async function outbound(pc) {
  return rtp(await pc.getStats(), "outbound-rtp");
}

function rtp(report, type) {
  return [...report.values()]
    .filter((item) => item.type === type)
    .map((item) => ({ ...item, codec: codecName(report, item) }));
}

const codecName = (report, item) => report.get(item.codecId)?.mimeType?.split("/")[1] ?? null;

/** A summary: per received track, and per connection. */
export async function measure(pc) {
  const report = await pc.getStats();
  const received = new Map(); // track id -> numbers
  const total = { in: 0, out: 0, rtt: null, relay: false, sending: null };
  for (const item of report.values()) {
    if (item.type === "inbound-rtp") {
      const rate = bitrate(pc, item.id, item.bytesReceived, item.timestamp);
      total.in += rate;
      received.set(item.trackIdentifier, {
        kind: item.kind,
        rate,
        width: item.frameWidth,
        height: item.frameHeight,
        fps: item.framesPerSecond,
        codec: codecName(report, item),
        loss: lossShare(pc, item),
      });
    } else if (item.type === "outbound-rtp") {
      total.out += bitrate(pc, item.id, item.bytesSent, item.timestamp);
      if (item.kind === "video") total.sending = codecName(report, item);
    }
  }
  const pair = selectedPair(report);
  if (pair) {
    total.rtt = pair.currentRoundTripTime ?? null;
    total.relay = [pair.localCandidateId, pair.remoteCandidateId].some(
      (id) => report.get(id)?.candidateType === "relay",
    );
  }
  return { received, total };
}

export function selectedPair(report) {
  const items = [...report.values()];
  const chosen = items.find((item) => item.type === "transport")?.selectedCandidatePairId;
  return (
    report.get(chosen) ??
    items.find((item) => item.type === "candidate-pair" && item.nominated && item.state === "succeeded")
  );
}

function history(pc, id) {
  if (!previous.has(pc)) previous.set(pc, new Map());
  const ofPc = previous.get(pc);
  if (!ofPc.has(id)) ofPc.set(id, {});
  return ofPc.get(id);
}

function bitrate(pc, id, bytes = 0, at) {
  const last = history(pc, id);
  const span = at - last.at;
  const rate = span > 0 ? Math.max(0, ((bytes - last.bytes) * 8000) / span) : 0;
  Object.assign(last, { bytes, at });
  return rate;
}

/** The share of packets lost since the last look, not since the beginning. */
function lossShare(pc, { id, packetsLost = 0, packetsReceived = 0 }) {
  const last = history(pc, `${id}/loss`);
  const lost = Math.max(0, packetsLost - (last.lost ?? 0));
  const arrived = Math.max(0, packetsReceived - (last.arrived ?? 0));
  Object.assign(last, { lost: packetsLost, arrived: packetsReceived });
  return lost + arrived ? lost / (lost + arrived) : 0;
}

export const formatRate = (bits) =>
  bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mb/s` : `${Math.round(bits / 1e3)} kb/s`;

/** For a tile: the picture, then the connection. */
export function describe(stats, tracks) {
  const mine = tracks.map((track) => stats.received.get(track.id)).filter(Boolean);
  const video = mine.find(({ kind }) => kind === "video");
  const parts = [];
  if (video?.width) parts.push(`${video.width}×${video.height}`, `${Math.round(video.fps ?? 0)} fps`);
  const codecs = mine.map(({ codec }) => codec).filter(Boolean);
  if (codecs.length) parts.push(codecs.join(" + "));
  const { total } = stats;
  const rateIn = mine.length ? mine.reduce((sum, { rate }) => sum + rate, 0) : total.in;
  if (rateIn || total.out) parts.push(`↓ ${formatRate(rateIn)}`, `↑ ${formatRate(total.out)}`);
  if (total.rtt !== null) parts.push(`${Math.round(total.rtt * 1000)} ms${total.relay ? " relayed" : ""}`);
  const loss = Math.max(0, ...mine.map(({ loss }) => loss));
  if (mine.length) parts.push(`${(loss * 100).toFixed(loss && loss < 0.01 ? 1 : 0)} % loss`);
  return parts;
}
