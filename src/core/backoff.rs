//! When to try again: exponential, with jitter, with a floor that a server or a close code can set for one delay.

use std::time::Duration;

use super::rng::Rng;
use crate::wire::limits::{
    BACKOFF_ATTEMPTS, BACKOFF_INITIAL, BACKOFF_JITTER, BACKOFF_MAX, BACKOFF_MULTIPLIER,
};

/// How reconnecting is done.
#[derive(Debug, Clone, PartialEq)]
pub struct ReconnectOptions {
    /// Whether it is done at all.
    pub enabled: bool,
    /// First delay; zero is allowed, more than `max` is not.
    pub initial: Duration,
    /// Growth per attempt, at least 1.
    pub multiplier: f64,
    /// Longest delay before jitter.
    pub max: Duration,
    /// Random share to both sides, 0 to 1.
    pub jitter: f64,
    /// Attempts until the client gives up, at least 1; `None` never gives up.
    pub attempts: Option<u32>,
}

impl Default for ReconnectOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            initial: BACKOFF_INITIAL,
            multiplier: BACKOFF_MULTIPLIER,
            max: BACKOFF_MAX,
            jitter: BACKOFF_JITTER,
            attempts: Some(BACKOFF_ATTEMPTS),
        }
    }
}

impl ReconnectOptions {
    /// What is wrong with the options, if anything.
    pub fn problem(&self) -> Option<&'static str> {
        if !(self.multiplier.is_finite() && self.multiplier >= 1.0) {
            Some("the reconnect multiplier must be at least 1")
        } else if self.initial > self.max {
            Some("the first reconnect delay must not be longer than the longest one")
        } else if !(0.0..=1.0).contains(&self.jitter) {
            Some("the reconnect jitter must be between 0 and 1")
        } else if self.attempts == Some(0) {
            Some("there must be at least one reconnect attempt")
        } else {
            None
        }
    }
}

/// Counts attempts and makes delays of them.
#[derive(Debug, Clone)]
pub struct Backoff {
    options: ReconnectOptions,
    attempts: u32,
    floor: Duration,
}

impl Backoff {
    /// No attempt has been made yet.
    pub fn new(options: ReconnectOptions) -> Self {
        Self {
            options,
            attempts: 0,
            floor: Duration::ZERO,
        }
    }

    /// The connection has proved good: delays start over.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// As new.
    pub fn clear(&mut self) {
        self.attempts = 0;
        self.floor = Duration::ZERO;
    }

    /// Attempts since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next delay is at least this long. One use; the highest floor counts.
    pub fn raise_floor(&mut self, floor: Duration) {
        self.floor = self.floor.max(floor);
    }

    /// The delay before the next attempt, or `None` when there is no attempt left.
    pub fn next_delay(&mut self, rng: &mut Rng) -> Option<Duration> {
        let floor = std::mem::take(&mut self.floor);
        if self.options.attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        // powi takes an i32; the delay has reached its maximum long before the clamp matters.
        let power = self.attempts.min(1024) as i32;
        self.attempts = self.attempts.saturating_add(1);
        let max = self.options.max.as_secs_f64();
        let base = (self.options.initial.as_secs_f64() * self.options.multiplier.powi(power)).min(max);
        // A floor holds after jitter too, so jitter only lengthens it: clients sent away together do not return
        // together.
        let seconds = if floor.as_secs_f64() >= base {
            floor.as_secs_f64() * (1.0 + self.options.jitter * rng.unit())
        } else {
            let jittered = base * (1.0 + self.options.jitter * (2.0 * rng.unit() - 1.0));
            jittered.max(floor.as_secs_f64())
        };
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(self.options.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::limits::SLOW_FLOOR;

    fn secs(duration: Duration) -> f64 {
        duration.as_secs_f64()
    }

    #[test]
    fn c047_delays_double_to_thirty_seconds() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(ReconnectOptions::default());
            let rng = &mut Rng::seeded(seed);
            for n in 0..100 {
                let base = (0.5 * 2f64.powi(n)).min(30.0);
                let delay = secs(backoff.next_delay(rng).unwrap());
                assert!(
                    (base * 0.8 - 1e-9..=base * 1.2 + 1e-9).contains(&delay),
                    "attempt {n}: {delay}"
                );
            }
            assert_eq!(backoff.next_delay(rng), None);
        }
    }

    #[test]
    fn c051_c052_a_floor_holds_after_jitter_and_once() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(ReconnectOptions::default());
            let rng = &mut Rng::seeded(seed);
            backoff.raise_floor(SLOW_FLOOR);
            backoff.raise_floor(Duration::from_secs(1));
            let delay = secs(backoff.next_delay(rng).unwrap());
            assert!((30.0..=36.0).contains(&delay), "{delay}");
            assert!(secs(backoff.next_delay(rng).unwrap()) <= 1.2);
        }
    }

    #[test]
    fn extreme_options_do_not_panic() {
        let options = ReconnectOptions {
            initial: Duration::MAX,
            max: Duration::MAX,
            multiplier: f64::MAX,
            jitter: 1.0,
            attempts: None,
            enabled: true,
        };
        let mut backoff = Backoff::new(options);
        let rng = &mut Rng::seeded(1);
        for _ in 0..5000 {
            assert!(backoff.next_delay(rng).is_some());
        }
        let bad = ReconnectOptions {
            jitter: f64::NAN,
            ..ReconnectOptions::default()
        };
        assert!(bad.problem().is_some());
    }
}
