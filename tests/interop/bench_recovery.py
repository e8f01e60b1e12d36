"""How calls between two elements recover, in network namespaces: bench_recovery.py RUNS.

METERED_ANCHOR_PLUGIN, METERED_ANCHOR_SERVER: the plugin of the crate gst-plugin-webrtc, and the program of
gst-plugin-webrtc-signalling; then each run makes the same calls with webrtcsink and webrtcsrc as well.

Run with the environment that setup.sh makes, or scripts/bench recovery. Prints what was seen; nothing fails because a
machine is slow, only because a call does not recover at all.
"""

import asyncio
import logging
import math
import statistics
import sys
import time
import unittest

import anchor
import netns
from elements_lab import eventually
from outages_py import BOTH, CUT, Outages, state
from wire import Wire

# How long the service is away.
OUTAGE = 30
# The last pictures that came over a path are seen within this time.
LAST = 0.5
# A connection starts anew within this time after the service is back.
AFTER = 5
# Pictures and sound.
STREAMS = 2


class Run(Outages):
    """One call after another, each with another fault."""

    def __init__(self, figures):
        super().__init__()
        self.figures = figures

    def add(self, name, value):
        self.figures.setdefault(name, []).append(value)

    async def runTest(self):
        network = self.network()
        await self.call(network=network)
        await self.cut(network)
        await self.flows()
        await self.readdressed(network)
        await self.flows()
        await self.without_service(network)

    async def cut(self, network):
        begin = time.monotonic()
        network.forward(False)

        async def alarm(witness, victim):
            member = self.members[witness]
            await eventually("the alarm", lambda: state(member, victim) == "reconnecting", member)
            self.add(f"dead path detected by the {witness[2:]}, s", time.monotonic() - begin)

        await asyncio.gather(alarm("m-sink", "m-src"), alarm("m-src", "m-sink"))
        await asyncio.sleep(max(0, begin + CUT - time.monotonic()))
        network.forward(True)
        back = time.monotonic()
        self.add(f"pictures after a path was cut for {CUT} s, s", await self.picture_after(back))
        for member, other in zip(BOTH, reversed(BOTH)):
            await eventually("connected", lambda: state(self.members[member], other) == "connected", self.members[member])
        self.add(f"pads removed by a path cut for {CUT} s", self.removed())

    async def readdressed(self, network):
        for host, number, name in ((network.publisher, 1, "sink"), (network.viewer, 2, "src")):
            begin = time.monotonic()
            network.readdress(host, number, 9)
            took = LAST + await self.picture_after(begin + LAST)
            await self.flows()
            self.add(f"pictures after another address of the {name}, s", took)

    async def without_service(self, network):
        wire = Wire(network, network.publisher)
        removed, begin = self.removed(), time.monotonic()
        for tunnel in self.tunnels:
            await tunnel.break_off()
        await asyncio.sleep(OUTAGE)
        for tunnel in self.tunnels:
            await tunnel.mend()
        await asyncio.sleep(AFTER)
        before, after = self.longest(begin)
        self.add(f"longest time without a picture, service away for {OUTAGE} s, s", after - before)
        self.add(f"pads removed, service away for {OUTAGE} s", self.removed() - removed)
        self.add(f"RTP streams that began anew, service away for {OUTAGE} s", len(wire.streams) - STREAMS)
        self.add(f"RTP packets missing, service away for {OUTAGE} s", wire.missing())
        wire.close()

    def longest(self, begin):
        """The longest time without a picture."""
        times = sorted(at for p in self.members["m-src"].pictures.values() for at in p.times if at > begin)
        return max(zip(times, times[1:]), key=lambda pair: pair[1] - pair[0])

    def removed(self):
        return sum("removed" in record for record in self.members["m-src"].records)


class Anchor(Run):
    """The same with the elements of gst-plugin-webrtc. A call that does not recover is of no use for the next fault."""

    def __init__(self, figures, fault):
        super().__init__(figures)
        self.fault = fault

    async def runTest(self):
        network = self.network()
        server = await anchor.Server.start()
        self.addAsyncCleanup(server.stop)
        self.tunnels = [
            await self.enterAsyncContext(netns.Tunnel(host, server.port)) for host in (network.publisher, network.viewer)
        ]
        self.members = await anchor.call(self, server, network.publisher, network.viewer)
        await self.flows()
        await self.fault(self, network)

    def times(self):
        return sorted(at for p in self.members["m-src"].pictures.values() for at in p.times)

    async def cut(self, network):
        network.forward(False)
        await asyncio.sleep(CUT)
        network.forward(True)
        await self.back(f"pictures after a path was cut for {CUT} s, s", time.monotonic())
        self.add(f"pads removed by a path cut for {CUT} s", self.removed())

    async def readdressed(self, network):
        begin = time.monotonic()
        network.readdress(network.publisher, 1, 9)
        await self.back("pictures after another address of the sink, s", begin, begin + LAST)

    async def without_service(self, network):
        for tunnel in self.tunnels:
            await tunnel.break_off()
        await asyncio.sleep(OUTAGE)
        now = time.monotonic()
        self.add(f"pictures in the last second of {OUTAGE} s without the service", sum(now - 1 < at for at in self.times()))
        self.add(f"pads removed, service away for {OUTAGE} s", self.removed())

    async def back(self, name, begin, since=None):
        try:
            value = await self.picture_after(since or begin)
            self.add(name, value + (since or begin) - begin)
        except AssertionError:
            self.add(name, math.inf)


def main(runs):
    figures, others = {}, {}
    tables = {"ours": figures}
    if bool(anchor.PLUGIN) != bool(anchor.SERVER):
        sys.exit("METERED_ANCHOR_PLUGIN and METERED_ANCHOR_SERVER are needed both, or none of them")
    if anchor.PLUGIN:
        tables["webrtcsink and webrtcsrc"] = others
    for number in range(runs):
        calls = [Run(figures)]
        if anchor.PLUGIN:
            calls += [Anchor(others, fault) for fault in (Anchor.cut, Anchor.readdressed, Anchor.without_service)]
        for call in calls:
            result = unittest.TestResult()
            call.run(result)
            for _, trace in result.errors + result.failures:
                print(f"run {number + 1} of {runs} has failed:\n{trace}")
        print(f"run {number + 1} of {runs} is over", file=sys.stderr)
    for title, table in tables.items():
        print(f"\n{title}")
        show(table)


def show(figures):
    for name, values in figures.items():
        values.sort()
        # The smallest value that 95 of 100 do not exceed.
        high = values[min(len(values) - 1, -(-len(values) * 95 // 100) - 1)]
        print(f"{name:64} {len(values):3} values, median {statistics.median(values):.2f}, 95 % up to {high:.2f}")


if __name__ == "__main__":
    reason = netns.isolate()
    if reason:
        print(f"warning: nothing was measured: {reason}")
        sys.exit(0)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    main(int(sys.argv[1]))
