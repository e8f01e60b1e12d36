//! Requests that have been sent and wait for their ack.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::wire::limits::ACK_TIMEOUT;
use crate::wire::{ChannelName, RequestId};

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The owner of the client.
    Caller,
    /// The client itself: this subscription is being restored after a reconnect.
    Replay(ChannelName),
}

/// The table of requests under way. Every request has the same time limit, so the oldest is always the next to
/// expire.
#[derive(Debug, Default)]
pub struct Requests {
    pending: HashMap<RequestId, Origin>,
    deadlines: VecDeque<(Instant, RequestId)>,
}

impl Requests {
    /// The request has just been sent.
    pub fn sent(&mut self, now: Instant, id: RequestId, origin: Origin) {
        self.pending.insert(id, origin);
        self.deadlines.push_back((now + ACK_TIMEOUT, id));
    }

    /// The server has answered. `None` for requests that are not, or no longer, under way.
    pub fn settle(&mut self, id: RequestId) -> Option<Origin> {
        let origin = self.pending.remove(&id);
        self.drop_settled();
        origin
    }

    /// The next request that has waited too long.
    pub fn expire(&mut self, now: Instant) -> Option<(RequestId, Origin)> {
        self.drop_settled();
        let (_, id) = *self.deadlines.front().filter(|(deadline, _)| *deadline <= now)?;
        let origin = self.settle(id)?;
        Some((id, origin))
    }

    /// The connection is gone: everything under way, oldest first.
    pub fn drain(&mut self) -> Vec<(RequestId, Origin)> {
        let pending = &mut self.pending;
        self.deadlines
            .drain(..)
            .filter_map(|(_, id)| Some((id, pending.remove(&id)?)))
            .collect()
    }

    /// When [`Requests::expire`] has something next.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Keeps the front of the deadlines a request that is under way.
    fn drop_settled(&mut self) {
        while self
            .deadlines
            .front()
            .is_some_and(|(_, id)| !self.pending.contains_key(id))
        {
            self.deadlines.pop_front();
        }
    }
}
