//! What a client tells its owner.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::wire::{ChannelName, CloseCode, IceServer, Metadata, PeerId, RequestId};

/// The states of a client, as in the SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Never connected.
    Idle,
    /// The first welcome since `connect` is awaited; also between attempts, if failing first connects are retried.
    Connecting,
    /// Welcomed.
    Connected,
    /// A connection was lost and another is being made or waited for.
    Reconnecting,
    /// Ended; `connect` is legal again.
    Closed,
}

/// Events, in the order in which they happened. `Debug` shows no secrets.
#[derive(Clone, PartialEq)]
pub enum ClientEvent {
    /// The server has welcomed us.
    Connected(Connected),
    /// A connection that had been welcomed is lost, or the client has ended. Exactly one of them has
    /// `will_reconnect: false`, and it is the last of its connect; attempts that fail before a welcome are told by
    /// `ConnectFailed`. Requests under way have failed just before.
    Disconnected {
        /// Why.
        code: CloseCode,
        /// The server's words. Data, not text to show.
        reason: String,
        /// Whether another attempt follows.
        will_reconnect: bool,
        /// After which time.
        delay: Option<Duration>,
    },
    /// An attempt has ended before its welcome.
    ConnectFailed {
        /// Why, with what to do about it.
        failure: ConnectFailure,
        /// When the next attempt follows. `None`: never; the final `Disconnected` comes next.
        retry_in: Option<Duration>,
    },
    /// The state has changed.
    StateChanged {
        /// Before.
        from: ClientState,
        /// Now.
        to: ClientState,
    },
    /// A request of the owner has succeeded.
    Acked(RequestId),
    /// A request of the owner has failed.
    RequestFailed(RequestId, RequestError),
    /// A tracked subscription was restored after a reconnect; its presence snapshot follows.
    Resubscribed(ChannelName),
    /// A tracked subscription could not be restored.
    ResubscribeFailed {
        /// Which.
        channel: ChannelName,
        /// Why.
        error: RequestError,
        /// Whether it is tried again on this connection.
        will_retry: bool,
    },
    /// A message of a channel.
    Message {
        /// Where it was published.
        channel: ChannelName,
        /// The sender; publications of a backend can carry any label.
        from: String,
        /// The sender's metadata, if the subscription asked for it.
        from_metadata: Option<Metadata>,
        /// The payload.
        data: Value,
    },
    /// A message to us.
    Direct {
        /// The sender.
        from: PeerId,
        /// The sender's metadata.
        from_metadata: Option<Metadata>,
        /// The payload; [`crate::wire::DirectPayload::classify`] sorts it.
        data: Value,
        /// Bytes of the frame it came in, for caps.
        size: usize,
    },
    /// Members of a channel have come or gone. The first one after a subscription is the whole list.
    Presence {
        /// Of which channel.
        channel: ChannelName,
        /// Who has come.
        joined: Vec<(PeerId, Option<Metadata>)>,
        /// Who has gone.
        left: Vec<PeerId>,
    },
    /// An error that belongs to no request.
    ServerError {
        /// Symbolic name.
        code: String,
        /// The server's words. Data, not text to show.
        message: Option<String>,
    },
    /// The server is about to close; the client comes back after the time it asks for.
    GoingAway {
        /// That time.
        retry_after: Duration,
    },
    /// The token provider has failed several times in a row.
    TokenProviderError {
        /// How often.
        consecutive_failures: u32,
        /// Its last words, scrubbed.
        error: String,
    },
    /// A frame was dropped; for the log.
    FrameDropped(&'static str),
}

/// What a welcome says. `Debug` shows no secrets.
#[derive(Clone, PartialEq)]
pub struct Connected {
    /// Our id on this connection.
    pub peer_id: PeerId,
    /// Unix time at the server, in seconds.
    pub server_time: f64,
    /// When the token expires.
    pub expires_at: Option<f64>,
    /// Whether there was a welcome before, since `connect`.
    pub is_reconnect: bool,
    /// Largest frame the server takes, in bytes.
    pub max_message_size: usize,
    /// The welcome's ICE servers; `None` leaves the former ones in place.
    pub ice_servers: Option<Vec<IceServer>>,
    /// The welcome has a list of them that is not acceptable, so it counts for nothing.
    pub ice_servers_refused: bool,
    /// The token's private metadata without the ICE servers.
    pub metadata: Option<Metadata>,
}

/// Why an attempt ended before its welcome. `Display` says what to do and shows no words of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The server's certificate was refused.
    CertificateRefused {
        /// What is wrong with it.
        detail: String,
    },
    /// The server closed.
    Closed {
        /// Why.
        code: CloseCode,
        /// The server's words. Data, not text to show.
        reason: String,
    },
    /// The server answered with an HTTP status.
    HttpRefused {
        /// The status.
        status: u16,
        /// Symbolic name from the body, such as `origin_not_allowed`.
        error: Option<String>,
    },
    /// The connection broke during the handshake.
    Lost {
        /// What happened.
        detail: String,
    },
    /// No token could be had.
    Token {
        /// What the token provider said, scrubbed.
        detail: String,
    },
    /// No connection could be made.
    Unreachable {
        /// What failed.
        detail: String,
    },
    /// The server did not welcome us in time.
    WelcomeTimeout,
}

impl ConnectFailure {
    /// The close code that stands for this failure in `Disconnected`.
    pub fn code(&self) -> CloseCode {
        match self {
            Self::Closed { code, .. } => *code,
            Self::WelcomeTimeout => CloseCode::INACTIVITY,
            _ => CloseCode::ABNORMAL,
        }
    }

    /// The stable name of a failure that waiting cannot mend: the ones of [`CloseCode::fatal_name`], and
    /// `unauthorized`, `origin_not_allowed`, `certificate_refused`.
    pub fn fatal_name(&self) -> Option<&'static str> {
        match self {
            Self::Closed { code, .. } => code.fatal_name(),
            Self::HttpRefused {
                error: Some(error), ..
            } if error == "origin_not_allowed" => Some("origin_not_allowed"),
            Self::HttpRefused {
                error: Some(error), ..
            } if error == "invalid_token" => Some("invalid_token"),
            Self::HttpRefused {
                status: 401 | 403, ..
            } => Some("unauthorized"),
            Self::CertificateRefused { .. } => Some("certificate_refused"),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateRefused { detail } => write!(
                f,
                "the server's certificate cannot be trusted: {detail}; check the clock of this machine, or name the \
                 certificate authority to trust with ca-file"
            ),
            Self::Closed { code, .. } => write!(f, "the server closed with {code}: {}", code.advice()),
            Self::HttpRefused { error: Some(error), .. } if error == "origin_not_allowed" => f.write_str(
                "the API key is restricted to certain web origins; add this client's origin to the key, or set the \
                 origin property to one that is allowed",
            ),
            Self::HttpRefused { status: status @ (401 | 403), .. } => {
                write!(f, "the server refused the credential (HTTP {status}); check the API key or the token")
            }
            Self::HttpRefused { status: 429, .. } => {
                f.write_str("too many connections were made from this address (HTTP 429); waiting")
            }
            Self::HttpRefused { status, .. } => {
                write!(f, "the server answered with HTTP {status}; check that the endpoint is the right one")
            }
            Self::Lost { detail } => write!(f, "the connection broke during the handshake: {detail}"),
            Self::Token { detail } => write!(f, "the token provider gave no token: {detail}"),
            Self::Unreachable { detail } => write!(f, "the server could not be reached: {detail}"),
            Self::WelcomeTimeout => {
                f.write_str("the server did not welcome us within 10 seconds; check the endpoint and the network")
            }
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No answer in time. It may have been done or not.
    #[error("the server did not acknowledge the request within 15 seconds")]
    AckTimeout,
    /// Withdrawn before it was sent: [`super::Client::forget_peer`].
    #[error("the recipient has gone before the message was sent")]
    Cancelled,
    /// The connection was lost before the answer. It may have been done or not.
    #[error("the connection was lost before the server acknowledged the request")]
    Disconnected,
    /// There is no connection. Nothing was sent.
    #[error("there is no connection to the server")]
    NotConnected,
    /// The whole frame is larger than the server takes. Nothing was sent.
    #[error("the message is too large: {size} bytes with its envelope, at most {cap} are allowed")]
    Oversized {
        /// Bytes of the frame.
        size: usize,
        /// The server's limit.
        cap: usize,
    },
    /// Too many frames wait for their turn. Nothing was sent.
    #[error("too many messages are waiting to be sent")]
    QueueFull,
    /// The server refused.
    #[error("the server refused the request: {code}")]
    Server {
        /// Symbolic name.
        code: String,
        /// The server's words. Data, not text to show.
        message: Option<String>,
    },
}

/// `connect` is legal only in idle and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connect is not possible while the client is {0:?}")]
pub struct InvalidState(pub ClientState);
