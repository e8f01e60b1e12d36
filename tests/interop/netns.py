"""Network namespaces for a test: hosts that reach a relay, and each other only when the relay forwards.

    publisher 10.77.1.2 ──┐
                          relay 10.77.0.1
    viewer    10.77.2.2 ──┘

`isolate()` moves the whole test into namespaces of its own first, so that nothing of it is seen outside and everything
goes with its last process, however that ends. Needs no root where unprivileged user namespaces are allowed.
"""

import asyncio
import ctypes
import os
import pathlib
import socket
import subprocess
import sys

RELAY = "10.77.0.1"
RELAY6 = "fd77::1"
CLONE_NEWNET = 0x40000000
INSIDE = "METERED_TEST_ISOLATED"
NAMES = pathlib.Path("/run/netns")


def isolate():
    """Runs the program again in namespaces of its own. Returns None when it is there, else why it cannot be."""
    if os.environ.get(INSIDE):
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        NAMES.mkdir()
        run("ip", "link", "set", "lo", "up")
        return None
    unshare = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    probe = f"mount -t tmpfs tmpfs /run && mkdir {NAMES} && ip netns add probe && nsenter --net={NAMES}/probe true"
    try:
        tried = subprocess.run([*unshare, "sh", "-c", probe], capture_output=True, text=True, timeout=20)
    except OSError as error:
        return str(error)
    if tried.returncode != 0:
        return f"network namespaces cannot be made: {tried.stderr.strip() or tried.returncode}"
    os.execvpe(unshare[0], [*unshare, sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """A network namespace."""

    def __init__(self, name):
        self.name = name
        self.path = NAMES / name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments):
        return run("ip", "-n", self.name, *arguments)

    def command(self, *words):
        """A command line that runs here. `ip netns exec` would mount /sys, which not every container permits."""
        return ["nsenter", f"--net={self.path}", "--", *words]

    def listen(self, address):
        """A listening TCP socket of this namespace."""
        return self.open(lambda: socket.create_server(address))

    def open(self, make):
        """A socket of this namespace: it stays where it was made."""
        with open("/proc/thread-self/ns/net") as home, open(self.path) as there:
            enter(there)
            try:
                return make()
            finally:
                enter(home)

    def remove(self):
        run("ip", "netns", "delete", self.name)


def enter(namespace):
    """Moves this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """The hosts of the picture above."""

    def __init__(self):
        self.relay = Host("relay")
        self.relay.ip("address", "add", f"{RELAY}/32", "dev", "lo")
        self.publisher = self._beside(1, "publisher")
        self.viewer = self._beside(2, "viewer")
        self.forward(False)

    def _beside(self, number, name):
        host = Host(name)
        run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", name, "netns", "relay")
        for place, device, last in ((host, "eth0", 2), (self.relay, name, 1)):
            place.ip("address", "add", f"10.77.{number}.{last}/24", "dev", device)
            place.ip("link", "set", device, "up")
        host.ip("route", "add", "default", "via", f"10.77.{number}.1")
        return host

    def readdress(self, host, number, last):
        """Takes a host's address away and gives it another one of the same network."""
        host.ip("address", "flush", "dev", "eth0", "scope", "global")
        host.ip("address", "add", f"10.77.{number}.{last}/24", "dev", "eth0")
        host.ip("route", "add", "default", "via", f"10.77.{number}.1")

    def add_ipv6(self):
        """The same picture with fd77::1, fd77:1::2 and fd77:2::2. These are never forwarded."""
        self.relay.ip("address", "add", f"{RELAY6}/128", "dev", "lo")
        for number, host in ((1, self.publisher), (2, self.viewer)):
            for place, device, last in ((host, "eth0", 2), (self.relay, host.name, 1)):
                # Without a search for others who have it, or it would be no good for seconds.
                place.ip("address", "add", f"fd77:{number}::{last}/64", "dev", device, "nodad")
            host.ip("route", "add", "default", "via", f"fd77:{number}::1")

    def remove_ipv4(self):
        for host in (self.publisher, self.viewer):
            host.ip("-4", "address", "flush", "dev", "eth0")

    def forward(self, yes):
        """Whether publisher and viewer reach each other."""
        script = f"echo {int(yes)} > /proc/sys/net/ipv4/ip_forward"
        run(*self.relay.command("sh", "-c", script))

    def forwarded(self):
        """How many packets have gone directly from one to the other."""
        rows = [line.split() for line in run(*self.relay.command("cat", "/proc/net/snmp")).splitlines()]
        names, values = [row for row in rows if row[0] == "Ip:"]
        return int(values[names.index("ForwDatagrams")])

    def remove(self):
        for host in (self.publisher, self.viewer, self.relay):
            host.remove()


class Tunnel:
    """A server on this namespace's loopback, as if it were on a host's: plain `ws:` is for loopback only."""

    def __init__(self, host, port):
        self.host = host
        self.port = port
        self.tasks = set()

    async def __aenter__(self):
        await self.mend()
        return self

    async def __aexit__(self, *_):
        await self.break_off()

    async def mend(self):
        self.server = await asyncio.start_server(self._serve, sock=self.host.listen(("127.0.0.1", self.port)))

    async def break_off(self):
        """Ends all connections, and takes none."""
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            there = await asyncio.open_connection("127.0.0.1", self.port)
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
