//! Virtual time for a machine, with the promise of `poll_timeout`: whoever asks to be woken makes progress.

use std::time::{Duration, Instant};

/// A machine that can be woken.
pub(super) trait Woken {
    fn wanted(&self) -> Option<Instant>;
    /// `handle_timeout`, and everything it says afterwards.
    fn wake(&mut self, now: Instant);
}

/// Wake-ups at one instant until it is a loop. Each may arm one more timer that is due already.
const STUCK: usize = 64;

/// Lets time pass, stopping wherever the machine wants to be woken.
pub(super) fn pass(machine: &mut impl Woken, now: &mut Instant, by: Duration) {
    let end = *now + by;
    let mut stuck = 0;
    while let Some(at) = machine.wanted().filter(|at| *at <= end) {
        stuck = if at > *now { 0 } else { stuck + 1 };
        assert!(stuck < STUCK, "it wants to be woken again and again");
        *now = at.max(*now);
        machine.wake(*now);
    }
    *now = end;
}
