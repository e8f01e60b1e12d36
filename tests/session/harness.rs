//! Two sessions in one process, an encoder for each local track, a counter for each remote one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstmeteredwebrtc::core::io::{
    Codec, ConnectionState, Generation, IceCredentials, InboundMedia, MediaKind, Routing, SenderSpec,
    SessionCommand, SessionConfig, SessionEvent, TrackKey,
};
use gstmeteredwebrtc::session::{Loopback, PeerSession, Registry, SessionContext, Timing};
use gstmeteredwebrtc::wire::SdpKind;

use crate::doubles::{AUDIO, Counters, Encoders, VIDEO};

pub const LIMIT: Duration = Duration::from_secs(15);

/// Everything that a test can see, in the order in which it happened.
#[derive(Debug)]
pub enum Note {
    Event(SessionEvent),
    Media(String, Codec),
    Ended(String),
    Attached(TrackKey),
    Detached(TrackKey),
    KeyUnit(TrackKey),
    /// So many frames have come out of this m-line.
    Frames(String, u64),
}

pub type Notes = Sender<(usize, Note)>;

/// Two sessions; what they say comes to one place, and candidates go across by themselves.
pub struct Call {
    pub sessions: Vec<PeerSession>,
    pub outlets: Vec<Arc<Counters>>,
    pub encoders: Vec<Arc<Encoders>>,
    pub registry: Registry,
    notes: Receiver<(usize, Note)>,
    log: Vec<String>,
    /// Local candidates of each side.
    gathered: [Vec<String>; 2],
    started: Instant,
    /// Changes descriptions on their way to the other side.
    pub munge: fn(String) -> String,
    sender: Notes,
    foreign: Option<(usize, glib::WeakRef<gst::Element>)>,
    numbers: Vec<u32>,
}

static NUMBER: AtomicU32 = AtomicU32::new(10);

fn timing() -> Timing {
    let clock = gst::SystemClock::obtain();
    let base_time = clock.time();
    Timing { clock, base_time }
}

impl Call {
    pub fn new() -> Self {
        gst::init().unwrap();
        let (sender, notes) = channel();
        let registry = Registry::default();
        let timing = timing();
        let (mut sessions, mut outlets, mut encoders, mut numbers) = (vec![], vec![], vec![], vec![]);
        for side in 0..2 {
            let outlet = Arc::new(Counters::new(side, &sender));
            let post = sender.clone();
            let feed = Arc::new(Encoders::new(side, &sender, &timing));
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            sessions.push(PeerSession::spawn(SessionContext {
                warn: Box::new(|_| ()),
                peer: number,
                generation: Generation(0),
                timing: timing.clone(),
                latency: Duration::from_millis(50),
                loopback: Loopback::Always,
                feed: feed.clone(),
                outlet: outlet.clone(),
                events: Box::new(move |event| {
                    let _ = post.send((side, Note::Event(event)));
                }),
                registry: registry.clone(),
            }));
            outlets.push(outlet);
            encoders.push(feed);
            numbers.push(number);
        }
        let started = Instant::now();
        let log = Vec::new();
        let call = Self {
            sessions,
            outlets,
            encoders,
            registry,
            notes,
            log,
            gathered: Default::default(),
            started,
            munge: |sdp| sdp,
            sender,
            foreign: None,
            numbers,
        };
        for side in 0..2 {
            call.send(side, SessionCommand::Create(SessionConfig::default()));
        }
        call
    }

    pub fn send(&self, side: usize, command: SessionCommand) {
        self.sessions[side].send(command);
    }

    /// A bare webrtcbin that trickles to and from a session, in place of the other session.
    pub fn foreign(&mut self, side: usize) -> gst::Element {
        let pipeline = gst::Pipeline::new();
        let bin = gst::ElementFactory::make("webrtcbin").build().unwrap();
        bin.set_property_from_str("bundle-policy", "max-bundle");
        pipeline.add(&bin).unwrap();
        let post = self.sender.clone();
        bin.connect("on-ice-candidate", false, move |values| {
            let (mline, candidate) = (values[1].get().unwrap(), values[2].get().unwrap());
            let _ = post.send((
                1 - side,
                Note::Event(SessionEvent::Candidate { mline, candidate }),
            ));
            None
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        self.foreign = Some((1 - side, bin.downgrade()));
        bin
    }

    /// A round that the foreign webrtcbin begins.
    pub fn foreign_offers(&mut self, side: usize, bin: &gst::Element) {
        let call = |action: &str, field: &str| {
            let (done, reply) = channel();
            let field = field.to_owned();
            let promise = gst::Promise::with_change_func(move |reply| {
                let reply = reply.unwrap();
                let description =
                    reply.and_then(|reply| reply.get::<gst_webrtc::WebRTCSessionDescription>(&field).ok());
                let _ = done.send(description);
            });
            bin.emit_by_name::<()>(action, &[&None::<gst::Structure>, &promise]);
            reply.recv_timeout(LIMIT).unwrap().unwrap()
        };
        let offer = call("create-offer", "offer");
        bin.emit_by_name::<()>("set-local-description", &[&offer, &None::<gst::Promise>]);
        let text = offer.sdp().as_text().unwrap();
        self.set(side, SessionCommand::SetRemote(SdpKind::Offer, text));
        let answer = self.answer(side);
        let sdp = gst_sdp::SDPMessage::parse_buffer(answer.as_bytes()).unwrap();
        let answer = gst_webrtc::WebRTCSessionDescription::new(gst_webrtc::WebRTCSDPType::Answer, sdp);
        bin.emit_by_name::<()>("set-remote-description", &[&answer, &None::<gst::Promise>]);
    }

    /// Waits for what `pick` recognises; fails with everything seen so far.
    pub fn until<T>(&mut self, what: &str, mut pick: impl FnMut(usize, &Note) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((side, note)) = self.notes.recv_timeout(left) else {
                panic!("waited in vain for: {what}; seen:\n{}", self.log.join("\n"));
            };
            if let Some(found) = self.see(side, &note, &mut pick) {
                return found;
            }
        }
    }

    fn see<T>(
        &mut self,
        side: usize,
        note: &Note,
        pick: &mut impl FnMut(usize, &Note) -> Option<T>,
    ) -> Option<T> {
        let at = self.started.elapsed();
        let mut line = format!("{:7.3} {side} {note:?}", at.as_secs_f64());
        line.truncate(line.floor_char_boundary(160));
        self.log.push(line);
        if let Note::Event(SessionEvent::Candidate { mline, candidate }) = note {
            self.gathered[side].push(candidate.clone());
            let command = SessionCommand::AddCandidate {
                mline: *mline,
                candidate: candidate.clone(),
            };
            self.send(1 - side, command);
        }
        pick(side, note)
    }

    /// Where in the log this text stands for this side.
    pub fn seen(&self, side: usize, text: &str) -> Vec<usize> {
        let of_side = |line: &str| line.get(8..9) == Some(if side == 0 { "0" } else { "1" });
        let found = self
            .log
            .iter()
            .enumerate()
            .filter(|(_, line)| of_side(line) && line.contains(text));
        found.map(|(at, _)| at).collect()
    }

    /// What gathering has found on this side.
    pub fn candidates(&self, side: usize) -> Vec<String> {
        self.gathered[side].clone()
    }

    /// What has been seen until now and not been waited for.
    pub fn drain(&mut self) -> Vec<(usize, Note)> {
        let notes: Vec<_> = self.notes.try_iter().collect();
        for (side, note) in &notes {
            self.see(*side, note, &mut |_, _| None::<()>);
        }
        notes
    }

    pub fn event<T>(
        &mut self,
        side: usize,
        what: &str,
        mut pick: impl FnMut(&SessionEvent) -> Option<T>,
    ) -> T {
        self.until(what, |from, note| match note {
            Note::Event(SessionEvent::Failed { op, reason }) if from == side && what != "Failed" => {
                panic!("waited for {what}, but {op:?} failed: {reason}")
            }
            Note::Event(event) if from == side => pick(event),
            _ => None,
        })
    }

    pub fn offer(&mut self, from: usize) -> String {
        self.send(from, SessionCommand::CreateOffer(IceCredentials::Kept));
        self.event(from, "OfferCreated", |event| match event {
            SessionEvent::OfferCreated(sdp) => Some(sdp.clone()),
            _ => None,
        })
    }

    pub fn set(&mut self, side: usize, command: SessionCommand) {
        let (what, done) = match &command {
            SessionCommand::SetLocal(..) => ("LocalSet", SessionEvent::LocalSet),
            _ => ("RemoteSet", SessionEvent::RemoteSet),
        };
        self.send(side, command);
        self.event(side, what, |event| (*event == done).then_some(()));
    }

    pub fn answer(&mut self, side: usize) -> String {
        self.send(side, SessionCommand::CreateAnswer(IceCredentials::Kept));
        let answer = self.event(side, "AnswerCreated", |event| match event {
            SessionEvent::AnswerCreated(sdp) => Some(sdp.clone()),
            _ => None,
        });
        self.set(side, SessionCommand::SetLocal(SdpKind::Answer, answer.clone()));
        answer
    }

    /// One round; returns the internal offer and answer.
    pub fn negotiate(&mut self, from: usize) -> (String, String) {
        let offer = self.offer(from);
        self.set(from, SessionCommand::SetLocal(SdpKind::Offer, offer.clone()));
        let there = (self.munge)(offer.clone());
        self.set(1 - from, SessionCommand::SetRemote(SdpKind::Offer, there));
        let answer = self.answer(1 - from);
        let there = (self.munge)(answer.clone());
        self.set(from, SessionCommand::SetRemote(SdpKind::Answer, there));
        (offer, answer)
    }

    pub fn connected(&mut self) {
        let mut seen = [0, 1].map(|side| !self.seen(side, "Connection(Connected)").is_empty());
        if seen == [true; 2] {
            return;
        }
        self.until("both connected", |side, note| {
            seen[side] |= matches!(
                note,
                Note::Event(SessionEvent::Connection(ConnectionState::Connected))
            );
            seen.iter().all(|seen| *seen).then_some(())
        });
    }

    /// Waits for so many frames more of this m-line.
    pub fn frames(&mut self, side: usize, mid: &str, more: u64) {
        let mut first = None;
        self.until(&format!("{more} frames of {mid}"), |from, note| match note {
            Note::Frames(name, count) if from == side && name == mid => {
                let first = *first.get_or_insert(*count);
                (*count < first || *count - first >= more).then_some(())
            }
            _ => None,
        });
    }

    /// Side 0 sends video and audio to side 1, which is told to take both.
    pub fn media_call() -> Self {
        let mut call = Self::new();
        call.send(0, SessionCommand::AddSender(video()));
        call.send(0, SessionCommand::AddSender(audio()));
        call.negotiate(0);
        call.connected();
        call.route(&["gv1", "ga1"]);
        call
    }

    pub fn route(&self, mids: &[&str]) {
        let sending = mids.iter().map(|mid| (*mid).to_owned()).collect();
        let receiving = mids.iter().map(|mid| inbound(mid)).collect();
        self.send(
            1,
            SessionCommand::Route(Routing {
                sending: Vec::new(),
                receiving,
            }),
        );
        self.send(
            0,
            SessionCommand::Route(Routing {
                sending,
                receiving: Vec::new(),
            }),
        );
    }

    /// Both sessions end within two seconds and leave nothing.
    pub fn end(mut self) {
        let log = std::mem::take(&mut self.log);
        let registry = self.registry.clone();
        let numbers = std::mem::take(&mut self.numbers);
        let start = Instant::now();
        drop(self);
        let idle = registry.wait_idle(Duration::from_secs(8));
        let (took, leaked) = (start.elapsed(), registry.leaked());
        assert!(
            idle && leaked == 0,
            "live {}, leaked {leaked}; seen:\n{}",
            registry.live(),
            log.join("\n")
        );
        assert!(
            took < Duration::from_secs(2),
            "the teardown took {took:?}; seen:\n{}",
            log.join("\n")
        );
        for number in numbers {
            let name = format!("metered-peer-{number}");
            // The count goes down just before the thread ends.
            let deadline = Instant::now() + LIMIT;
            while threads().iter().any(|thread| thread.trim() == name) {
                assert!(Instant::now() < deadline, "the thread {name} is still there");
                std::thread::yield_now();
            }
        }
    }
}

pub fn video() -> SenderSpec {
    SenderSpec {
        track: VIDEO,
        kind: MediaKind::Video,
        mid: "gv1".into(),
        codec: Codec::Vp8,
        payload_type: 97,
        ssrc: 0x1111,
    }
}

pub fn audio() -> SenderSpec {
    SenderSpec {
        track: AUDIO,
        kind: MediaKind::Audio,
        mid: "ga1".into(),
        codec: Codec::Opus,
        payload_type: 111,
        ssrc: 0x2222,
    }
}

pub fn inbound(mid: &str) -> InboundMedia {
    let (spec, mline) = if mid == "gv1" { (video(), 0) } else { (audio(), 1) };
    InboundMedia {
        mid: mid.into(),
        mline,
        kind: spec.kind,
        ssrcs: vec![spec.ssrc],
        payload_types: vec![spec.payload_type],
    }
}

/// Names of the threads of this process.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .collect()
}
