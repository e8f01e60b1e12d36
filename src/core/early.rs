//! Signals that arrive before presence has announced their sender.
//!
//! The SDKs drop them, and a lost first offer keeps both sides waiting for each other. So they are held for a
//! moment. Policy: `Reject` the newest when a limit is reached, since a sender's first signals are worth most.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::wire::PeerId;
use crate::wire::limits::{EARLY_BYTES_MAX, EARLY_FRAMES_MAX, EARLY_HOLD, EARLY_SENDERS_MAX};

#[derive(Debug)]
struct Held<T> {
    until: Instant,
    bytes: usize,
    items: Vec<T>,
}

/// The holding pen.
#[derive(Debug)]
pub struct EarlySignals<T> {
    senders: BTreeMap<PeerId, Held<T>>,
}

impl<T> Default for EarlySignals<T> {
    fn default() -> Self {
        Self {
            senders: BTreeMap::new(),
        }
    }
}

impl<T> EarlySignals<T> {
    /// Keeps a signal that came in a frame of so many bytes. False if there is no room for it.
    pub fn hold(&mut self, now: Instant, from: &PeerId, item: T, bytes: usize) -> bool {
        self.handle_timeout(now);
        if !self.senders.contains_key(from) && self.senders.len() >= EARLY_SENDERS_MAX {
            return false;
        }
        let held = self.senders.entry(from.clone()).or_insert_with(|| Held {
            until: now + EARLY_HOLD,
            bytes: 0,
            items: Vec::new(),
        });
        let total = held.bytes.saturating_add(bytes);
        if held.items.len() >= EARLY_FRAMES_MAX || total > EARLY_BYTES_MAX {
            return false;
        }
        held.bytes = total;
        held.items.push(item);
        true
    }

    /// The sender has been announced: what it sent, in order.
    pub fn take(&mut self, now: Instant, from: &PeerId) -> Vec<T> {
        self.handle_timeout(now);
        self.senders
            .remove(from)
            .map(|held| held.items)
            .unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.senders.clear();
    }

    /// Drops what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.senders.retain(|_, held| held.until > now);
    }

    /// When [`EarlySignals::handle_timeout`] has something to drop.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.senders.values().map(|held| held.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> PeerId {
        PeerId::new(&format!("p{n}")).unwrap()
    }

    #[test]
    fn c105_held_for_five_seconds_in_order() {
        let now = Instant::now();
        let mut pen = EarlySignals::default();
        assert!(pen.hold(now, &id(1), "offer", 10));
        assert!(pen.hold(now + EARLY_HOLD / 2, &id(1), "candidate", 10));
        assert_eq!(pen.poll_timeout(), Some(now + EARLY_HOLD));
        assert_eq!(pen.take(now + EARLY_HOLD / 2, &id(1)), ["offer", "candidate"]);
        assert!(pen.hold(now, &id(1), "late", 10));
        assert!(pen.take(now + EARLY_HOLD, &id(1)).is_empty());
        assert_eq!(pen.poll_timeout(), None);
    }

    #[test]
    fn limits() {
        let now = Instant::now();
        let mut pen = EarlySignals::default();
        for n in 0..EARLY_SENDERS_MAX {
            assert!(pen.hold(now, &id(n), n, 1));
        }
        assert!(!pen.hold(now, &id(99), 99, 1));
        assert!(!pen.hold(now, &id(0), 0, EARLY_BYTES_MAX));
        for n in 1..EARLY_FRAMES_MAX {
            assert!(pen.hold(now, &id(1), n, 1));
        }
        assert!(!pen.hold(now, &id(1), 0, 1));
        assert!(pen.hold(now + EARLY_HOLD, &id(99), 99, 1));
    }
}
