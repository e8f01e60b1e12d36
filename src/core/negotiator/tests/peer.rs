//! One negotiator with a model session, opposite a scripted peer. Everything happens at once.

use std::time::{Duration, Instant};

use super::bin::Bin;
use super::pair::everything;
use crate::core::io::{Generation, SessionCommand, SessionConfig, SessionEvent};
use crate::core::negotiator::{
    Negotiator, NegotiatorConfig, NegotiatorInput, NegotiatorOutput, ReceivePolicy,
};
use crate::sdp::model::Sdp;
use crate::wire::{IceCandidate, RtcSignal, SdpKind};

pub struct Lone {
    pub negotiator: Negotiator,
    pub bin: Option<Bin>,
    pub generation: Generation,
    pub generations: usize,
    pub now: Instant,
    /// Descriptions sent to the peer.
    pub sent: Vec<(SdpKind, String)>,
    pub candidates: Vec<IceCandidate>,
    /// Candidates given to webrtcbin.
    pub given: Vec<String>,
    pub commands: Vec<SessionCommand>,
    pub problems: Vec<&'static str>,
    pub others: Vec<NegotiatorOutput>,
}

impl Lone {
    pub fn new(polite: bool, receive: ReceivePolicy) -> Self {
        let now = Instant::now();
        let session = SessionConfig::default();
        Self {
            negotiator: Negotiator::new(
                NegotiatorConfig {
                    keeps: true,
                    polite,
                    receive,
                    session,
                    seed: 7,
                },
                now,
            ),
            bin: None,
            generation: Generation(0),
            generations: 0,
            now,
            sent: Vec::new(),
            candidates: Vec::new(),
            given: Vec::new(),
            commands: Vec::new(),
            problems: Vec::new(),
            others: Vec::new(),
        }
    }

    pub fn polite() -> Self {
        Self::new(true, everything())
    }

    pub fn handle(&mut self, input: NegotiatorInput) {
        self.negotiator.handle(self.now, input);
        self.drain();
    }

    pub fn offer(&mut self, sdp: &str) {
        self.handle(NegotiatorInput::Description(SdpKind::Offer, sdp.to_owned()));
    }

    pub fn answer(&mut self, sdp: &str) {
        self.handle(NegotiatorInput::Description(SdpKind::Answer, sdp.to_owned()));
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.negotiator.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.negotiator.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn event(&mut self, event: SessionEvent) {
        self.handle(NegotiatorInput::Session(self.generation, event));
    }

    pub fn drain(&mut self) {
        let mut events = Vec::new();
        loop {
            while let Some(output) = self.negotiator.poll() {
                match output {
                    NegotiatorOutput::Signal(RtcSignal::Description { kind, sdp }) => {
                        self.sent.push((kind, sdp))
                    }
                    NegotiatorOutput::Signal(RtcSignal::Candidate(candidate)) => {
                        self.candidates.push(candidate)
                    }
                    NegotiatorOutput::Session(generation, command) => {
                        self.command(generation, command, &mut events);
                    }
                    NegotiatorOutput::Problem(problem) => self.problems.push(problem.code),
                    other => self.others.push(other),
                }
            }
            if events.is_empty() {
                return;
            }
            let (generation, event) = events.remove(0);
            self.negotiator
                .handle(self.now, NegotiatorInput::Session(generation, event));
        }
    }

    fn command(
        &mut self,
        generation: Generation,
        command: SessionCommand,
        events: &mut Vec<(Generation, SessionEvent)>,
    ) {
        if let SessionCommand::Create(_) = command {
            assert!(self.bin.as_ref().is_none_or(|bin| bin.disposed));
            self.generations += 1;
            self.generation = generation;
            self.bin = Some(Bin::new(u64::from(generation.0)));
        }
        if let SessionCommand::AddCandidate { candidate, .. } = &command {
            self.given.push(candidate.clone());
        }
        assert_eq!(generation, self.generation);
        self.commands.push(command.clone());
        let bin = self.bin.as_mut().expect("a command before Create");
        events.extend(bin.run(command).into_iter().map(|event| (generation, event)));
    }

    /// The last description sent.
    pub fn last(&self) -> (SdpKind, Sdp) {
        let (kind, text) = self.sent.last().expect("nothing was sent");
        (*kind, Sdp::parse(text).expect("we wrote it"))
    }

    /// Directions of the last description, by mid.
    pub fn directions(&self) -> Vec<(String, &'static str)> {
        let (_, sdp) = self.last();
        let of = |media: &crate::sdp::model::Media| {
            let all = ["sendrecv", "sendonly", "recvonly", "inactive"];
            let dir = all.into_iter().find(|dir| media.has(dir)).unwrap_or("none");
            let mid = media.attribute("mid").unwrap_or_default().to_owned();
            (mid, if media.port == 0 { "rejected" } else { dir })
        };
        sdp.media.iter().map(of).collect()
    }
}
