//! Candidates in both directions.

use std::net::IpAddr;

use super::{Negotiator, NegotiatorOutput};
use crate::core::io::SessionCommand;
use crate::sdp::check::Bundle;
use crate::wire::{IceCandidate, RtcSignal};

/// Most candidates per remote description; the SDKs have the same limit.
const MAX_CANDIDATES: usize = 200;

/// Longest candidate, as in the SDKs.
const MAX_LENGTH: usize = 1000;

/// Candidates of one remote description on their way to webrtcbin.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// ICE generation they belong to.
    ufrag: Option<String>,
    /// Mid of the section that carries the bundle.
    tag: Option<String>,
    /// Its index on the wire, for peers that send no mid.
    tag_index: usize,
    counted: usize,
    waiting: Vec<IceCandidate>,
    ended: bool,
    end_given: bool,
}

impl Inbox {
    /// A description was received. Returns whether it starts another ICE generation.
    pub fn begin(&mut self, bundle: Option<&Bundle>) -> bool {
        self.counted = 0;
        let Some(bundle) = bundle else { return false };
        let restarted = self.ufrag.as_deref() != Some(bundle.transport.ufrag.as_str());
        if restarted {
            *self = Self::default();
        }
        self.ufrag = Some(bundle.transport.ufrag.clone());
        (self.tag, self.tag_index) = (Some(bundle.tag.clone()), bundle.index);
        for candidate in &bundle.candidates {
            self.push(&IceCandidate {
                candidate: candidate.clone(),
                sdp_mid: self.tag.clone(),
                ..Default::default()
            });
        }
        self.ended |= bundle.end_of_candidates;
        restarted
    }

    /// Takes over candidates that came before the description.
    pub fn adopt(&mut self, early: Self, also_unnamed: bool) {
        for candidate in early.waiting {
            let ours =
                ufrag_of(&candidate).map_or(also_unnamed, |ufrag| self.ufrag.as_deref() == Some(ufrag));
            if ours {
                self.push(&candidate);
            }
        }
    }

    /// The description belongs to the same ICE generation as the one before.
    pub fn continues(&mut self, before: &Self) {
        self.waiting.extend(before.waiting.iter().cloned());
        self.ended |= before.ended;
        self.end_given |= before.end_given;
    }

    fn push(&mut self, candidate: &IceCandidate) {
        if candidate.candidate.is_empty() {
            let tag = candidate.sdp_mid.is_none() || candidate.sdp_mid == self.tag;
            self.ended |= tag;
        } else if self.counted < MAX_CANDIDATES && candidate.candidate.len() <= MAX_LENGTH {
            self.counted += 1;
            self.waiting.push(candidate.clone());
        }
    }

    /// How many wait.
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What webrtcbin is to be given now.
    fn drain(&mut self) -> Vec<String> {
        let (tag, tag_index) = (self.tag.clone(), self.tag_index);
        let fits = |candidate: &IceCandidate| match (&candidate.sdp_mid, candidate.sdp_mline_index) {
            (Some(mid), _) if !mid.is_empty() => Some(mid) == tag.as_ref(),
            (_, Some(index)) => usize::try_from(index) == Ok(tag_index),
            _ => true,
        };
        let mut lines: Vec<String> = self
            .waiting
            .drain(..)
            .filter(fits)
            .filter_map(|c| usable(&c.candidate).map(str::to_owned))
            .collect();
        if self.ended && !self.end_given {
            self.end_given = true;
            lines.push(String::new());
        }
        lines
    }
}

/// The user fragment a candidate names, if any.
fn ufrag_of(candidate: &IceCandidate) -> Option<&str> {
    let named = candidate
        .username_fragment
        .as_deref()
        .filter(|ufrag| !ufrag.is_empty());
    named.or_else(|| {
        let mut words = candidate.candidate.split_ascii_whitespace();
        words.find(|word| *word == "ufrag")?;
        words.next()
    })
}

/// UDP candidates of component 1 (everything is multiplexed); anything else would be taken as the end of candidates,
/// or leads nowhere.
fn usable(candidate: &str) -> Option<&str> {
    let mut words = candidate
        .strip_prefix("candidate:")?
        .split_ascii_whitespace()
        .skip(1);
    let (component, transport) = (words.next()?, words.next()?);
    let address = words.nth(1)?;
    let plain = candidate.bytes().all(|b| (0x20..0x7f).contains(&b));
    let hidden = address.to_ascii_lowercase().ends_with(".local");
    let good = component == "1" && transport.eq_ignore_ascii_case("udp") && plain && !hidden;
    good.then_some(candidate)
}

/// Whether a candidate is of this type.
fn is_of(candidate: &str, kind: &str) -> bool {
    let mut words = candidate.split_ascii_whitespace().skip(6);
    words.next() == Some("typ") && words.next() == Some(kind)
}

/// Local candidates on their way to the peer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    gathered: Vec<String>,
    complete: bool,
    /// Where they go, once the description is out.
    target: Option<(String, u32, String)>,
    sent: usize,
    end_sent: bool,
    /// They belong to a description that is being made.
    held: bool,
    /// The peer is offered a restart: with its answer the relays are gathered anew.
    awaits_relays: bool,
}

impl Outbox {
    /// The description is out. `awaits_relays` is for the offer of a restart.
    pub fn open(&mut self, tag: Option<(String, u32)>, ufrag: String, awaits_relays: bool) {
        (self.held, self.awaits_relays) = (false, awaits_relays);
        if let Some((mid, index)) = tag {
            if self
                .target
                .as_ref()
                .is_some_and(|(_, _, before)| *before != ufrag)
            {
                // Another ICE generation. The candidates are the same; the peer has to be told that they still hold.
                self.rewind();
            }
            self.target = Some((mid, index, ufrag));
        }
    }

    /// The addresses of this machine among them.
    pub fn hosts(&self) -> Vec<IpAddr> {
        let hosts = self.gathered.iter().filter(|candidate| is_of(candidate, "host"));
        let address = |candidate: &String| candidate.split_ascii_whitespace().nth(4)?.parse().ok();
        hosts.filter_map(address).collect()
    }

    /// Relays are gathered anew, for a description that is out or one that is to come.
    pub fn renew_relays(&mut self) {
        self.held = !std::mem::take(&mut self.awaits_relays);
        let unsent = self.gathered.split_off(self.sent);
        self.gathered.retain(|candidate| !is_of(candidate, "relay"));
        self.sent = self.gathered.len();
        self.gathered
            .extend(unsent.into_iter().filter(|candidate| !is_of(candidate, "relay")));
        self.complete = false;
    }

    /// Everything once more, for a description that is sent again.
    pub fn rewind(&mut self) {
        (self.sent, self.end_sent) = (0, false);
    }

    pub fn drain(&mut self) -> Vec<RtcSignal> {
        let Some((mid, index, ufrag)) = self.target.as_ref().filter(|_| !self.held) else {
            return Vec::new();
        };
        let signal = |candidate: &String| {
            RtcSignal::Candidate(IceCandidate {
                candidate: candidate.clone(),
                sdp_mid: Some(mid.clone()),
                sdp_mline_index: Some(*index),
                username_fragment: Some(ufrag.clone()),
            })
        };
        let awaits = self.awaits_relays;
        let unsent = self.gathered.iter().skip(self.sent);
        let mut signals: Vec<RtcSignal> = unsent
            .filter(|candidate| !(awaits && is_of(candidate, "relay")))
            .map(signal)
            .collect();
        self.sent = self.gathered.len();
        if self.complete && !self.end_sent && !awaits {
            self.end_sent = true;
            signals.push(RtcSignal::EndOfCandidates);
        }
        signals
    }
}

impl Negotiator {
    pub(super) fn on_candidate(&mut self, candidate: &IceCandidate) {
        let ufrag = ufrag_of(candidate);
        let restarting = self.is_restarting();
        let current = self
            .session
            .as_mut()
            .map(|session| &mut session.inbox)
            .filter(|inbox| inbox.ufrag.is_some());
        let pending = self.pending.as_mut().map(|inbound| &mut inbound.inbox);
        let ignored = self.ignored.as_mut().map(|inbound| &mut inbound.inbox);
        let boxes = [pending, current, ignored];
        let none = boxes.iter().all(Option::is_none);
        let mut owner = boxes
            .into_iter()
            .flatten()
            .find(|inbox| ufrag.is_none() || inbox.ufrag.as_deref() == ufrag);
        match &mut owner {
            Some(inbox) => inbox.push(candidate),
            // The answer to our restart may come after them.
            None if none || restarting => self.early.push(candidate),
            // Of an offer that was rolled back, or of a connection that is gone.
            None => return,
        }
        self.flush_remote_candidates();
    }

    /// Hands over what has come, once webrtcbin has the description it belongs to.
    pub(super) fn flush_remote_candidates(&mut self) {
        use super::Phase;
        let ready = match &self.phase {
            Phase::ApplyingRemote(_) | Phase::ApplyingAnswer(_) => false,
            // Not before webrtcbin has our new credentials: it would check with its own.
            Phase::CreatingAnswer(round) | Phase::ApplyingLocal(round, _) => !round.restarts,
            _ => true,
        };
        let Some(session) = self
            .session
            .as_mut()
            .filter(|session| ready && session.world.remote.is_some())
        else {
            return;
        };
        for candidate in session.inbox.drain() {
            self.command(SessionCommand::AddCandidate { mline: 0, candidate });
        }
    }

    pub(super) fn on_local_candidate(&mut self, candidate: &str) {
        let Some(session) = &mut self.session else { return };
        if candidate.is_empty() {
            return;
        }
        session.outbox.gathered.push(candidate.to_owned());
        self.flush_outbox();
    }

    pub(super) fn on_gathering_complete(&mut self) {
        if let Some(session) = &mut self.session {
            session.outbox.complete = true;
        }
        self.flush_outbox();
    }

    pub(super) fn flush_outbox(&mut self) {
        let open = !self.keeping.is_paused();
        let Some(session) = self.session.as_mut().filter(|_| open) else {
            return;
        };
        for signal in session.outbox.drain() {
            self.out.push_back(NegotiatorOutput::Signal(signal));
        }
    }
}
