//! `decodebin3` behind a source: what an application takes that wants to decide by itself what it decodes.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::calls::{PICTURE, publish, room};
use crate::support::{Line, Server, Watch, wait_for};

/// A receiver with `decodebin3` behind its pads, and a watch on each stream that is decoded.
struct Decoded {
    _line: Line,
    streams: Arc<Mutex<Vec<(gst::Pad, Watch)>>>,
}

/// How many decoders there are.
#[derive(Clone, Copy, PartialEq)]
enum Decoders {
    /// One for all pads.
    Shared,
    /// One for each pad, which goes with it.
    Each,
}

fn decoder(pipeline: &gst::Pipeline, streams: &Arc<Mutex<Vec<(gst::Pad, Watch)>>>) -> gst::Element {
    let decoder = gst::ElementFactory::make("decodebin3").build().unwrap();
    // All streams, instead of one of each kind.
    decoder.connect("select-stream", false, |_| Some(1i32.to_value()));
    let (seen, weak) = (streams.clone(), pipeline.downgrade());
    decoder.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak
            .upgrade()
            .filter(|_| pad.direction() == gst::PadDirection::Src)
        else {
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
    pipeline.add(&decoder).unwrap();
    decoder.sync_state_with_parent().unwrap();
    decoder
}

impl Decoded {
    fn start(server: &Server, decoders: Decoders) -> Self {
        let line = Line::parse(&format!("meteredwebrtcsrc name=r latency=50 {}", room(server)));
        let streams: Arc<Mutex<Vec<(gst::Pad, Watch)>>> = Arc::default();
        let shared = (decoders == Decoders::Shared).then(|| decoder(&line.pipeline, &streams));
        let (seen, pipeline) = (streams.clone(), line.pipeline.downgrade());
        let own: Arc<Mutex<Vec<(gst::Pad, gst::Element)>>> = Arc::default();
        let made = own.clone();
        line.element("r").connect_pad_added(move |_, pad| {
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let sink = match &shared {
                Some(decoder) => decoder.request_pad_simple("sink_%u").unwrap(),
                None => {
                    let decoder = decoder(&pipeline, &seen);
                    let sink = decoder.static_pad("sink").unwrap();
                    made.lock().unwrap().push((pad.clone(), decoder));
                    sink
                }
            };
            pad.link(&sink).unwrap();
        });
        line.element("r").connect_pad_removed(move |_, pad| {
            let mut own = own.lock().unwrap();
            let at = own.iter().position(|(source, _)| source == pad);
            let decoder = at.map(|at| own.swap_remove(at).1);
            drop(own);
            if let Some(decoder) = decoder {
                // The pipeline may just be changing its state, on another thread.
                decoder.set_locked_state(true);
                let _ = decoder.set_state(gst::State::Null);
                let pipeline = decoder.parent().and_downcast::<gst::Bin>();
                let _ = pipeline.map(|pipeline| pipeline.remove(&decoder));
            }
        });
        line.pipeline.set_state(gst::State::Playing).unwrap();
        Self { _line: line, streams }
    }

    /// What is shown now, has not ended, and has a name that starts like this. `decodebin3` may show for a while what
    /// has ended.
    fn shown(&self, prefix: &str) -> Vec<Watch> {
        let streams = self.streams.lock().unwrap();
        streams
            .iter()
            .filter(|(pad, watch)| pad.parent().is_some() && !watch.eos() && pad.name().starts_with(prefix))
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
fn one_decodebin3_takes_all_tracks_also_those_that_come_late() {
    let server = Server::plain();
    let first = publish(&server);
    let decoded = Decoded::start(&server, Decoders::Shared);
    decoded.wait_flowing("video", 1);
    decoded.wait_flowing("audio", 1);
    let second = publish(&server);
    decoded.wait_flowing("video", 2);
    decoded.wait_flowing("audio", 2);
    // It must not lose streams one by one: see docs/upstream.md.
    drop(decoded);
    drop((first, second));
}

#[test]
fn a_decodebin3_for_each_track_comes_and_goes_with_it() {
    let server = Server::plain();
    let first = publish(&server);
    let decoded = Decoded::start(&server, Decoders::Each);
    decoded.wait_flowing("video", 1);
    decoded.wait_flowing("audio", 1);
    let second = publish(&server);
    decoded.wait_flowing("video", 2);
    decoded.wait_flowing("audio", 2);
    drop(first);
    decoded.wait_flowing("video", 1);
    decoded.wait_flowing("audio", 1);
    drop(second);
    decoded.wait_flowing("video", 0);
    decoded.wait_flowing("audio", 0);
    let _third = publish(&server);
    decoded.wait_flowing("video", 1);
    decoded.wait_flowing("audio", 1);
}
