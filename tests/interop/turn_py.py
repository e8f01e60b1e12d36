"""Calls over TURN: hosts that have no path to each other, coturn between them (see netns.py).

Run with the environment that setup.sh makes: .venv/bin/python turn_py.py
"""

import asyncio
import datetime
import ipaddress
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile
import time
import unittest
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coturn import Coturn
from elements_lab import Lab, Pipeline, eventually
from netns import RELAY, RELAY6, Network, Tunnel, isolate

SECRET = "north"
PICTURES = 30
# Seconds that short-lived credentials hold.
EXPIRY = 8
HERE = pathlib.Path(__file__).parent
PAGE = pathlib.Path(os.environ.get("METERED_PAGE_DIR") or HERE / "../../web/dist")
# Everything that means something in a URL.
ODD_USER = ("o@d/d+user", "p@ss:w?r/d#1%+=&")


class TurnTest(unittest.IsolatedAsyncioTestCase):
    server_flags = ()

    async def asyncSetUp(self):
        folder = tempfile.TemporaryDirectory(prefix="metered-turn-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.network = Network()
        self.addCleanup(self.network.remove)
        self.lab = await Lab.open(self, *self.server_flags)
        port = int(self.lab.server.url.rsplit(":", 1)[1])
        for host in (self.network.publisher, self.network.viewer):
            await self.enterAsyncContext(Tunnel(host, port))

    async def coturn(self, *flags, host=None, **options):
        options.setdefault("secret", None if "user" in options else SECRET)
        coturn = await Coturn.start(host or self.network.relay, 3478, *flags, **options)
        self.addAsyncCleanup(coturn.stop)
        await eventually("coturn", coturn.ready, coturn)
        return coturn

    def logging(self, name):
        """The environment that makes our own elements tell all, and the file it goes to."""
        path = self.folder / name
        return {"GST_DEBUG": "metered*:9", "GST_DEBUG_FILE": str(path), "GST_DEBUG_NO_COLOR": "1"}, path

    async def sink(self, servers, properties="", host=None, environment=None):
        line = await self.lab.element("meteredwebrtcsink", "m-sink", properties, metadata={"iceServers": servers})
        picture = "videotestsrc is-live=true pattern=ball motion=sweep ! video/x-raw,width=160,height=120,framerate=15/1"
        line = f"{line} {picture} ! queue ! m-sink.video_0"
        return await self.lab.pipeline(line, host=host or self.network.publisher, environment=environment)

    async def source(self, servers, properties="", host=None, environment=None):
        line = await self.lab.element("meteredwebrtcsrc", "m-src", properties, metadata={"iceServers": servers})
        return await self.lab.pipeline(line, host=host or self.network.viewer, environment=environment)

    async def flows(self, viewer, *others):
        """Decoded pictures, moving."""

        def moving():
            return any(len(p.times) >= PICTURES and len(p.sums) > PICTURES / 2 for p in viewer.pictures.values())

        await eventually(f"{PICTURES} pictures", moving, viewer, *others)

    async def picture_after(self, since, viewer, *others):
        """How long after this moment a picture came, on whatever pad."""

        def first():
            return min((at for p in viewer.pictures.values() for at in p.times if at > since), default=None)

        return await eventually("a picture", first, viewer, *others) - since

    def assertKept(self, viewer):
        """No pad has gone: the connection is the one of the beginning."""
        self.assertEqual([record for record in viewer.records if "removed" in record], [])

    def assertSmooth(self, pipeline):
        """Nothing went wrong. On a busy machine the path may have been silent for long enough to say so."""
        self.assertIsNone(pipeline.find(message="metered-negotiation-error"), pipeline)

    async def warned(self, pipeline, words, *others):
        """Exactly one warning with these words."""

        def fitting():
            warnings = [r["fields"]["text"] for r in pipeline.records if r.get("message") == "warning"]
            return [text for text in warnings if all(word in text for word in words)]

        await eventually(f"a warning about {words}", fitting, pipeline, *others)
        self.assertEqual(len(fitting()), 1, pipeline)
        self.assertIsNone(pipeline.find(message="error"))

    def assertRelayed(self, coturn, *users):
        """No packet went past the relay, and each of these has an allocation."""
        self.assertEqual(self.network.forwarded(), 0, coturn)
        for user in users:
            self.assertTrue(coturn.allocations(user), f"no allocation of {user}\n{coturn}")

    def assertSecret(self, log, server):
        text = log.read_text()
        # Else there is nothing to be found in it.
        self.assertIn("metered", text)
        password = server["credential"]
        for secret in (password, urllib.parse.quote(password, safe="")):
            self.assertNotIn(secret, text)

    async def call(self, coturn, *urls, properties="", **where):
        """A sink's picture reaches a source; each has a server entry of its own."""
        servers = [coturn.server(*urls, name=name) for name in ("sink", "source")]
        sink = await self.sink([servers[0]], properties, **where)
        source = await self.source([servers[1]], properties, **where)
        await self.flows(source, sink, coturn)
        for pipeline in (sink, source):
            self.assertIsNone(pipeline.find(message="warning"))
        return servers


class WithoutDirectPath(TurnTest):
    async def test_udp_with_short_lived_credentials(self):
        coturn = await self.coturn()
        environment, log = self.logging("udp.log")
        servers = await self.call(coturn, environment=environment)
        self.assertRelayed(coturn, *(server["username"] for server in servers))
        for server in servers:
            self.assertSecret(log, server)

    async def test_tcp(self):
        coturn = await self.coturn("--no-udp")
        servers = await self.call(coturn, f"turn:{RELAY}:3478?transport=tcp")
        self.assertRelayed(coturn, *(server["username"] for server in servers))

    async def test_a_user_and_a_password_with_odd_characters(self):
        coturn = await self.coturn(user=ODD_USER)
        await self.call(coturn)
        self.assertRelayed(coturn, ODD_USER[0])

    async def test_servers_in_properties(self):
        coturn = await self.coturn()
        server = coturn.server()
        login = ":".join(urllib.parse.quote(server[key], safe="") for key in ("username", "credential"))
        properties = f'turn-servers="<(string)\\"turn://{login}@{RELAY}:3478?transport=udp\\">"'
        sink, source = await self.sink([], properties), await self.source([], properties)
        await self.flows(source, sink, coturn)
        self.assertRelayed(coturn, server["username"])

    async def test_python_sees_a_sink(self):
        coturn = await self.coturn()
        entry = coturn.server(name="python")
        token = await self.lab.server.token("python", metadata={"iceServers": [entry]})
        member = await Pipeline.run(
            [sys.executable, str(HERE / "member.py"), self.lab.server.url, self.lab.channel, token],
            self.lab.registry, host=self.network.viewer,
        )
        self.addAsyncCleanup(member.stop)
        sink = await self.sink([coturn.server(name="sink")])
        await self.flows(member, sink, coturn)
        self.assertRelayed(coturn, entry["username"])


class Browser(TurnTest):
    # The page has a key instead of a token: its servers are the service's own.
    entry = Coturn(3478, secret=SECRET).server(name="chromium")
    server_flags = ("--page", str(PAGE), "--channel", Lab.channel, "--ice-server", json.dumps(entry))

    @unittest.skipUnless(
        (PAGE / "app.js").exists() and (HERE / "browser/node_modules").exists() and shutil.which("chromium"),
        "needs Chromium, web/dist and tests/interop/browser/node_modules",
    )
    async def viewer(self):
        url = f"{self.lab.server.http}?channel={self.lab.channel}&name=Viewer&autojoin=1"
        viewer = await Pipeline.run(
            ["node", str(HERE / "browser/viewer.mjs"), url], self.lab.registry, host=self.network.viewer
        )
        self.addAsyncCleanup(viewer.stop)
        return viewer

    async def decodes(self, viewer, *others):
        """So many pictures more."""
        decoded = [r["decoded"] for r in viewer.records if "decoded" in r]
        goal = max(decoded, default=0) + PICTURES
        await eventually(
            f"{PICTURES} pictures", lambda: any(r.get("decoded", 0) >= goal for r in viewer.records), viewer, *others
        )

    async def test_chromium_sees_a_sink(self):
        coturn = await self.coturn()
        viewer = await self.viewer()
        sink = await self.sink([coturn.server(name="sink")])
        await self.decodes(viewer, sink, coturn)
        self.assertRelayed(coturn, self.entry["username"])

    async def test_a_dead_path_to_chromium_is_healed(self):
        self.network.forward(True)
        coturn = await self.coturn()
        viewer = await self.viewer()
        sink = await self.sink([coturn.server(name="sink")])
        await self.decodes(viewer, sink, coturn)
        self.assertGreater(self.network.forwarded(), PICTURES)
        self.network.forward(False)
        begin = time.monotonic()
        self.assertTrue(await sink.act("m-sink", "restart-ice", ""))
        await self.decodes(viewer, sink, coturn)
        print(f"{PICTURES} pictures {time.monotonic() - begin:.1f} s after the restart", file=sys.stderr)
        self.assertSmooth(sink)


class Ipv6(TurnTest):
    """The relay gives addresses of the family it is asked over, as libnice does not say which it wants."""

    async def relayed(self, *urls, properties=""):
        coturn = await self.coturn("--allocation-default-address-family=keep", address=RELAY6)
        servers = await self.call(coturn, *urls, properties=properties)
        self.assertRelayed(coturn, *(server["username"] for server in servers))

    async def test_beside_ipv4(self):
        self.network.add_ipv6()
        await self.relayed(f"turn:[{RELAY6}]:3478?transport=udp")

    async def test_hosts_without_ipv4(self):
        self.network.add_ipv6()
        self.network.remove_ipv4()
        await self.relayed(f"turn:[{RELAY6}]")

    async def test_hosts_without_ipv4_over_tcp(self):
        self.network.add_ipv6()
        self.network.remove_ipv4()
        await self.relayed(f"turn:[{RELAY6}]:3478?transport=tcp")


class WithDirectPath(TurnTest):
    async def test_the_direct_path_is_taken(self):
        """Shows that `forwarded` would notice."""
        self.network.forward(True)
        coturn = await self.coturn()
        await self.call(coturn)
        self.assertGreater(self.network.forwarded(), PICTURES)

    async def test_relay_only(self):
        self.network.forward(True)
        coturn = await self.coturn()
        servers = await self.call(coturn, properties="ice-transport-policy=relay")
        self.assertRelayed(coturn, *(server["username"] for server in servers))

    async def test_a_server_on_the_same_machine(self):
        """UDP to 127.0.0.1: libnice's sockets for other addresses do not get there."""
        host = self.network.publisher
        coturn = await self.coturn("--allow-loopback-peers", host=host, address="127.0.0.1")
        servers = await self.call(coturn, properties="ice-transport-policy=relay", host=host)
        self.assertRelayed(coturn, *(server["username"] for server in servers))


class ADeadPath(TurnTest):
    async def healed(self, restarter):
        """The direct path dies in the middle of a call; a restart finds the relay, with the pads that there are."""
        self.network.forward(True)
        coturn = await self.coturn()
        sink, source = await self.sink([coturn.server(name="sink")]), await self.source([coturn.server(name="source")])
        await self.flows(source, sink, coturn)
        self.assertGreater(self.network.forwarded(), PICTURES)
        (pad, pictures), = source.pictures.items()
        self.network.forward(False)
        await eventually("silence", lambda: time.monotonic() - pictures.times[-1] > 1.5, source, sink)
        cut, before = time.monotonic(), len(pictures.times)
        pipeline = sink if restarter == "m-sink" else source
        self.assertTrue(await pipeline.act(restarter, "restart-ice", ""))
        await eventually("pictures", lambda: len(pictures.times) >= before + PICTURES, source, sink, coturn)
        gap = pictures.times[before] - cut
        print(f"{restarter}: pictures {gap:.1f} s after the restart", file=sys.stderr)
        self.assertLess(gap, 10)
        self.assertEqual(list(source.pictures), [pad])
        for told in (sink, source):
            self.assertSmooth(told)

    async def test_the_relay_takes_over(self):
        """Nobody asks for it: the silence is noticed, and a restart finds the relay."""
        self.network.forward(True)
        coturn = await self.coturn()
        sink, source = await self.sink([coturn.server(name="sink")]), await self.source([coturn.server(name="source")])
        await self.flows(source, sink, coturn)
        self.network.forward(False)
        since = time.monotonic()
        back = await self.picture_after(since + 1, source, sink, coturn)
        print(f"pictures over the relay {back + 1:.1f} s after the direct path was lost", file=sys.stderr)
        self.assertKept(source)

    async def test_a_relay_that_dies_and_comes_back(self):
        coturn = await self.coturn()
        sink, source = await self.sink([coturn.server(name="sink")]), await self.source([coturn.server(name="source")])
        await self.flows(source, sink, coturn)
        coturn.process.kill()
        await coturn.process.wait()
        await asyncio.sleep(3)
        again = await self.coturn()
        since = time.monotonic()
        back = await self.picture_after(since, source, sink, again)
        print(f"pictures {back:.1f} s after the TURN server is back", file=sys.stderr)

    async def test_fresh_credentials_when_the_old_ones_have_expired(self):
        """A restart has those of the newest welcome; the server that comes back would refuse the old ones."""
        coturn = await self.coturn()
        begin = time.monotonic()
        sink = await self.sink([coturn.server(name="old", lifetime=EXPIRY)])
        source = await self.source([coturn.server(name="old-too", lifetime=EXPIRY)])
        await self.flows(source, sink, coturn)
        fresh = {name: coturn.server(name=f"fresh-{name}") for name in ("m-sink", "m-src")}
        for pipeline, (name, server) in zip((sink, source), fresh.items()):
            token = await self.lab.server.token(name, metadata={"iceServers": [server]})
            self.assertTrue(await pipeline.act(name, "set-token", token) in (True, None))
            await self.lab.server.hook("close", peerId=name, code=1012, reason="restart")
        await asyncio.sleep(max(3, begin + EXPIRY + 1 - time.monotonic()))
        await self.picture_after(time.monotonic(), source, sink, coturn)
        coturn.process.kill()
        await coturn.process.wait()
        await asyncio.sleep(3)
        again = await self.coturn()
        since = time.monotonic()
        back = await self.picture_after(since, source, sink, again)
        print(f"pictures {back:.1f} s after the TURN server is back", file=sys.stderr)
        self.assertRelayed(again, *(server["username"] for server in fresh.values()))

    async def moved(self, *urls, properties=""):
        """The publisher gets another address; its path leads over a relay."""
        coturn = await self.coturn()
        sink = await self.sink([coturn.server(*urls, name="sink")], properties)
        source = await self.source([coturn.server(*urls, name="source")], properties)
        await self.flows(source, sink, coturn)
        since = time.monotonic()
        self.network.readdress(self.network.publisher, 1, 9)
        back = await self.picture_after(since + 1, source, sink, coturn)
        print(f"pictures {back + 1:.1f} s after another address", file=sys.stderr)
        self.assertLess(back, 15)

    async def test_another_address_udp(self):
        await self.moved()

    async def test_another_address_tcp(self):
        await self.moved(f"turn:{RELAY}:3478?transport=tcp")

    async def test_healed_by_the_sink(self):
        await self.healed("m-sink")

    async def test_healed_by_the_source(self):
        await self.healed("m-src")


class Trouble(TurnTest):
    async def test_a_wrong_password_is_one_warning_and_the_call_goes_on(self):
        """The viewer's relay is enough for both."""
        coturn = await self.coturn()
        wrong, right = coturn.server(name="sink", wrong=True), coturn.server(name="source")
        environment, log = self.logging("wrong.log")
        sink = await self.sink([wrong], environment=environment)
        source = await self.source([right])
        await self.warned(sink, [f"turn:{RELAY}:3478?transport=udp", "password"], coturn)
        await self.flows(source, sink, coturn)
        self.assertRelayed(coturn, right["username"])
        self.assertFalse(coturn.allocations(wrong["username"]))
        self.assertNotIn(wrong["credential"], repr(sink.records))
        self.assertSecret(log, wrong)

    async def test_a_server_that_is_not_there_is_one_warning_and_the_call_goes_on(self):
        coturn = await self.coturn()
        server = coturn.server(f"turn:{RELAY}:9?transport=udp", f"turn:{RELAY}:9?transport=tcp", name="sink")
        sink, source = await self.sink([server]), await self.source([coturn.server(name="source")])
        await self.warned(sink, [f"turn:{RELAY}:9?transport=udp", f"turn:{RELAY}:9?transport=tcp"], coturn)
        await self.flows(source, sink, coturn)

    async def test_what_cannot_be_used_is_skipped_with_a_warning(self):
        coturn = await self.coturn()
        good = coturn.server(name="sink")
        bad = ["stuns:turn.example", "turns:turn.example?transport=udp", f"turn:{RELAY}?transport=sctp"]
        servers = [{**good, "urls": bad}, {"urls": "turn:turn.example"}, good]
        sink = await self.sink(servers)
        source = await self.source([coturn.server(name="source")])
        await self.flows(source, sink, coturn)
        for words in (["stuns:"], ["turns:", "UDP"], ["turn: URL", "malformed"], ["without user name"]):
            await self.warned(sink, words)
        self.assertRelayed(coturn, good["username"])


class Tls(TurnTest):
    """coturn also takes plain TURN on its port for TLS: only the refused certificates prove that TLS is spoken."""

    async def coturn(self, address=RELAY):
        self.certificate = self.folder / "certificate.pem"
        key = self.folder / "key.pem"
        certify(address, self.certificate, key)
        self.url = f"turns:{RELAY}:5349?transport=tcp"
        flags = ("--no-udp", "--tls-listening-port=5349", f"--cert={self.certificate}", f"--pkey={key}")
        return await super().coturn(*flags)

    async def test_turns(self):
        coturn = await self.coturn()
        servers = await self.call(coturn, self.url, properties=f"ca-file={self.certificate}")
        self.assertRelayed(coturn, *(server["username"] for server in servers))

    async def refused(self, coturn, properties):
        server = coturn.server(self.url)
        sink, source = await self.sink([server], properties), await self.source([server], properties)
        for pipeline in (sink, source):
            await self.warned(pipeline, [f"{self.url} cannot be used", "certificate"], coturn)
        self.assertFalse(coturn.allocations(server["username"]))

    async def test_an_unknown_authority_is_refused(self):
        await self.refused(await self.coturn(), "")

    async def test_the_certificate_of_another_server_is_refused(self):
        coturn = await self.coturn("10.77.0.99")
        await self.refused(coturn, f"ca-file={self.certificate}")


def certify(address, certificate, key):
    """Writes a certificate for this address that is its own authority."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "turn.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(private.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


if __name__ == "__main__":
    reason = isolate()
    if reason:
        print(f"warning: no TURN test was run: {reason}")
        sys.exit(0)
    # The test loop runs in debug mode, which reports every step over 100 ms.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    unittest.main(verbosity=2)
