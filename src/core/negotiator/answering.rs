//! The peer's offers and our answers.

use std::time::Instant;

use super::facts::Round;
use super::{Inbound, Negotiator, Phase, Session, timing};
use crate::core::io::SessionCommand;
use crate::sdp::{Remote, check};
use crate::wire::{RtcSignal, SdpKind};

impl Negotiator {
    pub(super) fn on_description(&mut self, now: Instant, kind: SdpKind, text: &str) {
        if kind == SdpKind::Answer {
            return self.on_answer(now, text);
        }
        if check::is_empty_offer(text) {
            return;
        }
        let remote = match Remote::parse(SdpKind::Offer, text) {
            Ok(remote) => remote,
            Err(error) => {
                return self.problem(
                    "invalid_description",
                    format!("the peer's offer cannot be used: {error}"),
                );
            }
        };
        self.note_formats(&remote);
        self.keeping.capable = remote.keeps;
        self.expect_until = None;
        let mut inbox = super::Inbox::default();
        inbox.begin(remote.bundle.as_ref());
        inbox.adopt(std::mem::take(&mut self.early), true);
        let inbound = Inbound { remote, inbox };
        match self.phase {
            Phase::Stable => {
                // One that has waited is out of date.
                self.pending = None;
                self.take_offer(now, inbound);
            }
            Phase::OfferOut(_) => self.collide(now, inbound),
            // Finish what is under way; only the newest offer counts then.
            _ => self.pending = Some(inbound),
        }
    }

    /// The offer that has waited, if there is one and nothing else is under way.
    pub(super) fn take_pending(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Stable)
            && let Some(inbound) = self.pending.take()
        {
            self.take_offer(now, inbound);
        }
    }

    /// Answers an offer: in place if it fits the webrtcbin we have, else with a new one.
    pub(super) fn take_offer(&mut self, now: Instant, inbound: Inbound) {
        let fits = self
            .session
            .as_ref()
            .is_none_or(|session| session.world.fits(&inbound.remote, self.may_follow()));
        let usable = inbound.remote.is_usable();
        if !usable && self.session.as_ref().is_none_or(|s| !s.world.negotiated || !fits) {
            // Everything rejected and no transport to keep: nothing to negotiate.
            return self.check_need(now);
        }
        let fresh = self.session.is_none();
        let negotiated = self
            .session
            .as_ref()
            .is_some_and(|session| session.world.negotiated);
        if fits && self.must_connect_first(now) {
            self.pending = Some(inbound);
            return;
        }
        if !fits {
            if !self.recovery.may_rebuild(now) {
                // Delayed, and replaced by a newer one if that comes.
                self.pending = Some(inbound);
                return;
            }
            self.dispose();
        }
        let sends = self.senders.iter().any(super::media::Sender::wants_line);
        let crowded = negotiated && self.layout.is_empty();
        if sends && !self.config.polite && (fresh || crowded) && self.belongs_to_the_dead(&inbound.remote) {
            // Answered with a new webrtcbin, it would only tell the peer to make its connection anew, too (or take
            // over all its m-lines). Our own offer does that at once; the polite peer forgets its own for it.
            self.ignored = Some(inbound);
            self.recovery.taken_over();
            return self.start_offer();
        }
        self.recovery.taken_over();
        self.offer_at = None;
        self.note_end(&inbound.remote);
        self.yield_mids(&inbound.remote);
        self.ensure_session();
        let Self {
            session: Some(session),
            senders,
            config,
            ..
        } = self
        else {
            return;
        };
        let Inbound { remote, mut inbox } = inbound;
        let known = session.world.remote.is_some();
        if known {
            // It fits: the peer has the other end.
            self.keeping.proven();
        }
        let draft = {
            let policy = super::media::preference(&config.receive);
            session
                .world
                .remote_offer(&remote, &policy, &super::media::alive(senders))
        };
        let restarts = draft.round.restarts;
        if known && !restarts {
            // Same ICE generation: what was applied stays applied.
            inbox.continues(&session.inbox);
        }
        session.inbox = inbox;
        // Before SCTP is up: the number of streams that is negotiated then would limit the channel's id.
        let hold =
            session.world.has_data() && !std::mem::replace(&mut session.holds_data, session.world.has_data());
        if hold {
            self.command(SessionCommand::HoldData);
        }
        if restarts {
            self.follow(now);
        }
        self.command(SessionCommand::SetRemote(SdpKind::Offer, draft.internal));
        self.phase = Phase::ApplyingRemote(draft.round);
    }

    /// Whether the answer has to wait for the connection of the last round. aiortc starts to send what a round has brought
    /// only if its DTLS is up when it takes the answer, and never looks again (docs/upstream.md). Others trickle.
    fn must_connect_first(&mut self, now: Instant) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        let Session { world, .. } = session;
        if !world.negotiated || world.remote_trickles || session.was_connected {
            return false;
        }
        let until = *session.connects_by.get_or_insert(now + timing::CONNECT_FIRST);
        if now < until {
            self.recovery.retry_offer_at(until);
        }
        now < until
    }

    /// Whether an offer comes from the end of a connection of which our end is gone.
    fn belongs_to_the_dead(&self, offer: &Remote) -> bool {
        let fresh = self.session.is_none();
        let transport = offer.bundle.as_ref().map(|bundle| &bundle.transport);
        fresh && transport.is_some() && transport == self.dead_remote.as_ref()
    }

    pub(super) fn answer_created(&mut self, now: Instant, sdp: &str) {
        let Phase::CreatingAnswer(mut round) = std::mem::replace(&mut self.phase, Phase::Stable) else {
            return;
        };
        let Some(session) = &mut self.session else { return };
        let internal = match session.world.answer_created(sdp, &mut round) {
            Ok(internal) => internal,
            Err(why) => return self.unusable_session(now, why),
        };
        let wire = match self.write(&round) {
            Ok(wire) => wire,
            Err(why) => return self.unusable_session(now, why),
        };
        self.command(SessionCommand::SetLocal(SdpKind::Answer, internal));
        self.phase = Phase::ApplyingLocal(round, wire);
    }

    pub(super) fn answer_applied(&mut self, now: Instant, round: Round, wire: String) {
        self.signal(RtcSignal::Description {
            kind: SdpKind::Answer,
            sdp: wire,
        });
        self.open_outbox(&round, false);
        self.round_complete(now, round, false);
    }
}
