//! A budget for the offers of one peer.
//!
//! Each offer is work for us, for webrtcbin, and for the one connection to the service that all peers share. Beyond the
//! budget an offer waits, unread, and gives way to a newer one; nothing is lost by that, since an offer says everything
//! anew. Candidates that follow it wait with it.

use std::time::Instant;

use super::{Negotiator, timing};
use crate::wire::{IceCandidate, SdpKind};

/// Candidates that wait with an offer: as many as a description may have.
const MAX_CANDIDATES: usize = 200;

#[derive(Debug, Default)]
struct Held {
    offer: String,
    candidates: Vec<IceCandidate>,
}

/// Token bucket with a place for one offer.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    spent: u32,
    since: Option<Instant>,
    held: Option<Held>,
    told: bool,
}

impl Throttle {
    fn refill(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since).as_millis() / timing::OFFER_EVERY.as_millis();
        let back = u32::try_from(passed).unwrap_or(u32::MAX).min(self.spent);
        self.spent -= back;
        self.since = match self.spent {
            0 => {
                self.told = false;
                None
            }
            _ => Some(since + timing::OFFER_EVERY * back),
        };
    }

    /// Whether an offer may be looked at now.
    fn spend(&mut self, now: Instant) -> bool {
        self.refill(now);
        let may = self.spent < timing::OFFER_BURST;
        if may {
            self.spent += 1;
            self.since.get_or_insert(now);
        }
        may
    }

    /// When the offer that waits may be looked at.
    pub fn deadline(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.held.is_some());
        since.map(|since| since + timing::OFFER_EVERY)
    }

    pub fn clear(&mut self) {
        self.held = None;
    }

    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.candidates.len())
    }
}

impl Negotiator {
    /// An offer: read now, or later.
    pub(super) fn admit_offer(&mut self, now: Instant, sdp: String) {
        if let Some(held) = &mut self.throttle.held {
            held.offer = sdp;
        } else if self.throttle.spend(now) {
            self.on_description(now, SdpKind::Offer, &sdp);
        } else {
            self.throttle.held = Some(Held {
                offer: sdp,
                candidates: Vec::new(),
            });
            if !std::mem::replace(&mut self.throttle.told, true) {
                let text = "the peer sends offers faster than they can be answered; only the newest is looked at, \
                            five times in a second";
                self.problem("too_many_offers", text.into());
            }
        }
    }

    /// A candidate; an empty one ends them.
    pub(super) fn admit_candidate(&mut self, candidate: IceCandidate) {
        match &mut self.throttle.held {
            Some(held) if held.candidates.len() < MAX_CANDIDATES => held.candidates.push(candidate),
            Some(_) => {}
            None => self.on_candidate(&candidate),
        }
    }

    pub(super) fn throttle_timeout(&mut self, now: Instant) {
        if self.throttle.deadline().is_some_and(|at| at <= now)
            && let Some(held) = self.throttle.held.take()
        {
            self.throttle.spend(now);
            self.on_description(now, SdpKind::Offer, &held.offer);
            for candidate in held.candidates {
                self.on_candidate(&candidate);
            }
        }
    }
}
