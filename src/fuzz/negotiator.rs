//! One negotiator over the model of webrtcbin, and a peer that says anything.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::bin::Bin;
use super::clock::{Woken, pass};
use super::{lines, number};
use crate::core::io::{
    Codec, ConnectionState, Generation, MediaKind, SessionCommand, SessionConfig, SessionEvent, SessionOp,
    TrackKey,
};
use crate::core::negotiator::{
    LocalTrack, Negotiator, NegotiatorConfig, NegotiatorInput, NegotiatorOutput, ReceivePolicy,
};
use crate::sdp::{Remote, Sdp};
use crate::wire::limits::CANDIDATE_STRING_MAX;
use crate::wire::{IceCandidate, RtcSignal, SdpKind};

/// Blocks that start with a line `--- WORD…` (`Bench::block`); the lines below are the block's text.
pub fn negotiator(data: &[u8]) {
    let lines = lines(data);
    let polite = lines.first().is_none_or(|line| !line.contains('i'));
    let mut bench = Bench::new(polite);
    for block in lines
        .split(|line| line.starts_with("--- "))
        .zip(heads(&lines))
        .skip(1)
    {
        bench.block(block.1, &block.0.join("\r\n"));
        bench.settle();
    }
    // Whatever has happened, time alone ends the trouble.
    let mut now = bench.now;
    pass(&mut bench, &mut now, Duration::from_secs(400));
    bench.now = now;
    bench.handle(NegotiatorInput::Close);
    assert!(
        bench.bin.as_ref().is_none_or(|bin| bin.disposed),
        "a session is left behind"
    );
    assert_eq!(bench.negotiator.poll_timeout(), None);
}

/// The head of each block; the first block has none.
fn heads(lines: &[String]) -> impl Iterator<Item = &str> {
    std::iter::once("").chain(lines.iter().filter_map(|line| line.strip_prefix("--- ")))
}

/// Most reports of a session that wait for `report`.
const MAX_WAITING: usize = 64;

/// What a codec is called in a script.
pub(super) fn codec(name: &str) -> Codec {
    match name.trim() {
        "VP9" => Codec::Vp9,
        "H264" => Codec::H264,
        "AV1" => Codec::Av1,
        "opus" => Codec::Opus,
        "PCMU" => Codec::Pcmu,
        "PCMA" => Codec::Pcma,
        _ => Codec::Vp8,
    }
}

pub(super) fn track(key: u64) -> LocalTrack {
    let (kind, codecs) = match key % 2 {
        0 => (MediaKind::Video, vec![Codec::Vp8, Codec::H264]),
        _ => (MediaKind::Audio, vec![Codec::Opus, Codec::Pcmu]),
    };
    LocalTrack {
        key: TrackKey(key as u32),
        kind,
        stream_id: "stream".into(),
        track_id: format!("track{key}"),
        codecs,
    }
}

pub(super) fn everything() -> ReceivePolicy {
    ReceivePolicy {
        audio: vec![Codec::Opus, Codec::Pcmu, Codec::Pcma],
        video: vec![Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1],
    }
}

/// A good answer to an offer of ours.
pub(super) fn accept(offer: &str, ufrag: &str) -> String {
    let mut sdp = Sdp::parse(offer).expect("our offer");
    for media in &mut sdp.media {
        media.set("ice-ufrag", ufrag);
        media.set("ice-pwd", &format!("passwordpasswordpassword{ufrag}"));
        media.set("setup", "active");
        for line in &mut media.lines {
            match line.as_str() {
                "a=sendonly" => *line = "a=recvonly".into(),
                "a=recvonly" => *line = "a=sendonly".into(),
                _ => {}
            }
        }
        let own = |line: &String| line.starts_with("a=ssrc") || line.starts_with("a=msid");
        media.lines.retain(|line| !own(line));
    }
    sdp.write()
}

/// What is given to webrtcbin, and what of a peer must never be in it.
pub(super) fn check_command(command: &SessionCommand) {
    if let SessionCommand::AddCandidate { candidate, .. } = command {
        assert!(candidate.len() <= CANDIDATE_STRING_MAX);
        assert!(candidate.bytes().all(|b| (0x20..0x7f).contains(&b)));
        let address = candidate.split_ascii_whitespace().nth(4).unwrap_or_default();
        assert!(
            !address.to_ascii_lowercase().ends_with(".local"),
            "a hidden name: {candidate}"
        );
    }
}

pub(super) fn check_signal(signal: &RtcSignal) {
    if let RtcSignal::Description { kind, sdp } = signal {
        let remote = Remote::parse(*kind, sdp).unwrap_or_else(|error| panic!("we sent {error}: {sdp}"));
        assert!(
            *kind == SdpKind::Answer || remote.bundle.is_some(),
            "an offer of nothing"
        );
    }
}

struct Bench {
    negotiator: Negotiator,
    now: Instant,
    bin: Option<Bin>,
    generation: Generation,
    /// Sessions answer at once; otherwise with `report`.
    automatic: bool,
    reports: VecDeque<(Generation, SessionEvent)>,
    offer: Option<String>,
    /// Commands of one settling: a loop between negotiator and session would never end.
    commands: usize,
}

impl Bench {
    fn new(polite: bool) -> Self {
        let now = Instant::now();
        let config = NegotiatorConfig {
            keeps: true,
            polite,
            receive: everything(),
            session: SessionConfig::default(),
            seed: 7,
        };
        Self {
            negotiator: Negotiator::new(config, now),
            now,
            bin: None,
            generation: Generation(0),
            automatic: true,
            reports: VecDeque::new(),
            offer: None,
            commands: 0,
        }
    }

    fn handle(&mut self, input: NegotiatorInput) {
        self.negotiator.handle(self.now, input);
        self.drain();
    }

    fn event(&mut self, event: SessionEvent) {
        self.handle(NegotiatorInput::Session(self.generation, event));
    }

    fn block(&mut self, head: &str, text: &str) {
        let (word, rest) = head.split_once(' ').unwrap_or((head, ""));
        match word {
            "offer" => self.handle(NegotiatorInput::Description(SdpKind::Offer, text.to_owned())),
            "answer" => self.handle(NegotiatorInput::Description(SdpKind::Answer, text.to_owned())),
            "accept" => {
                if let Some(offer) = &self.offer {
                    let answer = accept(offer, rest);
                    self.handle(NegotiatorInput::Description(SdpKind::Answer, answer));
                }
            }
            "candidate" => self.handle(NegotiatorInput::Candidate(candidate(rest, text))),
            "end" => self.handle(NegotiatorInput::EndOfCandidates),
            "pass" => {
                let mut now = self.now;
                pass(self, &mut now, Duration::from_millis(number(rest, 60_000)));
                self.now = now;
            }
            "add" => self.handle(NegotiatorInput::AddTrack(track(number(rest, 7)))),
            "remove" => self.handle(NegotiatorInput::RemoveTrack(TrackKey(number(rest, 7) as u32))),
            "expect" => self.handle(NegotiatorInput::ExpectOffer),
            "restart" => self.handle(NegotiatorInput::RestartIce),
            "addresses" => {
                let addresses = rest.split(' ').filter_map(|ip| ip.parse().ok()).collect();
                self.handle(NegotiatorInput::AddressesChanged(addresses));
            }
            "reset" => self.handle(NegotiatorInput::Reset),
            "automatic" => self.automatic = !self.automatic,
            "report" => {
                if let Some((generation, event)) = self.reports.pop_front() {
                    self.handle(NegotiatorInput::Session(generation, event));
                }
            }
            _ => self.session(word, rest),
        }
    }

    /// What the session says by itself.
    fn session(&mut self, word: &str, rest: &str) {
        let Some(bin) = self.bin.as_mut().filter(|bin| !bin.disposed) else {
            return;
        };
        match word {
            "connected" => self.event(SessionEvent::Connection(ConnectionState::Connected)),
            "disconnected" => self.event(SessionEvent::Connection(ConnectionState::Disconnected)),
            "connecting" => self.event(SessionEvent::Connection(ConnectionState::Connecting)),
            "cannot" => self.event(SessionEvent::CannotRestart),
            "failed" => self.event(SessionEvent::Connection(ConnectionState::Failed)),
            "closed" => self.event(SessionEvent::Connection(ConnectionState::Closed)),
            "path" => {
                if let Ok(address) = rest.parse() {
                    self.event(SessionEvent::Path(address));
                }
            }
            "traffic" => self.event(SessionEvent::Traffic {
                received: rest.parse().unwrap_or_default(),
                sending: !rest.starts_with('0'),
            }),
            "error" => {
                bin.broken = true;
                let reason = rest.to_owned();
                self.event(SessionEvent::Failed {
                    op: SessionOp::SetRemote,
                    reason,
                });
            }
            "media" => {
                let (mid, name) = rest.split_once(' ').unwrap_or((rest, ""));
                let (mid, codec) = (mid.to_owned(), codec(name));
                self.event(SessionEvent::MediaArrived { mid, codec });
            }
            _ => {}
        }
    }

    fn settle(&mut self) {
        self.commands = 0;
        // Early wake-ups are harmless.
        self.negotiator.handle_timeout(self.now);
        self.drain();
        let mut now = self.now;
        pass(self, &mut now, Duration::ZERO);
        assert!(
            self.negotiator.poll_timeout().is_none_or(|at| at > self.now),
            "woken in the past"
        );
        assert!(
            self.negotiator.held() <= MAX_HELD,
            "{} candidates are kept",
            self.negotiator.held()
        );
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.negotiator.poll() {
                self.commands += 1;
                assert!(self.commands < 20_000, "it never ends");
                match output {
                    NegotiatorOutput::Session(generation, command) => self.command(generation, command),
                    NegotiatorOutput::Signal(signal) => {
                        check_signal(&signal);
                        if let RtcSignal::Description {
                            kind: SdpKind::Offer,
                            sdp,
                        } = signal
                        {
                            self.offer = Some(sdp);
                        }
                    }
                    _ => {}
                }
            }
            if !self.automatic {
                return;
            }
            let Some((generation, event)) = self.reports.pop_front() else {
                return;
            };
            self.negotiator
                .handle(self.now, NegotiatorInput::Session(generation, event));
        }
    }

    fn command(&mut self, generation: Generation, command: SessionCommand) {
        check_command(&command);
        if let SessionCommand::Create(_) = command {
            assert!(
                self.bin.as_ref().is_none_or(|bin| bin.disposed),
                "two sessions at once"
            );
            assert!(generation > self.generation);
            self.generation = generation;
            self.bin = Some(Bin::new(u64::from(generation.0)));
        }
        assert_eq!(generation, self.generation);
        let bin = self.bin.as_mut().expect("a command before Create");
        self.reports
            .extend(bin.run(command).into_iter().map(|event| (generation, event)));
        while self.reports.len() > MAX_WAITING {
            self.reports.pop_front();
        }
    }
}

/// Early ones, and those of the descriptions that are applied, pending and ignored.
pub(super) const MAX_HELD: usize = 200 * 8;

/// `MID INDEX UFRAG`, each may be `-`.
fn candidate(head: &str, text: &str) -> IceCandidate {
    let mut words = head
        .split(' ')
        .map(|word| Some(word).filter(|word| *word != "-" && !word.is_empty()));
    let mut next = || words.next().flatten().map(str::to_owned);
    IceCandidate {
        sdp_mid: next(),
        sdp_mline_index: next().map(|index| number(&index, 99) as u32),
        username_fragment: next(),
        candidate: text.chars().take(CANDIDATE_STRING_MAX).collect(),
    }
}

impl Woken for Bench {
    fn wanted(&self) -> Option<Instant> {
        self.negotiator.poll_timeout()
    }

    fn wake(&mut self, now: Instant) {
        self.now = now;
        self.commands = 0;
        self.negotiator.handle_timeout(now);
        self.drain();
    }
}
