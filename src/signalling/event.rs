//! What happens on a client, as values.

use std::time::Duration;

use serde_json::Value;

use crate::core::client::{ClientEvent, ClientState, ConnectFailure, Connected, RequestError};
use crate::wire::{ChannelName, CloseCode, Metadata, PeerId};

/// Anything that happens on a client, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server has welcomed us.
    Connected(Connected),
    /// A connection is lost, or the client has ended.
    Disconnected(Disconnected),
    /// An attempt has ended before its welcome.
    ConnectFailed(ConnectFailed),
    /// The state has changed.
    StateChanged(StateChanged),
    /// Somebody has published in a channel.
    Message(Message),
    /// Somebody has sent something to us.
    Direct(Direct),
    /// Members of a channel have come or gone.
    Presence(Presence),
    /// A subscription was restored after a reconnect; its presence snapshot follows.
    Resubscribed(ChannelName),
    /// A subscription could not be restored after a reconnect.
    ResubscribeFailed(ResubscribeFailed),
    /// An error of the server that belongs to no request.
    ServerError(ServerError),
    /// The server is about to close.
    GoingAway(GoingAway),
    /// The token provider has failed several times in a row.
    TokenProviderError(TokenProviderError),
    /// A frame of the server was dropped.
    FrameDropped(FrameDropped),
}

/// A connection that had been welcomed is lost, or the client has ended. Each connect has exactly one of these with
/// `will_reconnect: false`, and it is the last event of that connect but for the change to closed. Requests under way
/// have failed just before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnected {
    /// Why.
    pub code: CloseCode,
    /// The server's words. Data, not text to show.
    pub reason: String,
    /// Whether another attempt follows by itself.
    pub will_reconnect: bool,
    /// After which time.
    pub delay: Option<Duration>,
}

/// An attempt to connect has ended before its welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectFailed {
    /// Why, with what to do about it.
    pub failure: ConnectFailure,
    /// When the next attempt follows; `None`: never.
    pub retry_in: Option<Duration>,
}

/// The state has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChanged {
    /// Before.
    pub from: ClientState,
    /// Now.
    pub to: ClientState,
}

/// A message of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Where it was published.
    pub channel: ChannelName,
    /// The sender as the server names it. Publications of a backend can carry any label.
    pub from: String,
    /// The sender's public metadata, if the subscription asked for it.
    pub from_metadata: Option<Metadata>,
    /// The payload.
    pub data: Value,
}

/// A message to this client alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Direct {
    /// The sender as the server names it.
    pub from: PeerId,
    /// The sender's public metadata.
    pub from_metadata: Option<Metadata>,
    /// The payload.
    pub data: Value,
}

/// A member of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its id.
    pub peer_id: PeerId,
    /// Its public metadata.
    pub metadata: Option<Metadata>,
}

/// Members of a channel have come or gone. Whether we are listed ourselves is up to the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Presence {
    /// Of which channel.
    pub channel: ChannelName,
    /// This is the list that follows a subscription: `joined` has everybody who is there, and who is not in it is
    /// gone, whatever was known before.
    pub snapshot: bool,
    /// Who has come.
    pub joined: Vec<Member>,
    /// Who has gone.
    pub left: Vec<PeerId>,
}

/// A subscription could not be restored after a reconnect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResubscribeFailed {
    /// Which.
    pub channel: ChannelName,
    /// Why.
    pub error: RequestError,
    /// Whether it is tried again on this connection. It is on the next one in any case.
    pub will_retry: bool,
}

/// An error of the server that belongs to no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// Symbolic name; names that this version does not know are passed on.
    pub code: String,
    /// The server's words. Data, not text to show.
    pub message: Option<String>,
}

/// The server is about to close; the client comes back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoingAway {
    /// How long the server asks us to stay away, at most five minutes. The client keeps to it.
    pub retry_after: Duration,
}

/// The token provider has failed at least three times in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenProviderError {
    /// How often in a row.
    pub consecutive_failures: u32,
    /// Its last words, scrubbed.
    pub error: String,
}

/// A frame of the server was dropped, and the connection goes on: it is malformed, of an unknown type, or nested more
/// than 128 levels deep, which a peer's payload can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameDropped {
    /// What it was, or the type of a frame with a bad member.
    pub reason: &'static str,
}

impl Event {
    /// What the machine's event is to the application. `None` for what is an answer to a request.
    pub(super) fn from_client(event: ClientEvent, snapshot: bool) -> Option<Self> {
        Some(match event {
            ClientEvent::Connected(connected) => Self::Connected(connected),
            ClientEvent::Disconnected {
                code,
                reason,
                will_reconnect,
                delay,
            } => Self::Disconnected(Disconnected {
                code,
                reason,
                will_reconnect,
                delay,
            }),
            ClientEvent::ConnectFailed { failure, retry_in } => {
                Self::ConnectFailed(ConnectFailed { failure, retry_in })
            }
            ClientEvent::StateChanged { from, to } => Self::StateChanged(StateChanged { from, to }),
            ClientEvent::Resubscribed(channel) => Self::Resubscribed(channel),
            ClientEvent::ResubscribeFailed {
                channel,
                error,
                will_retry,
            } => Self::ResubscribeFailed(ResubscribeFailed {
                channel,
                error,
                will_retry,
            }),
            ClientEvent::Message {
                channel,
                from,
                from_metadata,
                data,
            } => Self::Message(Message {
                channel,
                from,
                from_metadata,
                data,
            }),
            ClientEvent::Direct {
                from,
                from_metadata,
                data,
                size: _,
            } => Self::Direct(Direct {
                from,
                from_metadata,
                data,
            }),
            ClientEvent::Presence {
                channel,
                joined,
                left,
            } => Self::Presence(Presence {
                channel,
                snapshot,
                joined: joined
                    .into_iter()
                    .map(|(peer_id, metadata)| Member { peer_id, metadata })
                    .collect(),
                left,
            }),
            ClientEvent::ServerError { code, message } => Self::ServerError(ServerError { code, message }),
            ClientEvent::GoingAway { retry_after } => Self::GoingAway(GoingAway { retry_after }),
            ClientEvent::TokenProviderError {
                consecutive_failures,
                error,
            } => Self::TokenProviderError(TokenProviderError {
                consecutive_failures,
                error,
            }),
            ClientEvent::FrameDropped(reason) => Self::FrameDropped(FrameDropped { reason }),
            ClientEvent::Acked(_) | ClientEvent::RequestFailed(..) => return None,
        })
    }
}
