"""Our SignallingClient and the vendor's Python SDK in the same channels: each hears the other as one of its own.

Run with the environment that setup.sh makes: .venv/bin/python signalling_py.py
"""

import asyncio
import json
import logging
import pathlib
import random
import struct
import unittest

from metered_realtime import (
    Connected, Direct, Disconnected, GoingAway, Message, Presence, ReconnectOptions, ServerError, ServerRequestError,
    SignallingClient, SignallingConnectError, SubscribeOptions,
)

from dev_server import DevServer, Recorder
from signalling_driver import Refused, RustClient

PAYLOADS = json.loads((pathlib.Path(__file__).parent / "payloads.json").read_text("utf-8"))
CLIENT_EVENTS = (Connected, Disconnected, Message, Direct, Presence, ServerError, GoingAway)
QUICK = ReconnectOptions(initial_delay=0.05, jitter_ratio=0)
# What only Python can say.
INTEGERS = [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**64 - 1]


class Theirs:
    """An SDK client with its events."""

    def __init__(self, **options):
        self.client = SignallingClient(reconnect=QUICK, **options)
        self.events = Recorder(self.client, *CLIENT_EVENTS)
        self.next = self.events.next

    async def connect(self):
        await self.client.connect()
        return await self.next(Connected)


class Interop(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.server = await DevServer.start()
        self.addAsyncCleanup(self.server.stop)

    async def rust(self, **options):
        client = await RustClient.start(**options)
        self.addAsyncCleanup(client.end)
        await client.connect()
        await client.next("connected")
        return client

    async def theirs(self, **options):
        theirs = Theirs(**options)
        self.addAsyncCleanup(theirs.client.close)
        await theirs.connect()
        return theirs

    async def both(self, rust_claims=None, py_claims=None):
        """One of each, with the ids `rust` and `py`."""
        return (
            await self.rust(**self.server.options("rust", **(rust_claims or {}))),
            await self.theirs(**self.server.options("py", **(py_claims or {}))),
        )

    async def meet(self, channel, ours, theirs, metadata=False):
        """Subscribes one after the other, so that each has seen the other in the channel."""
        await ours.subscribe(channel, includeSenderMetadata=metadata)
        await ours.next("presence", lambda e: e["channel"] == channel)
        await theirs.client.subscribe(channel, SubscribeOptions(include_sender_metadata=metadata))
        seen = await theirs.next(Presence, lambda e: e.channel == channel)
        return seen, await ours.next("presence", lambda e: e["channel"] == channel)

    async def members(self, channel, expected):
        """Waits until these are in the channel."""
        path = f"v1/channels/{channel.replace('/', '%2F')}/peers"
        async with asyncio.timeout(20):
            while {peer["peerId"] for peer in (await self.server.request("GET", path))["peers"]} != expected:
                await asyncio.sleep(0)

    async def there_and_back(self, ours, theirs, channel, data):
        """Sends the data in all four ways and gives it back as it arrived."""
        await ours.publish(channel, data)
        await ours.send("py", data)
        await theirs.client.publish(channel, data)
        await theirs.client.send("rust", data)
        return [
            (await theirs.next(Message)).data, (await theirs.next(Direct)).data,
            (await ours.next("message"))["data"], (await ours.next("direct"))["data"],
        ]


def end(event):
    if isinstance(event, Disconnected):
        return event.code, event.reason, event.will_reconnect
    return event["code"], event["reason"], event["willReconnect"]


class Payloads(Interop):
    async def test_every_kind_of_value(self):
        ours, theirs = await self.both()
        await self.meet("values", ours, theirs)
        for what, data in {**PAYLOADS, "large integers": INTEGERS}.items():
            for got in await self.there_and_back(ours, theirs, "values", data):
                self.assertEqual(got, data, what)

    async def test_no_float_changes_its_last_bit(self):
        ours, theirs = await self.both()
        await self.meet("floats", ours, theirs)
        numbers = random.Random(1)
        floats = [struct.unpack("d", numbers.randbytes(8))[0] for _ in range(2000)]
        floats = [number for number in floats if abs(number) < float("inf")]
        for got in await self.there_and_back(ours, theirs, "floats", floats):
            self.assertEqual(got, floats)

    async def test_names_and_metadata_that_are_not_ascii(self):
        metadata = {"näme": "Zoë 😀", "rtl": "שלום", "line": "a\u2028b", "control": "\0\n", "list": [None, 1.5]}
        # A token's subject is printable ASCII.
        rust_id, py_id = 'r "u\\s/t" <1>&%?', "p'y+~{}"
        ours = await self.rust(**self.server.options(rust_id, peerMetadata=metadata))
        theirs = await self.theirs(**self.server.options(py_id, peerMetadata=metadata))
        for channel in ("räume/größe", "频道", "канал/😀", "שלום", "a b\u2028c", "100%/?#&="):
            seen, joined = await self.meet(channel, ours, theirs, metadata=True)
            self.assertEqual([(p.peer_id, p.metadata) for p in seen.joined], [(rust_id, metadata)])
            self.assertEqual(joined["joined"], [{"peerId": py_id, "metadata": metadata}])
            await ours.publish(channel, channel)
            self.assertEqual(await theirs.next(Message), Message(channel, rust_id, channel, metadata))
            await theirs.client.publish(channel, channel)
            heard = await ours.next("message")
            self.assertEqual((heard["channel"], heard["from"]), (channel, py_id))
            self.assertEqual((heard["data"], heard["fromMetadata"]), (channel, metadata))
        await ours.send(py_id, 1)
        self.assertEqual(await theirs.next(Direct), Direct(rust_id, 1, metadata))
        await theirs.client.send(rust_id, 1)
        self.assertEqual((await ours.next("direct"))["from"], py_id)

    async def test_what_our_parser_refuses_costs_that_frame_only(self):
        ours, theirs = await self.both()
        await self.meet("hostile", ours, theirs)
        deep = 0
        for _ in range(500):
            deep = [deep]
        await theirs.client.publish("hostile", deep)
        await theirs.client.publish("hostile", "half a pair: \ud83d")
        await theirs.client.publish("hostile", "whole")
        self.assertEqual((await ours.next("message"))["data"], "whole")

    async def test_the_largest_frame(self):
        ours, theirs = await self.both()
        await self.meet("size", ours, theirs)
        cap = (await ours.status())["maxMessageSize"]

        def fill(letter, escaped, **frame):
            """A text that makes the frame exactly as long as the server allows."""
            empty = {**frame, "data": "", "requestId": "x" * 36}
            width = len(json.dumps(letter)) - 2 if escaped else len(letter.encode())
            room = cap - len(json.dumps(empty, separators=(",", ":")))
            return "x" * (room % width) + letter * (room // width)

        for letter in ("x", "ü", "😀"):
            sent = fill(letter, False, type="publish", channel="size")
            await ours.publish("size", sent)
            self.assertEqual((await theirs.next(Message)).data, sent)
            with self.assertRaises(Refused) as refused:
                await ours.publish("size", sent + "x")
            error = refused.exception.error
            self.assertEqual((error["kind"], error["size"], error["cap"]), ("oversized", cap + 1, cap))
            sent = fill(letter, False, type="send", to="py")
            await ours.send("py", sent)
            self.assertEqual((await theirs.next(Direct)).data, sent)

            sent = fill(letter, True, type="publish", channel="size")
            await theirs.client.publish("size", sent)
            self.assertEqual((await ours.next("message"))["data"], sent)
            sent = fill(letter, True, type="send", to="rust")
            await theirs.client.send("rust", sent)
            self.assertEqual((await ours.next("direct"))["data"], sent)
        await ours.publish("size", "still there")
        self.assertEqual((await theirs.next(Message)).data, "still there")
        self.assertIsNone(ours.take("disconnected"))


class Channels(Interop):
    async def test_sender_metadata_on_and_off(self):
        ours, theirs = await self.both({"peerMetadata": {"is": "rust"}}, {"peerMetadata": {"is": "py"}})
        await self.meet("off", ours, theirs)
        await self.meet("on", ours, theirs, metadata=True)
        for channel, from_rust, from_py in (("off", None, None), ("on", {"is": "rust"}, {"is": "py"})):
            await ours.publish(channel, 1)
            self.assertEqual(await theirs.next(Message), Message(channel, "rust", 1, from_rust))
            await theirs.client.publish(channel, 1)
            self.assertEqual((await ours.next("message"))["fromMetadata"], from_py)
        await ours.send("py", 1)
        self.assertEqual(await theirs.next(Direct), Direct("rust", 1, {"is": "rust"}))
        await theirs.client.send("rust", 1)
        self.assertEqual((await ours.next("direct"))["fromMetadata"], {"is": "py"})

    async def test_presence(self):
        ours, theirs = await self.both({"peerMetadata": {"n": 1}})
        await ours.subscribe("seen")
        empty = {"event": "presence", "channel": "seen", "snapshot": True, "joined": [], "left": []}
        self.assertEqual(await ours.next("presence"), empty)
        await theirs.client.subscribe("seen")
        members = [(p.peer_id, p.metadata) for p in (await theirs.next(Presence)).joined]
        self.assertEqual(members, [("rust", {"n": 1})])
        joined = {**empty, "snapshot": False, "joined": [{"peerId": "py", "metadata": None}]}
        self.assertEqual(await ours.next("presence"), joined)

        await ours.unsubscribe("seen")
        self.assertEqual([p.peer_id for p in (await theirs.next(Presence)).left], ["rust"])
        await ours.subscribe("seen")
        await theirs.next(Presence, lambda e: e.joined)
        self.assertEqual(await ours.next("presence"), {**joined, "snapshot": True})
        await theirs.client.unsubscribe("seen")
        self.assertEqual((await ours.next("presence"))["left"], ["py"])
        await theirs.client.subscribe("seen")
        await ours.next("presence", lambda e: e["joined"])
        await theirs.next(Presence)

        await self.server.hook("close", peerId="rust", code=1006)
        self.assertEqual([p.peer_id for p in (await theirs.next(Presence)).left], ["rust"])
        self.assertEqual([p.peer_id for p in (await theirs.next(Presence)).joined], ["rust"])
        await self.server.hook("close", peerId="py", code=1006)
        await ours.next("presence", lambda e: e["left"] == ["py"])
        await ours.next("presence", lambda e: e["joined"] and not e["snapshot"])

    async def test_fourteen_channels_come_back(self):
        ours, theirs = await self.both()
        channels = [f"many/{number}" for number in range(14)]
        for channel in channels:
            await self.meet(channel, ours, theirs)
        for round_number in (1, 2):
            await self.server.hook("close", peerId="rust", code=1006)
            await self.server.hook("close", peerId="py", code=1006)
            self.assertTrue((await ours.next("connected"))["welcome"]["isReconnect"])
            await theirs.next(Connected, lambda e: e.is_reconnect)
            restored = [(await ours.next("resubscribed"))["channel"] for _ in channels]
            self.assertEqual(sorted(restored), sorted(channels))
            for channel in channels:
                await self.members(channel, {"rust", "py"})
                await theirs.client.publish(channel, round_number)
                heard = await ours.next("message")
                self.assertEqual((heard["channel"], heard["data"]), (channel, round_number))
                await ours.publish(channel, round_number)
                self.assertEqual(await theirs.next(Message), Message(channel, "rust", round_number))

    async def test_2000_directs_each_way_in_order(self):
        ours, theirs = await self.both()
        count = 2000

        async def send_ours():
            # Our client paces itself, but takes only so many at once.
            for start in range(0, count, 500):
                sent = [ours.call("send", to="py", data=number) for number in range(start, start + 500)]
                for answer in await asyncio.wait_for(asyncio.gather(*sent), 60):
                    self.assertNotIn("error", answer)

        async def send_theirs():
            # Theirs does not; the service allows 200 at once and 100 a second.
            loop = asyncio.get_running_loop()
            start = loop.time()
            for number in range(count):
                await asyncio.sleep(max(0, start + max(0, number - 150) * 0.012 - loop.time()))
                await theirs.client.send("rust", number)

        await asyncio.gather(send_ours(), send_theirs())
        expected = [*range(count), "end"]
        await ours.send("py", "end")
        self.assertEqual([(await theirs.next(Direct)).data for _ in expected], expected)
        await theirs.client.send("rust", "end")
        self.assertEqual([(await ours.next("direct"))["data"] for _ in expected], expected)
        self.assertIsNone(ours.take("disconnected"))


class Refusals(Interop):
    async def code_of(self, request):
        try:
            await request
        except ServerRequestError as error:
            return error.code
        except Refused as refused:
            return refused.error["code"]
        return "done"

    async def test_both_hear_the_same_codes(self):
        claims = {"channels": ["room/*"], "permissions": ["subscribe", "presence"]}
        ours, theirs = await self.both(claims, claims)
        for attempt, code in (
            (lambda client: client.subscribe("room/1"), "done"),
            (lambda client: client.publish("room/1", 1), "action_not_permitted"),
            (lambda client: client.send("py", 1), "action_not_permitted"),
            (lambda client: client.subscribe("lobby"), "channel_not_authorized"),
        ):
            codes = [await self.code_of(attempt(client)) for client in (ours, theirs.client)]
            self.assertEqual(codes, [code, code])
        caller = await self.rust(**self.server.options("caller"))
        other = await self.theirs(**self.server.options("other"))
        self.assertEqual(await self.code_of(caller.send("nobody", 1)), "peer_not_found")
        self.assertEqual(await self.code_of(other.client.send("nobody", 1)), "peer_not_found")

    async def test_credentials(self):
        async def nonsense():
            return "nonsense"

        for options, status in (({"api_key": "pk_unknown"}, None), ({"token_provider": nonsense}, 401)):
            ours = await RustClient.start(url=self.server.url, **options)
            self.addAsyncCleanup(ours.end)
            with self.assertRaises(Refused) as refused:
                await ours.connect()
            error = refused.exception.error
            with self.assertRaises(SignallingConnectError) as caught:
                await SignallingClient(url=self.server.url, **options).connect()
            # Their SDK puts the HTTP status where the close code would be.
            self.assertEqual(error["status"], status)
            self.assertEqual(status or error["closeCode"], caught.exception.close_code)


class Ends(Interop):
    async def test_a_kick(self):
        ours, theirs = await self.both()
        await self.server.request("DELETE", "v1/peers/rust")
        await self.server.request("DELETE", "v1/peers/py")
        seen = await ours.next("disconnected")
        self.assertEqual(end(seen), end(await theirs.next(Disconnected)))
        self.assertEqual((seen["code"], seen["willReconnect"]), (4020, False))
        self.assertEqual((await ours.status())["state"], "closed")

    async def test_close_codes(self):
        ours, theirs = await self.both()
        for code in (1000, 1001, 1006, 1008, 1009, 1011, 4002, 4011, 4999, 4012):
            await self.server.hook("close", peerId="rust", code=code, reason="why ü")
            await self.server.hook("close", peerId="py", code=code, reason="why ü")
            seen, expected = await ours.next("disconnected"), await theirs.next(Disconnected)
            self.assertEqual((seen["code"], seen["willReconnect"]), (expected.code, expected.will_reconnect))
            self.assertEqual(seen["reason"], expected.reason)
            if expected.will_reconnect:
                await ours.next("connected")
                await theirs.next(Connected)

    async def test_an_expired_token(self):
        def expiring(peer_id):
            lifetimes = iter([2])

            async def provider():
                return await self.server.token(peer_id, expiresInSec=next(lifetimes, 600))

            return {"url": self.server.url, "token_provider": provider}

        ours, theirs = await self.rust(**expiring("rust")), await self.theirs(**expiring("py"))
        await self.meet("expiry", ours, theirs)
        seen = await ours.next("disconnected")
        self.assertEqual(end(seen), end(await theirs.next(Disconnected)))
        self.assertEqual((seen["code"], seen["willReconnect"]), (4002, True))
        back = (await ours.next("connected"))["welcome"]
        again = await theirs.next(Connected)
        self.assertEqual((back["isReconnect"], back["peerId"]), (True, "rust"))
        self.assertEqual((again.is_reconnect, again.peer_id), (True, "py"))
        self.assertEqual([(await ours.next("token-wanted"))["count"] for _ in range(2)], [1, 2])
        self.assertEqual((await ours.next("resubscribed"))["channel"], "expiry")

    async def test_a_restart_of_the_server(self):
        first = self.server

        def options(peer_id):
            async def provider():
                return await self.server.token(peer_id)

            return {"url": first.url, "token_provider": provider}

        ours, theirs = await self.rust(**options("rust")), await self.theirs(**options("py"))
        await self.meet("deploy", ours, theirs)
        await first.stop()
        away = await ours.next("going-away")
        self.assertEqual(away["retryAfterMs"], (await theirs.next(GoingAway)).retry_after_ms)
        seen = await ours.next("disconnected")
        self.assertEqual(end(seen), end(await theirs.next(Disconnected)))
        self.assertEqual((seen["code"], seen["willReconnect"]), (1001, True))
        self.server = await DevServer.start("--port", first.url.rsplit(":", 1)[1])
        self.addAsyncCleanup(self.server.stop)
        self.assertTrue((await ours.next("connected"))["welcome"]["isReconnect"])
        await theirs.next(Connected, lambda e: e.is_reconnect)
        self.assertEqual((await ours.next("resubscribed"))["channel"], "deploy")
        await self.members("deploy", {"rust", "py"})
        await ours.publish("deploy", "back")
        self.assertEqual((await theirs.next(Message)).data, "back")


if __name__ == "__main__":
    # The test loop runs in debug mode, which reports every step over 100 ms.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    unittest.main(verbosity=2)
