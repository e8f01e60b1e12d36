//! Where all key-frame requests for one encoder, or one remote track, come together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;

use super::keyframes::Coalescer;
use super::tasks::lock;

/// What has gone through, over all pipelines of an encoding.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub built: AtomicU64,
    pub buffers: AtomicU64,
    pub key_frames: AtomicU64,
    pub requested: AtomicU64,
    pub forwarded: AtomicU64,
}

/// Where requests go.
#[derive(Debug)]
pub(crate) enum Entry {
    /// To this source pad.
    Source(glib::WeakRef<gst::Pad>),
    /// To whatever is linked to this sink pad.
    PeerOf(glib::WeakRef<gst::Pad>),
    /// Nowhere: audio has no key frames.
    Nowhere,
}

/// Lets through as many requests as are good for everybody.
#[derive(Debug)]
pub(crate) struct Gate {
    coalescer: Mutex<Coalescer>,
    entry: Entry,
    pub counters: Arc<Counters>,
}

impl Gate {
    pub fn new(entry: Entry, quiet: Duration, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            coalescer: Mutex::new(Coalescer::new(quiet)),
            entry,
            counters,
        })
    }

    /// Somebody needs a key frame.
    pub fn request(&self) {
        self.counters.requested.fetch_add(1, Ordering::Relaxed);
        let now = lock(&self.coalescer).requested(Instant::now());
        if now {
            self.forward();
        }
    }

    fn forward(&self) {
        let pad = match &self.entry {
            Entry::Source(pad) => pad.upgrade(),
            Entry::PeerOf(pad) => pad.upgrade().and_then(|pad| pad.peer()),
            Entry::Nowhere => None,
        };
        let Some(pad) = pad else { return };
        self.counters.forwarded.fetch_add(1, Ordering::Relaxed);
        pad.send_event(
            gst_video::UpstreamForceKeyUnitEvent::builder()
                .all_headers(true)
                .build(),
        );
    }

    fn tick_now(&self) {
        let due = lock(&self.coalescer).due(Instant::now());
        if due {
            self.forward();
        }
    }

    /// Takes the requests that come along this sink pad from its right side.
    pub fn catch(self: &Arc<Self>, pad: &gst::Pad) -> Option<gst::PadProbeId> {
        let gate = self.clone();
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            let Some(event) = info.event() else {
                return gst::PadProbeReturn::Ok;
            };
            if gst_video::UpstreamForceKeyUnitEvent::parse(event).is_err() {
                return gst::PadProbeReturn::Ok;
            }
            gate.request();
            // Not Drop: for events that makes GStreamer 1.22 complain about an event that is not there any more.
            gst::PadProbeReturn::Handled
        })
    }

    /// Counts the frames on this pad, and sees the key frames among them.
    pub fn count(self: &Arc<Self>, pad: &gst::Pad) -> Option<gst::PadProbeId> {
        let gate = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            gate.counters.buffers.fetch_add(1, Ordering::Relaxed);
            if info
                .buffer()
                .is_some_and(|buffer| !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT))
            {
                gate.counters.key_frames.fetch_add(1, Ordering::Relaxed);
                lock(&gate.coalescer).served();
            }
            gst::PadProbeReturn::Ok
        })
    }

    /// Sends what had to wait, with the frames on this pad. No timer is needed: where no frame comes, there is
    /// nothing to make a key frame of.
    pub fn tick(self: &Arc<Self>, pad: &gst::Pad) -> Option<gst::PadProbeId> {
        let gate = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            gate.tick_now();
            gst::PadProbeReturn::Ok
        })
    }
}
