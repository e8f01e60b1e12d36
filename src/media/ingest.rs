//! One sink pad of an element: what comes in is encoded once per codec that anybody subscribes to.
//!
//! Locks: `Sub::link` before `Shared::state`. `state` is never held while anything is called outside of this module.
//! `link` is held while its own consumer is connected, and nothing else ever takes it.
//!
//! `settings` is what goes in and out, `encodings` the life of the encodings; here is what the elements and the sessions
//! hold in their hands.

mod encodings;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use gst::prelude::*;
use gst_utils::{ConsumptionLink, StreamProducer};

use super::graph::{self, Graph};
use super::tasks::{self, lock};
use super::{MediaError, codecs, encoders};
use crate::core::io::{Codec, MediaKind};
use encodings::{Encoding, Input, Shared, Slot, State, Sub, next_id, watch_input};

pub use settings::{EncoderHook, EncodingStats, Fault, FaultHook, IngestSettings, IngestStats};

/// The local side of one published track. Dropping it ends all its encodings; the bin is the element's to remove.
pub struct Ingest {
    bin: gst::Bin,
    shared: Arc<Shared>,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest")
            .field("name", &self.shared.name)
            .field("kind", &self.shared.kind)
            .finish()
    }
}

impl Ingest {
    /// An ingest and its bin. Nothing is encoded before somebody attaches.
    pub fn new(name: &str, kind: MediaKind, settings: IngestSettings) -> Result<Self, MediaError> {
        let appsink = gst_app::AppSink::builder()
            .name("raw")
            .caps(&codecs::input_caps(kind))
            // In real time: a file must not be sent as fast as it can be read.
            .sync(true)
            // A pad without data must not keep the pipeline from starting, nor a new pad make it lose its state.
            .async_(false)
            .build();
        // Frames belong to the camera's pool.
        appsink.set_property("enable-last-sample", false);
        let raw = StreamProducer::from(&appsink);
        raw.set_forward_events([gst::EventType::Gap]);
        raw.set_forward_preroll(false);
        let bin = gst::Bin::with_name(name);
        bin.add(&appsink)?;
        let target = appsink
            .static_pad("sink")
            .ok_or_else(|| MediaError::Build("appsink without pad".into()))?;
        let ghost = gst::GhostPad::builder_with_target(&target)?.name("sink").build();
        bin.add_pad(&ghost)?;
        let state = State {
            input: Input::Unknown,
            timing: None,
            encodings: HashMap::new(),
            ended: false,
        };
        let shared = Arc::new(Shared {
            id: next_id(),
            name: name.into(),
            kind,
            bitrate: AtomicU32::new(settings.bitrate),
            settings,
            raw,
            buffers_in: AtomicU64::new(0),
            state: Mutex::new(state),
        });
        watch_input(&target, &shared);
        Ok(Self { bin, shared })
    }

    /// What the element adds to itself: a bin with a ghost pad `sink`.
    pub fn sink_bin(&self) -> &gst::Bin {
        &self.bin
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.shared.kind
    }

    /// Caps of the input, once there are any.
    pub fn raw_caps(&self) -> Option<gst::Caps> {
        match &lock(&self.shared.state).input {
            Input::Unknown => None,
            Input::Raw(caps) | Input::Encoded(_, caps) => Some(caps.clone()),
        }
    }

    /// The codec of the input if it comes encoded: then it is the only one that can be sent.
    pub fn encoded_input(&self) -> Option<Codec> {
        lock(&self.shared.state).input.codec()
    }

    /// Clock and base time of the element, to be told on each change to PLAYING.
    pub fn set_timing(&self, clock: &gst::Clock, base_time: gst::ClockTime) {
        let timing = Some((clock.clone(), base_time));
        let mut state = lock(&self.shared.state);
        state.timing = timing.clone();
        let running: Vec<_> = state.encodings.values().filter_map(Encoding::pipeline).collect();
        drop(state);
        for pipeline in running {
            graph::apply_timing(&pipeline, timing.clone());
        }
    }

    /// Bitrate of all encodings from now on, in bit/s.
    pub fn set_bitrates(&self, bits: u32) {
        self.shared.bitrate.store(bits, Ordering::Relaxed);
        let codecs: Vec<_> = lock(&self.shared.state).encodings.keys().copied().collect();
        for codec in codecs {
            self.set_bitrate(codec, bits);
        }
    }

    /// Bitrate of one encoding from now on, in bit/s, also if it does not run yet.
    pub fn set_bitrate(&self, codec: Codec, bits: u32) {
        let mut state = lock(&self.shared.state);
        let default = self.shared.bitrate.load(Ordering::Relaxed);
        let encoding = state
            .encodings
            .entry(codec)
            .or_insert_with(|| Encoding::new(default));
        encoding.bitrate = bits;
        let encoder = encoding.graph().and_then(|graph| graph.encoder.clone());
        drop(state);
        if let Some(encoder) = encoder {
            encoders::set_bitrate(&encoder, bits);
        }
    }

    /// Lets a consumer have this codec, from the next key frame on. The encoding is made if it does not exist.
    ///
    /// May take as long as opening an encoder takes: not for streaming threads. If the consumer runs already, it must
    /// have been through [`configure_consumer`] before it was started.
    pub fn attach(&self, codec: Codec, consumer: &gst_app::AppSrc) -> Result<Subscription, MediaError> {
        let shared = &self.shared;
        if codecs::info(codec).kind != shared.kind {
            return Err(MediaError::WrongKind {
                kind: shared.kind,
                codec,
            });
        }
        let sub = Arc::new(Sub {
            id: next_id(),
            codec,
            link: Mutex::new(Some(ConsumptionLink::disconnected(consumer.clone()))),
        });
        {
            let mut state = lock(&shared.state);
            if state.ended {
                return Err(MediaError::Ended);
            }
            if let Some(has) = state.input.codec().filter(|has| *has != codec) {
                return Err(MediaError::Encoded { has, wants: codec });
            }
            let default = shared.bitrate.load(Ordering::Relaxed);
            let encoding = state
                .encodings
                .entry(codec)
                .or_insert_with(|| Encoding::new(default));
            encoding.epoch += 1;
            encoding.subs.insert(sub.id, Arc::downgrade(&sub));
        }
        // From here on dropping it undoes what was done.
        let subscription = Subscription {
            shared: Arc::downgrade(shared),
            sub,
        };
        shared.ensure(codec)?;
        shared.reconcile(&subscription.sub);
        Ok(subscription)
    }

    /// The element goes to READY. What comes after the next start has running times that begin anew, so no encoder may
    /// live until then: to it time would run backwards.
    pub fn reset(&self) {
        tasks::cancel(self.shared.id);
        let (mut graphs, mut subs) = (Vec::new(), Vec::new());
        {
            let mut state = lock(&self.shared.state);
            state.input = Input::Unknown;
            for encoding in state.encodings.values_mut() {
                encoding.failures = 0;
                subs.extend(encoding.subs.values().filter_map(Weak::upgrade));
                if let Slot::Ready(_, graph) = std::mem::replace(&mut encoding.slot, Slot::Empty) {
                    graphs.push(graph);
                }
            }
        }
        for sub in subs {
            self.shared.reconcile(&sub);
        }
        graphs.into_iter().for_each(Graph::dispose);
    }

    /// Counters.
    pub fn stats(&self) -> IngestStats {
        let state = lock(&self.shared.state);
        let mut encodings: Vec<_> = state
            .encodings
            .iter()
            .map(|(codec, encoding)| encoding.stats(*codec))
            .collect();
        encodings.sort_by_key(|stats| stats.codec);
        IngestStats {
            buffers_in: self.shared.buffers_in.load(Ordering::Relaxed),
            encodings,
        }
    }

    /// The codecs that are being made now.
    pub fn encodings(&self) -> Vec<Codec> {
        let stats = self.stats();
        stats
            .encodings
            .iter()
            .filter(|stats| stats.active)
            .map(|stats| stats.codec)
            .collect()
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.ended = true;
        let encodings = std::mem::take(&mut state.encodings);
        drop(state);
        tasks::cancel(self.shared.id);
        for encoding in encodings.into_values() {
            for sub in encoding.subs.values().filter_map(Weak::upgrade) {
                self.shared.reconcile(&sub);
            }
            if let Slot::Ready(_, graph) = encoding.slot {
                graph.dispose();
            }
        }
    }
}

/// Makes an appsrc what a consumer has to be. Needed before it starts: a source that turns live while it runs waits
/// for ever.
pub fn configure_consumer(consumer: &gst_app::AppSrc) {
    StreamProducer::configure_consumer(consumer);
}

/// A consumer's share of an encoding. Dropping it detaches.
#[must_use]
pub struct Subscription {
    shared: Weak<Shared>,
    sub: Arc<Sub>,
}

impl Subscription {
    /// What is subscribed to.
    pub fn codec(&self) -> Codec {
        self.sub.codec
    }

    /// Buffers given to the consumer.
    pub fn pushed(&self) -> u64 {
        lock(&self.sub.link).as_ref().map_or(0, ConsumptionLink::pushed)
    }

    /// Buffers the consumer did not take, or that came before its first key frame.
    pub fn dropped(&self) -> u64 {
        lock(&self.sub.link).as_ref().map_or(0, ConsumptionLink::dropped)
    }

    /// Stops the flow, or lets it go on from the next key frame. The encoding stays.
    pub fn set_paused(&self, paused: bool) {
        if let Some(link) = lock(&self.sub.link).as_ref() {
            link.set_discard(paused);
        }
        if !paused {
            self.request_key_frame();
        }
    }

    /// Asks for a key frame, together with whoever else does.
    pub fn request_key_frame(&self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        if let Some((_, gate)) = shared.current(self.sub.codec) {
            gate.request();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.sub.id)
            .field("codec", &self.sub.codec)
            .finish()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Taken out first, so that a reconcile on another thread cannot connect it again.
        let link = lock(&self.sub.link).take();
        drop(link);
        if let Some(shared) = self.shared.upgrade() {
            shared.detached(&self.sub);
        }
    }
}
