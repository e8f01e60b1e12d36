//! Answers to offers of ours that are not out any more.
//!
//! The peer has applied such an offer although we have moved on: it gave way to the peer's before the answer came, or
//! it was sent twice and an answer was there already. What was true when offer or answer was written may have changed
//! since, and only another offer puts that right. Only answers that name their offer are counted, each offer once, so
//! that nobody is led into a loop.

use std::time::Instant;

use super::Negotiator;
use crate::sdp::section::DescriptionId;

/// What one session knows of them.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// Version of the newest offer that was answered.
    heard: u64,
    /// Another offer is to put it right.
    wanted: bool,
}

impl Strays {
    /// The answer to the offer that is out was taken: the peer is where we are.
    pub fn taken(&mut self, answers: Option<DescriptionId>) {
        self.heard = answers.map_or(self.heard, |(_, version)| version);
        self.wanted = false;
    }

    pub fn wants_offer(&self) -> bool {
        self.wanted
    }

    fn hear(&mut self, version: u64, newest: u64) {
        if version > self.heard && version <= newest {
            (self.heard, self.wanted) = (version, true);
        }
    }
}

impl Negotiator {
    /// An answer has come, to an offer of this name, which is not out.
    pub(super) fn stray_answer(&mut self, now: Instant, answers: Option<DescriptionId>) {
        let Some(session) = &mut self.session else { return };
        let (own, newest) = session.world.newest_id();
        if let Some((_, version)) = answers.filter(|(id, _)| *id == own) {
            session.strays.hear(version, newest);
            self.check_need(now);
        }
    }
}
