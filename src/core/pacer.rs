//! Outbound frames take turns, so that many peers' candidates together stay below the service's rate limit: the
//! close it answers with costs a reconcile, which repeats the burst.
//!
//! Policy of the queues: `Reject`. What one peer is sent as signalling keeps its order (metadata before the offer,
//! the offer before its candidates), so priority decides between peers only: a peer is as urgent as the most urgent
//! frame in its queue.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::requests::Origin;
use crate::wire::limits::{
    PACE_BURST, PACE_CONTROL_MAX, PACE_DATA_MAX, PACE_RATE, PACE_RATE_MIN, PACE_SIGNALS_MAX,
};
use crate::wire::{PeerId, RequestId};

/// How urgent a direct message is; the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Offers and answers: until they arrive nothing else matters to the peer.
    Description,
    /// ICE candidates.
    Candidate,
    /// Track metadata.
    Metadata,
    /// The application's messages.
    Data,
}

/// A frame that waits for its turn.
#[derive(Clone, PartialEq)]
pub struct Outbound {
    /// The text to send.
    pub text: String,
    /// The request in it, if it is one.
    pub request: Option<(RequestId, Origin)>,
}

#[derive(Debug)]
struct Signal {
    priority: Priority,
    order: u64,
    frame: Outbound,
}

/// Token bucket with a queue.
#[derive(Debug)]
pub struct Pacer {
    rate: f64,
    tokens: f64,
    filled_at: Instant,
    next_order: u64,
    control: VecDeque<Outbound>,
    signals: BTreeMap<PeerId, VecDeque<Signal>>,
    signals_len: usize,
    data: VecDeque<Outbound>,
}

impl Pacer {
    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self {
            rate: PACE_RATE,
            tokens: PACE_BURST,
            filled_at: now,
            next_order: 0,
            control: VecDeque::new(),
            signals: BTreeMap::new(),
            signals_len: 0,
            data: VecDeque::new(),
        }
    }

    /// A new connection: the server's bucket is new, and so is ours.
    pub fn refill(&mut self, now: Instant) {
        self.tokens = self.burst();
        self.filled_at = now;
    }

    /// The server found us too fast.
    pub fn slow_down(&mut self) {
        self.rate = (self.rate / 2.0).max(PACE_RATE_MIN);
    }

    /// Subscriptions and pings go first; there are few. False if the queue is full.
    pub fn push_control(&mut self, frame: Outbound) -> bool {
        if self.control.len() >= PACE_CONTROL_MAX {
            return false;
        }
        self.control.push_back(frame);
        true
    }

    /// A signal for a peer. False if the queue is full.
    pub fn push_signal(&mut self, to: &PeerId, priority: Priority, frame: Outbound) -> bool {
        if self.signals_len >= PACE_SIGNALS_MAX {
            return false;
        }
        let order = self.next_order;
        self.next_order += 1;
        self.signals_len += 1;
        self.signals.entry(to.clone()).or_default().push_back(Signal {
            priority,
            order,
            frame,
        });
        true
    }

    /// The application's data. False if the queue is full.
    pub fn push_data(&mut self, frame: Outbound) -> bool {
        if self.data.len() >= PACE_DATA_MAX {
            return false;
        }
        self.data.push_back(frame);
        true
    }

    /// The next frame, if there is one and its turn has come.
    pub fn pop(&mut self, now: Instant) -> Option<Outbound> {
        self.fill(now);
        if self.is_empty() || self.tokens < 1.0 {
            return None;
        }
        self.tokens -= 1.0;
        self.control
            .pop_front()
            .or_else(|| self.pop_signal())
            .or_else(|| self.data.pop_front())
    }

    /// When [`Pacer::pop`] has something next.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        if self.tokens >= 1.0 {
            return Some(self.filled_at);
        }
        let missing = (1.0 - self.tokens) / self.rate;
        // A nanosecond more, or rounding could wake us just before the token is whole.
        Some(self.filled_at + Duration::from_secs_f64(missing) + Duration::from_nanos(1))
    }

    /// Everything that waits, in no particular order; nothing waits afterwards.
    pub fn drain(&mut self) -> Vec<Outbound> {
        self.signals_len = 0;
        let signals = std::mem::take(&mut self.signals)
            .into_values()
            .flatten()
            .map(|signal| signal.frame);
        self.control
            .drain(..)
            .chain(signals)
            .chain(self.data.drain(..))
            .collect()
    }

    /// Signals that wait for a peer that has gone.
    pub fn drain_peer(&mut self, peer: &PeerId) -> Vec<Outbound> {
        let signals = self.signals.remove(peer).unwrap_or_default();
        self.signals_len -= signals.len();
        signals.into_iter().map(|signal| signal.frame).collect()
    }

    /// Shrinks with the rate.
    fn burst(&self) -> f64 {
        PACE_BURST * self.rate / PACE_RATE
    }

    fn is_empty(&self) -> bool {
        self.control.is_empty() && self.signals_len == 0 && self.data.is_empty()
    }

    fn pop_signal(&mut self) -> Option<Outbound> {
        let urgency = |queue: &VecDeque<Signal>| {
            let best = queue.iter().map(|signal| signal.priority).min()?;
            Some((best, queue.front()?.order))
        };
        let (peer, _) = self.signals.iter().min_by_key(|(_, queue)| urgency(queue))?;
        let peer = peer.clone();
        let queue = self.signals.get_mut(&peer)?;
        let signal = queue.pop_front()?;
        self.signals_len -= 1;
        if queue.is_empty() {
            self.signals.remove(&peer);
        }
        Some(signal.frame)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst());
        self.filled_at = self.filled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Outbound {
        Outbound {
            text: text.to_owned(),
            request: None,
        }
    }

    fn peer(id: &str) -> PeerId {
        PeerId::new(id).unwrap()
    }

    #[test]
    fn c026_never_above_the_servers_limits() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        for n in 0..1000 {
            assert!(pacer.push_data(frame(&n.to_string())));
        }
        let mut sent = Vec::new();
        let mut now = start;
        while let Some(at) = pacer.deadline() {
            now = now.max(at);
            while pacer.pop(now).is_some() {
                sent.push(now);
            }
        }
        assert_eq!(sent.len(), 1000);
        assert_eq!(sent.iter().filter(|at| **at == start).count(), 150);
        for (n, at) in sent.iter().enumerate() {
            let most = 150.0 + (*at - start).as_secs_f64() * 80.0 + 1.0;
            assert!((n as f64) < most);
        }
        assert!(sent[999] - start < Duration::from_secs(11));
    }

    #[test]
    fn c120_c145_a_peers_signals_keep_their_order_and_descriptions_go_first() {
        let now = Instant::now();
        let mut pacer = Pacer::new(now);
        assert!(pacer.push_data(frame("data")));
        assert!(pacer.push_signal(&peer("a"), Priority::Candidate, frame("a1")));
        assert!(pacer.push_signal(&peer("b"), Priority::Metadata, frame("b1")));
        assert!(pacer.push_signal(&peer("b"), Priority::Description, frame("b2")));
        assert!(pacer.push_signal(&peer("b"), Priority::Candidate, frame("b3")));
        assert!(pacer.push_signal(&peer("c"), Priority::Metadata, frame("c1")));
        assert!(pacer.push_control(frame("ping")));
        let order: Vec<String> = std::iter::from_fn(|| pacer.pop(now))
            .map(|frame| frame.text)
            .collect();
        assert_eq!(order, ["ping", "b1", "b2", "a1", "b3", "c1", "data"]);
        assert_eq!(pacer.deadline(), None);
    }

    #[test]
    fn queues_are_bounded_and_a_peers_part_can_be_dropped() {
        let now = Instant::now();
        let mut pacer = Pacer::new(now);
        for _ in 0..PACE_SIGNALS_MAX {
            assert!(pacer.push_signal(&peer("a"), Priority::Candidate, frame("x")));
        }
        assert!(!pacer.push_signal(&peer("b"), Priority::Description, frame("x")));
        assert_eq!(pacer.drain_peer(&peer("a")).len(), PACE_SIGNALS_MAX);
        assert!(pacer.push_signal(&peer("b"), Priority::Description, frame("x")));
        for _ in 0..PACE_CONTROL_MAX {
            assert!(pacer.push_control(frame("x")));
        }
        assert!(!pacer.push_control(frame("x")));
        assert_eq!(pacer.drain().len(), 1 + PACE_CONTROL_MAX);
        assert_eq!(pacer.deadline(), None);
    }

    #[test]
    fn a_rate_violation_slows_down_for_good() {
        let now = Instant::now();
        let mut pacer = Pacer::new(now);
        for _ in 0..10 {
            pacer.slow_down();
        }
        pacer.refill(now);
        assert!((pacer.rate - PACE_RATE_MIN).abs() < f64::EPSILON);
        assert!(pacer.tokens >= 1.0);
    }
}
