//! Our offers and the answers to them.

use std::time::{Duration, Instant};

use super::facts::Round;
use super::layout::Layout;
use super::restart::credentials;
use super::world::{Draft, Mismatch, World};
use super::{Inbound, Negotiator, NegotiatorOutput, OwnOffer, PeerState, Phase, timing};
use crate::core::io::SessionCommand;
use crate::sdp::Remote;
use crate::sdp::section::DescriptionId;
use crate::wire::{RtcSignal, SdpKind};

/// Answers to offers of ours that have given way which may still come; more than follow each other within their time.
const MAX_UNANSWERED: u32 = 3;

impl Negotiator {
    /// Arms the timer of an offer if there is something to negotiate.
    pub(super) fn check_need(&mut self, now: Instant) {
        if !self.needs_offer() || self.recovery.waiting() {
            self.offer_at = None;
            return;
        }
        if self.offer_at.is_none() {
            let wait = match &self.session {
                Some(session) if session.world.negotiated => timing::COALESCE,
                _ if self.config.polite => timing::FIRST_OFFER_POLITE,
                _ => timing::FIRST_OFFER_IMPOLITE,
            };
            self.offer_at = Some(now + wait);
        }
        let fresh = self
            .session
            .as_ref()
            .is_none_or(|session| !session.world.negotiated);
        if let (true, Some(until), Some(at)) = (fresh, self.expect_until, self.offer_at) {
            self.offer_at = Some(at.max(until));
        }
    }

    pub(super) fn on_expect_offer(&mut self, now: Instant) {
        let wait = if self.config.polite {
            timing::EXPECTED_OFFER_POLITE
        } else {
            timing::EXPECTED_OFFER_IMPOLITE
        };
        // Announcements come track by track; the offer follows the last, but the wait starts with the first.
        if self.expect_until.is_none_or(|until| until < now) {
            self.expect_until = Some(now + wait);
        }
        self.check_need(now);
    }

    /// Something the wire does not say yet.
    pub(super) fn needs_offer(&self) -> bool {
        if self.recovery.ask {
            return true;
        }
        let Some(session) = &self.session else {
            return self.senders.iter().any(|sender| sender.wants_line());
        };
        if self.restart.wanted || self.keeping.wants_proof() || session.strays.wants_offer() {
            return true;
        }
        self.senders.iter().any(|sender| {
            let Some(line) = session.world.own(sender.track.key, &sender.mid) else {
                return sender.wants_line();
            };
            let index = session.world.lines.iter().position(|other| other.mid == line.mid);
            let slot = index.and_then(|index| session.world.slot_of(index));
            match slot {
                None => sender.alive && line.may_send(),
                Some(slot) if slot.rejected => false,
                // What we say about sending, not whether the peer wants it: no loop on a line it does not want.
                Some(slot) => slot.says_send(sender.alive) != Some(sender.alive && line.may_send()),
            }
        })
    }

    pub(super) fn may_offer(&self) -> bool {
        matches!(self.phase, Phase::Stable) && self.pending.is_none() && !self.keeping.is_paused()
    }

    pub(super) fn offer_timeout(&mut self, now: Instant) {
        if self.may_offer() && self.offer_at.is_some_and(|at| at <= now) {
            self.offer_at = None;
            if self.needs_offer() {
                self.start_offer();
            }
        }
    }

    pub(super) fn start_offer(&mut self) {
        if self.is_overgrown() {
            self.dispose();
        }
        self.ensure_session();
        let takes = super::media::takes(&self.config.receive);
        self.restore_layout(&takes);
        self.add_senders();
        let ask = self.recovery.ask;
        let Some(session) = &mut self.session else { return };
        if ask && session.is_bare() {
            // webrtcbin offers only what it has: a data section carries the transport. The peer's stack then misses
            // its own media, and offers.
            session.holds_data = true;
            session.world.own_data = Some(self.peer_formats.next_mid());
            self.command(SessionCommand::HoldData);
        }
        let restarts = self.restart.wanted;
        self.phase = Phase::CreatingOffer { restarts };
        self.command(SessionCommand::CreateOffer(credentials(restarts)));
    }

    pub(super) fn offer_created(&mut self, now: Instant, sdp: &str) {
        let Phase::CreatingOffer { restarts } = self.phase else {
            return;
        };
        let Self {
            session: Some(session),
            senders,
            config,
            ..
        } = self
        else {
            return;
        };
        let draft = {
            let own = super::media::own_tracks(senders);
            session
                .world
                .offer_created(sdp, &own, &super::media::takes(&config.receive), restarts)
        };
        self.phase = Phase::Stable;
        let Draft { internal, round } = match draft {
            Ok(draft) => draft,
            Err(why) => return self.unusable_session(now, why),
        };
        // Nobody has seen our offer: the peer's goes first, whoever is polite.
        if let Some(inbound) = self.pending.take() {
            return self.take_offer(now, inbound);
        }
        let first = self
            .session
            .as_ref()
            .is_some_and(|session| !session.world.negotiated);
        if round.slots.iter().all(|slot| slot.rejected) {
            return self.nothing_to_offer(now, first);
        }
        if self.keeping.is_paused() && !first {
            // It would be lost; another one is made after the gap.
            return;
        }
        let offer = OwnOffer {
            round,
            internal,
            applied: first,
            first_id: None,
        };
        if first {
            self.command(SessionCommand::SetLocal(SdpKind::Offer, offer.internal.clone()));
            self.phase = Phase::ApplyingOffer(offer);
        } else {
            self.send_offer(now, offer);
        }
    }

    /// What was to be offered has gone while webrtcbin wrote the offer; a description without media would only be
    /// refused. A webrtcbin that nobody has heard of is of no use.
    fn nothing_to_offer(&mut self, now: Instant, first: bool) {
        if first {
            self.dispose();
            if !self.needs_offer() {
                self.set_state(PeerState::Idle);
            }
        }
        if self.restart.wanted {
            // Nothing is left that a restart could save.
            return self.recover(now, Duration::ZERO);
        }
        self.keeping.proven();
        self.check_need(now);
    }

    pub(super) fn first_offer_applied(&mut self, now: Instant, offer: OwnOffer) {
        if let Some(inbound) = self.pending.take() {
            self.phase = Phase::Stable;
            return self.take_offer(now, inbound);
        }
        self.send_offer(now, offer);
    }

    fn send_offer(&mut self, now: Instant, mut offer: OwnOffer) {
        match self.write(&offer.round) {
            Ok(sdp) => self.signal(RtcSignal::Description {
                kind: SdpKind::Offer,
                sdp,
            }),
            Err(why) => return self.unusable_session(now, why),
        }
        let id = self.session.as_ref().map(|session| session.world.newest_id());
        offer.first_id = offer.first_id.or(id);
        self.open_outbox(&offer.round, offer.round.restarts);
        let patience = match offer.round.restarts && !self.resent {
            true => timing::RESTART_ANSWER,
            false => timing::ANSWER,
        };
        self.phase = Phase::OfferOut(offer);
        self.offered_at = self.offered_at.or(Some(now));
        self.watchdog_at = Some(now + patience);
    }

    pub(super) fn write(&mut self, round: &Round) -> Result<String, &'static str> {
        let Self {
            session: Some(session),
            senders,
            ..
        } = self
        else {
            return Err("there is none");
        };
        session.world.write(round, &super::media::own_tracks(senders))
    }

    /// The answer is late.
    pub(super) fn watchdog_timeout(&mut self, now: Instant) {
        if self.watchdog_at.is_none_or(|at| at > now) {
            return;
        }
        self.watchdog_at = None;
        let Phase::OfferOut(offer) = std::mem::replace(&mut self.phase, Phase::Stable) else {
            return;
        };
        if self.resent {
            self.problem(
                "answer_timeout",
                "two offers got no answer; the connection is made anew".into(),
            );
            self.recover(now, Duration::ZERO);
            // It may be what the peer cannot take, whatever it has kept.
            self.layout = Layout::default();
            return;
        }
        // Lost offers and answers are never repeated by the service or the SDKs. The same offer again suits both a
        // peer that never saw it and one whose answer was lost.
        self.resent = true;
        if let Some(session) = &mut self.session {
            session.outbox.rewind();
        }
        self.send_offer(now, offer);
    }

    pub(super) fn on_answer(&mut self, now: Instant, text: &str) {
        let Phase::OfferOut(_) = &self.phase else {
            let answer = Remote::parse(SdpKind::Answer, text).ok();
            return self.stray_answer(now, answer.and_then(|answer| answer.answers));
        };
        let answer = match Remote::parse(SdpKind::Answer, text) {
            Ok(answer) => answer,
            Err(error) => {
                self.problem(
                    "invalid_description",
                    format!("the peer's answer cannot be used: {error}"),
                );
                return self.recover(now, Duration::ZERO);
            }
        };
        let Phase::OfferOut(offer) = &self.phase else {
            return;
        };
        let late = match answer.answers {
            // An element of ours says what it answers.
            Some(id) => !self.is_ours(offer, id),
            None => self.unanswered > 0 && !World::answers(&answer, &offer.round),
        };
        if late {
            // To an offer that has given way since; the one to this may follow.
            self.unanswered = self.unanswered.saturating_sub(1);
            return self.stray_answer(now, answer.answers);
        }
        let Phase::OfferOut(mut offer) = std::mem::replace(&mut self.phase, Phase::Stable) else {
            return;
        };
        self.note_formats(&answer);
        self.keeping.capable = answer.keeps;
        self.note_end(&answer);
        (self.offered_at, self.watchdog_at, self.resent) = (None, None, false);
        let early = std::mem::take(&mut self.early);
        let Some(session) = &mut self.session else { return };
        let internal = match session.world.remote_answer(&answer, &mut offer.round) {
            Ok(internal) => internal,
            Err(mismatch) => return self.answer_mismatch(now, mismatch),
        };
        self.keeping.proven();
        session.strays.taken(answer.answers);
        let restarted = session.inbox.begin(answer.bundle.as_ref());
        session.inbox.adopt(early, restarted);
        self.ignored = None;
        if offer.round.restarts {
            self.start_ice_anew(true);
        }
        if !offer.applied {
            self.command(SessionCommand::SetLocal(SdpKind::Offer, offer.internal));
        }
        self.command(SessionCommand::SetRemote(SdpKind::Answer, internal));
        self.phase = Phase::ApplyingAnswer(offer.round);
    }

    /// Whether an offer is called that, or was when it was sent before.
    fn is_ours(&self, offer: &OwnOffer, (id, version): DescriptionId) -> bool {
        let newest = self.session.as_ref().map(|session| session.world.newest_id());
        offer
            .first_id
            .zip(newest)
            .is_some_and(|((own, first), (_, last))| id == own && (first..=last).contains(&version))
    }

    fn answer_mismatch(&mut self, now: Instant, mismatch: Mismatch) {
        match mismatch {
            Mismatch::Nothing => {
                // Everything refused: other codecs may do, but it need not be asked again.
                self.recovery.ask = false;
                self.refuse_all();
                self.report_refused();
            }
            Mismatch::Sections => {
                self.problem(
                    "invalid_description",
                    "the peer's answer does not match our offer".into(),
                );
                self.recover(now, Duration::ZERO);
                self.layout = Layout::default();
                return;
            }
            // The peer has made its connection anew; ours cannot follow (it would need new ICE and new DTLS). Its
            // own next offer will belong to the same broken pair of ends, so ours has to be out before.
            Mismatch::Transport => return self.recover_at_once(now),
        }
        self.recover(now, Duration::ZERO);
    }

    /// When an impolite side gives way.
    pub(super) fn yield_at(&self) -> Option<Instant> {
        let out = matches!(self.phase, Phase::OfferOut(_)) && self.ignored.is_some();
        self.offered_at
            .filter(|_| out)
            .map(|at| at + self.patience_with_offer())
    }

    /// The next connection after one that came to nothing leaves the answer more time: where answers take longer than
    /// the shortest wait, both sides would give way to each other for ever.
    fn patience_with_offer(&self) -> Duration {
        (timing::YIELD * self.recovery.tries().saturating_add(1)).min(timing::ANSWER)
    }

    pub(super) fn yield_timeout(&mut self, now: Instant) {
        if self.yield_at().is_some_and(|at| at <= now)
            && let Some(inbound) = self.ignored.take()
        {
            self.drop_offer();
            self.take_offer(now, inbound);
        }
    }

    /// A collision: an offer of the peer while ours is out.
    pub(super) fn collide(&mut self, now: Instant, inbound: Inbound) {
        let patience = self.patience_with_offer();
        let lost = self.offered_at.is_some_and(|at| now >= at + patience);
        if self.config.polite || lost {
            self.drop_offer();
            self.take_offer(now, inbound);
        } else {
            self.ignored = Some(inbound);
        }
    }

    /// An offer that is out is of no interest any more, but may still be answered.
    pub(super) fn note_unanswered(&mut self) {
        if matches!(self.phase, Phase::OfferOut(_)) {
            self.unanswered = (self.unanswered + 1).min(MAX_UNANSWERED);
        }
    }

    /// Forgets our offer. What webrtcbin knows of it becomes a ghost, or goes with the webrtcbin (`World::fits`).
    pub(super) fn drop_offer(&mut self) {
        self.note_unanswered();
        self.phase = Phase::Stable;
        (self.offered_at, self.watchdog_at, self.resent) = (None, None, false);
        self.ignored = None;
    }

    /// webrtcbin wrote something we do not understand: never apply it.
    pub(super) fn unusable_session(&mut self, now: Instant, why: &'static str) {
        self.problem(
            "session_failed",
            format!("webrtcbin wrote an SDP that cannot be used: {why}"),
        );
        self.recover(now, timing::SESSION_FAILED);
    }

    /// Sends what was gathered, now that the description is out.
    pub(super) fn open_outbox(&mut self, round: &Round, awaits_relays: bool) {
        let Some(session) = &mut self.session else { return };
        let local = round.local.as_ref().or(session.world.local.as_ref());
        let ufrag = local.map(|local| local.ufrag.clone()).unwrap_or_default();
        let tag = World::wire_tag(&round.slots);
        session.outbox.open(tag, ufrag, awaits_relays);
        for signal in session.outbox.drain() {
            self.out.push_back(NegotiatorOutput::Signal(signal));
        }
        if self.state == PeerState::Idle {
            self.set_state(PeerState::Connecting);
        }
    }
}
