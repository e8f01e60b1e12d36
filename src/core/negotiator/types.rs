//! What goes into a negotiator and what comes out.

use std::net::IpAddr;

use crate::core::io::{Codec, Generation, MediaKind, SessionCommand, SessionConfig, SessionEvent, TrackKey};
use crate::wire::{IceCandidate, RtcSignal, SdpKind};

/// How a negotiator is made.
#[derive(Debug, Clone)]
pub struct NegotiatorConfig {
    /// Own id < remote id (protocol §5.2).
    pub polite: bool,
    /// Which kinds of media we take from this peer; the rest is declined.
    pub receive: ReceivePolicy,
    /// What each webrtcbin is made with; replaced by [`NegotiatorInput::SessionConfig`].
    pub session: SessionConfig,
    /// We keep the connection while the signalling is away, if the peer does.
    pub keeps: bool,
    /// Seed of SSRCs, mids, credentials: the only randomness.
    pub seed: u64,
}

/// What we take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReceivePolicy {
    /// Codecs we can take on audio lines, in preference order; empty declines audio.
    pub audio: Vec<Codec>,
    /// The same for video.
    pub video: Vec<Codec>,
}

/// A local track as the negotiator needs it. Its metadata is the room's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTrack {
    /// Its identity.
    pub key: TrackKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// First part of `a=msid`, a token.
    pub stream_id: String,
    /// Second part of `a=msid`, a token.
    pub track_id: String,
    /// Codecs we can encode it with, in preference order.
    pub codecs: Vec<Codec>,
}

/// A remote track that carries media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTrack {
    /// The webrtcbin it comes from.
    pub generation: Generation,
    /// The internal mid: names the track within its generation.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// First stream id of `a=msid`, none for `-`.
    pub stream_id: Option<String>,
    /// Track id of `a=msid`.
    pub track_id: Option<String>,
    /// What is received.
    pub codec: Codec,
    /// Track ids of all sections of the description that brought it; for matching metadata.
    pub signalled: Vec<String>,
}

/// What the room tells a negotiator.
#[derive(Debug, Clone, PartialEq)]
pub enum NegotiatorInput {
    /// A description of the peer.
    Description(SdpKind, String),
    /// A candidate of the peer, its host name resolved.
    Candidate(IceCandidate),
    /// The peer has no more candidates.
    EndOfCandidates,
    /// The peer has announced tracks: its offer is on its way.
    ExpectOffer,
    /// Something from a session.
    Session(Generation, SessionEvent),
    /// Start sending a track.
    AddTrack(LocalTrack),
    /// Stop sending it.
    RemoveTrack(TrackKey),
    /// What the next webrtcbin is made with.
    SessionConfig(SessionConfig),
    /// Find a new path for the connection there is, or make it anew if the peer cannot do that.
    RestartIce,
    /// This machine has other addresses than before, and these are all.
    AddressesChanged(Vec<IpAddr>),
    /// Throw the connection away and start afresh (reconcile).
    Reset,
    /// The peer has gone. Disposes the session; nothing happens after.
    Close,
}

/// What a negotiator wants.
#[derive(Debug, Clone, PartialEq)]
pub enum NegotiatorOutput {
    /// Send this to the peer.
    Signal(RtcSignal),
    /// Have this done by a session.
    Session(Generation, SessionCommand),
    /// The public state has changed.
    State(PeerState),
    /// Media of a remote track has arrived.
    TrackAdded(RemoteTrack),
    /// That track has ended.
    TrackRemoved(Generation, String),
    /// Something went wrong and is being dealt with; for the application's eyes.
    Problem(Problem),
}

/// `RemotePeer` states (protocol §3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Nothing to negotiate yet.
    Idle,
    /// The first connection is being made.
    Connecting,
    /// Media can flow.
    Connected,
    /// The connection was lost and is being restored.
    Reconnecting,
    /// Gone.
    Closed,
}

/// A negotiation error, told to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable name, such as `invalid_description`, `no_common_codec`, `answer_timeout`, `session_failed`.
    pub code: &'static str,
    /// What happened and what to do; scrubbed.
    pub text: String,
}
