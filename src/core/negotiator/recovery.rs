//! Replacing a generation.

use std::time::{Duration, Instant};

use super::{Negotiator, PeerState, Session, timing};
use crate::core::io::MediaKind;
use crate::core::liveness::{self, Change, Patience};

/// When a new generation is made, and how often it has been tried.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Attempts since the last connection.
    attempts: usize,
    /// When the next attempt starts.
    at: Option<Instant>,
    /// When the connection must be there.
    connect_by: Option<Instant>,
    /// An offer is to be made although there may be nothing to send: [`Negotiator::will_be_missed`].
    pub ask: bool,
    /// There has been a connection to this peer.
    pub ever_connected: bool,
    /// All attempts are used up.
    exhausted: bool,
    /// And it has been said.
    told: bool,
    /// Token bucket of replacements that remote offers cause.
    tokens: Option<(u32, Instant)>,
    /// When a delayed offer may be taken.
    retry_offer: Option<Instant>,
}

impl Recovery {
    /// As new, but not without memory.
    pub fn restarted(&self, missed: bool) -> Self {
        Self {
            ask: missed || self.ask,
            ever_connected: self.ever_connected,
            ..Self::default()
        }
    }

    /// Attempts since the last connection.
    pub fn tries(&self) -> u32 {
        u32::try_from(self.attempts).unwrap_or(u32::MAX)
    }

    /// A recovery waits for its delay: no offers meanwhile.
    pub fn waiting(&self) -> bool {
        self.at.is_some() || self.exhausted
    }

    pub fn next(&self) -> Option<Instant> {
        [self.at, self.connect_by, self.retry_offer]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn expect_connection(&mut self, now: Instant) {
        self.connect_by = Some(now + timing::CONNECT);
    }

    pub fn connected(&mut self) {
        (self.attempts, self.connect_by, self.ever_connected) = (0, None, true);
        (self.exhausted, self.told) = (false, false);
    }

    pub fn disposed(&mut self) {
        self.connect_by = None;
    }

    /// Somebody wants another attempt now.
    pub fn hurry(&mut self, now: Instant) {
        if self.waiting() {
            (self.at, self.attempts, self.exhausted, self.told) = (Some(now), 0, false, false);
        }
    }

    /// The peer's offer does what the recovery was about to do.
    pub fn taken_over(&mut self) {
        (self.at, self.ask, self.exhausted, self.retry_offer) = (None, false, false, None);
    }

    /// The peer's offer waits, until then at most.
    pub fn retry_offer_at(&mut self, at: Instant) {
        self.retry_offer = Some(at);
    }

    /// Whether a remote offer may replace the webrtcbin now; else it is to be tried again at `retry_offer`.
    pub fn may_rebuild(&mut self, now: Instant) -> bool {
        let (mut tokens, mut since) = self.tokens.unwrap_or((timing::REBUILD_BURST, now));
        while tokens < timing::REBUILD_BURST && now >= since + timing::REBUILD_EVERY {
            tokens += 1;
            since += timing::REBUILD_EVERY;
        }
        if tokens == timing::REBUILD_BURST {
            since = now;
        }
        let may = tokens > 0;
        self.retry_offer = (!may).then_some(since + timing::REBUILD_EVERY);
        self.tokens = Some((tokens.saturating_sub(1), since));
        may
    }
}

impl Negotiator {
    /// Whether somebody has to be told when the connection is thrown away: we receive on it, or the peer believes that
    /// it receives, even if nothing is to be sent any more.
    pub(super) fn will_be_missed(&self) -> bool {
        let sends = |slot: &super::facts::Slot| !slot.rejected && slot.local.send;
        self.session.as_ref().is_some_and(|Session { world, .. }| {
            !world.routing().receiving.is_empty() || world.slots.iter().any(sends)
        })
    }

    /// The connection is of no use any more: throws it away, and makes a new one after at least `delay`.
    pub(super) fn recover(&mut self, now: Instant, delay: Duration) {
        let missed = self.will_be_missed();
        self.dispose();
        self.ignored = None;
        self.recovery.ask |= missed;
        if self.state != PeerState::Idle && self.recovery.ever_connected {
            let needed = self.pending.is_some() || self.needs_offer();
            self.set_state(if needed {
                PeerState::Reconnecting
            } else {
                PeerState::Idle
            });
        }
        if let Some(inbound) = self.pending.take() {
            return self.take_offer(now, inbound);
        }
        let Some(step) = timing::LADDER.get(self.recovery.attempts) else {
            self.recovery.exhausted = true;
            if !std::mem::replace(&mut self.recovery.told, true) {
                let text =
                    "the peer could not be reached in nine attempts; it is tried again when it signals";
                self.problem("IceRestartExhausted", text.into());
            }
            return;
        };
        // What failed again and again is left more time.
        let backoff = delay * 2u32.saturating_pow(u32::try_from(self.recovery.attempts).unwrap_or(0).min(6));
        self.recovery.attempts += 1;
        let step = Duration::from_secs(*step);
        self.recovery.at = Some(now + step.max(backoff.min(Duration::from_secs(30))));
    }

    /// The same without the delay, while attempts are left.
    pub(super) fn recover_at_once(&mut self, now: Instant) {
        self.recover(now, Duration::ZERO);
        if self.recovery.at.is_some() && !self.config.polite && self.needs_offer() {
            self.recovery.at = None;
            self.start_offer();
        }
    }

    /// For how long no packet may come.
    pub(super) fn patience(&self) -> Option<Patience> {
        let world = self.session.as_ref().map(|session| &session.world)?;
        let routing = world.routing();
        let pictures = |mid: &String| {
            let line = world.lines.iter().find(|line| line.mid == *mid);
            line.is_some_and(|line| line.media() == MediaKind::Video)
        };
        liveness::patience(&routing, routing.sending.iter().any(pictures))
    }

    pub(super) fn expect_media(&mut self, now: Instant) {
        let patience = self.patience();
        self.liveness.expect(now, patience);
    }

    pub(super) fn on_traffic(&mut self, now: Instant, received: u64, sending: bool) {
        self.keeping.counted(now, received);
        let change = self.liveness.traffic(now, received, sending);
        if change == Some(Change::Alive) && self.session.as_ref().is_some_and(|session| session.connected) {
            self.set_state(PeerState::Connected);
        }
    }

    pub(super) fn liveness_timeout(&mut self, now: Instant) {
        let change = self.liveness.expire(now);
        if change == Some(Change::Silent) {
            // The peer may have noticed first, and its restart is under way.
            self.set_state(PeerState::Reconnecting);
        }
        if change == Some(Change::Stalled) {
            self.problem(
                "connection_stalled",
                "nothing comes from the peer any more; the connection is restored".into(),
            );
            if self.keeping.is_paused() {
                // Nothing can be done about it yet. Who is still silent after the gap gets a new connection.
                return self.set_state(PeerState::Reconnecting);
            }
            self.liveness.gone();
            self.path_lost(now);
        }
    }

    pub(super) fn recovery_timeout(&mut self, now: Instant) {
        if self.recovery.retry_offer.is_some_and(|at| at <= now) {
            self.recovery.retry_offer = None;
            self.take_pending(now);
        }
        if self.recovery.connect_by.is_some_and(|at| at <= now) {
            self.recovery.connect_by = None;
            if self.session.as_ref().is_some_and(|session| !session.connected) {
                self.problem(
                    "connect_timeout",
                    "no connection within 20 s; it is restored".into(),
                );
                self.path_lost(now);
            }
        }
        if self.recovery.at.is_some_and(|at| at <= now) {
            self.recovery.at = None;
            self.check_need(now);
            if self.offer_at.is_some() {
                // Both sides may be at it: the polite one leaves the other a moment.
                let wait = if self.config.polite {
                    timing::FIRST_OFFER_POLITE
                } else {
                    Duration::ZERO
                };
                self.offer_at = Some(now + wait);
            }
        }
    }
}
