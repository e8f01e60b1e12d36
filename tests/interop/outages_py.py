"""Elements whose peer falls silent: stopped, killed, or behind a link that is cut.

Run with the environment that setup.sh makes: .venv/bin/python outages_py.py
"""

import asyncio
import logging
import os
import signal
import sys
import time
import unittest

import netns
from elements_lab import Lab, eventually

# From the last packet to the alarm: five seconds where pictures are received, five and a half where they are sent, and
# half a second for counting; the rest is for a busy machine.
ALARM = {"m-src": 8.0, "m-sink": 9.0}
# From the end of an outage to pictures again.
BACK = 10.0
# From another address to pictures again; the rest is for a busy machine.
MOVED = 8.0
# How long a program stands still, and how long a path is cut.
FROZEN = 20
CUT = 10
# From the end of that cut to pictures.
UNCUT = 4.0
BOTH = ("m-sink", "m-src")


def state(pipeline, peer_id):
    told = pipeline.find(message="metered-peer-state-changed", peer_id=peer_id)
    return told and told["state"]


def errors(pipeline):
    return [record for record in pipeline.records if record.get("message") == "error"]


class Outages(unittest.IsolatedAsyncioTestCase):
    async def call(self, *flags, network=None):
        """A sink and a source that have had pictures for some seconds."""
        self.lab = await Lab.open(self, *flags)
        hosts, self.tunnels = (None, None), []
        if network:
            hosts = (network.publisher, network.viewer)
            for host in hosts:
                port = int(self.lab.server.url.rsplit(":", 1)[1])
                self.tunnels.append(await self.enterAsyncContext(netns.Tunnel(host, port)))
        self.members = {
            "m-sink": await self.lab.sink(host=hosts[0]),
            "m-src": await self.lab.source(host=hosts[1]),
        }
        await self.flows()
        await self.flows()

    async def flows(self):
        """Pictures for two more seconds."""
        sink, source = self.members["m-sink"], self.members["m-src"]

        before = len(self.times())

        # A new pad counts from zero.
        def more():
            nonlocal before
            count = len(self.times())
            before = min(before, count)
            return count >= before + 50

        await eventually("pictures", more, source, sink)

    async def alarm(self, witness, victim, since):
        member = self.members[witness]
        await eventually("the alarm", lambda: state(member, victim) == "reconnecting", member)
        took = time.monotonic() - since
        print(f"{witness} says reconnecting after {took:.1f} s", file=sys.stderr)
        self.assertLess(took, ALARM[witness])

    def times(self):
        """When pictures came, on the pad that there is."""
        source = self.members["m-src"]
        pad = source.pads("m-sink").get("video")
        pictures = pad and source.pictures.get(pad["added"])
        return pictures.times if pictures else []

    async def picture_after(self, since):
        """How long after this moment the first picture came."""
        first = await eventually(
            "a picture", lambda: next((at for at in self.times() if at > since), None), *self.members.values()
        )
        return first - since

    def assertKept(self):
        """No pad has gone: the connection is the one of the beginning."""
        removed = [record for record in self.members["m-src"].records if "removed" in record]
        self.assertEqual(removed, [])

    async def recovery(self, since, limit=BACK):
        for member, other in zip(BOTH, reversed(BOTH)):
            await eventually("connected", lambda: state(self.members[member], other) == "connected", self.members[member])
        took = time.monotonic() - since
        await self.flows()
        print(f"connected after {took:.1f} s", file=sys.stderr)
        self.assertLess(took, limit)
        for member in self.members.values():
            self.assertEqual(errors(member), [])

    async def stand_still(self, victim):
        await self.call()
        witness = "m-src" if victim == "m-sink" else "m-sink"
        pid = self.members[victim].process.pid
        begin = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            await self.alarm(witness, victim, begin)
            await asyncio.sleep(max(0, begin + FROZEN - time.monotonic()))
        finally:
            os.kill(pid, signal.SIGCONT)
        await self.recovery(time.monotonic())

    async def test_a_sink_that_stands_still(self):
        await self.stand_still("m-sink")

    async def test_a_source_that_stands_still(self):
        await self.stand_still("m-src")

    async def test_nothing_happens_in_a_quiet_minute(self):
        """No alarm where there is no reason: a sink that is paused, and goes on."""
        await self.call()
        for target in ("paused", "playing"):
            await self.members["m-sink"].state(target)
            await asyncio.sleep(20)
        await self.flows()
        for member, other in zip(BOTH, reversed(BOTH)):
            told = [r for r in self.members[member].records if "reconnecting" in str(r)]
            self.assertEqual(told, [])

    async def killed(self, victim):
        """The service says nothing of it: it keeps the member's place for a while."""
        await self.call("--presence-grace-ms", "60000")
        witness = "m-src" if victim == "m-sink" else "m-sink"
        begin = time.monotonic()
        dead = self.members[victim]
        dead.exit_code = -signal.SIGKILL
        dead.process.kill()
        await dead.process.wait()
        await self.alarm(witness, victim, begin)
        again = time.monotonic()
        self.members[victim] = await (self.lab.sink() if victim == "m-sink" else self.lab.source())
        # A start of a program, besides.
        await self.recovery(again + 3)

    def network(self):
        network = netns.Network()
        self.addCleanup(network.remove)
        network.forward(True)
        return network

    async def test_a_link_that_is_cut_and_comes_back(self):
        network = self.network()
        await self.call(network=network)
        begin = time.monotonic()
        network.forward(False)
        await asyncio.gather(self.alarm("m-sink", "m-src", begin), self.alarm("m-src", "m-sink", begin))
        await asyncio.sleep(max(0, begin + 15 - time.monotonic()))
        network.forward(True)
        # An attempt that began before fails first.
        await self.recovery(time.monotonic(), BACK + 10)

    async def test_a_cut_of_ten_seconds_keeps_the_connection(self):
        network = self.network()
        await self.call(network=network)
        network.forward(False)
        await asyncio.sleep(CUT)
        network.forward(True)
        since = time.monotonic()
        back = await self.picture_after(since)
        print(f"pictures {back:.1f} s after a cut of {CUT} s", file=sys.stderr)
        await self.recovery(since, BACK)
        self.assertKept()
        self.assertLess(back, UNCUT)

    async def test_both_sides_restart_at_once(self):
        await self.call()
        for _ in range(3):
            await asyncio.gather(*(self.members[name].act(name, "restart-ice", "") for name in BOTH))
            await self.flows()
        self.assertKept()
        self.assertNotIn("reconnecting", str([member.records for member in self.members.values()]))
        self.assertNotIn("negotiation-error", str([member.records for member in self.members.values()]))

    async def another_address(self, mover):
        """The host loses its address and gets another one, as when it changes its network."""
        network = self.network()
        await self.call(network=network)
        host, number = {"m-sink": (network.publisher, 1), "m-src": (network.viewer, 2)}[mover]
        begin = time.monotonic()
        network.readdress(host, number, 9)
        # What was on its way may still come.
        back = await self.picture_after(begin + 0.5) + 0.5
        print(f"{mover}: pictures {back:.1f} s after another address", file=sys.stderr)
        await self.recovery(begin)
        self.assertLess(back, MOVED)

    async def test_a_sink_that_gets_another_address(self):
        await self.another_address("m-sink")

    async def test_a_source_that_gets_another_address(self):
        await self.another_address("m-src")

    async def test_a_short_cut_is_nothing(self):
        network = self.network()
        await self.call(network=network)
        network.forward(False)
        await asyncio.sleep(3)
        network.forward(True)
        await self.flows()
        self.assertNotIn("reconnecting", str([member.records for member in self.members.values()]))

    async def test_a_sink_that_is_killed(self):
        await self.killed("m-sink")

    async def test_a_source_that_is_killed(self):
        await self.killed("m-src")


if __name__ == "__main__":
    reason = netns.isolate()
    if reason:
        print(f"warning: no outage was tested: {reason}")
        sys.exit(0)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    unittest.main(verbosity=2)
