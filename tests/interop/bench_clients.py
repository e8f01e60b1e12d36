"""Our client beside the vendor's SDKs, by turns in one run; started by scripts/bench.

    bench_clients.py BENCH-PROGRAM SERVER-PROGRAM
"""

import asyncio
import json
import os
import pathlib
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
# Below the 80 frames a second that our client sends at most.
TRIP_RATE = 60
TRIPS_PER_TURN = 250
TURNS = int(os.environ.get("METERED_BENCH_TURNS", "12"))
# More than our client sends at once, so that its pacing shows.
PUBLISHES = 1000
PUBLISHES_UNPACED = 20000
RECEIVE_TURNS = 5
FLOOD = 4000
DEADLINE = 120.0


class Child:
    """A program that answers lines, or a server that says where it listens."""

    @classmethod
    async def start(cls, *command):
        self = cls()
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 24)
        return self

    async def line(self):
        text = await asyncio.wait_for(self.process.stdout.readline(), DEADLINE)
        if not text:
            raise RuntimeError("a program ended early")
        return text.decode()

    async def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        return json.loads(await self.line())

    async def end(self):
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), DEADLINE)

    async def kill(self):
        self.process.kill()
        await self.process.wait()


async def server(program, unlimited):
    """A development server, without the service's rate limit if asked for."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write("[limits]\nmessages_per_second = 0\n" if unlimited else "")
        config.flush()
        child = await Child.start(program, "--config", config.name, "--port", "0")
        return child, (await child.line()).split()[1]


async def clients(bench, url):
    return {
        "Rust": await Child.start(bench, "client", url),
        "JavaScript": await Child.start("node", str(HERE / "round_trip.mjs"), url),
        "Python": await Child.start(sys.executable, str(HERE / "round_trip.py"), url),
    }


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(title, rows, unit):
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<12} {value:>12.1f} {unit}   {value / rows['Rust']:5.2f} of Rust")


async def round_trips(bench, program):
    running, url = await server(program, unlimited=False)
    by_name = await clients(bench, url)
    trips = {name: [] for name in by_name}
    for turn in range(TURNS + 1):
        for name, client in by_name.items():
            answer = await client.ask("trip", TRIPS_PER_TURN, TRIP_RATE)
            # The first turn warms up.
            if turn > 0:
                trips[name] += answer
    count = TURNS * TRIPS_PER_TURN
    what = f"publish to message, {count} each at {TRIP_RATE} a second"
    table(f"{what}, median", {name: statistics.median(values) for name, values in trips.items()}, "us")
    table(f"{what}, 99th percentile", {name: quantile(values, 0.99) for name, values in trips.items()}, "us")
    seconds = await by_name["Rust"].ask("publish", PUBLISHES)
    print(f"\n{PUBLISHES} publishes of our client: {PUBLISHES / seconds:.1f} a second, limited by its pacing")
    for client in by_name.values():
        await client.end()
    await running.kill()


async def publishing(bench, program):
    """What the SDKs could send if the service allowed it; ours keeps its pace."""
    running, url = await server(program, unlimited=True)
    by_name = await clients(bench, url)
    print()
    for name in ("JavaScript", "Python"):
        seconds = await by_name[name].ask("publish", PUBLISHES_UNPACED)
        print(f"{PUBLISHES_UNPACED} publishes of {name}, 64 at a time, no limit at the server: "
              f"{PUBLISHES_UNPACED / seconds:.0f} a second")
    for client in by_name.values():
        await client.end()
    await running.kill()


async def receiving(bench):
    flood = await Child.start(bench, "flood", str(FLOOD))
    url = (await flood.line()).split()[1]
    rates = {}
    for _ in range(RECEIVE_TURNS):
        # The server takes one client at a time.
        for name, command in {
            "Rust": (bench, "client", url),
            "JavaScript": ("node", str(HERE / "round_trip.mjs"), url),
            "Python": (sys.executable, str(HERE / "round_trip.py"), url),
        }.items():
            client = await Child.start(*command)
            count, seconds = await client.ask("receive")
            assert count == FLOOD, (name, count)
            await client.end()
            rates.setdefault(name, []).append(count / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    table(f"messages received, bursts of {FLOOD}, median of {RECEIVE_TURNS}", medians, "a second")
    await flood.kill()


async def main():
    bench, program = sys.argv[1:]
    await round_trips(bench, program)
    await publishing(bench, program)
    await receiving(bench)


asyncio.run(main())
