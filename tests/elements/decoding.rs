//! `decodebin3` behind a source: what an application takes that wants to decide by itself what it decodes.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::calls::{PICTURE, TONE, publish, room};
use crate::support::{Line, Server, Watch, wait_for};

/// A receiver with one `decodebin3` for all its pads, and a watch on each stream that this decodes.
struct Decoded {
    line: Line,
    streams: Arc<Mutex<Vec<(gst::Pad, Watch)>>>,
}

impl Decoded {
    fn start(server: &Server) -> Self {
        let line = Line::parse(&format!(
            "meteredwebrtcsrc name=r latency=50 {} decodebin3 name=d",
            room(server)
        ));
        let decoder = line.element("d");
        // All streams of the room, instead of one of each kind.
        decoder.connect("select-stream", false, |_| Some(1i32.to_value()));
        let streams: Arc<Mutex<Vec<(gst::Pad, Watch)>>> = Arc::default();
        let (seen, pipeline) = (streams.clone(), line.pipeline.downgrade());
        decoder.connect_pad_added(move |_, pad| {
            let Some(pipeline) = pipeline.upgrade().filter(|_| pad.direction() == gst::PadDirection::Src) else {
                return;
            };
            let sink = gst::ElementFactory::make("fakesink")
                .property("sync", false)
                .property("async", false)
                .build()
                .unwrap();
            pipeline.add(&sink).unwrap();
            sink.sync_state_with_parent().unwrap();
            seen.lock().unwrap().push((pad.clone(), Watch::on(pad)));
            pad.link(&sink.static_pad("sink").unwrap()).unwrap();
        });
        let source = line.element("r");
        let inputs: Arc<Mutex<Vec<(gst::Pad, gst::Pad)>>> = Arc::default();
        let weak = decoder.downgrade();
        let linked = inputs.clone();
        source.connect_pad_added(move |_, pad| {
            let Some(decoder) = weak.upgrade() else { return };
            let input = decoder.request_pad_simple("sink_%u").unwrap();
            pad.link(&input).unwrap();
            linked.lock().unwrap().push((pad.clone(), input));
        });
        let weak = decoder.downgrade();
        source.connect_pad_removed(move |_, pad| {
            let Some(decoder) = weak.upgrade() else { return };
            let mut inputs = inputs.lock().unwrap();
            let at = inputs.iter().position(|(source, _)| source == pad);
            if let Some((_, input)) = at.map(|at| inputs.swap_remove(at)) {
                drop(inputs);
                decoder.release_request_pad(&input);
            }
        });
        line.pipeline.set_state(gst::State::Playing).unwrap();
        Self { line, streams }
    }

    /// What is shown now, and starts like this.
    fn shown(&self, prefix: &str) -> Vec<Watch> {
        let streams = self.streams.lock().unwrap();
        streams
            .iter()
            .filter(|(pad, _)| pad.parent().is_some() && pad.name().starts_with(prefix))
            .map(|(_, watch)| watch.clone())
            .collect()
    }

    fn names(&self) -> String {
        let streams = self.streams.lock().unwrap();
        let told = |(pad, watch): &(gst::Pad, Watch)| (pad.name(), pad.parent().is_some(), watch.clone());
        format!("{:?}", streams.iter().map(told).collect::<Vec<_>>())
    }

    /// Waits until so many streams of a kind are shown, and all of them change.
    fn wait_flowing(&self, prefix: &str, count: usize) -> Vec<Watch> {
        let streams = wait_for(
            &format!("{count} streams of {prefix}"),
            || self.names(),
            || Some(self.shown(prefix)).filter(|shown| shown.len() == count),
        );
        for stream in &streams {
            stream.wait_changes(15);
        }
        for stream in &streams {
            let caps = stream.caps().expect("caps came before buffers");
            assert!(
                caps.structure(0).unwrap().name().ends_with("/x-raw"),
                "not decoded: {caps}"
            );
        }
        streams
    }
}

#[test]
fn decodebin3_decodes_what_is_linked_to_it() {
    let server = Server::plain();
    let _sink = Line::play(&format!("{PICTURE} ! meteredwebrtcsink {}", room(&server)));
    let line = Line::play(&format!(
        "meteredwebrtcsrc latency=50 {} ! decodebin3 ! video/x-raw ! fakesink name=f sync=false",
        room(&server)
    ));
    let picture = Watch::on(&line.element("f").static_pad("sink").unwrap());
    picture.wait_changes(15);
}

#[test]
fn decodebin3_decodes_all_tracks_those_that_come_late_and_what_is_left_when_some_go() {
    let server = Server::plain();
    let first = publish(&server);
    let decoded = Decoded::start(&server);
    decoded.wait_flowing("video", 1);
    decoded.wait_flowing("audio", 1);

    let second = Line::play(&format!(
        "{PICTURE} ! meteredwebrtcsink name=s {} {TONE} ! s.",
        room(&server)
    ));
    decoded.wait_flowing("video", 2);
    decoded.wait_flowing("audio", 2);

    drop(first);
    wait_for(
        "two pads of the source",
        || decoded.names(),
        || (decoded.line.element("r").num_src_pads() == 2).then_some(()),
    );
    decoded.wait_flowing("video", 1);
    decoded.wait_flowing("audio", 1);

    drop(second);
    wait_for(
        "no pads of the source",
        || decoded.names(),
        || (decoded.line.element("r").num_src_pads() == 0).then_some(()),
    );
    let _third = publish(&server);
    decoded.wait_flowing("video", 1);
    decoded.wait_flowing("audio", 1);
}
