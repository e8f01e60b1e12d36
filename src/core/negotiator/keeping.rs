//! A connection that outlives a gap of the signalling: the peer's, or ours.
//!
//! Media does not need the service. If both sides are elements of ours (each says in its descriptions that it keeps
//! connections), neither throws its end away because the other was away: while the gap lasts nothing is sent that
//! could only get lost (`pause`), and what has changed meanwhile is offered afterwards (`resume`).
//!
//! A gap may hide that the peer has made its connection anew. So an offer of the connection there is follows each gap,
//! as a *proof*: whoever still has the other end answers it, and nothing else happens, since nothing has changed; from
//! another end comes another fingerprint, and the connection is made anew. Who returns offers; who has stayed asks, if
//! no offer comes. Until there is proof, a moment of silence is enough to make the connection anew.

use std::time::Instant;

use super::{Negotiator, Phase, timing};

/// Whose gap is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Ours, at least: we have to prove ourselves.
    Ours,
    /// The peer's.
    Theirs,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The peer has the other end of our connection.
    #[default]
    Given,
    /// Its offer will show.
    Expected(Instant),
    /// Ours is to find out.
    Wanted,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// The peer keeps connections, as its newest description says.
    pub capable: bool,
    /// There is a gap, and we keep the connection.
    paused: bool,
    /// The peer has ended this connection.
    ended: bool,
    /// When a packet came last on the present connection, and how many there were.
    heard: Option<Instant>,
    count: u64,
    proof: Proof,
}

impl Keeping {
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn resume(&mut self) {
        self.paused = false;
    }

    pub fn wants_proof(&self) -> bool {
        self.proof == Proof::Wanted
    }

    /// The peer has described the end that belongs to ours.
    pub fn proven(&mut self) {
        self.proof = Proof::Given;
    }

    /// The connection is up.
    pub fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// So many packets have come in.
    pub fn counted(&mut self, now: Instant, count: u64) {
        if std::mem::replace(&mut self.count, count) != count {
            self.heard = Some(now);
        }
    }

    /// The webrtcbin is gone.
    pub fn disposed(&mut self) {
        (self.heard, self.count, self.ended, self.proof) = (None, 0, false, Proof::Given);
    }

    /// When it counts as silent.
    fn silent_at(&self) -> Option<Instant> {
        Some(self.heard? + timing::SILENCE)
    }

    pub fn deadline(&self) -> Option<Instant> {
        let expected = match self.proof {
            Proof::Given => return None,
            Proof::Expected(at) => Some(at),
            Proof::Wanted => None,
        };
        let deadline = expected.into_iter().chain(self.silent_at()).min();
        deadline.filter(|_| !self.paused)
    }
}

impl Negotiator {
    /// Whether the connection works, and the peer keeps it as we do.
    pub fn is_keepable(&self, now: Instant) -> bool {
        let alive = self.keeping.silent_at().is_some_and(|at| now < at);
        let willing = self.config.keeps && self.keeping.capable && !self.keeping.ended;
        let whole = self
            .session
            .as_ref()
            .is_some_and(|session| session.connected && session.world.negotiated);
        alive && willing && whole && !self.closed && !self.restart.wanted && !self.is_restarting()
    }

    /// When it will not be keepable any more, if nothing comes in until then.
    pub fn keepable_until(&self) -> Option<Instant> {
        self.keeping.silent_at()
    }

    /// Signals do not reach the peer any more. A connection that is kept waits for them; any other goes on as if they
    /// did.
    pub fn pause(&mut self, now: Instant) {
        if self.is_keepable(now) {
            self.keeping.paused = true;
            self.forget_signals();
        }
    }

    /// Signals reach the peer again, and the connection was kept.
    pub fn resume(&mut self, now: Instant, gap: Gap) {
        if self.closed {
            return;
        }
        self.keeping.resume();
        self.forget_signals();
        self.keeping.proof = match gap {
            Gap::Ours => Proof::Wanted,
            Gap::Theirs => Proof::Expected(now + timing::PROOF),
        };
        self.flush_outbox();
        self.check_need(now);
        if gap == Gap::Ours && self.config.polite {
            // After an outage of the service both sides return.
            let wait = now + timing::FIRST_OFFER_POLITE;
            self.offer_at = self.offer_at.map(|at| at.max(wait));
        }
    }

    /// What was under way may have got lost in the gap, here or there.
    fn forget_signals(&mut self) {
        if let Phase::OfferOut(_) = self.phase {
            self.drop_offer();
        }
        (self.pending, self.ignored, self.expect_until) = (None, None, None);
        self.throttle.clear();
    }

    /// What tells a peer that keeps connections that this one ends; nothing for others.
    pub fn farewell(&self) -> Option<String> {
        let world = self.session.as_ref().map(|session| &session.world)?;
        let kept = self.config.keeps && self.keeping.capable && world.negotiated;
        kept.then(|| world.origin_id())
    }

    /// Some connection has ended at its other end. Whose signal that was does not matter: nobody else knows its name.
    pub fn hear_farewell(&mut self, connection: &str) {
        let named = |session: &super::Session| session.world.remote_origin == connection;
        self.keeping.ended |= self.session.as_ref().is_some_and(named);
    }

    pub(super) fn keeping_timeout(&mut self, now: Instant) {
        if self.keeping.deadline().is_none_or(|at| at > now) {
            return;
        }
        if self.keeping.silent_at().is_some_and(|at| at <= now) {
            let text =
                "nothing comes from the peer after a gap of the signalling; the connection is made anew";
            self.problem("connection_stalled", text.into());
            return self.recover_at_once(now);
        }
        self.keeping.proof = Proof::Wanted;
        self.check_need(now);
    }
}
