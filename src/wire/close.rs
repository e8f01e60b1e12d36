//! Close codes of the service and what each means for a client.

use std::fmt;

/// A WebSocket close code; 1006 stands for "without a close frame".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

/// What to do after a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Reconnect; the token was too old, so a new one is needed.
    Refresh,
    /// Reconnect after the usual delay.
    Retry,
    /// Reconnect, but not soon.
    SlowRetry,
    /// Reconnecting would fail in the same way.
    Terminal,
}

impl CloseCode {
    /// Closed on purpose.
    pub const NORMAL: Self = Self(1000);
    /// The server is being replaced.
    pub const GOING_AWAY: Self = Self(1001);
    /// No close frame: reset, refused, unreachable.
    pub const ABNORMAL: Self = Self(1006);
    /// Policy violation.
    pub const POLICY: Self = Self(1008);
    /// A frame was too big.
    pub const TOO_BIG: Self = Self(1009);
    /// Ours: silence, or no welcome.
    pub const INACTIVITY: Self = Self(4000);
    /// The credential is not valid.
    pub const INVALID_TOKEN: Self = Self(4001);
    /// The token has expired.
    pub const TOKEN_EXPIRED: Self = Self(4002);
    /// The credential does not cover the channel.
    pub const CHANNEL_NOT_AUTHORIZED: Self = Self(4003);
    /// The plan's number of connections is reached.
    pub const OVER_CONCURRENT_LIMIT: Self = Self(4010);
    /// We sent too fast.
    pub const OVER_MESSAGE_RATE: Self = Self(4011);
    /// The account is suspended.
    pub const ACCOUNT_SUSPENDED: Self = Self(4012);
    /// The application's backend has removed us.
    pub const ADMIN_DISCONNECT: Self = Self(4020);

    /// What to do after this code. Unknown codes are retried.
    pub fn disposition(self) -> Disposition {
        match self {
            Self::INVALID_TOKEN
            | Self::CHANNEL_NOT_AUTHORIZED
            | Self::ACCOUNT_SUSPENDED
            | Self::ADMIN_DISCONNECT => Disposition::Terminal,
            Self::TOKEN_EXPIRED => Disposition::Refresh,
            Self::OVER_CONCURRENT_LIMIT => Disposition::SlowRetry,
            _ => Disposition::Retry,
        }
    }

    /// The stable name of an end that is an error for the application if no retry follows.
    pub fn fatal_name(self) -> Option<&'static str> {
        match self {
            Self::INVALID_TOKEN => Some("invalid_token"),
            Self::TOKEN_EXPIRED => Some("token_expired"),
            Self::CHANNEL_NOT_AUTHORIZED => Some("channel_not_authorized"),
            Self::ACCOUNT_SUSPENDED => Some("account_suspended"),
            Self::ADMIN_DISCONNECT => Some("admin_disconnect"),
            _ => None,
        }
    }

    /// A stable name for logs and events.
    pub fn name(self) -> &'static str {
        self.fatal_name().unwrap_or(match self {
            Self::NORMAL => "normal",
            Self::GOING_AWAY => "going_away",
            Self::ABNORMAL => "connection_lost",
            Self::POLICY => "policy_violation",
            Self::TOO_BIG => "message_too_big",
            Self::INACTIVITY => "inactivity",
            Self::OVER_CONCURRENT_LIMIT => "over_concurrent_limit",
            Self::OVER_MESSAGE_RATE => "over_message_rate",
            _ => "other",
        })
    }

    /// What an operator can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::INVALID_TOKEN => "check the API key, or the key id and secret the token is signed with",
            Self::TOKEN_EXPIRED => "supply a token that is still valid, or a token provider",
            Self::CHANNEL_NOT_AUTHORIZED => "allow the channel in the key or in the token's channels",
            Self::ACCOUNT_SUSPENDED => "contact the service: the account is suspended",
            Self::ADMIN_DISCONNECT => "the application's backend removed this member",
            Self::OVER_CONCURRENT_LIMIT => "the plan's limit of connections is reached",
            Self::OVER_MESSAGE_RATE => "too many messages per second were sent",
            Self::TOO_BIG => "a message was larger than the service takes",
            Self::INACTIVITY => "the server was silent for too long; check the network",
            _ => "the connection ended; check the network",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c049_c053_dispositions() {
        for code in [4001, 4003, 4012, 4020] {
            assert_eq!(CloseCode(code).disposition(), Disposition::Terminal);
            assert!(CloseCode(code).fatal_name().is_some());
        }
        for code in [1000, 1001, 1006, 1008, 1009, 4000, 4011, 0, 3999, 4999] {
            assert_eq!(CloseCode(code).disposition(), Disposition::Retry);
            assert_eq!(CloseCode(code).fatal_name(), None);
        }
        assert_eq!(CloseCode(4002).disposition(), Disposition::Refresh);
        assert_eq!(CloseCode(4010).disposition(), Disposition::SlowRetry);
    }

    #[test]
    fn every_code_has_a_policy_and_those_that_end_it_all_have_a_name() {
        for code in (0..=u16::MAX).map(CloseCode) {
            let terminal = code.disposition() == Disposition::Terminal;
            let fatal = code.fatal_name().is_some();
            // A token that is too old is fatal only if there is no other.
            assert_eq!(
                fatal,
                terminal || code.disposition() == Disposition::Refresh,
                "{code}"
            );
            assert!(
                !terminal || code.0 >= 4000,
                "{code}: codes of the protocol itself are retried"
            );
            assert!(!code.advice().is_empty());
            assert_eq!(code.to_string(), format!("{} ({})", code.0, code.name()));
        }
    }
}
