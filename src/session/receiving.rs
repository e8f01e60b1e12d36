//! Remote media on its way out: src pad of webrtcbin → firewall → depayloader → parser → appsink.
//!
//! The firewall is there from the moment the pad is, and as long. What follows it exists while the routing names the
//! m-line. There is no queue: every pad of webrtcbin has its own jitterbuffer thread, and the appsink's consumers
//! never block.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;

use super::firewall::{Firewall, FirstPacket};
use super::message::{Mailbox, Message, PadId};
use super::{CAT, Outlet, rtp};
use crate::core::io::{Codec, Generation, InboundMedia};

/// What the appsink keeps at most for a consumer that is being attached.
const MAX_BUFFERS: u32 = 32;

/// An SSRC that is signalled and silent for this long gives way to one that is not: a remote that changes its SSRC need
/// not say so. Until then the new one is another track's, whose routing is still to come or already gone.
const SILENCE: Duration = Duration::from_millis(400);

/// Sources of one connection, dead ones included, before it is made anew: more than the tracks of a day, few enough for
/// a thread each.
const MAX_PADS: usize = 256;

/// How often a chain that fails is made anew.
const MAX_FAILURES: u32 = 3;

/// Start of the names of the receivers' bins; the pad's id follows.
pub(super) const PREFIX: &str = "in-";

struct Inbound {
    firewall: Firewall,
    mline: Option<u32>,
    first: Option<FirstPacket>,
    /// The m-line it has been on, once it was on one.
    home: Option<String>,
    /// Has ended, or cannot be depayloaded.
    dead: bool,
    failures: u32,
}

struct Chain {
    pad: PadId,
    codec: Codec,
    bin: gst::Bin,
    sink: gst::GhostPad,
    producer: gst_utils::StreamProducer,
}

/// How sure it is that a pad is on an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// webrtcbin says so.
    Guess,
    /// No other routed m-line has its payload type.
    OnlyOfType,
    /// Its SSRC is signalled.
    Ssrc,
}

/// All receivers of a session.
pub(super) struct Receivers {
    pipeline: gst::Pipeline,
    generation: Generation,
    outlet: Arc<dyn Outlet>,
    pads: BTreeMap<PadId, Inbound>,
    chains: HashMap<String, Chain>,
    routing: Vec<InboundMedia>,
    recheck: Option<Instant>,
    /// The peer's certificate is the one that was signalled.
    trusted: bool,
}

/// What a `pad-added` handler does, before it returns: puts a firewall behind the pad.
pub(super) fn guard(
    pipeline: &gst::Pipeline,
    mailbox: &Mailbox,
) -> impl Fn(&gst::Pad, Option<u32>) + Send + Sync + use<> {
    let pipeline = pipeline.downgrade();
    let mailbox = mailbox.clone();
    let next = AtomicU32::new(0);
    move |pad, mline| {
        let Some(pipeline) = pipeline.upgrade() else {
            return;
        };
        let id = next.fetch_add(1, Ordering::Relaxed);
        let (first, ended, unlinked) = (mailbox.clone(), mailbox.clone(), mailbox.clone());
        let firewall = Firewall::new(
            move |packet| first.post(Message::FirstPacket { id, packet }),
            move || ended.post(Message::PadEnded { id }),
        );
        let sink = firewall.sink();
        let linked = pipeline.add(&firewall).is_ok()
            && firewall.sync_state_with_parent().is_ok()
            && pad.link(&sink).is_ok();
        if !linked {
            gst::error!(CAT, obj = pad, "cannot put a firewall behind this pad");
            return;
        }
        sink.connect_unlinked(move |_, _| unlinked.post(Message::PadEnded { id }));
        mailbox.post(Message::PadAdded { id, firewall, mline });
    }
}

impl Receivers {
    /// No pads, no routing.
    pub fn new(pipeline: &gst::Pipeline, generation: Generation, outlet: Arc<dyn Outlet>) -> Self {
        Self {
            pipeline: pipeline.clone(),
            generation,
            outlet,
            pads: BTreeMap::new(),
            chains: HashMap::new(),
            routing: Vec::new(),
            recheck: None,
            trusted: false,
        }
    }

    /// The peer has shown the certificate that was signalled. Nothing is let out before: packets may be here earlier
    /// than the news that DTLS is up.
    pub fn trust(&mut self) -> Vec<(String, Codec)> {
        self.trusted = true;
        self.settle()
    }

    /// A pad has come up.
    pub fn pad_added(&mut self, id: PadId, firewall: Firewall, mline: Option<u32>) {
        self.pads.insert(
            id,
            Inbound {
                firewall,
                mline,
                first: None,
                home: None,
                dead: false,
                failures: 0,
            },
        );
    }

    /// The first packet of a pad is there. The return value is what has newly arrived, as for all of these.
    pub fn first_packet(&mut self, id: PadId, packet: FirstPacket) -> Vec<(String, Codec)> {
        if let Some(pad) = self.pads.get_mut(&id) {
            pad.first = Some(packet);
        }
        self.settle()
    }

    /// Nothing more will come from a pad.
    pub fn pad_ended(&mut self, id: PadId) -> Vec<(String, Codec)> {
        if let Some(pad) = self.pads.get_mut(&id) {
            pad.dead = true;
        }
        let arrived = self.settle();
        // One that is still linked has to answer whatever comes.
        let gone = |pad: &Inbound| pad.firewall.sink().peer().is_none();
        if self.pads.get(&id).is_some_and(gone)
            && let Some(pad) = self.pads.remove(&id)
        {
            let _ = pad.firewall.set_state(gst::State::Null);
            let _ = self.pipeline.remove(&pad.firewall);
        }
        arrived
    }

    /// There are more pads than any peer needs. webrtcbin keeps the thread and the jitterbuffer of every source it has
    /// ever seen.
    pub fn is_crowded(&self) -> bool {
        self.pads.len() > MAX_PADS
    }

    /// The chain of a pad has reported an error. It is made anew a few times, then given up; the other chains and
    /// webrtcbin have noticed nothing.
    pub fn fail(&mut self, id: PadId) -> Vec<(String, Codec)> {
        let running = self
            .chains
            .iter()
            .find(|(_, chain)| chain.pad == id)
            .map(|(mid, _)| mid.clone());
        let (Some(pad), Some(mid)) = (self.pads.get_mut(&id), running) else {
            return Vec::new();
        };
        pad.failures += 1;
        pad.dead |= pad.failures > MAX_FAILURES;
        let give_up = pad.dead;
        if let Some(chain) = self.chains.remove(&mid) {
            self.stop(chain);
        }
        if give_up {
            self.outlet.ended(self.generation, &mid);
        }
        self.settle()
    }

    /// Lets out what is named, and nothing else.
    pub fn route(&mut self, routing: Vec<InboundMedia>) -> Vec<(String, Codec)> {
        self.routing = routing;
        self.settle()
    }

    /// When to call [`Receivers::check`].
    pub fn deadline(&self) -> Option<Instant> {
        self.recheck
    }

    /// Looks again at what was undecided.
    pub fn check(&mut self) -> Vec<(String, Codec)> {
        self.settle()
    }

    /// First step of the teardown.
    pub fn release(&mut self) {
        self.routing.clear();
        self.settle();
        self.pads.clear();
    }

    fn settle(&mut self) -> Vec<(String, Codec)> {
        let (wanted, undecided) = self.wanted();
        self.recheck = undecided.then(|| Instant::now() + SILENCE + SILENCE / 4);
        for (mid, id) in &wanted {
            if let Some(pad) = self.pads.get_mut(id) {
                pad.home = Some(mid.clone());
            }
        }
        let stale: Vec<String> = self
            .chains
            .iter()
            .filter(|(mid, chain)| wanted.get(*mid) != Some(&chain.pad))
            .map(|(mid, _)| mid.clone())
            .collect();
        let mut replaced = HashMap::new();
        for mid in stale {
            if let Some(chain) = self.chains.remove(&mid) {
                let codec = chain.codec;
                self.stop(chain);
                if wanted.contains_key(&mid) {
                    replaced.insert(mid, codec);
                } else {
                    self.outlet.ended(self.generation, &mid);
                }
            }
        }
        let mut arrived = Vec::new();
        for (mid, id) in wanted {
            if self.chains.contains_key(&mid) {
                continue;
            }
            match self.start(&mid, id) {
                Ok(codec) if replaced.get(&mid) == Some(&codec) => (),
                Ok(codec) => arrived.push((mid, codec)),
                Err(reason) => {
                    gst::error!(
                        CAT,
                        obj = self.pipeline,
                        "m-line {mid} cannot be received: {reason}"
                    );
                    if let Some(pad) = self.pads.get_mut(&id) {
                        pad.dead = true;
                    }
                    self.outlet.ended(self.generation, &mid);
                }
            }
        }
        arrived
    }

    /// Which pad each routed m-line is on. Of several the newest wins: the remote has changed its SSRC. But what is less
    /// certain does not take the place of what is more: a new track's first packets may be here before its routing, and
    /// an ended one's after it. Only time can tell which it is; the flag says that it should be asked.
    fn wanted(&self) -> (HashMap<String, PadId>, bool) {
        let mut undecided = false;
        let mut wanted: HashMap<&str, (Certainty, PadId)> = HashMap::new();
        if !self.trusted {
            return (HashMap::new(), false);
        }
        for (id, pad) in self.pads.iter().filter(|(_, pad)| !pad.dead) {
            let Some((media, certainty)) = pad.first.and_then(|first| self.section_of(first, pad.mline))
            else {
                continue;
            };
            // What has been on one m-line is never taken for another that has the same payload type: its own may
            // just have been switched off. An SSRC that is signalled is above that.
            let moved = pad.home.as_ref().is_some_and(|home| *home != media.mid);
            if moved && certainty < Certainty::Ssrc {
                continue;
            }
            let better = match wanted.get(media.mid.as_str()) {
                Some((Certainty::Ssrc, old)) if certainty == Certainty::OnlyOfType => {
                    let alive = |pad: &Inbound| pad.firewall.is_alive(SILENCE);
                    let (new, old) = (alive(pad), self.pads.get(old).is_some_and(alive));
                    undecided |= new;
                    new && !old
                }
                Some((other, _)) => certainty >= *other,
                None => true,
            };
            if better {
                wanted.insert(&media.mid, (certainty, *id));
            }
        }
        let wanted = wanted.into_iter().map(|(mid, (_, id))| (mid.to_owned(), id));
        (wanted.collect(), undecided)
    }

    /// By SSRC, then by payload type, and only then by webrtcbin's own opinion: it puts an SSRC that the SDP does not
    /// name on the first m-line of the bundle (all versions, it ignores the MID header extension).
    fn section_of(&self, first: FirstPacket, mline: Option<u32>) -> Option<(&InboundMedia, Certainty)> {
        if let Some(media) = self
            .routing
            .iter()
            .find(|media| media.ssrcs.contains(&first.ssrc))
        {
            return Some((media, Certainty::Ssrc));
        }
        let of_type = |media: &&InboundMedia| media.payload_types.contains(&first.payload_type);
        let mut same_type = self.routing.iter().filter(of_type);
        match (same_type.next(), same_type.next()) {
            (Some(media), None) => Some((media, Certainty::OnlyOfType)),
            (Some(_), Some(_)) => {
                let guess = self
                    .routing
                    .iter()
                    .filter(of_type)
                    .find(|media| Some(media.mline) == mline);
                guess.map(|media| (media, Certainty::Guess))
            }
            (None, _) => None,
        }
    }

    fn start(&mut self, mid: &str, id: PadId) -> Result<Codec, String> {
        let pad = self.pads.get(&id).ok_or("no such pad")?;
        let caps = pad.firewall.sink().current_caps().ok_or("no caps")?;
        let codec = rtp::from_caps(&caps).ok_or("unknown codec")?;
        let chain = build(id, codec)?;
        let added = self
            .pipeline
            .add(&chain.bin)
            .and_then(|()| chain.bin.sync_state_with_parent());
        added.map_err(|error| error.to_string())?;
        self.outlet
            .media(self.generation, mid, codec, chain.producer.clone());
        pad.firewall
            .src()
            .link(&chain.sink)
            .map_err(|error| error.to_string())?;
        prime(&chain);
        self.chains.insert(mid.to_owned(), chain);
        Ok(codec)
    }

    fn stop(&self, chain: Chain) {
        if let Some(pad) = self.pads.get(&chain.pad) {
            let _ = pad.firewall.src().unlink(&chain.sink);
        }
        let _ = chain.bin.set_state(gst::State::Null);
        let _ = self.pipeline.remove(&chain.bin);
    }
}

fn build(id: PadId, codec: Codec) -> Result<Chain, String> {
    let failed = |error: glib::BoolError| error.to_string();
    let row = rtp::of(codec);
    let mut elements = row.depayloaders()?;
    let appsink = gst_app::AppSink::builder()
        .sync(false)
        .async_(false)
        .enable_last_sample(false)
        .max_buffers(MAX_BUFFERS)
        .drop(true)
        .build();
    appsink.set_caps(row.output_caps().as_ref());
    elements.push(appsink.clone().upcast());
    let bin = gst::Bin::with_name(&format!("{PREFIX}{id}"));
    bin.add_many(&elements).map_err(failed)?;
    gst::Element::link_many(&elements).map_err(failed)?;
    let target = elements
        .first()
        .and_then(|first| first.static_pad("sink"))
        .ok_or("no sink pad")?;
    let sink = gst::GhostPad::with_target(&target).map_err(failed)?;
    bin.add_pad(&sink).map_err(failed)?;
    let settings = gst_utils::streamproducer::ProducerSettings { sync: false };
    let producer = gst_utils::StreamProducer::with(&appsink, settings);
    Ok(Chain {
        pad: id,
        codec,
        bin,
        sink,
        producer,
    })
}

/// Lets the producer see the latency of its chain, which it hands on to its consumers, and asks the remote for a key
/// frame: whatever came before the chain was there is lost.
fn prime(chain: &Chain) {
    let Some(pad) = chain.producer.appsink().static_pad("sink") else {
        return;
    };
    let mut latency = gst::query::Latency::new();
    let _ = pad.peer_query(&mut latency);
    if rtp::of(chain.codec).kind == crate::core::io::MediaKind::Video {
        let event = gst_video::UpstreamForceKeyUnitEvent::builder()
            .all_headers(true)
            .build();
        let _ = pad.push_event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Outlet for Nowhere {
        fn media(&self, _: Generation, _: &str, _: Codec, _: gst_utils::StreamProducer) {}
        fn ended(&self, _: Generation, _: &str) {}
    }

    fn media(mid: &str, mline: u32, ssrc: u32) -> InboundMedia {
        InboundMedia {
            mid: mid.into(),
            mline,
            kind: crate::core::io::MediaKind::Video,
            ssrcs: vec![ssrc],
            payload_types: vec![120],
        }
    }

    #[test]
    fn nothing_is_let_out_before_the_certificate_is_known() {
        gst::init().unwrap();
        let mut receivers = Receivers::new(&gst::Pipeline::new(), Generation(1), Arc::new(Nowhere));
        receivers.pad_added(0, Firewall::new(|_| (), || ()), Some(0));
        let packet = FirstPacket {
            ssrc: 1000,
            payload_type: 120,
        };
        assert!(receivers.first_packet(0, packet).is_empty());
        assert!(receivers.route(vec![media("cam", 0, 1000)]).is_empty());
        assert_eq!((receivers.wanted().0.len(), receivers.chains.len()), (0, 0));
        receivers.trusted = true;
        assert_eq!(receivers.wanted().0, HashMap::from([("cam".into(), 0)]));
    }

    /// A screen that was shared and taken back within moments sent its first packets while the camera was the only
    /// m-line of its payload type, took the camera's place, and kept it for ever.
    #[test]
    fn a_track_that_is_not_routed_does_not_take_the_place_of_one_that_is() {
        gst::init().unwrap();
        let mut receivers = Receivers::new(&gst::Pipeline::new(), Generation(1), Arc::new(Nowhere));
        let mut pad = |id: PadId, ssrc: u32| {
            let packet = FirstPacket {
                ssrc,
                payload_type: 120,
            };
            receivers.pad_added(id, Firewall::new(|_| (), || ()), Some(0));
            receivers.pads.get_mut(&id).unwrap().first = Some(packet);
        };
        pad(0, 1000);
        pad(1, 2000);
        receivers.routing = vec![media("cam", 0, 1000)];
        receivers.trusted = true;
        assert_eq!(receivers.wanted().0, HashMap::from([("cam".into(), 0)]));
        receivers.routing.push(media("screen", 1, 2000));
        // Even if it was taken for the camera while that was silent.
        receivers.pads.get_mut(&1).unwrap().home = Some("cam".into());
        let both = HashMap::from([("cam".into(), 0), ("screen".into(), 1)]);
        assert_eq!(receivers.wanted().0, both);
        // An SSRC that nobody has signalled still finds the only m-line that it can be on.
        receivers.pads.get_mut(&0).unwrap().dead = true;
        receivers.routing = vec![media("cam", 0, 3000)];
        assert_eq!(receivers.wanted().0, HashMap::from([("cam".into(), 1)]));
    }
}
