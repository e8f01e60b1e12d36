//! Tests with real elements. Waiting has a deadline and ends as soon as what is waited for is there.

mod codecs;
mod ingest;
mod ingest_faults;
mod outlet;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::tasks::lock;
use super::{Ingest, IngestSettings, configure_consumer};
use crate::core::io::MediaKind;

/// Generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(20);

fn init() {
    gst::init().unwrap();
}

/// Looks until it is so, or the deadline has passed.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(3));
    }
    if end - Instant::now() < DEADLINE - Duration::from_secs(4) {
        eprintln!("slow: {what} in {:?}", std::thread::current().name());
    }
}

fn settings(kind: MediaKind) -> IngestSettings {
    IngestSettings::new(kind)
}

/// An application's pipeline with one ingest.
struct Publisher {
    pipeline: gst::Pipeline,
    ingest: Ingest,
}

impl Publisher {
    fn new(name: &str, source: &str, settings: IngestSettings) -> Self {
        init();
        let kind = if source.contains("audio") {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        let ingest = Ingest::new(name, kind, settings).unwrap();
        let pipeline = gst::Pipeline::new();
        let source = format!("{source} ! identity silent=true");
        let bin = gst::parse::bin_from_description(&source, true).unwrap();
        pipeline
            .add_many([bin.upcast_ref::<gst::Element>(), ingest.sink_bin().upcast_ref()])
            .unwrap();
        bin.link(ingest.sink_bin()).unwrap();
        Self { pipeline, ingest }
    }

    fn play(self) -> Self {
        self.pipeline.set_state(gst::State::Playing).unwrap();
        if let (Some(clock), Some(base)) = (self.pipeline.clock(), self.pipeline.base_time()) {
            self.ingest.set_timing(&clock, base);
        }
        self
    }

    fn element(&self, name: &str) -> gst::Element {
        self.pipeline.by_name(name).unwrap()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A peer: takes an encoding and counts.
struct Viewer {
    pipeline: gst::Pipeline,
    appsrc: gst_app::AppSrc,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    buffers: AtomicU64,
    key_frames: AtomicU64,
    caps: Mutex<Option<gst::Caps>>,
    running: Mutex<Vec<gst::ClockTime>>,
    began_with_delta: AtomicU64,
}

impl Seen {
    fn buffers(&self) -> u64 {
        self.buffers.load(Ordering::Relaxed)
    }

    fn width(&self) -> Option<i32> {
        lock(&self.caps).as_ref()?.structure(0)?.get("width").ok()
    }

    fn note(&self, sample: &gst::Sample) {
        let Some(buffer) = sample.buffer() else { return };
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        self.key_frames.fetch_add(key.into(), Ordering::Relaxed);
        if self.buffers.fetch_add(1, Ordering::Relaxed) == 0 && !key {
            self.began_with_delta.fetch_add(1, Ordering::Relaxed);
        }
        *lock(&self.caps) = sample.caps_owned();
        let segment = sample
            .segment()
            .and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
        lock(&self.running).extend(segment.and_then(|segment| segment.to_running_time(buffer.pts())));
    }
}

impl Viewer {
    fn new() -> Self {
        Self::with("identity")
    }

    fn with(middle: &str) -> Self {
        init();
        let text = format!("appsrc name=in ! {middle} ! appsink name=out sync=false async=false");
        let pipeline = gst::parse::launch(&text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let appsrc = pipeline.by_name("in").and_downcast::<gst_app::AppSrc>().unwrap();
        let appsink = pipeline
            .by_name("out")
            .and_downcast::<gst_app::AppSink>()
            .unwrap();
        let seen = watch(&appsink);
        configure_consumer(&appsrc);
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            pipeline,
            appsrc,
            seen,
        }
    }

    /// What a receiver does that has lost a picture.
    fn ask_key_frame(&self) {
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().build();
        self.pipeline
            .by_name("out")
            .unwrap()
            .static_pad("sink")
            .unwrap()
            .push_event(event);
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn watch(appsink: &gst_app::AppSink) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let theirs = seen.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |appsink| {
            let sample = appsink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
            theirs.note(&sample);
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    appsink.set_callbacks(callbacks);
    seen
}

/// Names of this process's threads that start like this.
fn threads(prefix: &str) -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let names = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names
        .map(|name| name.trim().to_string())
        .filter(|name| name.starts_with(prefix))
        .collect()
}
