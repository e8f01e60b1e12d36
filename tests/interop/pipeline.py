#!/usr/bin/python3
"""Runs a gst-launch line for a test that is another program, and tells it what happens.

    pipeline.py 'videotestsrc is-live=true ! meteredwebrtcsink name=s ...'

Standard output is one JSON object per line:

    {"message": NAME, "from": ELEMENT, "fields": {...}}  an element message, an error, a warning or the end of stream
    {"added": PAD, "peer-id": ..., "stream-id": ...}     a pad of a meteredwebrtcsrc, with its properties
    {"removed": PAD}
    {"picture": CHECKSUM, "of": PAD, "size": [W, H]}     each decoded picture that leaves such a pad
    {"sound": PAD, "rms": ..., "hertz": ...}             each half second of decoded sound

Standard input takes {"element": NAME, "action": SIGNAL, "arguments": [...]}, or {"state": "paused"} for the pipeline,
answered by {"answer": ...}. {"publish": KEY, "line": BIN, "element": NAME, "pad": "video_%u", "stream-id": ...} links the
bin to a new pad of a sink, {"unpublish": KEY} takes both away again. The end of the input ends the pipeline. Needs the system's Python, which has GStreamer's bindings.
"""

import array
import json
import math
import signal
import sys
import threading
import zlib

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

RATE = 48000
BRANCHES = {
    "video": "queue ! videoconvert ! video/x-raw,format=I420 ! fakesink name=end sync=false async=false signal-handoffs=true",
    "audio": f"queue ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate={RATE},channels=1"
    " ! fakesink name=end sync=false async=false signal-handoffs=true",
}
# The second is what scripts/bench recovery compares ours with.
SOURCES = ("meteredwebrtcsrc", "webrtcsrc")
PROPERTIES = ("peer-id", "stream-id", "track-id", "mid", "metadata", "peer-metadata")

output = threading.Lock()


def tell(**record):
    with output:
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def plain(value):
    """A value of a structure or property as JSON."""
    if isinstance(value, Gst.Structure):
        return {value.nth_field_name(n): plain(value.get_value(value.nth_field_name(n))) for n in range(value.n_fields())}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


class Sound:
    """Loudness and pitch, from the upward zero crossings, of half a second at a time."""

    def __init__(self, pad):
        self.pad = pad
        self.samples = array.array("h")

    def take(self, data):
        self.samples.frombytes(data)
        if len(self.samples) < RATE // 2:
            return
        samples, self.samples = self.samples, array.array("h")
        crossings = sum(a < 0 <= b for a, b in zip(samples, samples[1:]))
        rms = math.sqrt(sum(s * s for s in samples) / len(samples))
        tell(sound=self.pad, rms=round(rms), hertz=round(crossings * RATE / len(samples)))


class Branches:
    """Decodes and reports what the pads of a meteredwebrtcsrc carry."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.bins = {}

    def added(self, _element, pad):
        name = pad.get_name()
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        kind = name.split("_")[0]
        branch = Gst.parse_bin_from_description(BRANCHES[kind], True)
        sound = Sound(name)

        def handoff(_sink, buffer, end):
            data = buffer.extract_dup(0, buffer.get_size())
            if kind == "audio":
                sound.take(data)
                return
            caps = end.get_current_caps().get_structure(0)
            tell(picture=zlib.crc32(data), of=name, size=[caps.get_value("width"), caps.get_value("height")])

        branch.get_by_name("end").connect("handoff", handoff)
        self.pipeline.add(branch)
        branch.sync_state_with_parent()
        self.bins[name] = branch
        tell(added=name, **{key: plain(pad.get_property(key)) for key in PROPERTIES if pad.find_property(key)})
        result = pad.link(branch.sinkpads[0])
        if result != Gst.PadLinkReturn.OK:
            tell(message="error", fields={"text": f"{name} cannot be linked: {result}"})

    def removed(self, _element, pad):
        branch = self.bins.pop(pad.get_name(), None)
        if branch:
            branch.set_state(Gst.State.NULL)
            self.pipeline.remove(branch)
            tell(removed=pad.get_name())


def on_message(_bus, message, loop):
    source = message.src.get_name() if message.src else None
    if message.type == Gst.MessageType.ELEMENT and message.get_structure().get_name().startswith("metered-"):
        structure = message.get_structure()
        tell(message=structure.get_name(), **{"from": source}, fields=plain(structure))
    elif message.type == Gst.MessageType.ERROR:
        tell(message="error", **{"from": source}, fields={"text": str(message.parse_error())})
        loop.quit()
    elif message.type == Gst.MessageType.WARNING:
        tell(message="warning", **{"from": source}, fields={"text": str(message.parse_warning())})
    elif message.type == Gst.MessageType.EOS:
        tell(message="eos", **{"from": source}, fields={})


class Publications:
    """Bins that come and go while the pipeline runs, each with a pad of a meteredwebrtcsink."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.there = {}

    def add(self, request):
        element = self.pipeline.get_by_name(request["element"])
        branch = Gst.parse_bin_from_description(request["line"], True)
        self.pipeline.add(branch)
        pad = element.request_pad_simple(request["pad"])
        pad.set_property("stream-id", request["stream-id"])
        linked = branch.srcpads[0].link(pad) == Gst.PadLinkReturn.OK
        self.there[request["publish"]] = (element, branch, pad)
        return branch.sync_state_with_parent() and linked

    def remove(self, key):
        element, branch, pad = self.there.pop(key)
        # Nothing flows any more when the pad goes.
        branch.set_state(Gst.State.NULL)
        branch.srcpads[0].unlink(pad)
        element.release_request_pad(pad)
        return self.pipeline.remove(branch)


def serve(pipeline, loop):
    """Carries out what is asked on standard input."""
    publications = Publications(pipeline)
    for line in sys.stdin:
        request = json.loads(line)
        if "publish" in request:
            tell(answer=publications.add(request))
            continue
        if "unpublish" in request:
            tell(answer=publications.remove(request["unpublish"]))
            continue
        if "state" in request:
            result = pipeline.set_state(getattr(Gst.State, request["state"].upper()))
            tell(answer=result != Gst.StateChangeReturn.FAILURE)
            continue
        element = pipeline.get_by_name(request["element"])
        tell(answer=element.emit(request["action"], *request["arguments"]))
    loop.quit()


def main():
    Gst.init(None)
    loop = GLib.MainLoop()
    # A line of one element would otherwise give that element.
    pipeline = Gst.parse_launch(sys.argv[1])
    if not isinstance(pipeline, Gst.Pipeline):
        line, pipeline = pipeline, Gst.Pipeline()
        pipeline.add(line)
    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", on_message, loop)
    branches = Branches(pipeline)
    elements = pipeline.iterate_elements()
    while True:
        result, element = elements.next()
        if result != Gst.IteratorResult.OK:
            break
        if element.get_factory().get_name() in SOURCES:
            element.connect("pad-added", branches.added)
            element.connect("pad-removed", branches.removed)
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)
    threading.Thread(target=serve, args=(pipeline, loop), daemon=True).start()
    pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
