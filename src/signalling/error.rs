//! Why something that was asked of a client did not work.

use std::io;

use crate::core::client::{self, ClientState, ConfigError, ConnectFailure};
use crate::wire::{EndpointError, NameError};

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The endpoint is not the origin of a service.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// An option is out of its range, or the credential is empty.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gave no thread for the network.
    #[error("the network thread cannot be started: {0}")]
    Runtime(#[source] io::Error),
}

/// Why [`super::SignallingClient::connect`] did not connect. The texts contain no words of the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Connecting is possible in idle and closed only.
    #[error("connect is not possible while the client is {0:?}; close it first")]
    InvalidState(ClientState),
    /// No attempt was welcomed, and there are no more.
    #[error("{0}")]
    Failed(ConnectFailure),
    /// `close` was called meanwhile.
    #[error("the client was closed before it was connected")]
    Closed,
    /// The network task has ended; this is a bug if the client still exists.
    #[error("the signalling task has ended")]
    Ended,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The channel's name cannot be one. Nothing was sent.
    #[error("the channel name cannot be used: {0}")]
    Channel(NameError),
    /// The peer's id cannot be one. Nothing was sent.
    #[error("the peer id cannot be used: {0}")]
    Peer(NameError),
    /// The payload has no JSON form: a number that is not finite, or a map with keys that are not texts. Nothing was
    /// sent.
    #[error("the payload cannot be written as JSON: {0}")]
    Data(String),
    /// See there.
    #[error(transparent)]
    Request(#[from] client::RequestError),
    /// The network task has ended; this is a bug if the client still exists.
    #[error("the signalling task has ended")]
    Ended,
}

impl RequestError {
    /// The server's symbolic name for a request that it refused, such as `peer_not_found`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Request(client::RequestError::Server { code, .. }) => Some(code),
            _ => None,
        }
    }

    /// Whether the request cannot have had an effect. The others may have been carried out: the answer was lost.
    pub fn is_certainly_undone(&self) -> bool {
        use client::RequestError::{AckTimeout, Disconnected};
        !matches!(self, Self::Request(AckTimeout | Disconnected) | Self::Ended)
    }
}
