"""The elements against the vendor's Python SDK, which stands on aiortc: media and data in both directions.

Run with the environment that setup.sh makes: .venv/bin/python elements_py.py
"""

import logging
import unittest

from metered_realtime import NegotiationError, StreamAdded

from elements_lab import SIZE, Lab, eventually

CAMERA = {"role": "camera", "label": "Front"}


class ElementsTest(unittest.IsolatedAsyncioTestCase):
    def assertHarmless(self, member):
        errors = [event for news in member.news.values() for event in news if isinstance(event, NegotiationError)]
        self.assertEqual(errors, [])


class SinkToPython(ElementsTest):
    async def receive(self, python_id, **options):
        lab = await Lab.open(self)
        member = await lab.python(python_id)
        sink = await lab.sink(**options)
        video, audio = await lab.python_sees(member, "m-sink", sink)
        self.assertEqual((video.stream_ids, video.metadata), (["cam"], CAMERA))
        self.assertEqual((audio.stream_ids, audio.metadata), (["cam"], {"role": "microphone"}))
        self.assertEqual(video.media.sizes, {SIZE})
        self.assertEqual(member.remotes["m-sink"].metadata, {"username": "m-sink"})
        self.assertHarmless(member)
        return member

    async def test_a_polite_receiver(self):
        await self.receive("a")

    async def test_an_impolite_receiver(self):
        await self.receive("z")

    async def test_a_receiver_that_comes_later(self):
        lab = await Lab.open(self)
        sink = await lab.sink()
        await eventually("joining", lambda: sink.find(message="metered-joined"), sink)
        member = await lab.python("a")
        await lab.python_sees(member, "m-sink", sink)

    async def test_h264(self):
        member = await self.receive("a", properties='video-caps="video/x-h264"')
        sdp = member.remotes["m-sink"].pc.remoteDescription.sdp
        self.assertIn("H264/90000", sdp)
        self.assertNotIn("VP8/90000", sdp)


class PythonToSource(ElementsTest):
    async def publish(self, python_id):
        lab = await Lab.open(self)
        source = await lab.source()
        member = await lab.python(python_id, 600, {"role": "robot"}, peerMetadata={"username": "Py"})
        pads = await lab.source_sees(source, python_id, member, hertz=600)
        self.assertEqual(set(pads), {"video", "audio"})
        for pad in pads.values():
            self.assertEqual(pad["stream-id"], "python")
            self.assertEqual(pad["metadata"], {"role": "robot"})
            self.assertEqual(pad["peer-metadata"], {"username": "Py"})
            self.assertTrue(pad["track-id"])
        self.assertHarmless(member)

    async def test_a_polite_publisher(self):
        await self.publish("a")

    async def test_an_impolite_publisher(self):
        await self.publish("z")


class BothWays(ElementsTest):
    async def everybody(self, python_id, python_first):
        lab = await Lab.open(self)
        if python_first:
            member = await lab.python(python_id, 600)
        sink = await lab.sink()
        source = await lab.source()
        if not python_first:
            await eventually("joining", lambda: sink.find(message="metered-joined"), sink)
            await eventually("joining", lambda: source.find(message="metered-joined"), source)
            member = await lab.python(python_id, 600)
        await lab.python_sees(member, "m-sink", sink, source, rate=15)
        await lab.source_sees(source, python_id, member, hertz=600)
        await lab.source_sees(source, "m-sink", sink, hertz=440)
        # One connection from the beginning to the end.
        streams = [event for event in member.news["m-sink"] if isinstance(event, StreamAdded)]
        self.assertEqual(len(streams), 1, streams)
        self.assertHarmless(member)

    async def test_a_polite_member_comes_first(self):
        await self.everybody("a", True)

    async def test_a_polite_member_comes_last(self):
        await self.everybody("a", False)

    async def test_h264_to_a_polite_member(self):
        lab = await Lab.open(self)
        member = await lab.python("a", 600)
        sink = await lab.sink(properties='video-caps="video/x-h264"')
        await lab.python_sees(member, "m-sink", sink, rate=15)
        self.assertEqual(len([event for event in member.news["m-sink"] if isinstance(event, StreamAdded)]), 1)
        self.assertHarmless(member)

    async def test_an_impolite_member_comes_first(self):
        await self.everybody("z", True)

    async def test_an_impolite_member_comes_last(self):
        await self.everybody("z", False)


class ComingAndGoing(ElementsTest):
    async def leave_and_return(self, python_id):
        lab = await Lab.open(self)
        sink = await lab.sink()
        source = await lab.source()
        for _ in range(3):
            member = await lab.python(python_id, 600)
            await lab.python_sees(member, "m-sink", sink, source, rate=10)
            await lab.source_sees(source, python_id, member, hertz=600, rate=10)
            self.assertHarmless(member)
            await member.close()
            await eventually("the pads to go", lambda: not source.pads(python_id), source)
        await lab.source_sees(source, "m-sink", sink, hertz=440)

    async def test_a_polite_member(self):
        await self.leave_and_return("a")

    async def test_an_impolite_member(self):
        await self.leave_and_return("z")

    async def restarted(self, python_id):
        """The SDK takes new credentials for a new connection, so it is not asked to restart: it gets one."""
        lab = await Lab.open(self)
        sink = await lab.sink()
        member = await lab.python(python_id, 600)
        await lab.python_sees(member, "m-sink", sink, rate=10)
        before = member.got("m-sink", "video")
        self.assertTrue(await sink.act("m-sink", "restart-ice", python_id))
        await eventually("a new track", lambda: member.got("m-sink", "video") is not before, member, sink)
        await lab.python_sees(member, "m-sink", sink, rate=10)

    async def test_a_polite_member_and_a_restart(self):
        await self.restarted("a")

    async def test_an_impolite_member_and_a_restart(self):
        await self.restarted("z")

    async def test_a_lost_socket(self):
        lab = await Lab.open(self)
        sink = await lab.sink()
        source = await lab.source()
        member = await lab.python("a", 600)
        await lab.python_sees(member, "m-sink", sink, source, rate=10)
        await lab.server.hook("close", peerId="a", code=1006)
        before = member.got("m-sink", "video")
        await eventually("a new track", lambda: member.got("m-sink", "video") is not before, member, sink)
        await lab.python_sees(member, "m-sink", sink, source, rate=10)
        await lab.source_sees(source, "a", member, hertz=600, rate=10)


class DataMessages(ElementsTest):
    async def test_both_ways(self):
        lab = await Lab.open(self)
        source = await lab.source()
        member = await lab.python("a", peerMetadata={"username": "Ana"})
        await eventually("the member", lambda: source.find(message="metered-peer-joined", peer_id="a"), source)
        await eventually("the element", lambda: "m-src" in member.remotes, member)

        await member.peer.send({"cue": 4})
        got = await eventually("a broadcast", lambda: source.find(message="metered-data", kind="broadcast"), source)
        self.assertEqual((got["fields"]["from"], got["data"]), ("a", '{"cue":4}'))
        await member.remotes["m-src"].send("häi")
        got = await eventually("a direct message", lambda: source.find(message="metered-data", kind="direct"), source)
        self.assertEqual((got["fields"]["from"], got["data"]), ("a", '"häi"'))
        self.assertEqual(got["metadata"], {"username": "Ana"})

        self.assertTrue(await source.act("m-src", "send", '{"to":"all"}'))
        self.assertTrue(await source.act("m-src", "send-to", "a", '["ö",null,1.5]'))
        await eventually("both messages", lambda: len(member.data) >= 2, member)
        told = [(data.sender_peer_id, data.data) for data in member.data]
        self.assertEqual(told, [("m-src", {"to": "all"}), ("m-src", ["ö", None, 1.5])])


if __name__ == "__main__":
    # The test loop runs in debug mode, which reports every step over 100 ms.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    unittest.main(verbosity=2)
