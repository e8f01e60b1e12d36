use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;

use super::{Publisher, Viewer, settings, until};
use crate::core::io::{Codec, MediaKind};
use crate::media::tasks::lock;
use crate::media::{Fault, IngestSettings, MediaError};

const VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=60/1";
const H264: &str = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=60/1 ! \
                    x264enc name=enc tune=zerolatency key-int-max=1000 ! video/x-h264,profile=main";

fn watched() -> (IngestSettings, Arc<Mutex<Vec<Fault>>>) {
    let faults = Arc::new(Mutex::new(Vec::new()));
    let theirs = faults.clone();
    let mut settings = settings(MediaKind::Video);
    settings.on_fault = Some(Arc::new(move |fault| lock(&theirs).push(fault)));
    (settings, faults)
}

#[test]
fn a_failing_encoder_is_told_and_replaced() {
    let (mut settings, faults) = watched();
    let encoder = Arc::new(Mutex::new(None));
    let theirs = encoder.clone();
    settings.on_encoder = Some(Arc::new(move |element| {
        *lock(&theirs) = Some(element.downgrade())
    }));
    let publisher = Publisher::new("fail", VIDEO, settings).play();
    let viewer = Viewer::new();
    let _sub = publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap();
    until("media", || viewer.seen.buffers() > 5);
    let failing = lock(&encoder).take().and_then(|weak| weak.upgrade()).unwrap();
    gst::element_error!(failing, gst::StreamError::Encode, ["on fire"]);
    drop(failing);
    until("the fault is told", || lock(&faults).len() == 1);
    assert!(lock(&faults)[0].text.contains("on fire"), "{:?}", lock(&faults));
    until("a second encoder", || {
        publisher.ingest.stats().encodings[0].starts == 2
    });
    let before = viewer.seen.buffers();
    until("and on with the same peer", || viewer.seen.buffers() > before + 5);
    let message = publisher
        .pipeline
        .bus()
        .unwrap()
        .pop_filtered(&[gst::MessageType::Error]);
    assert!(
        message.is_none(),
        "the application hears of it from us, not from an error"
    );
}

#[test]
fn attached_before_there_is_any_input() {
    let (settings, _) = watched();
    let publisher = Publisher::new("early", VIDEO, settings);
    let viewer = Viewer::new();
    let _sub = publisher.ingest.attach(Codec::H264, &viewer.appsrc).unwrap();
    assert!(publisher.ingest.encodings().is_empty());
    let _publisher = publisher.play();
    until("media", || viewer.seen.buffers() > 5);
}

#[test]
fn encoded_input_passes_through() {
    let (settings, _) = watched();
    let publisher = Publisher::new("passthrough", H264, settings).play();
    until("caps", || publisher.ingest.encoded_input() == Some(Codec::H264));
    let asked = Arc::new(AtomicU64::new(0));
    let theirs = asked.clone();
    let pad = publisher.element("enc").static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let key = info
            .event()
            .is_some_and(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok());
        theirs.fetch_add(key.into(), Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    until("past the first key frame", || {
        publisher.ingest.stats().buffers_in > 20
    });
    let viewer = Viewer::new();
    let sub = publisher.ingest.attach(Codec::H264, &viewer.appsrc).unwrap();
    until("media", || viewer.seen.buffers() > 10);
    assert_eq!(viewer.seen.began_with_delta.load(Ordering::Relaxed), 0);
    assert!(
        asked.load(Ordering::Relaxed) > 0,
        "the request reaches the encoder outside"
    );
    let now = publisher.ingest.stats().encodings.remove(0);
    assert_eq!((now.encoder, now.active, now.starts), (None, true, 1));
    let refused = publisher.ingest.attach(Codec::Vp8, &Viewer::new().appsrc);
    assert_eq!(
        refused.unwrap_err(),
        MediaError::Encoded {
            has: Codec::H264,
            wants: Codec::Vp8
        }
    );
    drop(sub);
}

#[test]
fn a_codec_that_turns_out_impossible_is_told() {
    let (settings, faults) = watched();
    let publisher = Publisher::new("impossible", H264, settings);
    let viewer = Viewer::new();
    let _sub = publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap();
    let _publisher = publisher.play();
    until("the fault is told", || !lock(&faults).is_empty());
    assert!(
        lock(&faults)[0].text.contains("already encoded"),
        "{:?}",
        lock(&faults)
    );
}

#[test]
fn a_stuck_peer_hurts_itself_only() {
    let (settings, _) = watched();
    let publisher = Publisher::new("stuck", VIDEO, settings).play();
    let stuck = Viewer::with("identity name=wall sync=false");
    let wall = stuck
        .pipeline
        .by_name("wall")
        .unwrap()
        .static_pad("sink")
        .unwrap();
    let block = wall
        .add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
            gst::PadProbeReturn::Ok
        })
        .unwrap();
    let fine = Viewer::new();
    let stuck_sub = publisher.ingest.attach(Codec::Vp8, &stuck.appsrc).unwrap();
    let _fine_sub = publisher.ingest.attach(Codec::Vp8, &fine.appsrc).unwrap();
    until("the other one goes on", || fine.seen.buffers() > 90);
    until("the stuck one drops", || stuck_sub.dropped() > 0);
    assert_eq!(stuck.seen.buffers(), 0);
    wall.remove_probe(block);
    let _ = Duration::ZERO;
    until("and comes back", || stuck.seen.buffers() > 5);
}
