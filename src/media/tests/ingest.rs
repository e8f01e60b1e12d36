use std::sync::Mutex;
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::{Publisher, Viewer, settings, threads, until};
use crate::core::io::{Codec, MediaKind};
use crate::media::tasks::lock;
use crate::media::{EncodingStats, Ingest, MediaError};

const VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=60/1";
const AUDIO: &str = "audiotestsrc is-live=true samplesperbuffer=441 ! audio/x-raw,rate=44100,channels=2";

fn stats(ingest: &Ingest, codec: Codec) -> EncodingStats {
    ingest
        .stats()
        .encodings
        .into_iter()
        .find(|stats| stats.codec == codec)
        .unwrap()
}

#[test]
fn five_viewers_share_one_encoder() {
    let publisher = Publisher::new("five", VIDEO, settings(MediaKind::Video)).play();
    let viewers: Vec<_> = (0..5).map(|_| Viewer::new()).collect();
    let mut subs: Vec<_> = viewers
        .iter()
        .map(|viewer| publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap())
        .collect();
    for viewer in &viewers {
        until("all get media", || viewer.seen.buffers() > 30);
        assert_eq!(
            viewer
                .seen
                .began_with_delta
                .load(std::sync::atomic::Ordering::Relaxed),
            0
        );
    }
    let now = stats(&publisher.ingest, Codec::Vp8);
    assert_eq!((now.starts, now.subscribers, now.active), (1, 5, true));
    assert_eq!(now.encoder.as_deref(), Some("vp8enc"));
    assert!(!threads("five-vp8:src").is_empty());
    // One encoder: what came out of it is about what came in, not five times as much.
    assert!(now.buffers <= publisher.ingest.stats().buffers_in);
    let gone = subs.pop().unwrap();
    drop(gone);
    let (left, stayed) = (viewers[4].seen.buffers(), viewers[0].seen.buffers());
    until("the others go on", || viewers[0].seen.buffers() > stayed + 30);
    assert!(
        viewers[4].seen.buffers() <= left + 5,
        "a detached viewer gets what is queued at most"
    );
}

#[test]
fn nothing_is_encoded_for_nobody() {
    let publisher = Publisher::new("nobody", VIDEO, settings(MediaKind::Video)).play();
    until("input flows", || publisher.ingest.stats().buffers_in > 20);
    assert!(publisher.ingest.encodings().is_empty());
    assert!(threads("nobody-").is_empty());
    assert!(publisher.ingest.raw_caps().is_some());
}

#[test]
fn encoding_lingers_and_is_taken_up_again() {
    let mut settings = settings(MediaKind::Video);
    settings.linger = Duration::from_millis(400);
    let publisher = Publisher::new("linger", VIDEO, settings).play();
    until("caps", || publisher.ingest.raw_caps().is_some());
    let viewer = Viewer::new();
    for _ in 0..3 {
        let before = viewer.seen.buffers();
        let sub = publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap();
        until("media", || viewer.seen.buffers() > before + 3);
        drop(sub);
    }
    assert_eq!(stats(&publisher.ingest, Codec::Vp8).starts, 1);
    until("it ends after the linger", || {
        publisher.ingest.encodings().is_empty()
    });
    until("with its thread", || threads("linger-vp8").is_empty());
    let before = viewer.seen.buffers();
    let _sub = publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap();
    until("media", || viewer.seen.buffers() > before + 3);
    assert_eq!(stats(&publisher.ingest, Codec::Vp8).starts, 2);
}

#[test]
fn key_frame_requests_are_coalesced_and_not_lost() {
    let publisher = Publisher::new("keys", VIDEO, settings(MediaKind::Video)).play();
    let viewers: Vec<_> = (0..4).map(|_| Viewer::new()).collect();
    let _subs: Vec<_> = viewers
        .iter()
        .map(|viewer| publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap())
        .collect();
    until("media", || {
        viewers.iter().all(|viewer| viewer.seen.buffers() > 10)
    });
    let start = Instant::now();
    let before = stats(&publisher.ingest, Codec::Vp8);
    while start.elapsed() < Duration::from_secs(2) {
        viewers.iter().for_each(Viewer::ask_key_frame);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let after = stats(&publisher.ingest, Codec::Vp8);
    let allowed = start.elapsed().as_millis() as u64 / 300 + 2;
    let forwarded = after.key_frames_forwarded - before.key_frames_forwarded;
    assert!(after.key_frames_requested - before.key_frames_requested > 200);
    assert!((2..=allowed).contains(&forwarded), "{forwarded} of {allowed}");
    assert!(after.key_frames - before.key_frames <= allowed);
    // The last request fell into the quiet time: it is served all the same.
    until("the waiting one is served", || {
        stats(&publisher.ingest, Codec::Vp8).key_frames > after.key_frames
    });
}

#[test]
fn newcomer_gets_a_key_frame_at_once() {
    let publisher = Publisher::new("newcomer", VIDEO, settings(MediaKind::Video)).play();
    let first = Viewer::new();
    let _sub = publisher.ingest.attach(Codec::Vp8, &first.appsrc).unwrap();
    until("media", || first.seen.buffers() > 60);
    let second = Viewer::new();
    let start = Instant::now();
    let _second_sub = publisher.ingest.attach(Codec::Vp8, &second.appsrc).unwrap();
    until("its first frame", || second.seen.buffers() > 0);
    println!("newcomer waited {:?}", start.elapsed());
    assert_eq!(
        second
            .seen
            .began_with_delta
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    assert_eq!(stats(&publisher.ingest, Codec::Vp8).starts, 1);
}

#[test]
fn end_of_stream_ends_the_application_not_the_peers() {
    let source = "videotestsrc num-buffers=20 ! video/x-raw,width=64,height=48,framerate=30/1";
    let publisher = Publisher::new("eos", source, settings(MediaKind::Video));
    let viewer = Viewer::new();
    let _sub = publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap();
    let start = Instant::now();
    let publisher = publisher.play();
    let bus = publisher.pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Eos]);
    assert!(end.is_some());
    assert!(
        start.elapsed() > Duration::from_millis(550),
        "a file is sent in real time: {:?}",
        start.elapsed()
    );
    until("the peer has had the media", || viewer.seen.buffers() > 5);
    let appsink = viewer
        .pipeline
        .by_name("out")
        .and_downcast::<gst_app::AppSink>()
        .unwrap();
    assert!(!appsink.is_eos());
}

#[test]
fn caps_may_change_while_running() {
    for codec in [Codec::Vp8, Codec::H264] {
        let source = "videotestsrc is-live=true ! capsfilter name=caps caps=video/x-raw,width=160,height=120";
        let publisher = Publisher::new("change", source, settings(MediaKind::Video)).play();
        let viewer = Viewer::new();
        let _sub = publisher.ingest.attach(codec, &viewer.appsrc).unwrap();
        until("first size", || viewer.seen.width() == Some(160));
        let caps = gst::Caps::builder("video/x-raw")
            .field("width", 322)
            .field("height", 240)
            .build();
        publisher.element("caps").set_property("caps", &caps);
        until("second size", || viewer.seen.width() == Some(322));
        let before = viewer.seen.buffers();
        until("and on", || viewer.seen.buffers() > before + 5);
        assert_eq!(stats(&publisher.ingest, codec).starts, 1);
    }
}

#[test]
fn any_format_and_size_is_encoded() {
    for codec in [Codec::Vp8, Codec::H264, Codec::Vp9] {
        for (format, width, height) in [
            ("Y444", 161, 121),
            ("RGB", 163, 99),
            ("NV12", 64, 64),
            ("GRAY8", 33, 35),
            ("v210", 174, 101),
        ] {
            let source = format!(
                "videotestsrc is-live=true ! video/x-raw,format={format},width={width},height={height},\
                 pixel-aspect-ratio=1/1"
            );
            let publisher = Publisher::new("format", &source, settings(MediaKind::Video)).play();
            let decoded = if codec == Codec::H264 {
                "h264parse ! avdec_h264"
            } else {
                "decodebin"
            };
            let viewer = Viewer::with(&format!("{decoded} ! videoconvert"));
            let _sub = publisher.ingest.attach(codec, &viewer.appsrc).unwrap();
            until(&format!("{codec:?} {format}"), || viewer.seen.buffers() > 2);
            let got = viewer.seen.width().unwrap();
            assert!(
                (got - width).abs() <= 2,
                "{codec:?} {format} {width} became {got}"
            );
        }
    }
}

#[test]
fn audio_in_all_codecs_at_once() {
    let publisher = Publisher::new("audio", AUDIO, settings(MediaKind::Audio)).play();
    let viewers: Vec<_> = [Codec::Opus, Codec::Pcmu, Codec::Pcma]
        .into_iter()
        .map(|codec| {
            let viewer = Viewer::new();
            let sub = publisher.ingest.attach(codec, &viewer.appsrc).unwrap();
            (viewer, sub)
        })
        .collect();
    for (viewer, sub) in &viewers {
        until("media", || viewer.seen.buffers() > 10 && sub.pushed() > 10);
    }
    assert_eq!(publisher.ingest.encodings().len(), 3);
    let wrong = publisher.ingest.attach(Codec::Vp8, &Viewer::new().appsrc);
    assert!(matches!(wrong, Err(MediaError::WrongKind { .. })));
}

#[test]
fn running_time_is_that_of_the_application() {
    let source = "videotestsrc is-live=true timestamp-offset=3600000000000 ! \
                  video/x-raw,width=64,height=48,framerate=30/1 ! identity name=tap";
    let publisher = Publisher::new("running", source, settings(MediaKind::Video));
    let times = std::sync::Arc::new(Mutex::new(Vec::new()));
    let theirs = times.clone();
    let pad = publisher.element("tap").static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let pts = info.buffer().and_then(|buffer| buffer.pts());
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let segment = segment.and_then(|event| event.segment().downcast_ref::<gst::ClockTime>().cloned());
        lock(&theirs).extend(segment.and_then(|segment| segment.to_running_time(pts)));
        gst::PadProbeReturn::Ok
    })
    .unwrap();
    let publisher = publisher.play();
    for codec in [Codec::Vp8, Codec::H264] {
        let viewer = Viewer::new();
        let _sub = publisher.ingest.attach(codec, &viewer.appsrc).unwrap();
        until("media", || viewer.seen.buffers() > 10);
        let fed = lock(&times).clone();
        for time in lock(&viewer.seen.running).iter() {
            assert!(fed.contains(time), "{codec:?}: {time} is no time of the input");
        }
    }
}

#[test]
fn storms_of_peers_do_no_harm() {
    let mut settings = settings(MediaKind::Video);
    settings.linger = Duration::from_millis(20);
    let publisher = Publisher::new("storm", VIDEO, settings).play();
    until("caps", || publisher.ingest.raw_caps().is_some());
    let ingest = &publisher.ingest;
    std::thread::scope(|scope| {
        for worker in 0..6u64 {
            scope.spawn(move || {
                for round in 0..25u64 {
                    let viewer = Viewer::new();
                    let codec = if (worker + round) % 3 == 0 {
                        Codec::H264
                    } else {
                        Codec::Vp8
                    };
                    let sub = ingest.attach(codec, &viewer.appsrc).unwrap();
                    viewer.ask_key_frame();
                    if round % 2 == 0 {
                        std::thread::park_timeout(Duration::from_millis(worker * 11 % 40));
                    }
                    drop(sub);
                }
            });
        }
    });
    let viewer = Viewer::new();
    let _sub = ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap();
    until("still works", || viewer.seen.buffers() > 5);
    until("no other encoding left", || ingest.encodings() == [Codec::Vp8]);
}

#[test]
fn teardown_is_quick_and_complete() {
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        let publisher = Publisher::new("tdn", VIDEO, settings(MediaKind::Video)).play();
        let viewer = Viewer::new();
        let sub = publisher.ingest.attach(Codec::Vp8, &viewer.appsrc).unwrap();
        until("media", || viewer.seen.buffers() > 5);
        assert!(!threads("tdn-").is_empty());
        let bin = publisher.ingest.sink_bin().downgrade();
        let start = Instant::now();
        drop(publisher);
        drop(sub);
        // What is gone has joined its threads.
        until("nothing holds the bin", || bin.upgrade().is_none());
        // Less than the linger, with room for a busy machine.
        assert!(
            start.elapsed() < Duration::from_millis(1700),
            "round {round}: {:?}",
            start.elapsed()
        );
    }
    // A thread that goes back to the pool of all tasks waits there for more to do, 15 seconds and under its last name
    // (seen with GLib 2.90); the pool keeps eight. One that never comes back would be there for each round.
    until("threads are gone, or idle", || threads("tdn-").len() < ROUNDS / 2);
}
