"""The vendor's Python SDK doing what benches/signalling/client.rs does, for the comparison of scripts/bench."""

import asyncio
import json
import os
import sys
import time

from metered_realtime import Message, SignallingClient

WINDOW = 64
URL = sys.argv[1]
# The programs that are compared take turns on one server.
CHANNEL = f"bench-{os.getpid()}"


async def connected():
    client = SignallingClient(url=URL, api_key="pk_dev")
    await client.connect()
    return client


async def trip(publisher, arrivals, count, rate):
    trips = []
    start = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(start + number / rate - time.perf_counter())
        sent = time.perf_counter()
        done = asyncio.create_task(publisher.publish(CHANNEL, {"n": number}))
        arrived, received = await arrivals.get()
        if received != number:
            raise RuntimeError(f"{received} instead of {number}")
        trips.append((arrived - sent) * 1e6)
        await done
    return trips


async def publish(publisher, count):
    start = time.perf_counter()

    async def worker(first):
        for number in range(first, count, WINDOW):
            await publisher.publish("nobody", {"n": number})

    await asyncio.gather(*(worker(first) for first in range(WINDOW)))
    return time.perf_counter() - start


async def receive(client):
    loop = asyncio.get_running_loop()
    state = {"count": 0, "ended": loop.create_future()}

    def heard(event):
        if event.data == "end":
            state["ended"].set_result(time.perf_counter() - start)
        else:
            state["count"] += 1

    client.on(Message, heard)
    start = time.perf_counter()
    await client.subscribe("flood")
    seconds = await state["ended"]
    return [state["count"], seconds]


async def main():
    client = await connected()
    subscriber = arrivals = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *numbers = line.split()
        if command == "trip":
            if subscriber is None:
                subscriber, arrivals = await connected(), asyncio.Queue()
                subscriber.on(Message, lambda event: arrivals.put_nowait((time.perf_counter(), event.data["n"])))
                await subscriber.subscribe(CHANNEL)
            answer = await trip(client, arrivals, int(numbers[0]), float(numbers[1]))
        elif command == "publish":
            answer = await publish(client, int(numbers[0]))
        else:
            answer = await receive(client)
        print(json.dumps(answer), flush=True)
    if subscriber is not None:
        await subscriber.close()
    await client.close()


asyncio.run(main())
