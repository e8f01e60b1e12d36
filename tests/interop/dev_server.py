"""Starts metered-dev-server for a test, and what the tests share."""

import asyncio
import json
import os
import pathlib
import urllib.parse
import urllib.request

SECRET_KEY = "sk_id_test:sk_secret_test"
PROGRAM = os.environ.get("METERED_DEV_SERVER") or str(
    pathlib.Path(__file__).resolve().parents[2] / "target/debug/metered-dev-server"
)
# Upper bound of every wait.
DEADLINE = 20.0


class DevServer:
    """A running server."""

    def __init__(self, process, url, http):
        self.process = process
        self.url = url
        self.http = http

    @classmethod
    async def start(cls, *flags):
        """With a port of its own, unless the flags name one."""
        port = () if "--port" in flags else ("--port", "0")
        process = await asyncio.create_subprocess_exec(
            PROGRAM, *port, "--test-hooks", *flags,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "METERED_DEV_SECRET_KEY": SECRET_KEY},
        )
        line = (await asyncio.wait_for(process.stdout.readline(), DEADLINE)).decode()
        word, url, http = line.split() if line else ("", "", "")
        if word != "listening":
            raise RuntimeError(f"unexpected first line {line!r}")
        return cls(process, url, http)

    async def stop(self):
        """Ends it as a deploy does."""
        if self.process.returncode is None:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), DEADLINE)

    async def request(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {SECRET_KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            urllib.parse.urljoin(self.http, path), data=data, method=method, headers=headers
        )

        def exchange():
            with urllib.request.urlopen(request, timeout=DEADLINE) as response:
                return json.load(response)

        return await asyncio.to_thread(exchange)

    async def token(self, peer_id, **claims):
        answer = await self.request("POST", "v1/tokens", {"peerId": peer_id, **claims})
        return answer["token"]

    async def hook(self, name, **body):
        """A development-only fault, such as `close` with peerId, code, reason."""
        return await self.request("POST", f"dev/{name}", body)

    def options(self, peer_id, **claims):
        """Constructor arguments of an SDK client with a token of this id."""

        async def provider():
            return await self.token(peer_id, **claims)

        return {"url": self.url, "token_provider": provider}


class Recorder:
    """Keeps the events of an SDK object, so that a test can wait for one that has already come."""

    def __init__(self, emitter, *types):
        self.seen = []
        self.changed = asyncio.Condition()
        for kind in types:
            emitter.on(kind, self._record)

    async def _record(self, event):
        async with self.changed:
            self.seen.append(event)
            self.changed.notify_all()

    async def next(self, kind, fits=lambda event: True):
        """The first event of this type that fits and was not returned before."""

        def find():
            return next((e for e in self.seen if isinstance(e, kind) and fits(e)), None)

        try:
            async with self.changed:
                await asyncio.wait_for(self.changed.wait_for(find), DEADLINE)
                event = find()
                self.seen.remove(event)
                return event
        except asyncio.TimeoutError:
            raise AssertionError(f"no {kind.__name__} in {DEADLINE} s; seen: {self.seen}") from None
