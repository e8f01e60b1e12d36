//! `Debug` of what carries frames or their contents: SDP and metadata bring ICE passwords and worse into logs.

use std::fmt::{Debug, Formatter, Result};

use serde::Serialize;

use super::client::{ClientEvent, Connected};
use super::io::{NetInput, NetOutput};
use super::pacer::Outbound;
use crate::wire::scrub;

/// A frame is shown by its length.
struct Text<'a>(&'a str);

impl Debug for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A JSON value is shown without known secrets.
struct Json<'a, T>(&'a T);

impl<T: Serialize> Debug for Json<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let text = serde_json::to_string(self.0).unwrap_or_default();
        f.write_str(&scrub(&text))
    }
}

impl Debug for Outbound {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Outbound")
            .field("text", &Text(&self.text))
            .field("request", &self.request)
            .finish()
    }
}

impl Debug for NetInput {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::SocketOpened(id) => f.debug_tuple("SocketOpened").field(id).finish(),
            Self::Text(id, text) => f.debug_tuple("Text").field(id).field(&Text(text)).finish(),
            Self::Activity(id) => f.debug_tuple("Activity").field(id).finish(),
            Self::SocketClosed(id, end) => f.debug_tuple("SocketClosed").field(id).field(end).finish(),
            Self::Token(id, token) => {
                let token = token.as_ref().map_err(|error| scrub(error));
                f.debug_tuple("Token").field(id).field(&token).finish()
            }
            Self::AddressesChanged(addresses) => f.debug_tuple("AddressesChanged").field(addresses).finish(),
            Self::Resolved(id, addresses) => f.debug_tuple("Resolved").field(id).field(addresses).finish(),
        }
    }
}

impl Debug for NetOutput {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::OpenSocket { id, url } => f
                .debug_struct("OpenSocket")
                .field("id", id)
                .field("url", url)
                .finish(),
            Self::SendText(id, text) => f.debug_tuple("SendText").field(id).field(&Text(text)).finish(),
            Self::CloseSocket { id, code, reason } => f
                .debug_struct("CloseSocket")
                .field("id", id)
                .field("code", code)
                .field("reason", reason)
                .finish(),
            Self::FetchToken(id) => f.debug_tuple("FetchToken").field(id).finish(),
            Self::ForgetToken(id) => f.debug_tuple("ForgetToken").field(id).finish(),
            Self::Resolve { id, host } => f
                .debug_struct("Resolve")
                .field("id", id)
                .field("host", host)
                .finish(),
        }
    }
}

impl Debug for Connected {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Connected")
            .field("peer_id", &self.peer_id)
            .field("server_time", &self.server_time)
            .field("expires_at", &self.expires_at)
            .field("is_reconnect", &self.is_reconnect)
            .field("max_message_size", &self.max_message_size)
            .field("ice_servers", &self.ice_servers)
            .field("ice_servers_refused", &self.ice_servers_refused)
            .field("metadata", &Json(&self.metadata))
            .finish()
    }
}

impl Debug for ClientEvent {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Connected(connected) => f.debug_tuple("Connected").field(connected).finish(),
            Self::Disconnected {
                code,
                reason,
                will_reconnect,
                delay,
            } => f
                .debug_struct("Disconnected")
                .field("code", code)
                .field("reason", reason)
                .field("will_reconnect", will_reconnect)
                .field("delay", delay)
                .finish(),
            Self::ConnectFailed { failure, retry_in } => f
                .debug_struct("ConnectFailed")
                .field("failure", failure)
                .field("retry_in", retry_in)
                .finish(),
            Self::StateChanged { from, to } => f
                .debug_struct("StateChanged")
                .field("from", from)
                .field("to", to)
                .finish(),
            Self::Acked(id) => f.debug_tuple("Acked").field(id).finish(),
            Self::RequestFailed(id, error) => f.debug_tuple("RequestFailed").field(id).field(error).finish(),
            Self::Resubscribed(channel) => f.debug_tuple("Resubscribed").field(channel).finish(),
            Self::ResubscribeFailed {
                channel,
                error,
                will_retry,
            } => f
                .debug_struct("ResubscribeFailed")
                .field("channel", channel)
                .field("error", error)
                .field("will_retry", will_retry)
                .finish(),
            Self::Message {
                channel,
                from,
                from_metadata,
                data,
            } => f
                .debug_struct("Message")
                .field("channel", channel)
                .field("from", from)
                .field("from_metadata", &Json(from_metadata))
                .field("data", &Json(data))
                .finish(),
            Self::Direct {
                from,
                from_metadata,
                data,
                size,
            } => f
                .debug_struct("Direct")
                .field("from", from)
                .field("from_metadata", &Json(from_metadata))
                .field("data", &Json(data))
                .field("size", size)
                .finish(),
            Self::Presence {
                channel,
                joined,
                left,
            } => f
                .debug_struct("Presence")
                .field("channel", channel)
                .field("joined", &Json(joined))
                .field("left", left)
                .finish(),
            Self::ServerError { code, message } => f
                .debug_struct("ServerError")
                .field("code", code)
                .field("message", message)
                .finish(),
            Self::GoingAway { retry_after } => f
                .debug_struct("GoingAway")
                .field("retry_after", retry_after)
                .finish(),
            Self::TokenProviderError {
                consecutive_failures,
                error,
            } => f
                .debug_struct("TokenProviderError")
                .field("consecutive_failures", consecutive_failures)
                .field("error", error)
                .finish(),
            Self::FrameDropped(what) => f.debug_tuple("FrameDropped").field(what).finish(),
        }
    }
}
