"""The member on aiortc, with the vendor's Python SDK. Orders come as lines of JSON, as in wrtc.mjs.

Run with the environment that ../setup.sh makes.
"""

import asyncio
import json
import pathlib
import re
import sys
import traceback
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from metered_realtime import (  # noqa: E402
    MediaStream, MeteredPeer, NegotiationError, PeerJoined, PeerLeft, ReconnectOptions, StateChange, StreamAdded,
    StreamRemoved, Track,
)

from elements_lab import Received, Screen, Tone  # noqa: E402

NEWS_KEPT = 80


class Remote:
    def __init__(self, remote):
        self.remote = remote
        self.added = self.removed = 0
        self.errors = []
        self.channel = None
        self.tracks = []


class Member:
    def __init__(self):
        self.peer = None
        self.remotes = {}
        self.streams = {}
        self.news = []

    def note(self, text):
        self.news = [*self.news[1 - NEWS_KEPT :], text]

    async def join(self, url, token, channel, kinds=None):
        async def provider():
            return token

        self.peer = MeteredPeer(
            url=url, token_provider=provider, reconnect=ReconnectOptions(max_delay=4.0)
        )
        self.peer.on(PeerJoined, self.joined)
        self.peer.on(PeerLeft, self.left)
        stream = await self.publish(kinds) if kinds else None
        await self.peer.join(channel)
        return stream

    def left(self, event):
        self.note(f"peer-left {event.peer.id}")
        self.remotes.pop(event.peer.id, None)

    def joined(self, event):
        remote = event.peer
        self.note(f"peer-joined {remote.id}")
        entry = self.remotes[remote.id] = Remote(remote)

        def track(event):
            entry.tracks.append((event.track, Received(event)))

        def added(event):
            entry.added += 1
            self.note(f"{remote.id} stream-added {event.stream.id}")

        def removed(event):
            entry.removed += 1
            self.note(f"{remote.id} stream-removed {event.stream.id}")

        def error(event):
            entry.errors.append(str(event.err))
            self.note(f"{remote.id} negotiation-error {event.err}")

        remote.on(Track, track)
        remote.on(StreamAdded, added)
        remote.on(StreamRemoved, removed)
        remote.on(NegotiationError, error)
        remote.on(StateChange, lambda event: self.note(f"{remote.id} {event.to}"))

    async def publish(self, kinds):
        make = {"video": Screen, "audio": lambda: Tone(600)}
        stream = MediaStream([make[kind]() for kind in kinds], id=str(uuid.uuid4()))
        self.streams[stream.id] = stream
        self.peer.add_stream(stream, {"role": "test"})
        return stream.id

    async def unpublish(self, stream):
        gone = self.streams.pop(stream)
        self.peer.remove_stream(gone)
        for track in gone.get_tracks():
            track.stop()

    async def openChannel(self, peerId):  # noqa: N802, N803: the words of the other members
        entry = self.remotes[peerId]
        entry.channel = entry.remote.create_data_channel("cues")

    async def report(self):
        remotes = {}
        for peer_id, entry in self.remotes.items():
            streams = {}
            sending = sending_streams(entry.remote.pc)
            here = {receiver.track for receiver in entry.remote.pc.getReceivers()}
            for track, received in entry.tracks:
                if track not in here:
                    continue
                for stream_id in received.stream_ids:
                    if (stream_id, track.kind) in sending:
                        media = received.media
                        count = len(media.times) if track.kind == "video" else sum(rms > 500 for rms, _ in media.windows)
                        streams.setdefault(stream_id, {})[track.kind] = count
            remotes[peer_id] = {
                "state": entry.remote.state,
                "signalling": entry.remote.pc.signalingState,
                "connection": entry.remote.pc.connectionState,
                "channel": entry.channel and entry.channel.readyState,
                "streams": streams,
                "added": entry.added,
                "removed": entry.removed,
                "errors": entry.errors,
            }
        return {"state": str(self.peer.state), "remotes": remotes, "news": self.news}

    async def describe(self):
        """What the descriptions say about what goes where."""
        told = {}
        for peer_id, entry in self.remotes.items():
            pc = entry.remote.pc
            told[peer_id] = {
                "tracks": [str(received) for _, received in entry.tracks],
                "packets": [
                    [report.kind, report.ssrc, report.packetsReceived, report.packetsLost]
                    for receiver in pc.getReceivers()
                    for report in (await receiver.getStats()).values()
                    if report.type == "inbound-rtp"
                ],
                "local": short_sdp(pc.localDescription),
                "remote": short_sdp(pc.remoteDescription),
            }
        return told

    async def leave(self):
        await self.peer.close()


TELLING = re.compile(r"m=|a=(group|mid|msid:|sendrecv|sendonly|recvonly|inactive|setup|ssrc:\d+ cname|rtpmap:\d+ (opus|VP8))")


def short_sdp(description):
    return [line for line in description.sdp.splitlines() if TELLING.match(line)] if description else None


def sending_streams(pc):
    """What the other side says that it sends, as (stream id, kind): aiortc does not end the tracks that it stops."""
    description = pc.remoteDescription
    found = set()
    for section in (description.sdp if description else "").split("\nm=")[1:]:
        lines = section.splitlines()
        if "a=sendonly" in lines or "a=sendrecv" in lines:
            found.update((line[7:].split()[0], section.split()[0]) for line in lines if line.startswith("a=msid:"))
    return found


async def main():
    member = Member()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        try:
            value = await getattr(member, order["method"])(**(order.get("argument") or {}))
            answer = {"id": order["id"], "value": value}
        except Exception:
            answer = {"id": order["id"], "error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
    if member.peer:
        await member.leave()


if __name__ == "__main__":
    asyncio.run(main())
