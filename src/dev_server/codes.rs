//! The service's vocabulary of failure: error codes of frames and close codes of sockets.

use std::time::Duration;

/// Code of an `error` frame, or of a REST refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorCode {
    MalformedMessage,
    UnknownType,
    InvalidChannel,
    InvalidPeerId,
    MissingData,
    ChannelNotAuthorized,
    ChannelReserved,
    ActionNotPermitted,
    ChannelLimitExceeded,
    PeerNotFound,
    OverMessageQuota,
}

impl ErrorCode {
    /// The code as it travels.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::MalformedMessage => "malformed_message",
            Self::UnknownType => "unknown_type",
            Self::InvalidChannel => "invalid_channel",
            Self::InvalidPeerId => "invalid_peer_id",
            Self::MissingData => "missing_data",
            Self::ChannelNotAuthorized => "channel_not_authorized",
            Self::ChannelReserved => "channel_reserved",
            Self::ActionNotPermitted => "action_not_permitted",
            Self::ChannelLimitExceeded => "channel_limit_exceeded",
            Self::PeerNotFound => "peer_not_found",
            Self::OverMessageQuota => "over_message_quota",
        }
    }

    /// A sentence for the developer who reads the frame.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::MalformedMessage => "not a JSON object with a string `type` and valid fields",
            Self::UnknownType => "this `type` is not known to the server",
            Self::InvalidChannel => "channel must be 1 to 256 bytes without control characters",
            Self::InvalidPeerId => "peer id must be 1 to 128 bytes without control characters",
            Self::MissingData => "`data` is required; null is allowed",
            Self::ChannelNotAuthorized => "the credential does not cover this channel",
            Self::ChannelReserved => "channels under _metered/, _internal/ and _system/ are reserved",
            Self::ActionNotPermitted => "the credential does not permit this action",
            Self::ChannelLimitExceeded => "too many channels on this connection; unsubscribe first",
            Self::PeerNotFound => "no such peer is online",
            Self::OverMessageQuota => "the message quota of this period is used up",
        }
    }
}

/// How a socket is ended by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) manner: Manner,
}

/// What happens to frames that still wait for the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// They are written first, within [`CLOSE_DEADLINE`].
    Drain,
    /// They are discarded; the close frame is the next thing sent.
    Discard,
    /// No close frame at all: the TCP connection is dropped.
    Abort,
}

/// How long a socket that the server closes may take for its last frames, and again for the handshake.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

impl Close {
    pub(super) fn new(code: u16, reason: &str) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            manner: Manner::Drain,
        }
    }

    /// Whether the peer is not expected back. Every other end looks like a lost path.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.code, 1000 | 4001 | 4003 | 4012 | 4020)
    }

    pub(super) fn going_away() -> Self {
        Self::new(1001, "going_away")
    }

    pub(super) fn slow_consumer() -> Self {
        Self {
            manner: Manner::Discard,
            ..Self::new(1008, "slow_consumer")
        }
    }

    pub(super) fn frame_too_large() -> Self {
        Self::new(1009, "frame_too_large")
    }

    pub(super) fn invalid_token() -> Self {
        Self::new(4001, "invalid_token")
    }

    pub(super) fn token_expired() -> Self {
        Self::new(4002, "token_expired")
    }

    pub(super) fn channel_not_authorized() -> Self {
        Self::new(4003, "channel_not_authorized")
    }

    pub(super) fn over_concurrent_limit() -> Self {
        Self::new(4010, "over_concurrent_limit")
    }

    pub(super) fn over_message_rate() -> Self {
        Self::new(4011, "over_message_rate")
    }

    pub(super) fn account_suspended() -> Self {
        Self::new(4012, "account_suspended")
    }

    pub(super) fn kicked() -> Self {
        Self::new(4020, "kicked")
    }

    pub(super) fn abort() -> Self {
        Self {
            manner: Manner::Abort,
            ..Self::new(1006, "")
        }
    }
}
