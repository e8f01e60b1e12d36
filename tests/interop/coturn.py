"""A coturn for a test, on a host of netns.py, and credentials for it."""

import asyncio
import base64
import hashlib
import hmac
import re
import tempfile
import time

from netns import RELAY

REALM = "turn.example"
DEADLINE = 20.0


class Coturn:
    """A running coturn. With a `secret` it takes short-lived credentials made from it, else one user."""

    def __init__(self, port, secret=None, user=None, address=RELAY):
        self.port = port
        self.secret = secret
        self.user = user
        self.address = address
        self.lines = []

    @classmethod
    async def start(cls, host, port, *flags, **options):
        self = cls(port, **options)
        self.folder = tempfile.TemporaryDirectory(prefix="metered-coturn-")
        if self.secret:
            login = ["--use-auth-secret", f"--static-auth-secret={self.secret}"]
        else:
            login = ["--lt-cred-mech", f"--user={':'.join(self.user)}"]
        # It must not outlive the test, however that ends.
        command = host.command(
            "setpriv", "--pdeathsig", "KILL", "turnserver", "-n", "-v", "--no-cli", "--no-dtls",
            "--log-file=stdout", "--simple-log", f"--pidfile={self.folder.name}/pid", f"--userdb={self.folder.name}/db",
            f"--listening-ip={self.address}", f"--relay-ip={self.address}", f"--listening-port={port}", f"--realm={REALM}",
            *login, *flags,
        )
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self.reader = asyncio.create_task(self._read())
        return self

    async def _read(self):
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode(errors="replace").rstrip())

    def find(self, pattern):
        """All matches of a pattern in what it said."""
        return [match for line in self.lines if (match := re.search(pattern, line))]

    def allocations(self, user):
        """Whether this user has been given a relay."""
        return self.find(rf"user <{re.escape(user)}>: incoming packet ALLOCATE processed, success")

    def ready(self):
        """It says this last, when its sockets are open and it knows its users."""
        return self.find("DB connection success")

    def server(self, *urls, name="robot", lifetime=3600, wrong=False):
        """An entry of `iceServers`. Its credentials are as odd as real ones: `:`, `@`, `+`, `/`, `=`."""
        urls = urls or (f"turn:{self.address}:{self.port}?transport=udp",)
        user, password = self.user or short_lived(self.secret, name, lifetime)
        return {"urls": list(urls), "username": user, "credential": password[::-1] if wrong else password}

    async def stop(self):
        if self.process.returncode is None:
            self.process.terminate()
        await asyncio.wait_for(self.process.wait(), DEADLINE)
        await self.reader
        self.folder.cleanup()

    def __repr__(self):
        return "coturn:\n    " + "\n    ".join(self.lines[-30:])


def short_lived(secret, name, lifetime):
    """User and password as TURN's REST interface makes them; one whose password has all the odd characters."""
    expiry = int(time.time()) + lifetime
    for number in range(1000):
        user = f"{expiry}:{name}+{number}@example.com"
        password = base64.b64encode(hmac.new(secret.encode(), user.encode(), hashlib.sha1).digest()).decode()
        if "+" in password and "/" in password:
            return user, password
    raise AssertionError("no such password")
