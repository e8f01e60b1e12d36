"""metered-dev-server against the vendor's Python SDK: what the SDK expects of the service, the server does.

Run with the environment that setup.sh makes: .venv/bin/python server_py.py
"""

import asyncio
import logging
import unittest

from metered_realtime import (
    Connected, Data, DataChannel, DataChannelOpened, DCMessage, DCOpen, Direct, Disconnected, FatalError, GoingAway,
    Joined, Left, MeteredPeer, Message, PeerJoined, PeerLeft, Presence, ReconnectOptions, ServerError,
    ServerRequestError, SignallingClient, SignallingConnectError, SubscribeOptions,
)

from dev_server import DevServer, Recorder

CLIENT_EVENTS = (Connected, Disconnected, Message, Direct, Presence, ServerError, GoingAway)
PEER_EVENTS = (Joined, Left, PeerJoined, PeerLeft, Data, FatalError)
QUICK = ReconnectOptions(initial_delay=0.05, jitter_ratio=0)


class ServerTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.server = await DevServer.start()

    async def asyncTearDown(self):
        self.assertEqual(await self.server.stop(), 0)

    async def connect(self, **options):
        client = SignallingClient(reconnect=QUICK, **options)
        events = Recorder(client, *CLIENT_EVENTS)
        await client.connect()
        self.addAsyncCleanup(client.close)
        return client, events

    async def join(self, channel, include_sender_metadata=False, **options):
        peer = MeteredPeer(reconnect=QUICK, **options)
        events = Recorder(peer, *PEER_EVENTS)
        self.addAsyncCleanup(peer.close)
        await peer.join(channel, include_sender_metadata=include_sender_metadata)
        return peer, events

    async def assertRefused(self, code, request):
        with self.assertRaises(ServerRequestError) as caught:
            await request
        self.assertEqual(caught.exception.code, code)


def is_peer(peer_id):
    return lambda event: event.peer.id == peer_id


class Rooms(ServerTest):
    async def test_join_presence_broadcast_direct_leave(self):
        ana, ana_events = await self.join(
            "room", include_sender_metadata=True, **self.server.options("ana", peerMetadata={"username": "Ana"})
        )
        ben, ben_events = await self.join("room", **self.server.options("ben", peerMetadata={"username": "Ben"}))
        seen = await ana_events.next(PeerJoined, is_peer("ben"))
        self.assertEqual(seen.peer.metadata, {"username": "Ben"})
        await ben_events.next(PeerJoined, is_peer("ana"))

        await ben.send({"cue": 4})
        self.assertEqual(await ana_events.next(Data), Data("ben", {"cue": 4}, "broadcast", {"username": "Ben"}))
        await ana.send(None)
        self.assertEqual(await ben_events.next(Data), Data("ana", None, "broadcast", None))
        await ana.send_to("ben", "häi")
        self.assertEqual(await ben_events.next(Data), Data("ana", "häi", "direct", {"username": "Ana"}))
        await ben.close()
        await ana_events.next(PeerLeft, is_peer("ben"))

    async def test_a_data_channel_is_negotiated_through_the_server(self):
        ana, ana_events = await self.join("call", **self.server.options("ana"))
        _, ben_events = await self.join("call", **self.server.options("ben"))
        to_ben = (await ana_events.next(PeerJoined, is_peer("ben"))).peer
        to_ana = (await ben_events.next(PeerJoined, is_peer("ana"))).peer
        offered = Recorder(to_ana, DataChannelOpened)
        channel = DataChannel(to_ben.create_data_channel("chat"))
        opened = Recorder(channel, DCOpen)
        received = DataChannel((await offered.next(DataChannelOpened)).channel)
        messages = Recorder(received, DCMessage)
        await opened.next(DCOpen)
        await channel.send("through the server, around the server")
        self.assertEqual((await messages.next(DCMessage)).data, "through the server, around the server")

    async def test_two_sockets_of_one_peer(self):
        watcher, events = await self.connect(**self.server.options("watcher"))
        await watcher.subscribe("twins")
        await events.next(Presence)
        one, _ = await self.connect(**self.server.options("twin"))
        two, _ = await self.connect(**self.server.options("twin"))
        await one.subscribe("twins")
        await events.next(Presence, lambda e: e.joined)
        await two.subscribe("twins")
        await one.close()
        await watcher.publish("twins", "still there")
        self.assertEqual([e for e in events.seen if isinstance(e, Presence)], [])
        await two.close()
        await events.next(Presence, lambda e: e.left)


class Credentials(ServerTest):
    async def test_permissions_and_channels(self):
        claims = {"channels": ["room/*"], "permissions": ["subscribe", "presence"]}
        client, _ = await self.connect(**self.server.options("viewer", **claims))
        await client.subscribe("room/1")
        await self.assertRefused("action_not_permitted", client.publish("room/1", 1))
        await self.assertRefused("action_not_permitted", client.send("viewer", 1))
        await self.assertRefused("channel_not_authorized", client.subscribe("lobby"))
        await self.assertRefused("channel_reserved", client.subscribe("_SYSTEM/x"))

    async def test_peer_not_found(self):
        client, _ = await self.connect(**self.server.options("caller"))
        await self.assertRefused("peer_not_found", client.send("nobody", 1))

    async def test_welcome(self):
        ice = [{"urls": ["turn:127.0.0.1:3478"], "username": "u", "credential": "c"}]
        _, events = await self.connect(**self.server.options("ice", metadata={"iceServers": ice}))
        welcome = await events.next(Connected)
        self.assertEqual((welcome.peer_id, welcome.max_message_size), ("ice", 65536))
        self.assertAlmostEqual(welcome.expires_at - welcome.server_time, 3600, delta=2)
        self.assertEqual(len(welcome.ice_servers), 1)

    async def test_an_expiring_token_is_replaced(self):
        asked = 0

        async def provider():
            nonlocal asked
            asked += 1
            return await self.server.token("mayfly", expiresInSec=2 if asked == 1 else 600)

        client, events = await self.connect(url=self.server.url, token_provider=provider)
        await client.subscribe("expiry")
        await events.next(Presence)
        lost = await events.next(Disconnected)
        self.assertEqual((lost.code, lost.will_reconnect), (4002, True))
        await events.next(Connected, lambda e: e.is_reconnect)
        await events.next(Presence)
        self.assertEqual(asked, 2)

    async def test_refused_credentials_fail_the_first_connect(self):
        async def nonsense():
            return "nonsense"

        for options, code in (({"api_key": "pk_unknown"}, 4001), ({"token_provider": nonsense}, 401)):
            client = SignallingClient(url=self.server.url, **options)
            with self.assertRaises(SignallingConnectError) as caught:
                await client.connect()
            self.assertEqual(caught.exception.close_code, code)

    async def test_a_publishable_key_gets_a_new_id(self):
        client, events = await self.connect(url=self.server.url, api_key="pk_dev")
        first = await events.next(Connected)
        self.assertIsNone(first.expires_at)
        await self.server.hook("close", peerId=first.peer_id, code=1006)
        self.assertNotEqual((await events.next(Connected)).peer_id, first.peer_id)


class CloseCodes(ServerTest):
    async def test_final_codes(self):
        for code in (4001, 4003, 4012, 4020):
            with self.subTest(code=code):
                client, events = await self.connect(**self.server.options("end"))
                await self.server.hook("close", peerId="end", code=code, reason="test")
                self.assertEqual(await events.next(Disconnected), Disconnected(code, "test", False))
                self.assertEqual(client.state, "closed")

                _, events = await self.join("room", **self.server.options("member"))
                await self.server.hook("close", peerId="member", code=code)
                await events.next(FatalError)
                await events.next(Left)

    async def test_codes_after_which_it_comes_back(self):
        for code in (1000, 1001, 1006, 1008, 1009, 4002, 4011, 4999):
            with self.subTest(code=code):
                client, events = await self.connect(**self.server.options(f"back-{code}"))
                await client.subscribe("back")
                await events.next(Presence)
                await self.server.hook("close", peerId=f"back-{code}", code=code)
                lost = await events.next(Disconnected)
                self.assertEqual((lost.code, lost.will_reconnect), (code, True))
                await events.next(Connected, lambda e: e.is_reconnect)
                await events.next(Presence)

    async def test_the_slow_code(self):
        client, events = await self.connect(**self.server.options("slow"))
        await self.server.hook("close", peerId="slow", code=4010)
        self.assertEqual((await events.next(Disconnected)).will_reconnect, True)
        self.assertEqual(client.state, "reconnecting")

    async def test_a_kick_over_rest(self):
        _, events = await self.connect(**self.server.options("kicked"))
        answer = await self.server.request("DELETE", "v1/peers/kicked")
        self.assertEqual(answer, {"peerId": "kicked", "closed": 1})
        self.assertEqual((await events.next(Disconnected)).code, 4020)

    async def test_more_than_the_burst(self):
        client, events = await self.connect(**self.server.options("hasty"))
        results = await asyncio.gather(*(client.publish("c", 1) for _ in range(400)), return_exceptions=True)
        self.assertEqual((await events.next(Disconnected)).code, 4011)
        self.assertGreaterEqual(sum(result is None for result in results), 200)


class ServiceMessages(ServerTest):
    async def test_a_backend_publishes(self):
        client, events = await self.connect(**self.server.options("listener"))
        await client.subscribe("news/today", SubscribeOptions(include_sender_metadata=True))
        roster = await self.server.request("GET", "v1/channels/news%2Ftoday/peers")
        self.assertEqual(roster, {"channel": "news/today", "peers": [{"peerId": "listener"}]})
        body = {"data": {"x": 1}, "from": "backend", "peerMetadata": {"role": "bot"}}
        await self.server.request("POST", "v1/channels/news%2Ftoday/publish", body)
        self.assertEqual(await events.next(Message), Message("news/today", "backend", {"x": 1}, {"role": "bot"}))

    async def test_the_quota_is_an_error(self):
        client, _ = await self.connect(**self.server.options("thrifty"))
        await self.server.hook("quota", left=0)
        await self.assertRefused("over_message_quota", client.publish("c", 1))
        await self.server.hook("quota", left=None)
        await client.publish("c", 2)

    async def test_going_away(self):
        _, events = await self.connect(**self.server.options("deployed"))
        await self.server.hook("going-away", retryAfterMs=1500)
        self.assertEqual(await events.next(GoingAway), GoingAway(1500))
        self.assertEqual((await events.next(Disconnected)).code, 1001)
        await events.next(Connected, lambda e: e.is_reconnect)
        self.assertEqual(await self.server.stop(), 0)
        await events.next(GoingAway)
        lost = await events.next(Disconnected)
        self.assertEqual((lost.code, lost.will_reconnect), (1001, True))

    async def test_a_dead_path_is_noticed(self):
        client, events = await self.connect(inactivity_timeout=2.0, **self.server.options("frozen"))
        await self.server.hook("freeze", peerId="frozen", frozen=True)
        lost = await events.next(Disconnected)
        self.assertEqual(lost.will_reconnect, True)
        await events.next(Connected, lambda e: e.is_reconnect)
        await client.publish("c", "alive")


if __name__ == "__main__":
    # The test loop runs in debug mode, which reports every step over 100 ms.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    unittest.main(verbosity=2)
