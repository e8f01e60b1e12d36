//! Rate limits: messages per connection, connection attempts per source address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Token bucket of one connection.
pub(super) struct MessageRate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
}

impl MessageRate {
    /// A full bucket; a rate of 0 never refuses.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self {
            per_second: f64::from(per_second),
            burst,
            tokens: burst,
            refilled: now,
        }
    }

    /// Takes one message out of the bucket.
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let refill = now.saturating_duration_since(self.refilled).as_secs_f64() * self.per_second;
        self.refilled = now;
        self.tokens = (self.tokens + refill).min(self.burst);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Connection attempts of the last minute, by source address.
#[derive(Debug, Default)]
pub(super) struct ConnectRate {
    attempts: HashMap<IpAddr, VecDeque<Instant>>,
}

impl ConnectRate {
    /// Records an attempt; on refusal says how long to wait. Refused attempts do not count, so a client that
    /// keeps trying gets in as soon as the window has moved on.
    pub(super) fn allow(&mut self, source: IpAddr, limit: usize, now: Instant) -> Result<(), Duration> {
        self.attempts.retain(|_, times| {
            times.retain(|at| now.saturating_duration_since(*at) < WINDOW);
            !times.is_empty()
        });
        let times = self.attempts.entry(source).or_default();
        if times.len() >= limit {
            let oldest = times.front().copied().unwrap_or(now);
            return Err(WINDOW.saturating_sub(now.saturating_duration_since(oldest)));
        }
        times.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_sustained() {
        let start = Instant::now();
        let mut rate = MessageRate::new(100, 200, start);
        assert_eq!((0..300).filter(|_| rate.allow(start)).count(), 200);
        assert!(rate.allow(start + Duration::from_millis(11)));
        assert!(!rate.allow(start + Duration::from_millis(12)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..300).filter(|_| rate.allow(later)).count(), 200);
    }

    #[test]
    fn connects_are_counted_per_source_and_forgotten() {
        let start = Instant::now();
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut rate = ConnectRate::default();
        assert!((0..60).all(|_| rate.allow(one, 60, start).is_ok()));
        assert_eq!(
            rate.allow(one, 60, start + Duration::from_secs(20)),
            Err(Duration::from_secs(40))
        );
        assert!(rate.allow(two, 60, start).is_ok());
        assert!(rate.allow(one, 60, start + Duration::from_secs(60)).is_ok());
    }
}
