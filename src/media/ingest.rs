//! One sink pad of an element: what comes in is encoded once per codec that anybody subscribes to.
//!
//! Locks: `Sub::link` before `Shared::state`. `state` is never held while anything is called outside of this file.
//! `link` is held while its own consumer is connected, and nothing else ever takes it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gst::prelude::*;
use gst_utils::{ConsumptionLink, StreamProducer};

use super::gate::{Counters, Gate};
use super::graph::{self, Graph, Mode, Plan};
use super::tasks::{self, lock};
use super::{CAT, MediaError, codecs, encoders, keyframes};
use crate::core::io::{Codec, MediaKind};

/// An encoding nobody uses any more is kept this long: a renegotiation detaches and attaches again.
const LINGER: Duration = Duration::from_secs(2);
/// An encoder that fails is tried again after this long, doubled each time up to the ceiling.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_CEILING: Duration = Duration::from_secs(30);

/// An encoding has failed. The peers that wanted it go without this track for the time being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the ingest.
    pub ingest: String,
    /// What was to be made.
    pub codec: Codec,
    /// What happened, for the operator.
    pub text: String,
}

/// Told of faults, on any thread, streaming threads included: it must do no more than post.
pub type FaultHook = Arc<dyn Fn(Fault) + Send + Sync>;
/// Shown each new encoder before it starts (`encoder-setup`).
pub type EncoderHook = Arc<dyn Fn(&gst::Element) + Send + Sync>;

/// How an ingest works.
#[derive(Clone)]
pub struct IngestSettings {
    /// Bitrate with which encoders start, in bit/s.
    pub bitrate: u32,
    /// How long an encoding outlives its last subscriber.
    pub linger: Duration,
    /// Least time between two key-frame requests to one encoder.
    pub key_frame_interval: Duration,
    /// Told of faults.
    pub on_fault: Option<FaultHook>,
    /// Shown each new encoder.
    pub on_encoder: Option<EncoderHook>,
}

impl IngestSettings {
    /// The defaults for a kind.
    pub fn new(kind: MediaKind) -> Self {
        let bitrate = match kind {
            MediaKind::Audio => 64_000,
            MediaKind::Video => 2_048_000,
        };
        Self {
            bitrate,
            linger: LINGER,
            key_frame_interval: keyframes::QUIET,
            on_fault: None,
            on_encoder: None,
        }
    }
}

impl fmt::Debug for IngestSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestSettings")
            .field("bitrate", &self.bitrate)
            .finish_non_exhaustive()
    }
}

/// Counters of one encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodingStats {
    /// What it makes.
    pub codec: Codec,
    /// It runs at the moment.
    pub active: bool,
    /// Factory of the encoder; nothing if the input passes through or nothing runs.
    pub encoder: Option<String>,
    /// Peers that get it.
    pub subscribers: usize,
    /// Bitrate asked of the encoder, in bit/s.
    pub bitrate: u32,
    /// How many times an encoder was started.
    pub starts: u64,
    /// Encoded buffers.
    pub buffers: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Key frames that were asked for by peers.
    pub key_frames_requested: u64,
    /// Requests that went on to the encoder.
    pub key_frames_forwarded: u64,
}

/// Counters of an ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestStats {
    /// Buffers that came in.
    pub buffers_in: u64,
    /// The encodings there are or were.
    pub encodings: Vec<EncodingStats>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Input {
    /// No caps yet.
    Unknown,
    Raw(gst::Caps),
    Encoded(Codec, gst::Caps),
}

impl Input {
    fn codec(&self) -> Option<Codec> {
        if let Self::Encoded(codec, _) = self {
            Some(*codec)
        } else {
            None
        }
    }
}

#[derive(Debug)]
enum Slot {
    Empty,
    /// Some thread is at it; the number tells whether it is still wanted.
    Building(u64),
    Ready(u64, Graph),
}

#[derive(Debug)]
struct Encoding {
    subs: HashMap<u64, Weak<Sub>>,
    slot: Slot,
    /// Grows with each attach, so that a linger that was overtaken does nothing.
    epoch: u64,
    bitrate: u32,
    failures: u32,
    counters: Arc<Counters>,
}

struct State {
    input: Input,
    timing: Option<(gst::Clock, gst::ClockTime)>,
    encodings: HashMap<Codec, Encoding>,
    ended: bool,
}

struct Shared {
    id: u64,
    name: String,
    kind: MediaKind,
    settings: IngestSettings,
    /// What new encodings start with.
    bitrate: AtomicU32,
    raw: StreamProducer,
    buffers_in: AtomicU64,
    state: Mutex<State>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

fn next_id() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

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

#[derive(Debug)]
struct Sub {
    id: u64,
    codec: Codec,
    /// Empty once detached.
    link: Mutex<Option<ConsumptionLink>>,
}

impl Encoding {
    fn new(bitrate: u32) -> Self {
        Self {
            subs: HashMap::new(),
            slot: Slot::Empty,
            epoch: 0,
            bitrate,
            failures: 0,
            counters: Arc::default(),
        }
    }

    fn graph(&self) -> Option<&Graph> {
        if let Slot::Ready(_, graph) = &self.slot {
            Some(graph)
        } else {
            None
        }
    }

    fn pipeline(&self) -> Option<gst::Pipeline> {
        self.graph().map(|graph| graph.pipeline.clone())
    }

    fn stats(&self, codec: Codec) -> EncodingStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EncodingStats {
            codec,
            active: self.graph().is_some(),
            encoder: self.graph().and_then(Graph::encoder_name),
            subscribers: self.subs.len(),
            bitrate: self.bitrate,
            starts: get(&self.counters.built),
            buffers: get(&self.counters.buffers),
            key_frames: get(&self.counters.key_frames),
            key_frames_requested: get(&self.counters.requested),
            key_frames_forwarded: get(&self.counters.forwarded),
        }
    }
}

/// Counts what comes in and sees what it is.
fn watch_input(pad: &gst::Pad, shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if let Some(shared) = weak.upgrade() {
            shared.buffers_in.fetch_add(1, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    let weak = Arc::downgrade(shared);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Caps(event)) = info.event().map(|event| event.view())
            && let Some(shared) = weak.upgrade()
        {
            shared.input_caps(event.caps_owned());
        }
        gst::PadProbeReturn::Ok
    });
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        // Encoders map frames by their video meta, so nobody has to copy them into the default layout.
        if let Some(gst::QueryViewMut::Allocation(query)) = info.query_mut().map(|query| query.view_mut()) {
            query.add_allocation_meta::<gst_video::VideoMeta>(None);
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
}

impl Shared {
    /// New caps, on the streaming thread: what has to be rebuilt is rebuilt elsewhere.
    fn input_caps(self: &Arc<Self>, caps: gst::Caps) {
        let input = match codecs::codec_of_caps(&caps) {
            Some(codec) => Input::Encoded(codec, caps),
            None => Input::Raw(caps),
        };
        gst::debug!(CAT, "{}: input is {input:?}", self.name);
        let mut state = lock(&self.state);
        let first = state.input == Input::Unknown;
        let same = state.input.codec() == input.codec() && !first;
        let has = input.codec();
        state.input = input;
        if same {
            // The elements of the encodings follow by themselves.
            return;
        }
        let mut stale = Vec::new();
        let mut wanted = Vec::new();
        for (codec, encoding) in &mut state.encodings {
            if let Slot::Ready(_, graph) = std::mem::replace(&mut encoding.slot, Slot::Empty) {
                stale.push(graph);
            }
            if !encoding.subs.is_empty() {
                wanted.push(*codec);
            }
        }
        drop(state);
        stale.into_iter().for_each(Graph::dispose);
        for codec in wanted {
            match has.filter(|has| *has != codec) {
                Some(has) => self.fault(codec, MediaError::Encoded { has, wants: codec }.to_string()),
                None => self.rebuild(codec),
            }
        }
    }

    fn rebuild(self: &Arc<Self>, codec: Codec) {
        let weak = Arc::downgrade(self);
        tasks::spawn("media-build", move || {
            if let Some(shared) = weak.upgrade()
                && let Err(error) = shared.ensure(codec)
            {
                shared.fault(codec, error.to_string());
            }
        });
    }

    fn fault(&self, codec: Codec, text: String) {
        gst::warning!(CAT, "{}: {codec:?}: {text}", self.name);
        if let Some(hook) = &self.settings.on_fault {
            hook(Fault {
                ingest: self.name.clone(),
                codec,
                text,
            });
        }
    }

    /// Builds the encoding if it is wanted, possible, and not there. Only one thread builds.
    fn ensure(self: &Arc<Self>, codec: Codec) -> Result<(), MediaError> {
        let token = next_id();
        let (mode, bitrate, timing, counters) = {
            let mut state = lock(&self.state);
            let mode = match &state.input {
                // Which elements are needed is known with the first caps.
                Input::Unknown => return Ok(()),
                Input::Raw(_) => Mode::Encode,
                Input::Encoded(has, _) if *has == codec => Mode::Passthrough,
                Input::Encoded(has, _) => {
                    return Err(MediaError::Encoded {
                        has: *has,
                        wants: codec,
                    });
                }
            };
            let timing = state.timing.clone();
            let Some(encoding) = state.encodings.get_mut(&codec) else {
                return Ok(());
            };
            if encoding.subs.is_empty() || !matches!(encoding.slot, Slot::Empty) {
                return Ok(());
            }
            encoding.slot = Slot::Building(token);
            (mode, encoding.bitrate, timing, encoding.counters.clone())
        };
        let weak = Arc::downgrade(self);
        let built = Graph::start(Plan {
            name: format!("{}-{}", self.name, codecs::info(codec).name.to_lowercase()),
            codec,
            mode,
            bitrate,
            quiet: self.settings.key_frame_interval,
            timing,
            raw: &self.raw,
            counters,
            on_encoder: self.settings.on_encoder.as_deref(),
            on_error: Box::new(move |text| {
                if let Some(shared) = weak.upgrade() {
                    shared.failed(codec, token, text);
                }
            }),
        });
        self.publish(codec, token, built)
    }

    /// Puts what was built into its place, unless it is not wanted any more.
    fn publish(
        self: &Arc<Self>,
        codec: Codec,
        token: u64,
        built: Result<Graph, MediaError>,
    ) -> Result<(), MediaError> {
        let mut state = lock(&self.state);
        let encoding = state
            .encodings
            .get_mut(&codec)
            .filter(|encoding| matches!(encoding.slot, Slot::Building(now) if now == token));
        let Some(encoding) = encoding else {
            drop(state);
            if let Ok(graph) = built {
                graph.dispose();
            }
            return Ok(());
        };
        let graph = match built {
            Ok(graph) => graph,
            Err(error) => {
                encoding.slot = Slot::Empty;
                return Err(error);
            }
        };
        encoding.slot = Slot::Ready(token, graph);
        let epoch = encoding.epoch;
        let subs: Vec<_> = encoding.subs.values().filter_map(Weak::upgrade).collect();
        drop(state);
        if subs.is_empty() {
            self.linger(codec, epoch);
        }
        for sub in subs {
            self.reconcile(&sub);
        }
        Ok(())
    }

    /// What subscribers of a codec should be connected to at the moment.
    fn current(&self, codec: Codec) -> Option<(StreamProducer, Arc<Gate>)> {
        let state = lock(&self.state);
        let graph = state.encodings.get(&codec)?.graph()?;
        Some((graph.producer.clone(), graph.gate.clone()))
    }

    /// Connects a subscriber to what it should be connected to. Called after every change, so the last one wins.
    fn reconcile(&self, sub: &Sub) {
        let mut link = lock(&sub.link);
        let Some(link) = link.as_mut() else { return };
        match self.current(sub.codec) {
            Some((producer, _)) if link.stream_producer() == Some(&producer) => {}
            Some((producer, gate)) => match link.change_producer(&producer, false) {
                // Asked at once instead of with the first frame that it cannot use.
                Ok(()) => gate.request(),
                Err(error) => gst::error!(CAT, "{}: {error}", self.name),
            },
            None => link.disconnect(),
        }
    }

    fn detached(self: &Arc<Self>, sub: &Sub) {
        let mut state = lock(&self.state);
        let Some(encoding) = state.encodings.get_mut(&sub.codec) else {
            return;
        };
        encoding.subs.remove(&sub.id);
        let epoch = encoding.epoch;
        let last = encoding.subs.is_empty() && encoding.graph().is_some();
        drop(state);
        if last {
            self.linger(sub.codec, epoch);
        }
    }

    fn linger(self: &Arc<Self>, codec: Codec, epoch: u64) {
        let weak = Arc::downgrade(self);
        tasks::after(self.settings.linger, self.id, move || {
            let Some(shared) = weak.upgrade() else { return };
            let mut state = lock(&shared.state);
            let idle = state
                .encodings
                .get_mut(&codec)
                .filter(|encoding| encoding.epoch == epoch && encoding.subs.is_empty());
            let slot = idle.map(|encoding| std::mem::replace(&mut encoding.slot, Slot::Empty));
            drop(state);
            if let Some(Slot::Ready(_, graph)) = slot {
                graph.dispose();
            }
        });
    }

    /// The pipeline of an encoding reports an error, on one of its threads.
    fn failed(self: &Arc<Self>, codec: Codec, token: u64, text: String) {
        let mut state = lock(&self.state);
        let Some(encoding) = state.encodings.get_mut(&codec) else {
            return;
        };
        let ours = match &encoding.slot {
            Slot::Building(now) | Slot::Ready(now, _) => *now == token,
            Slot::Empty => false,
        };
        if !ours {
            return;
        }
        let slot = std::mem::replace(&mut encoding.slot, Slot::Empty);
        let delay = RETRY
            .saturating_mul(1 << encoding.failures.min(8))
            .min(RETRY_CEILING);
        encoding.failures += 1;
        let wanted = !encoding.subs.is_empty();
        drop(state);
        let name = codecs::info(codec).name;
        self.fault(
            codec,
            format!("encoding `{}` as {name} failed ({text}); trying again", self.name),
        );
        if let Slot::Ready(_, graph) = slot {
            graph.dispose();
        }
        if wanted {
            let weak = Arc::downgrade(self);
            tasks::after(delay, self.id, move || {
                if let Some(shared) = weak.upgrade() {
                    shared.rebuild(codec);
                }
            });
        }
    }
}
