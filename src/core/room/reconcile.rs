//! After a reconnect: waiting for the list of members, and asking for it again when it does not come (service
//! protocol §4.6).

use std::time::{Duration, Instant};

use crate::wire::limits::{RECONCILE_DEADLINE, RECONCILE_PATIENCE, RECONCILE_RESUBSCRIBES};

/// What to do about a list that has not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Subscribe again, which makes the server send it.
    Ask,
    /// The same, and the application should know.
    Complain,
}

/// A comparison of the list with the roster that has not happened yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Reconcile {
    /// Runs from the welcome.
    deadline: Option<Instant>,
    asked: u32,
    /// The subscription is acknowledged on this connection: the next list is the one.
    subscribed: bool,
}

impl Reconcile {
    /// Welcomed on a new connection, with peers to compare, or alone.
    pub(super) fn welcomed(&mut self, now: Instant, alone: bool) {
        *self = Self {
            deadline: (!alone).then(|| now + RECONCILE_DEADLINE),
            ..Self::default()
        };
    }

    /// Whether there is somebody to compare; otherwise the list is news like any other.
    pub(super) fn is_awaited(&self) -> bool {
        self.deadline.is_some()
    }

    /// A subscription was acknowledged.
    pub(super) fn subscribed(&mut self) {
        self.subscribed = true;
    }

    /// Whether a presence is the list. A change that is taken for it would remove everybody.
    pub(super) fn is_list(&self, nobody_left: bool) -> bool {
        self.subscribed && nobody_left
    }

    /// What has to be done by now.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Overdue> {
        self.deadline.filter(|deadline| *deadline <= now)?;
        self.asked = self.asked.saturating_add(1);
        let wait: Duration = match self.asked <= RECONCILE_RESUBSCRIBES {
            true => RECONCILE_DEADLINE,
            false => RECONCILE_PATIENCE,
        };
        self.deadline = Some(now + wait);
        // Once: who listens has heard it.
        match self.asked == RECONCILE_RESUBSCRIBES + 1 {
            true => Some(Overdue::Complain),
            false => Some(Overdue::Ask),
        }
    }

    /// When [`Reconcile::expire`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
