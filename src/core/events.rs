//! What a room takes from its owner and tells it.

use serde_json::Value;

use super::io::{Generation, SessionCommand, SessionEvent, TrackKey};
use super::negotiator::{LocalTrack, PeerState, Problem, RemoteTrack};
use crate::wire::{Metadata, PeerId};

/// What a room is told by its owner.
#[derive(Debug)]
pub enum RoomInput {
    /// Connect and join. Once.
    Join,
    /// Publish a track to every peer, present and future.
    AddTrack(LocalTrack, Option<Metadata>),
    /// Stop publishing it.
    RemoveTrack(TrackKey),
    /// Broadcast to the channel.
    Send(Value),
    /// Send to one peer.
    SendTo(String, Value),
    /// Find a new path to this peer, or to all.
    RestartIce(Option<String>),
    /// Something from a peer's session.
    Session(PeerId, Generation, SessionEvent),
    /// Leave: every peer goes, the socket is closed, the room is finished.
    Leave,
}

/// What a room wants of its owner.
#[derive(Debug)]
pub enum RoomOutput {
    /// Have this done by the peer's session.
    Session(PeerId, Generation, SessionCommand),
    /// Tell the application.
    Event(RoomEvent),
}

/// `MeteredPeer` states (service protocol §3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoomState {
    /// Nothing has been done.
    #[default]
    Idle,
    /// Connecting, or waiting for the acknowledgement of the channel.
    Joining,
    /// In the room.
    Joined,
    /// The connection to the service was lost and is being restored; media goes on.
    Reconnecting,
    /// On the way out.
    Leaving,
    /// Out, for good.
    Closed,
}

/// How data came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// To everyone in the channel.
    Broadcast,
    /// To us alone.
    Direct,
}

/// News for the application, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomEvent {
    /// The room's state has changed.
    StateChanged(RoomState, RoomState),
    /// We are in.
    Joined {
        /// Our own id.
        peer_id: PeerId,
        /// Where.
        channel: String,
    },
    /// We are out; last event.
    Left {
        /// Our last id.
        peer_id: Option<PeerId>,
    },
    /// Somebody is there.
    PeerJoined(PeerId, Option<Metadata>),
    /// What a peer says about itself has changed.
    PeerMetadata(PeerId, Option<Metadata>),
    /// Somebody has gone.
    PeerLeft(PeerId),
    /// The connection to a peer has changed.
    PeerStateChanged(PeerId, PeerState),
    /// Our connection to a peer was replaced.
    ConnectionReset(PeerId),
    /// Media of a track has arrived.
    TrackAdded {
        /// Whose.
        peer: PeerId,
        /// What the service says about the peer.
        peer_metadata: Option<Metadata>,
        /// Which.
        track: RemoteTrack,
        /// What the peer says about the track.
        metadata: Option<Metadata>,
    },
    /// A track has ended.
    TrackRemoved {
        /// Whose.
        peer: PeerId,
        /// Of which webrtcbin.
        generation: Generation,
        /// Which.
        mid: String,
    },
    /// Application data.
    Data {
        /// Who sent it, as the service says.
        from: String,
        /// Whether the sender is in the roster.
        known: bool,
        /// To whom.
        kind: DataKind,
        /// What.
        data: Value,
        /// What the service says about the sender.
        metadata: Option<Metadata>,
    },
    /// Negotiation with a peer met a problem that is being dealt with.
    NegotiationError(PeerId, Problem),
    /// The service refused something.
    ServerError {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// The service is about to go away.
    GoingAway {
        /// When it suggests to come back.
        retry_after_ms: u64,
    },
    /// The token source keeps failing.
    TokenProviderError {
        /// How often in a row.
        consecutive_failures: u32,
        /// Scrubbed.
        text: String,
    },
    /// The connection to the service was lost or could not be made; it is being retried.
    Retrying {
        /// Why, with what to do.
        text: String,
        /// In how long.
        delay_ms: u64,
    },
    /// Something does not work as it was set up, but the room goes on without it.
    Warning {
        /// What, with what to do.
        text: String,
    },
    /// The room cannot go on; `Left` follows.
    Fatal {
        /// Symbolic name, as the SDKs have it: `invalid_token`, `action_not_permitted`, …
        code: String,
        /// What happened and what to do.
        text: String,
    },
}
