//! The wire: client frames to requests, server frames to text.

use std::collections::HashMap;

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::codes::ErrorCode;
use super::names;

/// What a client asks for. Payloads stay the text they came as.
#[derive(Debug)]
pub(super) enum Request {
    Subscribe { channel: String, with_metadata: bool },
    Unsubscribe { channel: String },
    Publish { channel: String, data: Box<RawValue> },
    Send { to: String, data: Box<RawValue> },
    Ping,
}

/// A request, or why it is none, with the id to answer under.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) request_id: Option<String>,
    pub(super) request: Result<Request, ErrorCode>,
}

/// Fields of a frame before their types are known.
struct Fields(HashMap<String, Box<RawValue>>);

impl Fields {
    fn text(&self, name: &str) -> Option<String> {
        self.0
            .get(name)
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|raw| raw.get() == "true")
    }

    fn channel(&self) -> Result<String, ErrorCode> {
        let channel = self.text("channel").ok_or(ErrorCode::InvalidChannel)?;
        names::check_channel(&channel).map(|()| channel)
    }

    fn peer(&self) -> Result<String, ErrorCode> {
        let peer = self.text("to").ok_or(ErrorCode::InvalidPeerId)?;
        names::check_peer_id(&peer).map(|()| peer)
    }

    fn data(&mut self) -> Result<Box<RawValue>, ErrorCode> {
        self.0.remove("data").ok_or(ErrorCode::MissingData)
    }
}

/// Reads one text message of a client.
pub(super) fn parse(text: &str) -> Parsed {
    let Ok(fields) = serde_json::from_str(text) else {
        return Parsed {
            request_id: None,
            request: Err(ErrorCode::MalformedMessage),
        };
    };
    let mut fields = Fields(fields);
    let named = fields.0.contains_key("requestId");
    let request_id = fields.text("requestId").filter(|id| names::is_request_id(id));
    if named && request_id.is_none() {
        return Parsed {
            request_id,
            request: Err(ErrorCode::MalformedMessage),
        };
    }
    Parsed {
        request_id,
        request: request(&mut fields),
    }
}

fn request(fields: &mut Fields) -> Result<Request, ErrorCode> {
    let kind = fields.text("type").ok_or(ErrorCode::MalformedMessage)?;
    Ok(match kind.as_str() {
        "subscribe" => Request::Subscribe {
            channel: fields.channel()?,
            with_metadata: fields.flag("includeSenderMetadata"),
        },
        "unsubscribe" => Request::Unsubscribe {
            channel: fields.channel()?,
        },
        "publish" => Request::Publish {
            channel: fields.channel()?,
            data: fields.data()?,
        },
        "send" => Request::Send {
            to: fields.peer()?,
            data: fields.data()?,
        },
        "ping" => Request::Ping,
        _ => return Err(ErrorCode::UnknownType),
    })
}

/// A member as presence names it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    pub(super) peer_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<&'a RawValue>,
}

/// Every frame a server sends.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum Frame<'a> {
    Welcome {
        peer_id: &'a str,
        expires_at: Option<u64>,
        server_time: u64,
        max_message_size: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<&'a Map<String, Value>>,
    },
    Ack {
        request_id: &'a str,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
        code: &'a str,
        message: &'a str,
    },
    Message {
        channel: &'a str,
        from: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from_metadata: Option<&'a RawValue>,
        data: &'a RawValue,
    },
    Direct {
        from: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from_metadata: Option<&'a RawValue>,
        data: &'a RawValue,
    },
    Presence {
        channel: &'a str,
        joined: Vec<Entry<'a>>,
        left: Vec<Entry<'a>>,
    },
    GoingAway {
        retry_after_ms: u64,
    },
    Pong,
}

impl Frame<'_> {
    /// The frame as text. Shared by all receivers without copying.
    pub(super) fn encode(&self) -> Utf8Bytes {
        // Serialising plain strings and numbers into memory cannot fail; should it ever, the receiver sees an
        // error frame rather than silence.
        let text = serde_json::to_string(self);
        text.unwrap_or_else(|_| r#"{"type":"error","code":"internal_error"}"#.to_owned())
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> (Option<String>, ErrorCode) {
        let parsed = parse(text);
        (parsed.request_id, parsed.request.expect_err(text))
    }

    #[test]
    fn refusals_name_the_first_defect() {
        let id = |text: &str| Some(text.to_owned());
        assert_eq!(failure("nonsense"), (None, ErrorCode::MalformedMessage));
        assert_eq!(failure("[1]"), (None, ErrorCode::MalformedMessage));
        assert_eq!(
            failure(r#"{"requestId":"a"}"#),
            (id("a"), ErrorCode::MalformedMessage)
        );
        assert_eq!(
            failure(r#"{"type":"ping","requestId":7}"#),
            (None, ErrorCode::MalformedMessage)
        );
        assert_eq!(
            failure(r#"{"type":"dance","requestId":"a"}"#),
            (id("a"), ErrorCode::UnknownType)
        );
        assert_eq!(
            failure(r#"{"type":"subscribe","channel":4}"#),
            (None, ErrorCode::InvalidChannel)
        );
        assert_eq!(
            failure(r#"{"type":"publish","channel":"a"}"#),
            (None, ErrorCode::MissingData)
        );
        assert_eq!(
            failure(r#"{"type":"send","data":1}"#),
            (None, ErrorCode::InvalidPeerId)
        );
        assert_eq!(
            failure(r#"{"type":"subscribe","channel":"_SYSTEM/a"}"#),
            (None, ErrorCode::ChannelReserved)
        );
    }

    #[test]
    fn null_is_data_and_numbers_keep_their_digits() {
        for data in [
            "null",
            "1.10",
            "123456789012345678901234567890",
            r#"{"a":1,"a":2}"#,
        ] {
            let text = format!(r#"{{"type":"publish","channel":"a","data":{data}}}"#);
            let Ok(Request::Publish { data: kept, .. }) = parse(&text).request else {
                panic!("{text}")
            };
            assert_eq!(kept.get(), data);
        }
    }
}
