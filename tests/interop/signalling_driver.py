"""Our client as an object: starts signalling_driver.rs and speaks JSON lines with it."""

import asyncio
import itertools
import json
import os
import pathlib

from dev_server import DEADLINE

PROGRAM = os.environ.get("METERED_SIGNALLING_DRIVER") or str(
    pathlib.Path(__file__).resolve().parents[2] / "target/debug/examples/signalling-driver"
)
# The longest line: a snapshot of a large channel.
LINE_MAX = 16 * 1024 * 1024


class Refused(Exception):
    """A request that our client did not carry out."""

    def __init__(self, error):
        super().__init__(error["text"])
        self.error = error


class RustClient:
    """A `SignallingClient` of ours in a process of its own."""

    @classmethod
    async def start(cls, url, api_key=None, token_provider=None, initial_delay_ms=50, inactivity_ms=None):
        self = cls()
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_MAX
        )
        self.token_provider = token_provider
        self.ids = itertools.count(1)
        self.waiting = {}
        self.seen = []
        self.changed = asyncio.Condition()
        self.say({
            "url": url, "apiKey": api_key, "initialDelayMs": initial_delay_ms, "inactivityMs": inactivity_ms,
        })
        self.reader = asyncio.create_task(self.read())
        return self

    def say(self, line):
        self.process.stdin.write(json.dumps(line).encode() + b"\n")

    async def read(self):
        try:
            await self.read_lines()
        except Exception as error:
            for answer in self.waiting.values():
                answer.set_exception(error)
            raise

    async def read_lines(self):
        while text := await self.process.stdout.readline():
            line = json.loads(text)
            if line.get("event") == "token-wanted":
                self.call("token", token=await self.token_provider())
            if "event" not in line:
                self.waiting.pop(line["id"]).set_result(line)
                continue
            async with self.changed:
                self.seen.append(line)
                self.changed.notify_all()

    def call(self, name, **parameters):
        """Asks for something; calls are carried out in this order. Returns a future of the answer."""
        number = next(self.ids)
        answer = self.waiting[number] = asyncio.get_running_loop().create_future()
        self.say({"id": number, "call": name, **parameters})
        return answer

    async def result(self, name, **parameters):
        answer = await asyncio.wait_for(self.call(name, **parameters), 2 * DEADLINE)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    async def connect(self):
        return (await self.result("connect"))["connected"]

    async def status(self):
        return (await self.result("status"))["status"]

    async def subscribe(self, channel, **options):
        await self.result("subscribe", channel=channel, **options)

    async def unsubscribe(self, channel):
        await self.result("unsubscribe", channel=channel)

    async def publish(self, channel, data):
        await self.result("publish", channel=channel, data=data)

    async def send(self, to, data):
        await self.result("send", to=to, data=data)

    def take(self, name, fits=lambda event: True):
        """The first event of this name that fits, if it has come already."""
        event = next((e for e in self.seen if e["event"] == name and fits(e)), None)
        if event is not None:
            self.seen.remove(event)
        return event

    async def next(self, name, fits=lambda event: True):
        """The first event of this name that fits and was not returned before."""
        try:
            async with asyncio.timeout(DEADLINE), self.changed:
                while (event := self.take(name, fits)) is None:
                    await self.changed.wait()
                return event
        except TimeoutError:
            raise AssertionError(f"no {name} in {DEADLINE} s; seen: {self.seen}") from None

    async def end(self):
        """Ends the connection and the process."""
        self.process.stdin.close()
        code = await asyncio.wait_for(self.process.wait(), DEADLINE)
        await self.reader
        if code != 0:
            raise AssertionError(f"the driver ended with {code}")
