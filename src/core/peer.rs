//! One remote peer: its identity outlives its connections (service protocol §0, "RemotePeer").

use std::time::Instant;

use super::io::Generation;
use super::metadata::TrackMetaCache;
use super::negotiator::{
    Negotiator, NegotiatorConfig, NegotiatorInput, NegotiatorOutput, PeerState, RemoteTrack,
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
            negotiator: Negotiator::new(config, now),
            base: base.0,
        }
    }

    /// Gives the peer a new connection, as the SDKs do after a reconnect (service protocol §4.6, "swap").
    pub fn swap(&mut self, config: NegotiatorConfig, now: Instant) {
        self.negotiator.renew(now, config);
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

    pub fn handle_timeout(&mut self, now: Instant) {
        self.negotiator.handle_timeout(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.negotiator.poll_timeout()
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
