//! Frames between client and server: one JSON object per text message.
//!
//! Reading is total and fails closed: a frame is understood completely or is dropped with a reason. Unknown members
//! are ignored; unknown types are malformed.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Metadata;
use super::ice_server::IceServer;
use super::ids::{ChannelName, PeerId, RequestId};
use super::limits::{INBOUND_TEXT_MAX, RETRY_AFTER_DEFAULT, RETRY_AFTER_MAX};

/// Why an inbound frame was dropped. The connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A member is missing or has the wrong type.
    #[error("a {frame} frame with a bad {member}")]
    Member {
        /// The frame's type.
        frame: &'static str,
        /// The member's name.
        member: &'static str,
    },
    /// Not JSON, or nested too deeply.
    #[error("a text that is not JSON")]
    NotJson,
    /// JSON, but no object with a `type`.
    #[error("a JSON value without a type")]
    NoType,
    /// A type this version does not know.
    #[error("a frame of an unknown type")]
    UnknownType,
}

/// The first frame of every connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// Our id on this connection. Changes with every connection made with a publishable key.
    pub peer_id: PeerId,
    /// Unix time at the server, in seconds.
    pub server_time: f64,
    /// When the token expires (Unix time, seconds); publishable keys do not.
    pub expires_at: Option<f64>,
    /// Largest frame the server takes, in bytes.
    pub max_message_size: usize,
    /// ICE servers, if the welcome has an acceptable list.
    pub ice_servers: Option<Vec<IceServer>>,
    /// There is a list, and it is not acceptable.
    pub ice_servers_refused: bool,
    /// The token's private metadata, as far as the application is concerned.
    pub metadata: Option<Metadata>,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerFrame {
    /// `ack`
    Ack {
        /// The request that has succeeded.
        request_id: String,
    },
    /// `direct`
    Direct {
        /// The sender, as the server knows it.
        from: PeerId,
        /// The sender's public metadata.
        from_metadata: Option<Metadata>,
        /// The payload; see [`super::DirectPayload`].
        data: Value,
    },
    /// `error`
    Error {
        /// Symbolic name; unknown ones are valid.
        code: String,
        /// Words for people. Data, not text to show.
        message: Option<String>,
        /// The request that has failed.
        request_id: Option<String>,
    },
    /// `going_away`
    GoingAway {
        /// How long to stay away, at most five minutes.
        retry_after: Duration,
    },
    /// `message`
    Message {
        /// Where it was published.
        channel: ChannelName,
        /// The sender. Publications from a backend can carry any label.
        from: String,
        /// The sender's public metadata, if the subscription asked for it.
        from_metadata: Option<Metadata>,
        /// The payload.
        data: Value,
    },
    /// `pong`
    Pong,
    /// `presence`
    Presence {
        /// Whose members have changed.
        channel: ChannelName,
        /// Who has come, with public metadata.
        joined: Vec<(PeerId, Option<Metadata>)>,
        /// Who has gone.
        left: Vec<PeerId>,
    },
    /// `welcome`
    Welcome(Welcome),
}

impl ServerFrame {
    /// Reads one text message.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let value: Value = serde_json::from_str(text).map_err(|_| FrameError::NotJson)?;
        let Value::Object(members) = value else {
            return Err(FrameError::NoType);
        };
        let Some(Value::String(name)) = members.get("type") else {
            return Err(FrameError::NoType);
        };
        let frame = match name.as_str() {
            "ack" => "ack",
            "direct" => "direct",
            "error" => "error",
            "going_away" => "going_away",
            "message" => "message",
            "pong" => "pong",
            "presence" => "presence",
            "welcome" => "welcome",
            _ => return Err(FrameError::UnknownType),
        };
        let mut reader = Reader { frame, members };
        match frame {
            "ack" => Ok(Self::Ack {
                request_id: reader.string("requestId")?,
            }),
            "direct" => reader.direct(),
            "error" => reader.error(),
            "going_away" => Ok(Self::GoingAway {
                retry_after: reader.retry_after(),
            }),
            "message" => reader.message(),
            "pong" => Ok(Self::Pong),
            "presence" => reader.presence(),
            _ => reader.welcome().map(Self::Welcome),
        }
    }
}

/// The members of one frame, taken out one by one.
struct Reader {
    frame: &'static str,
    members: Metadata,
}

impl Reader {
    fn bad(&self, member: &'static str) -> FrameError {
        FrameError::Member {
            frame: self.frame,
            member,
        }
    }

    fn string(&mut self, member: &'static str) -> Result<String, FrameError> {
        self.optional_string(member).ok_or_else(|| self.bad(member))
    }

    fn optional_string(&mut self, member: &str) -> Option<String> {
        match self.members.remove(member) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn object(&mut self, member: &str) -> Option<Metadata> {
        object(self.members.remove(member))
    }

    fn number(&self, member: &'static str) -> Result<f64, FrameError> {
        let number = self
            .members
            .get(member)
            .and_then(Value::as_f64)
            .filter(|number| number.is_finite());
        number.ok_or_else(|| self.bad(member))
    }

    fn channel(&mut self) -> Result<ChannelName, FrameError> {
        ChannelName::new(&self.string("channel")?).map_err(|_| self.bad("channel"))
    }

    fn peer(&mut self, member: &'static str) -> Result<PeerId, FrameError> {
        PeerId::new(&self.string(member)?).map_err(|_| self.bad(member))
    }

    /// The member must be there; null is legal data.
    fn data(&mut self) -> Result<Value, FrameError> {
        self.members.remove("data").ok_or_else(|| self.bad("data"))
    }

    fn direct(mut self) -> Result<ServerFrame, FrameError> {
        Ok(ServerFrame::Direct {
            from: self.peer("from")?,
            data: self.data()?,
            from_metadata: self.object("fromMetadata"),
        })
    }

    fn message(mut self) -> Result<ServerFrame, FrameError> {
        Ok(ServerFrame::Message {
            channel: self.channel()?,
            from: self.string("from")?,
            data: self.data()?,
            from_metadata: self.object("fromMetadata"),
        })
    }

    fn error(mut self) -> Result<ServerFrame, FrameError> {
        let code = self.string("code")?;
        if code.is_empty() {
            return Err(self.bad("code"));
        }
        let message = self.optional_string("message");
        Ok(ServerFrame::Error {
            code,
            message,
            request_id: self.optional_string("requestId"),
        })
    }

    fn retry_after(&self) -> Duration {
        match self.number("retryAfterMs") {
            Ok(ms) if ms > 0.0 => Duration::from_secs_f64((ms / 1000.0).min(RETRY_AFTER_MAX.as_secs_f64())),
            _ => RETRY_AFTER_DEFAULT,
        }
    }

    fn presence(mut self) -> Result<ServerFrame, FrameError> {
        let channel = self.channel()?;
        let joined = self.members_of("joined")?;
        let left = self.members_of("left")?.into_iter().map(|(id, _)| id).collect();
        Ok(ServerFrame::Presence {
            channel,
            joined,
            left,
        })
    }

    /// One malformed entry voids the frame. An id that is a string, but none the service could have given out and
    /// we could not address, is left out.
    fn members_of(&mut self, member: &'static str) -> Result<Vec<(PeerId, Option<Metadata>)>, FrameError> {
        let Some(Value::Array(entries)) = self.members.remove(member) else {
            return Err(self.bad(member));
        };
        let mut list = Vec::with_capacity(entries.len());
        for entry in entries {
            let Value::Object(mut entry) = entry else {
                return Err(self.bad(member));
            };
            let Some(Value::String(id)) = entry.get("peerId") else {
                return Err(self.bad(member));
            };
            if let Ok(id) = PeerId::new(id) {
                list.push((id, object(entry.remove("metadata"))));
            }
        }
        Ok(list)
    }

    fn welcome(mut self) -> Result<Welcome, FrameError> {
        let peer_id = self.peer("peerId")?;
        let server_time = self.number("serverTime")?;
        let expires_at = match self.members.get("expiresAt") {
            None | Some(Value::Null) => None,
            Some(_) => Some(self.number("expiresAt")?),
        };
        let size = self.number("maxMessageSize")?;
        if size < 1.0 {
            return Err(self.bad("maxMessageSize"));
        }
        // Float to integer saturates; the upper bound keeps one frame from being a burden.
        let max_message_size = (size as usize).min(INBOUND_TEXT_MAX);
        let mut metadata = self.object("metadata");
        let list = metadata
            .as_mut()
            .and_then(|metadata| metadata.remove("iceServers"));
        let ice_servers = list.as_ref().and_then(IceServer::parse_list);
        Ok(Welcome {
            peer_id,
            server_time,
            expires_at,
            max_message_size,
            ice_servers_refused: list.is_some() && ice_servers.is_none(),
            ice_servers,
            metadata,
        })
    }
}

fn object(value: Option<Value>) -> Option<Metadata> {
    match value {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// What we send. Members are written in the order the SDKs write them.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum ClientFrame<'a> {
    /// Keeps the connection alive; never acknowledged.
    Ping,
    /// To everybody who has subscribed to a channel.
    Publish {
        /// Where.
        channel: &'a ChannelName,
        /// What.
        data: &'a Value,
        /// Correlates the ack.
        request_id: RequestId,
    },
    /// To one peer.
    Send {
        /// To whom.
        to: &'a PeerId,
        /// What.
        data: &'a Value,
        /// Correlates the ack.
        request_id: RequestId,
    },
    /// Start to receive a channel; repeating it is harmless, the last one's flag counts.
    Subscribe {
        /// Which.
        channel: &'a ChannelName,
        /// Correlates the ack.
        request_id: RequestId,
        /// Deliver the sender's public metadata with each message.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        include_sender_metadata: bool,
    },
    /// Stop receiving it.
    Unsubscribe {
        /// Which.
        channel: &'a ChannelName,
        /// Correlates the ack.
        request_id: RequestId,
    },
}

impl ClientFrame<'_> {
    /// The text to send.
    pub fn to_text(&self) -> String {
        // Maps with string keys and finite numbers always serialise; an empty text would be refused by the server,
        // not misunderstood.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
