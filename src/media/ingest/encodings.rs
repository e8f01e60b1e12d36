//! The encodings of one track: built when somebody wants them, rebuilt when the input changes or an encoder fails, ended
//! when nobody has wanted them for a while.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gst::prelude::*;
use gst_utils::{ConsumptionLink, StreamProducer};

use super::settings::{EncodingStats, Fault, IngestSettings};
use crate::core::io::{Codec, MediaKind};
use crate::media::gate::{Counters, Gate};
use crate::media::graph::{Graph, Mode, Plan};
use crate::media::tasks::{self, lock};
use crate::media::{CAT, MediaError, codecs};

/// An encoder that fails is tried again after this long, doubled each time up to the ceiling.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_CEILING: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// No caps yet.
    Unknown,
    Raw(gst::Caps),
    Encoded(Codec, gst::Caps),
}

impl Input {
    pub(super) fn codec(&self) -> Option<Codec> {
        if let Self::Encoded(codec, _) = self {
            Some(*codec)
        } else {
            None
        }
    }
}

#[derive(Debug)]
pub(super) enum Slot {
    Empty,
    /// Some thread is at it; the number tells whether it is still wanted.
    Building(u64),
    Ready(u64, Graph),
}

#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) subs: HashMap<u64, Weak<Sub>>,
    pub(super) slot: Slot,
    /// Grows with each attach, so that a linger that was overtaken does nothing.
    pub(super) epoch: u64,
    pub(super) bitrate: u32,
    pub(super) failures: u32,
    pub(super) counters: Arc<Counters>,
}

pub(super) struct State {
    pub(super) input: Input,
    pub(super) timing: Option<(gst::Clock, gst::ClockTime)>,
    pub(super) encodings: HashMap<Codec, Encoding>,
    pub(super) ended: bool,
}

pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) kind: MediaKind,
    pub(super) settings: IngestSettings,
    /// What new encodings start with.
    pub(super) bitrate: AtomicU32,
    pub(super) raw: StreamProducer,
    pub(super) buffers_in: AtomicU64,
    pub(super) state: Mutex<State>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(super) fn next_id() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[derive(Debug)]
pub(super) struct Sub {
    pub(super) id: u64,
    pub(super) codec: Codec,
    /// Empty once detached.
    pub(super) link: Mutex<Option<ConsumptionLink>>,
}

impl Encoding {
    pub(super) fn new(bitrate: u32) -> Self {
        Self {
            subs: HashMap::new(),
            slot: Slot::Empty,
            epoch: 0,
            bitrate,
            failures: 0,
            counters: Arc::default(),
        }
    }

    pub(super) fn graph(&self) -> Option<&Graph> {
        if let Slot::Ready(_, graph) = &self.slot {
            Some(graph)
        } else {
            None
        }
    }

    pub(super) fn pipeline(&self) -> Option<gst::Pipeline> {
        self.graph().map(|graph| graph.pipeline.clone())
    }

    pub(super) fn stats(&self, codec: Codec) -> EncodingStats {
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
pub(super) fn watch_input(pad: &gst::Pad, shared: &Arc<Shared>) {
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
    pub(super) fn input_caps(self: &Arc<Self>, caps: gst::Caps) {
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

    pub(super) fn rebuild(self: &Arc<Self>, codec: Codec) {
        let weak = Arc::downgrade(self);
        tasks::spawn("media-build", move || {
            if let Some(shared) = weak.upgrade()
                && let Err(error) = shared.ensure(codec)
            {
                shared.fault(codec, error.to_string());
            }
        });
    }

    pub(super) fn fault(&self, codec: Codec, text: String) {
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
    pub(super) fn ensure(self: &Arc<Self>, codec: Codec) -> Result<(), MediaError> {
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
    pub(super) fn publish(
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
    pub(super) fn current(&self, codec: Codec) -> Option<(StreamProducer, Arc<Gate>)> {
        let state = lock(&self.state);
        let graph = state.encodings.get(&codec)?.graph()?;
        Some((graph.producer.clone(), graph.gate.clone()))
    }

    /// Connects a subscriber to what it should be connected to. Called after every change, so the last one wins.
    pub(super) fn reconcile(&self, sub: &Sub) {
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

    pub(super) fn detached(self: &Arc<Self>, sub: &Sub) {
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

    pub(super) fn linger(self: &Arc<Self>, codec: Codec, epoch: u64) {
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
    pub(super) fn failed(self: &Arc<Self>, codec: Codec, token: u64, text: String) {
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
