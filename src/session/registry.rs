//! Counts the sessions of one element, so that it can wait for their end without knowing them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many sessions there are. Clones count the same sessions.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    live: usize,
    leaked: usize,
}

impl Registry {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sessions whose pipeline or thread still exists.
    pub fn live(&self) -> usize {
        self.counts().live
    }

    /// Sessions that were given up: their teardown has hung, their thread has panicked, or somebody has kept a part
    /// of them.
    pub fn leaked(&self) -> usize {
        self.counts().leaked
    }

    /// Waits until no session is left; false when that takes longer.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut counts = self.counts();
        while counts.live > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.changed.wait_timeout(counts, left);
            counts = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Counts one more session until the ticket is dropped.
    pub(super) fn enter(&self) -> Ticket {
        self.counts().live += 1;
        Ticket(self.clone())
    }
}

/// One live session.
pub(super) struct Ticket(Registry);

impl Ticket {
    /// The session was given up.
    pub fn leaked(&self) {
        self.0.counts().leaked += 1;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.live -= 1;
        if std::thread::panicking() {
            counts.leaked += 1;
        }
        drop(counts);
        self.0.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_last() {
        let registry = Registry::default();
        let ticket = registry.enter();
        assert_eq!(registry.live(), 1);
        assert!(!registry.wait_idle(Duration::from_millis(1)));
        let waiter = registry.clone();
        let thread = std::thread::spawn(move || waiter.wait_idle(Duration::from_secs(10)));
        drop(ticket);
        assert!(thread.join().unwrap());
        assert_eq!((registry.live(), registry.leaked()), (0, 0));
    }
}
