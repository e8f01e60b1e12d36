"""What the tests of the elements share: pipelines in a process of their own, and members that use the vendor's SDK."""

import array
import asyncio
import fractions
import json
import math
import os
import pathlib
import tempfile
import time
import zlib

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from metered_realtime import (
    Data, MediaStream, MeteredPeer, NegotiationError, PeerJoined, PeerLeft, StateChange, StreamAdded, StreamRemoved, Track,
)

from dev_server import DevServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGIN_DIR = os.environ.get("METERED_PLUGIN_DIR") or str(ROOT / "target/plugin-debug")
# Upper bound of every wait, on a busy machine.
PATIENCE = 40.0
RATE = 48000
SIZE = (320, 240)


async def eventually(what, check, *told):
    """The first true result of `check`; failure says what was seen by each of `told`."""
    deadline = time.monotonic() + PATIENCE
    while not (result := check()):
        if time.monotonic() > deadline:
            seen = "\n".join(f"  {teller}" for teller in told)
            raise AssertionError(f"{what}: not within {PATIENCE} s\n{seen}")
        await asyncio.sleep(0.05)
    return result


class Pictures:
    """What is known about a picture track: when pictures came, their sizes, how many differ."""

    def __init__(self):
        self.times = []
        self.sums = set()
        self.sizes = set()

    def take(self, checksum, size):
        self.times.append(time.monotonic())
        self.sums.add(checksum)
        self.sizes.add(tuple(size))

    def flows(self, rate):
        """Whether the last two seconds brought this many new pictures per second."""
        now = time.monotonic()
        return sum(now - 2 < t for t in self.times) >= 2 * rate and len(self.sums) > rate

    def __repr__(self):
        now = time.monotonic()
        recent = sum(now - 2 < t for t in self.times)
        return f"pictures: {len(self.times)}, {recent} in the last 2 s, {len(self.sums)} different, {self.sizes}"


class Sounds:
    """Loudness and pitch of the newest half seconds."""

    def __init__(self):
        self.windows = []
        self.samples = array.array("h")

    def take(self, frame):
        count = frame.samples * len(frame.layout.channels)
        self.samples.extend(array.array("h", bytes(frame.planes[0])[: 2 * count])[:: len(frame.layout.channels)])
        half = frame.sample_rate // 2
        if len(self.samples) >= half:
            samples, self.samples = self.samples, array.array("h")
            crossings = sum(a < 0 <= b for a, b in zip(samples, samples[1:]))
            rms = math.sqrt(sum(s * s for s in samples) / len(samples))
            self.add(round(rms), round(crossings * frame.sample_rate / len(samples)))

    def add(self, rms, hertz):
        self.windows.append((rms, hertz))

    def sounds_like(self, hertz):
        """Two neighbouring windows with this tone: one alone may hold a concealed gap."""
        newest = self.windows[-2:]
        return len(newest) == 2 and all(rms > 500 and abs(got - hertz) < hertz / 10 for rms, got in newest)

    def __repr__(self):
        return f"sound (rms, hertz): {self.windows[-6:]} of {len(self.windows)}"


class Pipeline:
    """A gst-launch line in a process of its own; see pipeline.py."""

    def __init__(self, process):
        self.process = process
        self.records = []
        self.pictures = {}
        self.sounds = {}
        self.exit_code = 0
        self.reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, line, registry, host=None, environment=None):
        program = str(pathlib.Path(__file__).with_name("pipeline.py"))
        return await cls.run(["/usr/bin/python3", program, line], registry, host, environment)

    @classmethod
    async def run(cls, command, registry, host=None, environment=None):
        """A program that talks as pipeline.py does, on a host of netns.py or here."""
        process = await asyncio.create_subprocess_exec(
            *(host.command(*command) if host else command),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "GST_PLUGIN_PATH": PLUGIN_DIR, "GST_REGISTRY": registry, **(environment or {})},
        )
        return cls(process)

    async def _read(self):
        while line := await self.process.stdout.readline():
            record = json.loads(line)
            if "picture" in record:
                self.pictures.setdefault(record["of"], Pictures()).take(record["picture"], record["size"])
            elif "sound" in record:
                self.sounds.setdefault(record["sound"], Sounds()).add(record["rms"], record["hertz"])
            else:
                self.records.append(record)

    def find(self, **wanted):
        """The newest record with these members; those of `fields` may be named directly."""
        for record in reversed(self.records):
            members = {**record.get("fields", {}), **record}
            if all(members.get(key.replace("_", "-"), members.get(key)) == value for key, value in wanted.items()):
                return members
        return None

    def pads(self, peer_id):
        """The pads of a peer that are there now, by kind."""
        there = {}
        for record in self.records:
            if record.get("peer-id") == peer_id and "added" in record:
                there[record["added"]] = record
            there.pop(record.get("removed"), None)
        return {name.split("_")[0]: record for name, record in there.items()}

    async def act(self, element, action, *arguments):
        return await self._ask(action, {"element": element, "action": action, "arguments": arguments})

    async def state(self, name):
        """Sets the state of the pipeline."""
        return await self._ask(name, {"state": name})

    async def _ask(self, action, request):
        answers = [r for r in self.records if "answer" in r]
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        await eventually(
            f"an answer to {action}", lambda: len([r for r in self.records if "answer" in r]) > len(answers), self
        )
        return [r for r in self.records if "answer" in r][-1]["answer"]

    async def stop(self):
        """Ends it, as often as one likes."""
        self.process.stdin.close()
        try:
            code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        except asyncio.TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"the pipeline does not end\n{self}") from None
        await self.reader
        return code

    def __repr__(self):
        return f"pipeline: {self.records[-25:]} {self.pictures} {self.sounds}"


def on_time(track, per_second):
    """Seconds until the next frame of a track. What a busy machine could not make in time is left out."""
    now = time.monotonic()
    track.started = track.started or now
    ahead = track.started + track.count / per_second - now
    if ahead < -0.5:
        track.count = int((now - track.started) * per_second)
    return max(0, ahead)


class Screen(MediaStreamTrack):
    """Pictures that change, 30 a second."""

    kind = "video"

    def __init__(self):
        super().__init__()
        self.started = None
        self.count = 0

    async def recv(self):
        await asyncio.sleep(on_time(self, 30))
        if self.readyState != "live":
            raise MediaStreamError
        frame = av.VideoFrame(*SIZE, "yuv420p")
        for plane, value in zip(frame.planes, (self.count * 5 % 200 + 20, 90, 160)):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.time_base = self.count * 3000, fractions.Fraction(1, 90000)
        self.count += 1
        return frame


class Tone(MediaStreamTrack):
    """A sine tone, in packets of 20 ms."""

    kind = "audio"
    packet = RATE // 50

    def __init__(self, hertz):
        super().__init__()
        self.started = None
        self.count = 0
        # A second, and what a packet that begins in it needs beyond: what was left out is no whole number of packets.
        self.period = [round(8000 * math.sin(2 * math.pi * hertz * n / RATE)) for n in range(RATE + self.packet)]

    async def recv(self):
        await asyncio.sleep(on_time(self, RATE))
        if self.readyState != "live":
            raise MediaStreamError
        frame = av.AudioFrame(format="s16", layout="mono", samples=self.packet)
        start = self.count % RATE
        frame.planes[0].update(array.array("h", self.period[start : start + self.packet]).tobytes())
        frame.pts, frame.sample_rate, frame.time_base = self.count, RATE, fractions.Fraction(1, RATE)
        self.count += self.packet
        return frame


class Received:
    """One track that an SDK member got."""

    def __init__(self, event):
        self.kind = event.track.kind
        self.stream_ids = [stream.id for stream in event.streams]
        self.metadata = event.metadata
        self.media = Pictures() if self.kind == "video" else Sounds()
        self.task = asyncio.create_task(self._watch(event.track))

    async def _watch(self, track):
        try:
            while True:
                frame = await track.recv()
                if self.kind == "video":
                    self.media.take(zlib.crc32(bytes(frame.planes[0])), (frame.width, frame.height))
                else:
                    self.media.take(frame)
        except MediaStreamError:
            pass

    def __repr__(self):
        return f"{self.kind} of {self.stream_ids} {self.metadata}: {self.media}"


class Member:
    """A member that uses the SDK, and everything that it was told."""

    def __init__(self, peer):
        self.peer = peer
        self.remotes = {}
        self.data = []
        self.tracks = {}
        self.news = {}
        self.own = []
        peer.on(PeerJoined, self._joined)
        peer.on(PeerLeft, lambda event: self.remotes.pop(event.peer.id, None))
        peer.on(Data, self.data.append)

    @classmethod
    async def join(cls, options, channel, hertz=None, metadata=None):
        """With a tone also publishes: that tone, and pictures, as the stream `python`."""
        member = cls(MeteredPeer(**options))
        if hertz:
            member.own = [Screen(), Tone(hertz)]
            member.peer.add_stream(MediaStream(member.own, id="python"), metadata)
        await member.peer.join(channel)
        return member

    def _joined(self, event):
        remote = event.peer
        self.remotes[remote.id] = remote
        tracks = self.tracks.setdefault(remote.id, {})
        news = self.news.setdefault(remote.id, [])

        def track(event):
            tracks[event.track.kind] = Received(event)

        remote.on(Track, track)
        for kind in (StateChange, NegotiationError, StreamAdded, StreamRemoved):
            remote.on(kind, news.append)

    def got(self, peer_id, kind):
        return self.tracks.get(peer_id, {}).get(kind)

    async def close(self):
        await self.peer.close()
        for track in self.own:
            track.stop()

    def __repr__(self):
        return f"member {self.peer.peer_id} {self.peer.state}: {self.tracks} {self.news} {self.data}"


class Lab:
    """A room on a server of its own."""

    channel = "interop"

    def __init__(self, case, server, registry):
        self.case = case
        self.server = server
        self.registry = registry

    @classmethod
    async def open(cls, case, *flags):
        # The scan of a plugin takes seconds: one for all tests of a run.
        folder = tempfile.TemporaryDirectory(prefix="metered-interop-")
        case.addCleanup(folder.cleanup)
        lab = cls(case, await DevServer.start(*flags), os.environ.get("GST_REGISTRY") or f"{folder.name}/registry")
        case.addAsyncCleanup(lab.server.stop)
        return lab

    async def element(self, kind, peer_id, properties="", **claims):
        """The beginning of a launch line: an element that is in the room as `peer_id`."""
        token = await self.server.token(peer_id, peerMetadata={"username": peer_id}, **claims)
        return f'{kind} name={peer_id} url={self.server.url} channel={self.channel} token="{token}" {properties}'

    async def pipeline(self, line, **where):
        pipeline = await Pipeline.start(line, self.registry, **where)

        async def stop():
            self.case.assertEqual(await pipeline.stop(), pipeline.exit_code)

        self.case.addAsyncCleanup(stop)
        return pipeline

    async def sink(self, peer_id="m-sink", hertz=440, pad="", properties="", **where):
        """A camera and a microphone: the stream `cam`."""
        names = (
            'video_0::stream-id=cam video_0::metadata="meta,role=camera,label=(string)Front" '
            'audio_0::stream-id=cam audio_0::metadata="meta,role=microphone"'
        )
        return await self.pipeline(
            await self.element("meteredwebrtcsink", peer_id, f"{properties} {names}")
            + f" videotestsrc is-live=true pattern=ball motion=sweep ! video/x-raw,width={SIZE[0]},height={SIZE[1]},"
            f"framerate=30/1 ! queue ! {peer_id}.video_0 audiotestsrc is-live=true freq={hertz}"
            f" ! audio/x-raw,rate={RATE} ! queue ! {peer_id}.audio_0",
            **where,
        )

    async def source(self, peer_id="m-src", properties="", **where):
        return await self.pipeline(await self.element("meteredwebrtcsrc", peer_id, properties), **where)

    async def python(self, peer_id, hertz=None, metadata=None, **claims):
        member = await Member.join(self.server.options(peer_id, **claims), self.channel, hertz, metadata)
        self.case.addAsyncCleanup(member.close)
        return member

    # --- what both directions must bring ---

    async def python_sees(self, member, sink_id, *others, hertz=440, rate=20):
        video = await eventually(f"pictures of {sink_id}", lambda: member.got(sink_id, "video"), member, *others)
        await eventually(
            f"{rate} pictures a second from {sink_id}",
            lambda: member.got(sink_id, "video").media.flows(rate), member, *others,
        )
        await eventually(
            f"a tone of {hertz} Hz from {sink_id}",
            lambda: member.got(sink_id, "audio") and member.got(sink_id, "audio").media.sounds_like(hertz),
            member, *others,
        )
        return video, member.got(sink_id, "audio")

    async def source_sees(self, source, peer_id, *others, hertz, rate=15):
        def media(kind, table):
            pad = source.pads(peer_id).get(kind)
            return pad and table.get(pad["added"])

        await eventually(
            f"{rate} pictures a second from {peer_id}",
            lambda: (got := media("video", source.pictures)) and got.flows(rate), source, *others,
        )
        await eventually(
            f"a tone of {hertz} Hz from {peer_id}",
            lambda: (got := media("audio", source.sounds)) and got.sounds_like(hertz), source, *others,
        )
        return source.pads(peer_id)
