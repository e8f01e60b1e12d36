"""The elements that ours are compared with: webrtcsink and webrtcsrc of the crate gst-plugin-webrtc, with their own
signalling server, where the environment says where they are."""

import asyncio
import os
import pathlib
import socket

from elements_lab import PATIENCE, SIZE, Lab

PLUGIN = os.environ.get("METERED_ANCHOR_PLUGIN")
SERVER = os.environ.get("METERED_ANCHOR_SERVER")


class Server:
    """Their signalling server, on a port of its own."""

    def __init__(self, process, port):
        self.process = process
        self.port = port
        self.produced = asyncio.Event()
        self.reader = asyncio.create_task(self._read())

    async def _read(self):
        while line := await self.process.stdout.readline():
            if b"registered as" in line and b"Producer" in line:
                self.produced.set()

    @classmethod
    async def start(cls):
        # It cannot say which port the system has chosen.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            SERVER, "--host", "127.0.0.1", "--port", str(port),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )
        return cls(process, port)

    async def stop(self):
        self.process.terminate()
        await self.process.wait()
        await self.reader


async def call(case, server, publisher, viewer):
    """A sink with pictures and a source, as the names of our members."""
    environment = {"GST_PLUGIN_PATH": str(pathlib.Path(PLUGIN).parent)}
    lab = Lab(case, None, os.environ.get("GST_REGISTRY", "/tmp/metered-anchor") + ".anchor")
    uri = f"signaller::uri=ws://127.0.0.1:{server.port}"
    sink = await lab.pipeline(
        f"webrtcsink name=m-sink {uri} congestion-control=disabled video-caps=video/x-vp8 stun-server=\"\" "
        f"videotestsrc is-live=true pattern=ball motion=sweep ! video/x-raw,width={SIZE[0]},height={SIZE[1]},framerate=30/1"
        " ! queue ! m-sink.",
        host=publisher, environment=environment,
    )
    # webrtcsrc asks once who is there.
    await asyncio.wait_for(server.produced.wait(), PATIENCE)
    source = await lab.pipeline(
        f"webrtcsrc name=m-src connect-to-first-producer=true {uri} stun-server=\"\"", host=viewer, environment=environment
    )
    return {"m-sink": sink, "m-src": source}
