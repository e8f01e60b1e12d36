//! Two negotiators with model sessions on a network that delays and loses, in virtual time.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::bin::Bin;
use crate::core::io::{
    Codec, ConnectionState, Generation, MediaKind, SessionCommand, SessionConfig, SessionEvent, SessionOp,
    TrackKey,
};
use crate::core::negotiator::{
    LocalTrack, Negotiator, NegotiatorConfig, NegotiatorInput, NegotiatorOutput, PeerState, ReceivePolicy,
    RemoteTrack,
};
use crate::wire::RtcSignal;

pub fn track(key: u32, kind: MediaKind) -> LocalTrack {
    let codecs = match kind {
        MediaKind::Audio => vec![Codec::Opus],
        MediaKind::Video => vec![Codec::Vp8, Codec::H264],
    };
    LocalTrack {
        key: TrackKey(key),
        kind,
        stream_id: format!("s{key}"),
        track_id: format!("t{key}"),
        codecs,
    }
}

pub fn everything() -> ReceivePolicy {
    ReceivePolicy {
        audio: vec![Codec::Opus],
        video: vec![Codec::Vp8, Codec::H264],
    }
}

/// One side with its sessions.
pub struct Side {
    pub negotiator: Negotiator,
    pub bins: BTreeMap<Generation, Bin>,
    pub state: PeerState,
    pub remote_tracks: Vec<RemoteTrack>,
    pub tracks: Vec<LocalTrack>,
    pub problems: Vec<String>,
    /// Media already reported.
    told: HashSet<(Generation, String)>,
    connected: Option<(Generation, String)>,
    mismatch_since: Option<Instant>,
}

enum Event {
    Input(usize, NegotiatorInput),
    /// The path between the present ends dies.
    Cut,
    Tick,
}

/// What the network does.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Share of descriptions that get lost, in percent.
    pub loss: u32,
    /// It is bad until then.
    pub until: Duration,
    /// Share of session operations that fail, in percent.
    pub failures: u32,
}

/// Nothing bad.
pub const FAIR: Weather = Weather {
    loss: 0,
    until: Duration::ZERO,
    failures: 0,
};

/// Names the seed of a run that panics.
struct Confession(u64);

impl Drop for Confession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

pub struct Pair {
    _confession: Confession,
    pub now: Instant,
    start: Instant,
    pub sides: [Side; 2],
    queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    rng: fastrand::Rng,
    weather: Weather,
    /// Ordered channels.
    last_arrival: [Instant; 2],
    session_busy: [Instant; 2],
    pub descriptions: usize,
    /// So many are too many.
    pub storm: usize,
    /// Size of the largest.
    pub largest: usize,
    /// Ends that nothing reaches any more.
    dead: HashSet<String>,
}

impl Pair {
    pub fn new(seed: u64, weather: Weather, policies: [ReceivePolicy; 2]) -> Self {
        let now = Instant::now();
        let [first, second] = policies;
        let side = |polite: bool, receive: ReceivePolicy| Side {
            negotiator: Negotiator::new(
                NegotiatorConfig {
                    // Packets, which elements of ours expect of each other, are not modelled.
                    keeps: false,
                    polite,
                    receive,
                    session: SessionConfig::default(),
                    seed: seed * 2 + u64::from(polite),
                },
                now,
            ),
            bins: BTreeMap::new(),
            state: PeerState::Idle,
            remote_tracks: Vec::new(),
            tracks: Vec::new(),
            problems: Vec::new(),
            told: HashSet::new(),
            connected: None,
            mismatch_since: None,
        };
        Self {
            _confession: Confession(seed),
            now,
            start: now,
            sides: [side(true, first), side(false, second)],
            queue: BTreeMap::new(),
            serial: 0,
            rng: fastrand::Rng::with_seed(seed),
            weather,
            last_arrival: [now; 2],
            session_busy: [now; 2],
            descriptions: 0,
            storm: 400,
            largest: 0,
            dead: HashSet::new(),
        }
    }

    pub fn at(&mut self, when: Duration, side: usize, input: NegotiatorInput) {
        self.push(self.start + when, Event::Input(side, input));
    }

    /// The path that is in use then dies.
    pub fn cut(&mut self, when: Duration) {
        self.push(self.start + when, Event::Cut);
    }

    fn push(&mut self, when: Instant, event: Event) {
        self.serial += 1;
        self.queue.insert((when, self.serial), event);
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Runs until this time.
    pub fn run(&mut self, until: Duration) {
        let end = self.start + until;
        loop {
            let due = self
                .sides
                .iter()
                .filter_map(|side| side.negotiator.poll_timeout())
                .min();
            let next = self.queue.keys().next().map(|(when, _)| *when);
            let Some(at) = [due, next].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            if next == Some(at) || next.is_some_and(|next| next <= self.now) {
                if let Some((_, event)) = self.queue.pop_first() {
                    self.dispatch(event);
                }
            } else {
                for index in 0..2 {
                    self.sides[index].negotiator.handle_timeout(self.now);
                    self.drain(index);
                }
            }
        }
        self.now = end;
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Input(index, input) => {
                match &input {
                    NegotiatorInput::AddTrack(track) => {
                        self.sides[index].tracks.retain(|other| other.key != track.key);
                        self.sides[index].tracks.push(track.clone());
                    }
                    NegotiatorInput::RemoveTrack(key) => {
                        self.sides[index].tracks.retain(|track| track.key != *key)
                    }
                    _ => {}
                }
                self.trace(index, "<-", &input);
                self.sides[index].negotiator.handle(self.now, input);
                self.drain(index);
            }
            Event::Cut => {
                let ufrag = |side: &Side| side.bins.values().next_back().map(|bin| bin.ufrag.clone());
                self.dead.extend(self.sides.iter().filter_map(ufrag));
                self.push(self.now + Duration::from_millis(7100), Event::Tick);
            }
            Event::Tick => {}
        }
        self.connectivity();
    }

    fn trace(&self, index: usize, arrow: &str, what: &dyn std::fmt::Debug) {
        if std::env::var_os("NEGOTIATOR_TRACE").is_some() {
            let text = format!("{what:?}");
            if std::env::var_os("NEGOTIATOR_FULL").is_some() {
                println!(
                    "{:7.3} {index} {arrow} {}",
                    self.elapsed().as_secs_f64(),
                    text.replace("\\r\\n", "\n")
                );
            } else if !text.contains("andidate") {
                println!(
                    "{:7.3} {index} {arrow} {}",
                    self.elapsed().as_secs_f64(),
                    text.chars().take(110).collect::<String>()
                );
            }
        }
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.sides[index].negotiator.poll() {
            self.trace(index, "->", &output);
            match output {
                NegotiatorOutput::Signal(signal) => self.send(1 - index, signal),
                NegotiatorOutput::Session(generation, command) => self.session(index, generation, command),
                NegotiatorOutput::State(state) => self.sides[index].state = state,
                NegotiatorOutput::TrackAdded(track) => {
                    let tracks = &mut self.sides[index].remote_tracks;
                    assert!(
                        !tracks
                            .iter()
                            .any(|t| (t.generation, &t.mid) == (track.generation, &track.mid))
                    );
                    tracks.push(track);
                }
                NegotiatorOutput::TrackRemoved(generation, mid) => {
                    let tracks = &mut self.sides[index].remote_tracks;
                    let before = tracks.len();
                    tracks.retain(|t| (t.generation, &t.mid) != (generation, &mid));
                    assert_eq!(tracks.len() + 1, before, "an unknown track was removed");
                }
                NegotiatorOutput::Problem(problem) => {
                    self.sides[index].problems.push(problem.code.to_owned())
                }
            }
        }
    }

    fn send(&mut self, to: usize, signal: RtcSignal) {
        let input = match signal {
            RtcSignal::Description { kind, sdp } => {
                self.descriptions += 1;
                self.largest = self.largest.max(sdp.len());
                assert!(self.descriptions < self.storm, "negotiation storm");
                if self.elapsed() < self.weather.until && self.rng.u32(0..100) < self.weather.loss {
                    return;
                }
                NegotiatorInput::Description(kind, sdp)
            }
            RtcSignal::Candidate(candidate) => NegotiatorInput::Candidate(candidate),
            RtcSignal::EndOfCandidates => NegotiatorInput::EndOfCandidates,
        };
        let delay = Duration::from_millis(self.rng.u64(1..250));
        let when = (self.now + delay).max(self.last_arrival[to]);
        self.last_arrival[to] = when;
        self.push(when, Event::Input(to, input));
    }

    fn session(&mut self, index: usize, generation: Generation, command: SessionCommand) {
        if let SessionCommand::Create(_) = command {
            let seed = self.rng.u64(0..1 << 40);
            assert!(
                self.sides[index].bins.values().all(|bin| bin.disposed),
                "two webrtcbins at once"
            );
            self.sides[index].bins.insert(generation, Bin::new(seed));
        }
        let asks = matches!(
            command,
            SessionCommand::CreateOffer(_)
                | SessionCommand::CreateAnswer(_)
                | SessionCommand::SetLocal(..)
                | SessionCommand::SetRemote(..)
        );
        let bin = self.sides[index]
            .bins
            .get_mut(&generation)
            .expect("a command for an unknown generation");
        let bad = self.start + self.weather.until > self.now;
        let events = if asks && bad && !bin.broken && self.rng.u32(0..100) < self.weather.failures {
            bin.broken = true;
            vec![SessionEvent::Failed {
                op: SessionOp::SetRemote,
                reason: "model".into(),
            }]
        } else {
            bin.run(command)
        };
        let mut when = self.session_busy[index].max(self.now);
        for event in events {
            when += Duration::from_millis(self.rng.u64(0..40));
            self.push(
                when,
                Event::Input(index, NegotiatorInput::Session(generation, event)),
            );
        }
        self.session_busy[index] = when;
        let soon = self.now + Duration::from_secs(8);
        self.push(soon, Event::Tick);
    }

    /// Ends that name each other connect; ends that do not fail after 7 s.
    fn connectivity(&mut self) {
        let ends: Vec<Option<(Generation, String, Option<String>)>> = self
            .sides
            .iter()
            .map(|side| {
                let (generation, bin) = side.bins.iter().next_back().filter(|(_, bin)| !bin.disposed)?;
                Some((*generation, bin.ufrag.clone(), bin.remote_ufrag()))
            })
            .collect();
        for index in 0..2 {
            let Some((generation, mine, Some(named))) = ends[index].clone() else {
                self.sides[index].mismatch_since = None;
                continue;
            };
            let alive = !self.dead.contains(&mine) || !self.dead.contains(&named);
            let good = alive
                && ends[1 - index]
                    .as_ref()
                    .is_some_and(|(_, other, back)| *other == named && back.as_ref() == Some(&mine));
            let key = (generation, named);
            if good {
                self.sides[index].mismatch_since = None;
                if self.sides[index].connected.as_ref() != Some(&key) {
                    self.sides[index].connected = Some(key);
                    self.report(
                        index,
                        generation,
                        SessionEvent::Connection(ConnectionState::Connected),
                    );
                }
            } else {
                let fresh = self.sides[index].mismatch_since.is_none();
                let since = *self.sides[index].mismatch_since.get_or_insert(self.now);
                if fresh {
                    self.push(self.now + Duration::from_millis(7100), Event::Tick);
                }
                if self.now >= since + Duration::from_secs(7) {
                    self.sides[index].mismatch_since = None;
                    self.sides[index].connected = None;
                    self.report(
                        index,
                        generation,
                        SessionEvent::Connection(ConnectionState::Failed),
                    );
                }
            }
        }
        self.media();
    }

    fn report(&mut self, index: usize, generation: Generation, event: SessionEvent) {
        // Behind what the session has said before.
        let when = self.now.max(self.session_busy[index]) + Duration::from_millis(self.rng.u64(1..30));
        self.push(
            when,
            Event::Input(index, NegotiatorInput::Session(generation, event)),
        );
    }

    /// Packets that arrive: what one side routes out and the other takes in.
    fn media(&mut self) {
        for index in 0..2 {
            let (from, to) = (&self.sides[1 - index], &self.sides[index]);
            if from.connected.is_none() || to.connected.is_none() {
                continue;
            }
            let (Some((_, out)), Some((generation, into))) =
                (from.bins.iter().next_back(), to.bins.iter().next_back())
            else {
                continue;
            };
            let mut news = Vec::new();
            let taken: Vec<String> = into.routing.receiving.iter().map(|m| m.mid.clone()).collect();
            let sources = out.sources();
            for inbound in &into.routing.receiving {
                let flows = inbound.ssrcs.iter().any(|ssrc| sources.contains(ssrc))
                    && !to.told.contains(&(*generation, inbound.mid.clone()));
                if let Some(codec) = into.codec(&inbound.mid).filter(|_| flows) {
                    news.push((*generation, inbound.mid.clone(), codec));
                }
            }
            self.sides[index].told.retain(|(_, mid)| taken.contains(mid));
            for (generation, mid, codec) in news {
                self.sides[index].told.insert((generation, mid.clone()));
                self.report(index, generation, SessionEvent::MediaArrived { mid, codec });
            }
        }
    }

    /// Why the pair is not where it should be.
    pub fn verdict(&self) -> Result<(), String> {
        let any = self.sides.iter().any(|side| !side.tracks.is_empty());
        for index in 0..2 {
            let (side, other) = (&self.sides[index], &self.sides[1 - index]);
            if any && side.state != PeerState::Connected {
                return Err(format!(
                    "side {index} is {:?}, problems {:?}",
                    side.state, side.problems
                ));
            }
            let mut expected: Vec<&str> = other.tracks.iter().map(|track| track.track_id.as_str()).collect();
            let policy = &side.negotiator.config.receive;
            expected.retain(|id| {
                let track = other.tracks.iter().find(|track| track.track_id == *id).unwrap();
                track
                    .codecs
                    .iter()
                    .any(|codec| policy.audio.contains(codec) || policy.video.contains(codec))
            });
            let mut found: Vec<&str> = side
                .remote_tracks
                .iter()
                .filter_map(|track| track.track_id.as_deref())
                .collect();
            expected.sort_unstable();
            found.sort_unstable();
            if expected != found {
                return Err(format!(
                    "side {index} receives {found:?} instead of {expected:?}, problems {:?}",
                    side.problems
                ));
            }
        }
        Ok(())
    }
}
