//! A new path for the connection there is: ICE starts anew, DTLS and everything above it goes on.
//!
//! Who offers a restart keeps the old path until the answer is there, so an offer that is lost or dropped costs
//! nothing. A peer that answers with another certificate, or with the old credentials, has not followed: then the
//! connection is made anew (`World::remote_answer`).

use std::time::Instant;

use super::{Negotiator, PeerState, Phase, timing};
use crate::core::io::{IceCredentials, SessionCommand};

/// Restarts of the present webrtcbin.
#[derive(Debug, Default)]
pub(super) struct Restart {
    /// The next offer is to start ICE anew.
    pub wanted: bool,
    /// How often that was tried since it was connected.
    pub tries: usize,
    /// How often we have followed the peer since it was connected, in vain.
    followed: usize,
    /// When the candidates of the newest restart are checked again.
    checks: Option<Instant>,
    /// How often they have been.
    repeated: u32,
}

impl Restart {
    pub fn connected(&mut self) {
        (self.tries, self.followed, self.checks) = (0, 0, None);
    }

    pub fn next_checks(&self) -> Option<Instant> {
        self.checks
    }
}

/// What `restarts` means for a description of ours.
pub(super) fn credentials(restarts: bool) -> IceCredentials {
    match restarts {
        true => IceCredentials::New,
        false => IceCredentials::Kept,
    }
}

impl Negotiator {
    /// The application wants a new path.
    pub(super) fn on_restart(&mut self, now: Instant) {
        match &self.session {
            None => self.recovery.hurry(now),
            // On its way already.
            Some(session) if !session.was_connected => {}
            Some(_) if self.can_restart() => {
                self.liveness.hold(now + timing::RESTART);
                self.want_restart(now);
            }
            Some(_) => self.recover(now, std::time::Duration::ZERO),
        }
    }

    /// ICE has given up. The first tries keep the connection.
    pub(super) fn path_lost(&mut self, now: Instant) {
        if self.restart.tries >= timing::RESTARTS || !self.can_restart() {
            return self.recover(now, std::time::Duration::ZERO);
        }
        if let Some(session) = &mut self.session {
            session.connected = false;
        }
        self.set_state(PeerState::Reconnecting);
        self.restart.checks = None;
        if !self.is_restarting() {
            self.restart.tries += 1;
            // Each try ends with an answer, or with the watchdog of its offer.
            self.recovery.disposed();
            self.want_restart(now);
        }
    }

    /// Whether a restart of the peer is to be answered in place. When some have come to nothing, our end may be what is
    /// wrong with the connection.
    pub(super) fn may_follow(&self) -> bool {
        self.restart.followed < timing::RESTARTS
            || self.session.as_ref().is_some_and(|session| session.connected)
    }

    pub(super) fn follow(&mut self, now: Instant) {
        self.liveness.hold(now + timing::RESTART);
        if self.session.as_ref().is_some_and(|session| !session.connected) {
            self.restart.followed += 1;
        }
        self.start_ice_anew(false);
    }

    /// With the relays of the newest welcome, because those of the first gathering may have gone with their server, or
    /// their credentials may have expired.
    pub(super) fn start_ice_anew(&mut self, controlling: bool) {
        let Some(session) = &mut self.session else { return };
        session.outbox.renew_relays();
        let ice_servers = self.config.session.ice_servers.clone();
        self.command(SessionCommand::RestartIce {
            controlling,
            ice_servers,
        });
    }

    /// Both sides know the new credentials.
    pub(super) fn restarted(&mut self, now: Instant) {
        self.restart.wanted = false;
        (self.restart.checks, self.restart.repeated) = (Some(now + timing::CHECKS), 0);
        self.liveness.hold(now + timing::RESTART);
    }

    /// There is no path yet: the network may be back since libnice has asked for the last time.
    pub(super) fn checks_timeout(&mut self, now: Instant) {
        if self.restart.checks.is_none_or(|at| at > now) {
            return;
        }
        self.restart.checks = None;
        let waits = self.session.as_ref().filter(|session| !session.connected);
        let Some(was_connected) = waits.map(|session| session.was_connected) else {
            return;
        };
        if self.restart.repeated < timing::REPEATS {
            self.restart.repeated += 1;
            self.restart.checks = Some(now + timing::CHECKS);
            // In the middle of another restart the agent has half of its credentials.
            if matches!(self.phase, Phase::OfferOut(_)) || !self.is_restarting() {
                self.command(SessionCommand::RepeatChecks);
            }
        } else if was_connected {
            self.path_lost(now);
        }
    }

    fn want_restart(&mut self, now: Instant) {
        self.restart.wanted = true;
        self.check_need(now);
        if self.config.polite {
            // Both sides have most likely lost the path at the same moment.
            self.offer_at = self.offer_at.map(|at| at.max(now + timing::FIRST_OFFER_POLITE));
        }
    }

    fn can_restart(&self) -> bool {
        let session = self.session.as_ref().filter(|session| session.was_connected);
        session.is_some_and(|session| {
            let world = &session.world;
            // An agent gathers once: it would only offer what is gone.
            !session.moved && world.negotiated && world.can_restart && world.remote_trickles
        })
    }

    /// A round that starts ICE anew is under way.
    pub(super) fn is_restarting(&self) -> bool {
        match &self.phase {
            Phase::Stable => false,
            Phase::CreatingOffer { restarts } => *restarts,
            Phase::ApplyingOffer(offer) | Phase::OfferOut(offer) => offer.round.restarts,
            Phase::ApplyingAnswer(round)
            | Phase::ApplyingRemote(round)
            | Phase::CreatingAnswer(round)
            | Phase::ApplyingLocal(round, _) => round.restarts,
        }
    }
}
