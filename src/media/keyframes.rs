//! Coalescing of key-frame requests: many peers share one encoder, and each request costs all of them.

use std::time::{Duration, Instant};

/// How long after a request to the encoder the next one has to wait.
pub const QUIET: Duration = Duration::from_millis(300);

/// A request that has not led to a key frame by then is taken for lost.
const LOST: Duration = Duration::from_secs(1);

/// Decides when a key frame is asked of the encoder. Pure: time comes in as an argument.
#[derive(Debug)]
pub struct Coalescer {
    quiet: Duration,
    last_sent: Option<Instant>,
    /// The encoder was asked and its key frame has not come out yet.
    outstanding: bool,
    /// Somebody asked during the quiet interval.
    pending: bool,
}

impl Coalescer {
    /// At most one request per `quiet`.
    pub fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            last_sent: None,
            outstanding: false,
            pending: false,
        }
    }

    /// Somebody needs a key frame. True: ask the encoder now.
    pub fn requested(&mut self, now: Instant) -> bool {
        if self.outstanding && self.since_sent(now) < LOST.max(self.quiet) {
            // The one on its way comes after this request, so it serves it too.
            return false;
        }
        self.pending = true;
        self.due(now)
    }

    /// Called now and then, with each frame. True: ask the encoder now, for requests of the quiet interval.
    pub fn due(&mut self, now: Instant) -> bool {
        if !self.pending || (self.last_sent.is_some() && self.since_sent(now) < self.quiet) {
            return false;
        }
        self.pending = false;
        self.outstanding = true;
        self.last_sent = Some(now);
        true
    }

    /// A key frame came out: everybody who has asked so far is served.
    pub fn served(&mut self) {
        self.outstanding = false;
        self.pending = false;
    }

    /// A request waits for the end of the quiet interval.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    fn since_sent(&self, now: Instant) -> Duration {
        self.last_sent
            .map_or(Duration::MAX, |sent| now.saturating_duration_since(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn first_request_goes_through_at_once() {
        let now = Instant::now();
        assert!(Coalescer::new(QUIET).requested(now));
    }

    #[test]
    fn requests_while_one_is_under_way_are_served_by_it() {
        let start = Instant::now();
        let mut coalescer = Coalescer::new(QUIET);
        assert!(coalescer.requested(start));
        for millis in 1..500 {
            assert!(!coalescer.requested(at(start, millis)));
        }
        coalescer.served();
        assert!(!coalescer.due(at(start, 2000)));
    }

    #[test]
    fn request_in_the_quiet_interval_is_sent_at_its_end() {
        let start = Instant::now();
        let mut coalescer = Coalescer::new(QUIET);
        assert!(coalescer.requested(start));
        coalescer.served();
        assert!(!coalescer.requested(at(start, 50)));
        assert!(!coalescer.due(at(start, 299)));
        assert!(coalescer.due(at(start, 300)));
        assert!(!coalescer.due(at(start, 301)));
    }

    #[test]
    fn a_lost_request_is_repeated() {
        let start = Instant::now();
        let mut coalescer = Coalescer::new(QUIET);
        assert!(coalescer.requested(start));
        assert!(!coalescer.requested(at(start, 900)));
        assert!(coalescer.requested(at(start, 1000)));
    }

    #[test]
    fn never_more_than_one_in_the_interval() {
        let start = Instant::now();
        let mut coalescer = Coalescer::new(QUIET);
        let mut sent = Vec::new();
        for millis in 0..3000 {
            let now = at(start, millis);
            if coalescer.requested(now) {
                sent.push(millis);
                coalescer.served();
            }
        }
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= 300), "{sent:?}");
        assert_eq!(sent.len(), 10);
    }
}
