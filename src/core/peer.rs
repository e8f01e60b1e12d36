//! One remote peer: its identity outlives its connections (service protocol §0, "RemotePeer").

use std::time::Instant;

use super::io::Generation;
use super::metadata::TrackMetaCache;
use super::negotiator::{
    Gap, Negotiator, NegotiatorConfig, NegotiatorInput, NegotiatorOutput, PeerState, RemoteTrack,
};
use crate::wire::Metadata;

/// See the module.
pub(super) struct RemotePeer {
    /// What the service says about the peer.
    pub metadata: Option<Metadata>,
    /// What the peer says about its tracks. Survives a new connection: the peer may not repeat it.
    pub tracks: TrackMetaCache,
    /// The public state.
    pub state: PeerState,
    /// The service says that the peer has left, but it keeps its connection: until when we wait for it.
    pub away: Option<Instant>,
    negotiator: Negotiator,
    base: u32,
}

impl RemotePeer {
    /// `base`: generations up to it are taken by peers that had the same id before.
    pub fn new(metadata: Option<Metadata>, config: NegotiatorConfig, base: Generation, now: Instant) -> Self {
        Self {
            metadata,
            tracks: TrackMetaCache::default(),
            state: PeerState::Idle,
            away: None,
            negotiator: Negotiator::new(config, now),
            base: base.0,
        }
    }

    /// Gives the peer a new connection, as the SDKs do after a reconnect (service protocol §4.6, "swap").
    pub fn swap(&mut self, config: NegotiatorConfig, now: Instant) {
        self.away = None;
        self.negotiator.renew(now, config);
    }

    /// Signals do not reach the peer: it has left, as the service says, or we have lost the service.
    pub fn pause(&mut self, now: Instant) {
        self.negotiator.pause(now);
    }

    /// Signals reach the peer again, and its connection was kept.
    pub fn resume(&mut self, now: Instant, gap: Gap) {
        self.away = None;
        self.negotiator.resume(now, gap);
    }

    /// Whether its connection need not be made anew.
    pub fn is_keepable(&self, now: Instant) -> bool {
        self.negotiator.is_keepable(now)
    }

    /// It is away, and for too long, or its connection has ended.
    pub fn is_lost(&self, now: Instant) -> bool {
        self.away
            .is_some_and(|until| until <= now || !self.is_keepable(now))
    }

    /// What tells it that our connection ends, if it would not see it otherwise.
    pub fn farewell(&self) -> Option<String> {
        self.negotiator.farewell()
    }

    /// Some connection was said farewell to.
    pub fn hear_farewell(&mut self, connection: &str) {
        self.negotiator.hear_farewell(connection);
    }

    pub fn handle(&mut self, now: Instant, input: NegotiatorInput) {
        let input = match input {
            NegotiatorInput::Session(Generation(generation), event) => {
                let Some(generation) = generation.checked_sub(self.base) else {
                    return;
                };
                NegotiatorInput::Session(Generation(generation), event)
            }
            other => other,
        };
        self.negotiator.handle(now, input);
    }

    /// Candidates that are kept: for the tests of bounds.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> usize {
        self.negotiator.held()
    }

    /// See [`Negotiator::offer_since`].
    #[cfg(test)]
    pub fn offer_since(&self) -> Option<Instant> {
        self.negotiator.offer_since()
    }

    #[cfg(test)]
    pub fn is_polite(&self) -> bool {
        self.negotiator.is_polite()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.negotiator.handle_timeout(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let away = self.away.map(|until| match self.negotiator.keepable_until() {
            Some(silent) => until.min(silent),
            None => until,
        });
        self.negotiator.poll_timeout().into_iter().chain(away).min()
    }

    pub fn poll(&mut self) -> Option<NegotiatorOutput> {
        let output = self.negotiator.poll()?;
        Some(self.globalise(output))
    }

    /// Each negotiator counts its webrtcbins from zero; outside, the generations of an id never repeat, or what the
    /// session of a peer that has left says at last would be taken for the word of the next.
    fn globalise(&self, output: NegotiatorOutput) -> NegotiatorOutput {
        let lift = |Generation(generation): Generation| Generation(self.base.saturating_add(generation));
        match output {
            NegotiatorOutput::Session(generation, command) => {
                NegotiatorOutput::Session(lift(generation), command)
            }
            NegotiatorOutput::TrackAdded(track) => NegotiatorOutput::TrackAdded(RemoteTrack {
                generation: lift(track.generation),
                ..track
            }),
            NegotiatorOutput::TrackRemoved(generation, mid) => {
                NegotiatorOutput::TrackRemoved(lift(generation), mid)
            }
            other => other,
        }
    }
}
