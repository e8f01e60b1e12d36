// `window.meteredDemo`: the page for tests and for the developer tools.
//
//   state             "idle" | "joining" | "joined" | "reconnecting" | "leaving" | "closed"
//   ownPeerId         own id, or null
//   channel           the room
//   peers()           [{ peerId, name, metadata, state, polite, hello }]
//   streams(peerId?)  [{ peerId, streamId, metadata, role, label, stale, tracks: [{ kind, id, readyState,
//                     muted, mid, senderTrackId, metadata, wireMetadata }] }]
//                     `metadata` as the SDK reports it, `wireMetadata` as its sender wrote it
//   events            everything that happened: [{ at, type, … }], `at` in ms since the page was opened
//   messages()        chat and other data received: [{ from, kind, data }]
//   sending()         own tracks: [{ kind, id, streamId, role }]
//   inbound(peerId)   inbound-rtp statistics, one object per track, `codec` by name
//   outbound(peerId)  outbound-rtp statistics
//   connection(peerId) states, descriptions and chosen candidates of the connection
//   join(), leave(), setCamera(on), setMic(on), setScreen(on), send(data), sendTo(peerId, data)
//                     what the buttons do; a string is sent as a chat message
import { events } from "./log.js";
import { inbound, outbound, selectedPair } from "./stats.js";

export function expose({ room, media, actions }) {
  const pcOf = (peerId) => {
    const member = room.members.get(peerId);
    if (!member) throw new Error(`No such peer: ${peerId}`);
    return member.remote.pc;
  };
  window.meteredDemo = Object.freeze({
    get state() {
      return room.state;
    },
    get ownPeerId() {
      return room.ownPeerId;
    },
    get channel() {
      return room.channel;
    },
    get events() {
      return events();
    },
    peers: () =>
      [...room.members.values()].map(({ id, name, remote, state, hello }) => ({
        peerId: id,
        name,
        metadata: remote.metadata ?? null,
        state,
        polite: remote.polite,
        hello,
      })),
    streams: (peerId) =>
      [...room.members.values()]
        .filter(({ id }) => peerId === undefined || id === peerId)
        .flatMap((member) => [...member.streams.values()].map((entry) => streamOf(member, entry))),
    messages: () =>
      events()
        .filter(({ type, data }) => type === "data" && data?.type !== "hello")
        .map(({ from, kind, data }) => ({ from, kind, data })),
    sending: () =>
      media.published().map(({ track, stream, role }) => ({
        kind: track.kind,
        id: track.id,
        streamId: stream.id,
        role,
      })),
    inbound: (peerId) => inbound(pcOf(peerId)),
    outbound: (peerId) => outbound(pcOf(peerId)),
    connection: (peerId) => connectionOf(pcOf(peerId)),
    ...actions,
  });
}

function streamOf(member, entry) {
  return {
    peerId: member.id,
    streamId: entry.id,
    metadata: entry.metadata ?? null,
    role: entry.role,
    label: entry.label,
    stale: entry.staleSince !== null,
    tracks: entry.stream.getTracks().map((track) => ({
      kind: track.kind,
      id: track.id,
      readyState: track.readyState,
      muted: track.muted,
      metadata: null,
      wireMetadata: null,
      ...entry.tracks.get(track),
    })),
  };
}

async function connectionOf(pc) {
  const report = await pc.getStats();
  const pair = selectedPair(report);
  const candidate = (id) => {
    const { candidateType, protocol, address, port } = report.get(id) ?? {};
    return candidateType ? { candidateType, protocol, address, port } : null;
  };
  return {
    connectionState: pc.connectionState,
    iceConnectionState: pc.iceConnectionState,
    iceGatheringState: pc.iceGatheringState,
    signalingState: pc.signalingState,
    local: pc.localDescription && { type: pc.localDescription.type, sdp: pc.localDescription.sdp },
    remote: pc.remoteDescription && { type: pc.remoteDescription.type, sdp: pc.remoteDescription.sdp },
    pair: pair
      ? { local: candidate(pair.localCandidateId), remote: candidate(pair.remoteCandidateId) }
      : null,
    transceivers: pc.getTransceivers().map(({ mid, direction, currentDirection, receiver, sender }) => ({
      mid,
      kind: receiver.track.kind,
      direction,
      currentDirection,
      sending: sender.track?.id ?? null,
    })),
  };
}
