//! One remote track on its way to the application, encoded or decoded, whatever the application links to it.
//!
//! The pad stays what it is while everything behind it changes: a new producer after a rebuild of the peer
//! connection, another codec, another wish downstream. Which of the two outputs it is is decided when the pad is
//! linked, and again when downstream asks to renegotiate; never on a streaming thread. Until then nothing flows.
//!
//! Locks: `State` and `observed` are never held while anything is called outside of this file.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};

use gst::prelude::*;
use gst_utils::StreamProducer;

use super::gate::{Entry, Gate};
use super::outlet_chain::{Chain, StreamIdentity};
use super::tasks::{lock, spawn};
use super::{CAT, MediaError, codecs, keyframes};
use crate::core::io::{Codec, MediaKind};

/// How a track is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// As it came, parsed.
    Encoded,
    /// Decoded.
    Raw,
}

/// Told in words why downstream gets nothing, on any thread: it must do no more than post.
pub type FaultTextHook = Arc<dyn Fn(String) + Send + Sync>;

/// The application's side of one remote track.
pub struct Outlet(Arc<Shared>);

struct Shared {
    kind: MediaKind,
    bin: gst::Bin,
    ghost: gst::GhostPad,
    state: Mutex<State>,
    observed: Mutex<Vec<Observed>>,
    on_fault: Mutex<Option<FaultTextHook>>,
    /// The application has refused a buffer since it was linked.
    refused: AtomicBool,
    /// Downstream is linked but does not run yet, so what it will take is not certain either.
    unsettled: AtomicBool,
    /// Somebody is on the way to decide because of that.
    settling: AtomicBool,
    /// Pad of the application that the track ends up in.
    sink: Mutex<glib::WeakRef<gst::Pad>>,
}

struct State {
    codec: Codec,
    source: Source,
    latency: gst::ClockTime,
    identity: StreamIdentity,
    /// Taken out by the thread that changes it.
    chain: Option<Chain>,
    decision: Decision,
    serial: u64,
    ended: bool,
}

/// Only one thread decides at a time; others ask it to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    None,
    Running,
    Again,
}

/// A producer, and the gate for all key-frame requests to it.
#[derive(Clone)]
struct Source {
    producer: StreamProducer,
    gate: Arc<Gate>,
    probes: Arc<Probes>,
}

/// Removed with the last clone.
struct Probes {
    pad: Option<gst::Pad>,
    ids: Mutex<Vec<gst::PadProbeId>>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        let Some(pad) = &self.pad else { return };
        for id in std::mem::take(&mut *lock(&self.ids)) {
            pad.remove_probe(id);
        }
    }
}

struct Observed {
    pad: glib::WeakRef<gst::Pad>,
    handlers: [glib::SignalHandlerId; 2],
}

impl Source {
    fn new(producer: StreamProducer, kind: MediaKind) -> Self {
        // The track lives longer than any of its producers, so an end of stream is only what `eos` says.
        // Gaps are wanted: they make audio decoders conceal what is lost.
        producer.set_forward_events([gst::EventType::Gap]);
        let pad = producer.appsink().static_pad("sink");
        let entry = match (&pad, kind) {
            (Some(pad), MediaKind::Video) => Entry::PeerOf(pad.downgrade()),
            _ => Entry::Nowhere,
        };
        let gate = Gate::new(entry, keyframes::QUIET, Arc::default());
        let ids = pad
            .iter()
            .flat_map(|pad| [gate.catch(pad), gate.count(pad), gate.tick(pad)])
            .flatten()
            .collect();
        Self {
            producer,
            gate,
            probes: Arc::new(Probes {
                pad,
                ids: Mutex::new(ids),
            }),
        }
    }
}

impl Outlet {
    /// A bin with a ghost pad `src` that hands out what the producer gives. `latency_ms` is reported downstream as
    /// long as the producer does not know better.
    pub fn new(
        name: &str,
        kind: MediaKind,
        codec: Codec,
        producer: StreamProducer,
        latency_ms: u32,
    ) -> Result<Self, MediaError> {
        check_kind(kind, codec)?;
        let bin = gst::Bin::with_name(name);
        let shared = Arc::new_cyclic(|weak| Shared {
            kind,
            bin: bin.clone(),
            ghost: make_ghost(weak.clone()),
            state: Mutex::new(State {
                codec,
                source: Source::new(producer, kind),
                latency: gst::ClockTime::from_mseconds(latency_ms.into()),
                identity: StreamIdentity::new(name, kind, gst::GroupId::next()),
                chain: None,
                decision: Decision::None,
                serial: 0,
                ended: false,
            }),
            observed: Mutex::default(),
            on_fault: Mutex::default(),
            refused: AtomicBool::new(false),
            unsettled: AtomicBool::new(false),
            settling: AtomicBool::new(false),
            sink: Mutex::default(),
        });
        bin.add_pad(&shared.ghost)?;
        watch_reconfigure(&shared);
        offer_both(&shared);
        shared.observe(shared.ghost.upcast_ref());
        Ok(Self(shared))
    }

    /// What the element adds to itself; its pad `src` is for the element to ghost.
    pub fn bin(&self) -> &gst::Bin {
        &self.0.bin
    }

    /// The ghost pad `src` of the bin.
    pub fn src_pad(&self) -> &gst::GhostPad {
        &self.0.ghost
    }

    /// Stream id and group of the pad, to be set before it is linked. The default id is the name.
    pub fn set_stream(&self, id: &str, group: gst::GroupId) {
        lock(&self.0.state).identity = StreamIdentity::new(id, self.0.kind, group);
    }

    /// The stream that is announced with the pad, for collections and tags.
    pub fn stream(&self) -> gst::Stream {
        lock(&self.0.state).identity.stream.clone()
    }

    /// Who is told when downstream cannot be served.
    pub fn set_fault_hook(&self, hook: FaultTextHook) {
        *lock(&self.0.on_fault) = Some(hook);
    }

    /// Latency of what comes in from now on.
    pub fn set_latency(&self, latency_ms: u32) {
        let latency = gst::ClockTime::from_mseconds(latency_ms.into());
        let mut state = lock(&self.0.state);
        state.latency = latency;
        let appsrc = state.chain.as_ref().map(|chain| chain.link.appsrc().clone());
        drop(state);
        if let Some(appsrc) = appsrc {
            appsrc.set_latency(latency, gst::ClockTime::NONE);
        }
    }

    /// The track comes from somewhere else from now on, possibly in another codec. The pad stays.
    pub fn replace(&self, codec: Codec, producer: StreamProducer) -> Result<(), MediaError> {
        check_kind(self.0.kind, codec)?;
        let source = Source::new(producer, self.0.kind);
        let mut state = lock(&self.0.state);
        if state.ended {
            return Err(MediaError::Ended);
        }
        state.codec = codec;
        let old = std::mem::replace(&mut state.source, source);
        drop(state);
        drop(old);
        self.0.decide();
        Ok(())
    }

    /// How the track is handed out at the moment; nothing while it is not linked.
    pub fn output(&self) -> Option<Output> {
        let state = lock(&self.0.state);
        let chain = state.chain.as_ref()?;
        chain.link.stream_producer().map(|_| chain.output)
    }

    /// Factory name of the decoder in use.
    pub fn decoder(&self) -> Option<String> {
        lock(&self.0.state).chain.as_ref().and_then(Chain::decoder)
    }

    /// Asks the sender for a key frame, not too often.
    pub fn request_key_frame(&self) {
        let gate = lock(&self.0.state).source.gate.clone();
        gate.request();
    }

    /// The track has ended: end of stream on the pad, behind what is still queued.
    pub fn eos(&self) {
        if let Some(mut chain) = self.0.end() {
            chain.end_of_stream();
            // Kept until `dispose`, because the end of stream is still on its way.
            lock(&self.0.state).chain = Some(chain);
        }
    }

    /// Stops everything off-thread and takes the bin out of its parent.
    pub fn dispose(&self) {
        let _ = self.stop(None);
    }

    /// The same, with the pad that has shown this one. Deactivating it waits for the application to take what it is
    /// just being given, and if that is paused, it may never do so. What is returned tells when it has.
    pub fn dispose_behind(&self, shown: gst::GhostPad) -> mpsc::Receiver<()> {
        self.stop(Some(shown))
    }

    fn stop(&self, shown: Option<gst::GhostPad>) -> mpsc::Receiver<()> {
        let (done, is_done) = mpsc::channel();
        if let Some(mut chain) = self.0.end() {
            chain.mute();
        }
        for observed in std::mem::take(&mut *lock(&self.0.observed)) {
            if let Some(pad) = observed.pad.upgrade() {
                observed
                    .handlers
                    .into_iter()
                    .for_each(|handler| pad.disconnect(handler));
            }
        }
        let bin = self.0.bin.clone();
        bin.set_locked_state(true);
        spawn("media-dispose", move || {
            if let Some(shown) = shown {
                let _ = shown.set_active(false);
                let _ = done.send(());
                let _ = shown.set_target(gst::Pad::NONE);
            }
            let _ = bin.set_state(gst::State::Null);
            if let Some(parent) = bin.parent().and_downcast::<gst::Bin>() {
                let _ = parent.remove(&bin);
            }
        });
        is_done
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet")
            .field("name", &self.0.bin.name())
            .finish_non_exhaustive()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(mut chain) = self.0.end() {
            chain.mute();
        }
    }
}

fn check_kind(kind: MediaKind, codec: Codec) -> Result<(), MediaError> {
    if codecs::info(codec).kind == kind {
        Ok(())
    } else {
        Err(MediaError::WrongKind { kind, codec })
    }
}

/// The pad that ends all trouble from downstream: whatever it says, the track goes on.
fn make_ghost(weak: Weak<Shared>) -> gst::GhostPad {
    let lists = weak.clone();
    let announcer = Announcer::new(weak.clone());
    gst::GhostPad::builder(gst::PadDirection::Src)
        .name("src")
        .proxy_pad_chain_function(move |pad, parent, buffer| {
            tame(&weak, || gst::ProxyPad::chain_default(pad, parent, buffer))
        })
        .proxy_pad_chain_list_function(move |pad, parent, list| {
            tame(&lists, || gst::ProxyPad::chain_list_default(pad, parent, list))
        })
        // Refused caps must not get as far as the elements of the chain either: their source would stop.
        .proxy_pad_event_function(move |pad, parent, event| {
            announcer.pass(event, |event| {
                gst::Pad::event_default(pad, parent, event);
            });
            true
        })
        .proxy_pad_query_function(|pad, parent, query| {
            if let gst::QueryViewMut::AcceptCaps(query) = query.view_mut() {
                query.set_result(true);
                return true;
            }
            gst::Pad::query_default(pad, parent, query)
        })
        .build()
}

/// Says of the stream what downstream may want to know before there is media: its caps, and the collection it is in.
///
/// `decodebin3` takes a stream that upstream announces for what it is said to be. One in no collection ends the process
/// in an assertion (1.26, 1.28). One whose caps are not known when it starts finds no decoder, if a queue is quick. And a
/// collection that comes before the caps is one of streams that need no parser.
struct Announcer {
    shared: Weak<Shared>,
    /// The start of a stream whose caps are not known yet.
    start: Mutex<Option<gst::Event>>,
}

impl Announcer {
    fn new(shared: Weak<Shared>) -> Self {
        Self {
            shared,
            start: Mutex::default(),
        }
    }

    fn pass(&self, event: gst::Event, forward: impl Fn(gst::Event)) {
        if event.type_() == gst::EventType::StreamStart {
            *lock(&self.start) = Some(event);
            return;
        }
        let identity = || {
            let shared = self.shared.upgrade()?;
            let identity = lock(&shared.state).identity.clone();
            Some(identity)
        };
        if let (gst::EventView::Caps(caps), Some(identity)) = (event.view(), identity()) {
            identity.stream.set_caps(Some(&caps.caps_owned()));
        }
        let start = lock(&self.start).take_if(|_| event.is_serialized());
        start.into_iter().for_each(&forward);
        let complete = event.type_() == gst::EventType::Segment;
        forward(event);
        if let (true, Some(identity)) = (complete, identity()) {
            forward(identity.collection());
        }
    }
}

fn tame(
    weak: &Weak<Shared>,
    push: impl FnOnce() -> Result<gst::FlowSuccess, gst::FlowError>,
) -> Result<gst::FlowSuccess, gst::FlowError> {
    let Some(shared) = weak.upgrade() else {
        return Ok(gst::FlowSuccess::Ok);
    };
    if shared.waits() {
        return Ok(gst::FlowSuccess::Ok);
    }
    match push() {
        Err(gst::FlowError::Flushing) => shared.unsettled.store(true, Ordering::Relaxed),
        // Elements that fail say so themselves on the bus. A format that nobody takes is told by the source alone.
        Err(gst::FlowError::NotNegotiated) if !shared.refused.swap(true, Ordering::Relaxed) => {
            // Perhaps something else is linked further down by now, or was all the time and did not run.
            spawn("media-decide", move || {
                shared.decide();
                if shared.refused.load(Ordering::Relaxed) {
                    shared.fault("what is linked to this pad does not take the format of the track");
                }
            });
        }
        _ => {}
    }
    Ok(gst::FlowSuccess::Ok)
}

/// Downstream asks for another format, perhaps because something else was linked further down.
fn watch_reconfigure(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared
        .ghost
        .add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            let asked = info
                .event()
                .is_some_and(|event| event.type_() == gst::EventType::Reconfigure);
            if let (true, Some(shared)) = (asked, weak.upgrade()) {
                shared.decide_elsewhere();
            }
            gst::PadProbeReturn::Ok
        });
}

/// The ghost pad that shows this pad to the outside, if there is one.
fn shown_by(pad: &gst::Pad) -> Option<gst::Pad> {
    let peer = pad.peer()?;
    if peer.is::<gst::GhostPad>() {
        return None;
    }
    let internal = peer.downcast_ref::<gst::ProxyPad>()?.internal()?;
    Some(internal.upcast())
}

/// As long as the decision is open, the pad offers both outputs, so that everything can still be linked.
fn offer_both(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.ghost.add_probe(
        gst::PadProbeType::QUERY_UPSTREAM | gst::PadProbeType::PUSH,
        move |_, info| {
            let Some(shared) = weak.upgrade() else {
                return gst::PadProbeReturn::Ok;
            };
            if !shared.unsettled.load(Ordering::Relaxed) {
                return gst::PadProbeReturn::Ok;
            }
            let Some(gst::QueryViewMut::Caps(query)) = info.query_mut().map(|query| query.view_mut()) else {
                return gst::PadProbeReturn::Ok;
            };
            let caps = codecs::any_output_caps(shared.kind);
            let caps = match query.filter() {
                Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
                None => caps,
            };
            query.set_result(&caps);
            gst::PadProbeReturn::Handled
        },
    );
}

/// The element of this pad has been started.
fn runs(pad: &gst::Pad) -> bool {
    !pad.pad_flags().contains(gst::PadFlags::FLUSHING)
}

impl Shared {
    fn fault(&self, text: &str) {
        gst::warning!(CAT, obj = self.ghost, "{text}");
        let hook = lock(&self.on_fault).clone();
        if let Some(hook) = hook {
            hook(text.into());
        }
    }

    /// Nothing starts any more. Gives the chain to whoever ends it.
    fn end(&self) -> Option<Chain> {
        let mut state = lock(&self.state);
        state.ended = true;
        state.chain.take()
    }

    /// Follows what happens to a pad, and to those that show it further out.
    fn observe(self: &Arc<Self>, pad: &gst::Pad) {
        let known = lock(&self.observed)
            .iter()
            .any(|observed| observed.pad.upgrade().as_ref() == Some(pad));
        if !known {
            let weak = Arc::downgrade(self);
            let linked = pad.connect_linked(move |_, _| {
                if let Some(shared) = weak.upgrade() {
                    shared.decide();
                }
            });
            let weak = Arc::downgrade(self);
            let unlinked = pad.connect_unlinked(move |_, _| {
                if let Some(shared) = weak.upgrade() {
                    shared.decide();
                }
            });
            lock(&self.observed).push(Observed {
                pad: pad.downgrade(),
                handlers: [linked, unlinked],
            });
        }
    }

    /// The outermost pad that shows this track, if it is linked to something.
    fn downstream(self: &Arc<Self>) -> Option<gst::Pad> {
        let mut pad: gst::Pad = self.ghost.clone().upcast();
        while let Some(outer) = shown_by(&pad) {
            self.observe(&outer);
            pad = outer;
        }
        pad.is_linked().then_some(pad)
    }

    fn decide_elsewhere(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        spawn("media-decide", move || {
            if let Some(shared) = weak.upgrade() {
                shared.decide();
            }
        });
    }

    /// Nothing is pushed into elements that do not run yet: they may not even be linked further down. Once they
    /// run, what they take is looked up again.
    fn waits(self: &Arc<Self>) -> bool {
        if !self.unsettled.load(Ordering::Relaxed) {
            return false;
        }
        let sink = lock(&self.sink).upgrade();
        if sink.is_some_and(|sink| runs(&sink)) && !self.settling.swap(true, Ordering::Relaxed) {
            self.decide_elsewhere();
        }
        true
    }

    /// Brings what flows in line with what is linked.
    fn decide(self: &Arc<Self>) {
        {
            let mut state = lock(&self.state);
            if state.decision != Decision::None {
                state.decision = Decision::Again;
                return;
            }
            state.decision = Decision::Running;
        }
        loop {
            self.decide_once();
            let mut state = lock(&self.state);
            if state.decision == Decision::Again {
                state.decision = Decision::Running;
            } else {
                state.decision = Decision::None;
                return;
            }
        }
    }

    fn decide_once(self: &Arc<Self>) {
        let downstream = self.downstream();
        let (codec, source, latency, identity, serial, chain) = {
            let mut state = lock(&self.state);
            if state.ended {
                return;
            }
            state.serial += 1;
            let (codec, source) = (state.codec, state.source.clone());
            (
                codec,
                source,
                state.latency,
                state.identity.clone(),
                state.serial,
                state.chain.take(),
            )
        };
        let sink = downstream.as_ref().and_then(|pad| pad.peer());
        lock(&self.sink).set(sink.as_ref());
        self.settling.store(false, Ordering::Relaxed);
        // Before the question, so that elements which start meanwhile are asked again.
        let unsettled = sink.is_some_and(|sink| !runs(&sink));
        let settled = self.unsettled.swap(unsettled, Ordering::Relaxed) && !unsettled;
        let wanted = downstream.and_then(|pad| self.choose(codec, &pad.peer_query_caps(None)));
        let chain = match (chain, wanted) {
            (old, None) => {
                self.clear(old);
                None
            }
            (Some(chain), Some(output)) if chain.codec == codec && chain.output == output => Some(chain),
            (old, Some(output)) => self.switch(old, serial, codec, output, identity),
        };
        let chain = chain.map(|mut chain| {
            connect(&mut chain, &source, latency);
            chain
        });
        if settled && chain.is_some() {
            // What came meanwhile was dropped.
            source.gate.request();
        }
        self.put_back(chain);
    }

    fn put_back(&self, chain: Option<Chain>) {
        let mut state = lock(&self.state);
        if !state.ended {
            state.chain = chain;
            return;
        }
        drop(state);
        // `eos` or `dispose` came meanwhile and found nothing to end.
        if let Some(mut chain) = chain {
            chain.end_of_stream();
            lock(&self.state).chain = Some(chain);
        }
    }

    fn choose(&self, codec: Codec, caps: &gst::Caps) -> Option<Output> {
        let info = codecs::info(codec);
        if caps.can_intersect(&info.plain_caps()) {
            return Some(Output::Encoded);
        }
        // Any memory: what the decoder cannot give, it negotiates itself.
        let raw = codecs::raw_any(self.kind);
        let raw_name = raw.structure(0).map(|structure| structure.name());
        if caps.iter().any(|structure| Some(structure.name()) == raw_name) {
            return Some(Output::Raw);
        }
        let name = info.name;
        self.fault(&format!(
            "what is linked takes neither {} nor raw media, and the track is {name}",
            info.media_type
        ));
        None
    }

    /// Leaves the pad empty, so that it offers both outputs again to whatever is linked next.
    fn clear(&self, old: Option<Chain>) {
        let Some(mut old) = old else { return };
        old.mute();
        let _ = self.ghost.set_target(gst::Pad::NONE);
        old.retire();
    }

    /// Puts new elements behind the pad and takes the old ones away.
    fn switch(
        self: &Arc<Self>,
        old: Option<Chain>,
        serial: u64,
        codec: Codec,
        output: Output,
        identity: StreamIdentity,
    ) -> Option<Chain> {
        let chain = match Chain::build(&self.bin, serial, codec, output, identity) {
            Ok(chain) => chain,
            Err(error) => {
                self.fault(&error.to_string());
                self.clear(old);
                return None;
            }
        };
        let old = old.map(|mut old| {
            old.mute();
            old
        });
        if let Err(error) = self.ghost.set_target(Some(chain.src())) {
            self.fault(&format!("the pad cannot be moved: {error}"));
        }
        if let Some(old) = old {
            old.retire();
        }
        if let Err(error) = chain.start() {
            self.fault(&error.to_string());
        }
        self.refused.store(false, Ordering::Relaxed);
        gst::info!(CAT, obj = self.ghost, "{codec:?} goes out as {output:?}");
        Some(chain)
    }
}

/// Lets the producer's media into the chain, and asks for a key frame if it did not flow before.
fn connect(chain: &mut Chain, source: &Source, latency: gst::ClockTime) {
    if chain.link.stream_producer() == Some(&source.producer) {
        return;
    }
    if let Err(error) = chain.link.change_producer(&source.producer, false) {
        gst::error!(CAT, obj = chain.link.appsrc(), "{error}");
        return;
    }
    chain.link.appsrc().set_latency(latency, gst::ClockTime::NONE);
    source.gate.request();
    // Only now nobody needs the probes of an older source.
    let _ = &source.probes;
}
