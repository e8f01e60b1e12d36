use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_utils::StreamProducer;
use gst_utils::streamproducer::ProducerSettings;

use super::{Seen, init, threads, until, watch};
use crate::core::io::{Codec, MediaKind};
use crate::media::tasks::lock;
use crate::media::{MediaError, Outlet, Output};

/// A remote track: what arrives from a peer.
struct Track {
    pipeline: gst::Pipeline,
    producer: StreamProducer,
    codec: Codec,
    asked: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

const VP8: &str = "vp8enc deadline=1 keyframe-max-dist=1000";
const H264: &str = "x264enc tune=zerolatency key-int-max=1000";
const OPUS: &str = "opusenc";

impl Track {
    fn new(codec: Codec, encoder: &str) -> Self {
        init();
        let source = match codec {
            Codec::Opus => "audiotestsrc is-live=true samplesperbuffer=480 ! audio/x-raw,rate=48000",
            _ => "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=60/1",
        };
        let text =
            format!("{source} ! {encoder} ! identity name=tap silent=true ! appsink name=out sync=false");
        let pipeline = gst::parse::launch(&text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let appsink = pipeline
            .by_name("out")
            .and_downcast::<gst_app::AppSink>()
            .unwrap();
        let producer = StreamProducer::with(&appsink, ProducerSettings { sync: false });
        let (asked, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let pad = pipeline.by_name("tap").unwrap().static_pad("src").unwrap();
        let theirs = asked.clone();
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            let key = info
                .event()
                .is_some_and(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok());
            theirs.fetch_add(key.into(), Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        let theirs = sent.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            theirs.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            pipeline,
            producer,
            codec,
            asked,
            sent,
        }
    }

    fn kind(&self) -> MediaKind {
        if self.codec == Codec::Opus {
            MediaKind::Audio
        } else {
            MediaKind::Video
        }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// The application: a pipeline with an outlet behind the ghost pad of an element, as in the real source.
struct App {
    pipeline: gst::Pipeline,
    element: gst::Bin,
    pad: gst::GhostPad,
    outlet: Outlet,
    faults: Arc<Mutex<Vec<String>>>,
}

impl App {
    fn new(name: &str, track: &Track) -> Self {
        let producer = track.producer.clone();
        let outlet = Outlet::new(name, track.kind(), track.codec, producer, 20).unwrap();
        outlet.set_stream("peer-7/cam", gst::GroupId::next());
        let faults = Arc::new(Mutex::new(Vec::new()));
        let theirs = faults.clone();
        outlet.set_fault_hook(Arc::new(move |text| lock(&theirs).push(text)));
        let element = gst::Bin::new();
        let pipeline = gst::Pipeline::new();
        pipeline.add(&element).unwrap();
        element.add(outlet.bin()).unwrap();
        let pad = gst::GhostPad::builder_with_target(outlet.src_pad())
            .unwrap()
            .name("video_0")
            .build();
        element.add_pad(&pad).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            pipeline,
            element,
            pad,
            outlet,
            faults,
        }
    }

    /// Links what the text says, which starts with the pad's peer.
    fn link(&self, text: &str) -> gst::Bin {
        let bin = gst::parse::bin_from_description(text, true).unwrap();
        self.pipeline.add(&bin).unwrap();
        bin.sync_state_with_parent().unwrap();
        self.pad.link(&bin.static_pad("sink").unwrap()).unwrap();
        bin
    }

    fn link_watched(&self, text: &str) -> Arc<Seen> {
        let bin = self.link(&format!("{text} ! appsink name=end sync=false async=false"));
        watch(&bin.by_name("end").and_downcast::<gst_app::AppSink>().unwrap())
    }

    fn unlink(&self, bin: &gst::Bin) {
        self.pad.unlink(&bin.static_pad("sink").unwrap()).unwrap();
        bin.set_state(gst::State::Null).unwrap();
        self.pipeline.remove(bin).unwrap();
    }

    fn error(&self) -> Option<gst::Message> {
        self.pipeline
            .bus()
            .unwrap()
            .pop_filtered(&[gst::MessageType::Error])
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn media_type(seen: &Seen) -> Option<String> {
    Some(lock(&seen.caps).as_ref()?.structure(0)?.name().to_string())
}

#[track_caller]
fn decides(codec: Codec, encoder: &str, downstream: &str, output: Output, caps: &str) {
    let track = Track::new(codec, encoder);
    let app = App::new("decides", &track);
    let seen = app.link_watched(downstream);
    until(
        &format!("{codec:?} ! {downstream}: {:?}", lock(&app.faults)),
        || seen.buffers() > 3,
    );
    assert_eq!(app.outlet.output(), Some(output));
    assert_eq!(media_type(&seen).as_deref(), Some(caps));
    // The first buffer of a container is its header.
    let container = downstream.contains("mux");
    assert!(container || seen.began_with_delta.load(Ordering::Relaxed) == 0);
    assert_eq!(
        *lock(&app.faults),
        Vec::<String>::new(),
        "{codec:?} ! {downstream}"
    );
    assert!(app.error().is_none());
}

#[test]
fn encoded_where_downstream_takes_it() {
    decides(Codec::Vp8, VP8, "identity", Output::Encoded, "video/x-vp8");
    decides(
        Codec::H264,
        H264,
        "queue ! video/x-h264,stream-format=avc",
        Output::Encoded,
        "video/x-h264",
    );
    decides(
        Codec::H264,
        H264,
        "identity ! matroskamux streamable=true",
        Output::Encoded,
        "video/x-matroska",
    );
    decides(
        Codec::Opus,
        OPUS,
        "capsfilter caps=audio/x-opus ! oggmux",
        Output::Encoded,
        "application/ogg",
    );
}

#[test]
fn raw_where_downstream_takes_only_that() {
    decides(Codec::Vp8, VP8, "videoconvert", Output::Raw, "video/x-raw");
    decides(
        Codec::H264,
        H264,
        "queue ! videoconvert ! video/x-raw,format=RGB",
        Output::Raw,
        "video/x-raw",
    );
    decides(Codec::Opus, OPUS, "audioconvert", Output::Raw, "audio/x-raw");
}

#[test]
fn an_unlinked_pad_costs_nothing_and_harms_nobody() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("unlinked", &track);
    until("the track flows", || track.sent() > 20);
    assert_eq!(app.outlet.output(), None);
    assert_eq!(app.outlet.bin().children().len(), 0);
    assert!(app.error().is_none());
    let asked = track.asked.load(Ordering::Relaxed);
    let seen = app.link_watched("identity");
    until("media", || seen.buffers() > 3);
    assert!(
        track.asked.load(Ordering::Relaxed) > asked,
        "a key frame is asked for"
    );
    assert_eq!(seen.began_with_delta.load(Ordering::Relaxed), 0);
}

#[test]
fn another_link_is_another_decision() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("relink", &track);
    for round in 0..3 {
        let text = if round % 2 == 0 {
            "videoconvert"
        } else {
            "identity"
        };
        let bin = app.link(&format!("{text} ! appsink name=end sync=false async=false"));
        let seen = watch(&bin.by_name("end").and_downcast::<gst_app::AppSink>().unwrap());
        until(&format!("{text}: {:?}", lock(&app.faults)), || seen.buffers() > 3);
        let expected = if round % 2 == 0 {
            "video/x-raw"
        } else {
            "video/x-vp8"
        };
        assert_eq!(media_type(&seen).as_deref(), Some(expected));
        let id = bin.static_pad("sink").unwrap().stream_id().unwrap();
        assert_eq!(id, "peer-7/cam");
        app.unlink(&bin);
        assert_eq!(app.outlet.output(), None);
    }
    assert!(app.error().is_none());
    until("old elements are gone", || app.outlet.bin().children().is_empty());
}

#[test]
fn a_later_link_further_down_decides_again() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("late", &track);
    let queue = gst::ElementFactory::make("queue").build().unwrap();
    let convert = gst::ElementFactory::make("videoconvert").build().unwrap();
    let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
    app.pipeline
        .add_many([&queue, &convert, sink.upcast_ref()])
        .unwrap();
    let seen = watch(&sink);
    app.pad.link(&queue.static_pad("sink").unwrap()).unwrap();
    until("a queue takes anything", || {
        app.outlet.output() == Some(Output::Encoded)
    });
    gst::Element::link_many([&queue, &convert, sink.upcast_ref()]).unwrap();
    for element in [sink.upcast_ref(), &convert, &queue] {
        element.sync_state_with_parent().unwrap();
    }
    until(&format!("raw media: {:?}", lock(&app.faults)), || {
        seen.buffers() > 3
    });
    assert_eq!(app.outlet.output(), Some(Output::Raw));
}

#[test]
fn a_failing_application_hurts_itself_only() {
    let track = Track::new(Codec::Vp8, VP8);
    let failing = App::new("failing", &track);
    let fine = App::new("fine", &track);
    failing.link("identity error-after=5 ! fakesink async=false");
    let seen = fine.link_watched("identity");
    until("the other one goes on", || seen.buffers() > 60);
    let source = failing
        .error()
        .map(|message| message.src().map(|src| src.name().to_string()));
    assert_eq!(
        source
            .flatten()
            .as_deref()
            .map(|name| name.starts_with("identity")),
        Some(true)
    );
    assert!(failing.error().is_none(), "and the outlet itself says nothing");
    assert!(fine.error().is_none());
    let sent = track.sent();
    until("the track goes on", || track.sent() > sent + 30);
}

#[test]
fn what_nobody_can_take_is_told() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("nobody-takes", &track);
    let bin =
        gst::parse::bin_from_description("capsfilter caps=text/x-raw ! fakesink async=false", true).unwrap();
    app.pipeline.add(&bin).unwrap();
    bin.sync_state_with_parent().unwrap();
    // An application that checks nothing.
    let sink = bin.static_pad("sink").unwrap();
    app.pad.link_full(&sink, gst::PadLinkCheck::empty()).unwrap();
    until("the fault is told", || !lock(&app.faults).is_empty());
    assert!(lock(&app.faults)[0].contains("VP8"), "{:?}", lock(&app.faults));
    let wrong = Outlet::new("wrong", MediaKind::Audio, Codec::Vp8, track.producer.clone(), 0);
    assert!(matches!(wrong, Err(MediaError::WrongKind { .. })));
}

#[test]
fn a_refused_format_is_told_and_is_no_error() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("refused", &track);
    let text = "capsfilter caps=video/x-vp8,width=999 ! fakesink async=false";
    let bin = gst::parse::bin_from_description(text, true).unwrap();
    app.pipeline.add(&bin).unwrap();
    bin.sync_state_with_parent().unwrap();
    let sink = bin.static_pad("sink").unwrap();
    app.pad.link_full(&sink, gst::PadLinkCheck::empty()).unwrap();
    until("the fault is told", || !lock(&app.faults).is_empty());
    let sent = track.sent();
    until("the track goes on", || track.sent() > sent + 30);
    assert!(app.error().is_none());
    assert_eq!(lock(&app.faults).len(), 1, "once is enough");
}

#[test]
fn the_pad_survives_another_producer_and_codec() {
    let first = Track::new(Codec::Vp8, VP8);
    let app = App::new("survives", &first);
    let seen = app.link_watched("videoconvert");
    until("media", || seen.buffers() > 3);
    let second = Track::new(Codec::Vp8, VP8);
    app.outlet.replace(Codec::Vp8, second.producer.clone()).unwrap();
    drop(first);
    let before = seen.buffers();
    until("media of the second", || seen.buffers() > before + 30);
    let third = Track::new(Codec::H264, H264);
    app.outlet.replace(Codec::H264, third.producer.clone()).unwrap();
    drop(second);
    let before = seen.buffers();
    until(&format!("media of the third: {:?}", lock(&app.faults)), || {
        seen.buffers() > before + 30
    });
    assert_eq!(app.outlet.output(), Some(Output::Raw));
    assert!(app.error().is_none());
    assert!(app.outlet.decoder().is_some());
}

#[test]
fn requests_for_key_frames_are_not_a_flood() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("flood", &track);
    let seen = app.link_watched("identity");
    until("media", || seen.buffers() > 10);
    let (before, start) = (track.asked.load(Ordering::Relaxed), Instant::now());
    while start.elapsed() < Duration::from_secs(1) {
        app.outlet.request_key_frame();
        app.pad
            .send_event(gst_video::UpstreamForceKeyUnitEvent::builder().build());
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let asked = track.asked.load(Ordering::Relaxed) - before;
    let allowed = start.elapsed().as_millis() as u64 / 300 + 2;
    assert!((2..=allowed).contains(&asked), "{asked} of {allowed}");
}

#[test]
fn a_damaged_stream_asks_for_a_key_frame() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("damaged", &track);
    let seen = app.link_watched("videoconvert");
    until("media", || seen.buffers() > 10);
    let asked = track.asked.load(Ordering::Relaxed);
    let pad = track.pipeline.by_name("tap").unwrap().static_pad("sink").unwrap();
    let left = AtomicU64::new(3);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let more = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok();
        if let (true, Some(buffer)) = (more, info.buffer_mut()) {
            let damaged = gst::Buffer::from_slice([1u8, 0, 0, 9, 9, 9]);
            let mut damaged = damaged;
            let to = damaged.make_mut();
            to.set_pts(buffer.pts());
            to.set_flags(buffer.flags());
            *buffer = damaged;
        }
        gst::PadProbeReturn::Ok
    });
    until("a key frame is asked for", || {
        track.asked.load(Ordering::Relaxed) > asked
    });
    let before = seen.buffers();
    until("and it goes on", || seen.buffers() > before + 10);
    assert!(app.error().is_none());
}

#[test]
fn end_of_stream_reaches_the_application_and_only_when_told() {
    let mut track = Track::new(Codec::H264, H264);
    let app = App::new("ends", &track);
    let bin = app.link("identity ! matroskamux ! fakesink name=end async=false");
    until("media", || track.sent() > 20);
    // The producer's own end is a rebuild, as far as the application is concerned.
    track.pipeline.send_event(gst::event::Eos::new());
    let bus = app.pipeline.bus().unwrap();
    assert!(
        bus.timed_pop_filtered(gst::ClockTime::from_mseconds(300), &[gst::MessageType::Eos])
            .is_none()
    );
    let start = Instant::now();
    app.outlet.eos();
    assert!(
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Eos])
            .is_some()
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(app.outlet.replace(Codec::H264, track.producer.clone()).is_err());
    drop(bin);
    track.codec = Codec::H264;
}

#[test]
fn disposal_is_quick_even_if_the_application_hangs() {
    let track = Track::new(Codec::Vp8, VP8);
    let app = App::new("hang", &track);
    let bin = app.link("identity name=wall ! fakesink async=false");
    let wall = bin.by_name("wall").unwrap().static_pad("sink").unwrap();
    let block = wall
        .add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
            gst::PadProbeReturn::Ok
        })
        .unwrap();
    until("it hangs", || wall.is_blocking());
    let start = Instant::now();
    app.outlet.eos();
    app.outlet.dispose();
    assert!(
        start.elapsed() < Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
    let sent = track.sent();
    until("the track goes on", || track.sent() > sent + 10);
    wall.remove_probe(block);
    until("the bin is gone", || app.element.children().is_empty());
    until("no thread is left", || threads("media-dispose").is_empty());
}
