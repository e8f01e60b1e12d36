#!/usr/bin/python3
"""A small real RTSP server on a free loopback port, for tests and for the examples of the README.

    tests/interop/rtsp_server.py                 a live test picture and a tone
    tests/interop/rtsp_server.py clip.mp4        an H.264 (and AAC) file, for ever, without transcoding

Prints `listening rtsp://127.0.0.1:PORT/test` once it is ready, and ends on SIGINT or SIGTERM. Needs Debian's packages
gir1.2-gst-rtsp-server-1.0 and python3-gi, hence the system's Python.
"""

import argparse
import signal
import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402,F401

PATH = "/test"

TEST_SOURCE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=25/1"
    " ! timeoverlay ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=50 bitrate=1000"
    " ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=-1"
    " audiotestsrc is-live=true ! audioconvert ! audioresample ! opusenc ! rtpopuspay name=pay1 pt=97 )"
)

# The caps of each kind on the way from the player to the server, and its payloader.
KINDS = {
    "video": ("h264parse", "video/x-h264,stream-format=byte-stream,alignment=au", "rtph264pay config-interval=-1"),
    "audio": ("aacparse", "audio/mpeg,mpegversion=4,stream-format=raw", "rtpmp4gpay"),
}


class Looper:
    """Plays a file for ever at its own speed and hands its access units to whatever RTSP session is there.

    The player is a pipeline of its own, looped by segment seeks: its running time goes on over the end of the file,
    which is what an RTP timeline needs and what a seek inside the RTSP server's pipeline would not give.
    """

    def __init__(self, path):
        self.kinds = self.probe(path)
        branches = "".join(
            f" demux.{kind}_0 ! queue ! {KINDS[kind][0]} ! {KINDS[kind][1]}"
            f" ! appsink name={kind} sync=true emit-signals=true max-buffers=100"
            for kind in self.kinds
        )
        self.pipeline = Gst.parse_launch(f"filesrc name=file ! qtdemux name=demux{branches}")
        self.pipeline.get_by_name("file").set_property("location", str(path))
        self.sources = {}
        for kind in self.kinds:
            self.pipeline.get_by_name(kind).connect("new-sample", self.on_sample, kind)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::segment-done", lambda *_: self.seek(Gst.SeekFlags.SEGMENT))
        bus.connect("message::error", self.on_error)

    @staticmethod
    def probe(path):
        """Which of video and audio the file has."""
        pipeline = Gst.parse_launch("filesrc name=file ! qtdemux name=demux ! fakesink")
        pipeline.get_by_name("file").set_property("location", str(path))
        demux, found = pipeline.get_by_name("demux"), []
        demux.connect("pad-added", lambda _, pad: found.append(pad.get_name().split("_")[0]))
        pipeline.set_state(Gst.State.PAUSED)
        result, _, _ = pipeline.get_state(10 * Gst.SECOND)
        pipeline.set_state(Gst.State.NULL)
        if result != Gst.StateChangeReturn.SUCCESS or "video" not in found:
            sys.exit(f"error: {path} is not an MP4 file with H.264 video")
        return [kind for kind in KINDS if kind in found]

    def preroll(self):
        self.pipeline.set_state(Gst.State.PAUSED)
        self.pipeline.get_state(10 * Gst.SECOND)

    def start(self):
        """From the first frame on: the file may have no other key frame."""
        self.seek(Gst.SeekFlags.SEGMENT | Gst.SeekFlags.FLUSH)
        self.pipeline.set_state(Gst.State.PLAYING)

    def seek(self, flags):
        self.pipeline.seek(1.0, Gst.Format.TIME, flags, Gst.SeekType.SET, 0, Gst.SeekType.END, 0)

    def on_error(self, _bus, message):
        print(f"error: {message.parse_error()[0].message}", file=sys.stderr)
        sys.exit(1)

    def launch_line(self):
        """The RTSP server's half: one live source and payloader per kind."""
        branches = [
            f"appsrc name={kind} is-live=true format=time max-bytes=4000000 leaky-type=downstream ! {KINDS[kind][1]}"
            f" ! {KINDS[kind][0]} ! {KINDS[kind][2]} name=pay{index} pt={96 + index}"
            for index, kind in enumerate(self.kinds)
        ]
        return f"( {' '.join(branches)} )"

    def on_media(self, _factory, media):
        """A first client has come: feed its pipeline until it is taken down."""
        element = media.get_element()
        self.sources = {kind: element.get_by_name(kind) for kind in self.kinds}
        for kind, source in self.sources.items():
            caps = self.pipeline.get_by_name(kind).get_static_pad("sink").get_current_caps()
            source.set_property("caps", caps)
        media.connect("unprepared", self.on_media_gone)
        GLib.timeout_add(10, self.start_with, self.sources)

    def start_with(self, sources):
        """Waits until the session's pipeline runs. Returns whether to be called again."""
        if sources is not self.sources:
            return False
        if any(source.get_base_time() == 0 for source in sources.values()):
            return True
        self.start()
        return False

    def on_media_gone(self, _media):
        self.sources = {}
        self.pipeline.set_state(Gst.State.PAUSED)

    def on_sample(self, sink, kind):
        sample = sink.emit("pull-sample")
        source = self.sources.get(kind)
        if sample is None or source is None:
            return Gst.FlowReturn.OK
        buffer, segment = sample.get_buffer(), sample.get_segment()
        # Same clock on both sides, so running times differ by the base times only.
        shift = self.pipeline.get_base_time() - source.get_base_time()
        when = segment.to_running_time(Gst.Format.TIME, buffer.pts)
        if when == Gst.CLOCK_TIME_NONE or when + shift < 0:
            return Gst.FlowReturn.OK
        copy = buffer.copy()
        copy.pts = when + shift
        copy.dts = Gst.CLOCK_TIME_NONE
        source.emit("push-buffer", copy)
        return Gst.FlowReturn.OK


def serve(path, port):
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_clock(Gst.SystemClock.obtain())
    if path:
        looper = Looper(path)
        looper.pipeline.use_clock(Gst.SystemClock.obtain())
        factory.set_launch(looper.launch_line())
        factory.connect("media-configure", looper.on_media)
        looper.preroll()
    else:
        factory.set_launch(TEST_SOURCE)
    server.get_mount_points().add_factory(PATH, factory)
    if server.attach(None) == 0:
        sys.exit(f"error: cannot listen on port {port}")
    print(f"listening rtsp://127.0.0.1:{server.get_bound_port()}{PATH}", flush=True)
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="MP4 file with H.264 video")
    parser.add_argument("--port", type=int, default=0, help="0, the default, picks a free one")
    arguments = parser.parse_args()
    if arguments.file and not arguments.file.is_file():
        sys.exit(f"error: no such file: {arguments.file}")
    Gst.init(None)
    server = serve(arguments.file, arguments.port)
    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)
    loop.run()
    del server


if __name__ == "__main__":
    main()
