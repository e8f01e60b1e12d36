//! Room events as the application sees them: a signal, and a bus message of the same name with the same values.

use glib::prelude::*;
use glib::subclass::Signal;
use gst::prelude::*;
use serde_json::{Map, Value};

use super::structure;
use crate::core::events::{DataKind, RoomEvent, RoomState};
use crate::core::negotiator::PeerState;

/// Prefix of bus messages: `peer-joined` is posted as `metered-peer-joined`.
pub const MESSAGE_PREFIX: &str = "metered-";

/// One piece of news: the signal's name and its arguments by name.
pub struct Notice {
    /// Signal name.
    pub name: &'static str,
    /// Arguments; the names are the fields of the bus message.
    pub values: Vec<(&'static str, glib::SendValue)>,
}

impl Notice {
    fn new<const N: usize>(name: &'static str, values: [(&'static str, glib::SendValue); N]) -> Self {
        Self {
            name,
            values: values.into(),
        }
    }

    /// `stream-added`: the first track of a stream has arrived.
    pub fn stream_added(peer: &str, stream: &str, metadata: Option<&Map<String, Value>>) -> Self {
        Self::new(
            "stream-added",
            [
                ("peer-id", text(peer)),
                ("stream-id", text(stream)),
                ("metadata", bag(metadata)),
            ],
        )
    }

    /// `stream-removed`: its last track has ended.
    pub fn stream_removed(peer: &str, stream: &str) -> Self {
        Self::new(
            "stream-removed",
            [("peer-id", text(peer)), ("stream-id", text(stream))],
        )
    }

    /// Posts the bus message, then emits the signal. Call it from the notifier thread, without a lock.
    pub fn tell(&self, element: &gst::Element) {
        let mut message = gst::Structure::new_empty(format!("{MESSAGE_PREFIX}{}", self.name));
        // Bindings stumble over null values in structures: what is not there is left out.
        for (field, value) in self.values.iter().filter(|(_, value)| !is_null(value)) {
            message.set_value(*field, value.clone());
        }
        let _ = element.post_message(gst::message::Element::builder(message).src(element).build());
        let arguments: Vec<glib::Value> = self
            .values
            .iter()
            .map(|(_, value)| value.clone().into())
            .collect();
        element.emit_by_name_with_values(self.name, &arguments);
    }
}

fn is_null(value: &glib::Value) -> bool {
    matches!(value.get::<Option<String>>(), Ok(None))
        || matches!(value.get::<Option<gst::Structure>>(), Ok(None))
}

fn text(value: &str) -> glib::SendValue {
    value.replace('\0', "").to_send_value()
}

fn bag(metadata: Option<&Map<String, Value>>) -> glib::SendValue {
    metadata
        .map(|object| structure::from_json("metadata", object))
        .to_send_value()
}

/// The signal's name for a state.
pub fn room_state(state: RoomState) -> &'static str {
    match state {
        RoomState::Idle => "idle",
        RoomState::Joining => "joining",
        RoomState::Joined => "joined",
        RoomState::Reconnecting => "reconnecting",
        RoomState::Leaving => "leaving",
        RoomState::Closed => "closed",
    }
}

/// The signal's name for a state.
pub fn peer_state(state: PeerState) -> &'static str {
    match state {
        PeerState::Idle => "idle",
        PeerState::Connecting => "connecting",
        PeerState::Connected => "connected",
        PeerState::Reconnecting => "reconnecting",
        PeerState::Closed => "closed",
    }
}

/// What an event looks like to the application. Track events are told by the element, with its pads.
pub fn notice(event: &RoomEvent) -> Option<Notice> {
    Some(match event {
        RoomEvent::StateChanged(from, to) => Notice::new(
            "state-changed",
            [
                ("old-state", text(room_state(*from))),
                ("new-state", text(room_state(*to))),
            ],
        ),
        RoomEvent::Joined { peer_id, channel } => Notice::new(
            "joined",
            [("peer-id", text(peer_id.as_str())), ("channel", text(channel))],
        ),
        RoomEvent::Left { peer_id } => {
            let id = peer_id.as_ref().map(|id| id.as_str().to_owned());
            Notice::new("left", [("peer-id", id.to_send_value())])
        }
        RoomEvent::PeerJoined(peer, metadata) => peer_bag("peer-joined", peer.as_str(), metadata.as_ref()),
        RoomEvent::PeerMetadata(peer, metadata) => {
            peer_bag("peer-metadata-changed", peer.as_str(), metadata.as_ref())
        }
        RoomEvent::PeerLeft(peer) => Notice::new("peer-left", [("peer-id", text(peer.as_str()))]),
        RoomEvent::PeerStateChanged(peer, state) => Notice::new(
            "peer-state-changed",
            [
                ("peer-id", text(peer.as_str())),
                ("state", text(peer_state(*state))),
            ],
        ),
        RoomEvent::ConnectionReset(peer) => {
            Notice::new("connection-reset", [("peer-id", text(peer.as_str()))])
        }
        RoomEvent::NegotiationError(peer, problem) => Notice::new(
            "negotiation-error",
            [
                ("peer-id", text(peer.as_str())),
                ("code", text(problem.code)),
                ("text", text(&problem.text)),
            ],
        ),
        RoomEvent::TrackAdded { .. } | RoomEvent::TrackRemoved { .. } => return None,
        other => return service_notice(other),
    })
}

fn peer_bag(name: &'static str, peer: &str, metadata: Option<&Map<String, Value>>) -> Notice {
    Notice::new(name, [("peer-id", text(peer)), ("metadata", bag(metadata))])
}

fn service_notice(event: &RoomEvent) -> Option<Notice> {
    Some(match event {
        RoomEvent::Data {
            from,
            kind,
            data,
            metadata,
            ..
        } => {
            let kind = match kind {
                DataKind::Broadcast => "broadcast",
                DataKind::Direct => "direct",
            };
            Notice::new(
                "data",
                [
                    ("from", text(from)),
                    ("data", text(&data.to_string())),
                    ("kind", text(kind)),
                    ("metadata", bag(metadata.as_ref())),
                ],
            )
        }
        RoomEvent::ServerError { code, message } => {
            Notice::new("server-error", [("code", text(code)), ("text", text(message))])
        }
        RoomEvent::GoingAway { retry_after_ms } => {
            Notice::new("going-away", [("retry-after", retry_after_ms.to_send_value())])
        }
        RoomEvent::TokenProviderError {
            consecutive_failures,
            text: what,
        } => Notice::new(
            "token-provider-error",
            [
                ("consecutive-failures", consecutive_failures.to_send_value()),
                ("text", text(what)),
            ],
        ),
        RoomEvent::Retrying { text: why, delay_ms } => Notice::new(
            "retrying",
            [("text", text(why)), ("delay", delay_ms.to_send_value())],
        ),
        RoomEvent::Fatal { code, text: what } => {
            Notice::new("error", [("code", text(code)), ("text", text(what))])
        }
        _ => return None,
    })
}

/// The signals of every element, in the order of their documentation.
pub fn signals() -> Vec<Signal> {
    let string = String::static_type();
    let bag = gst::Structure::static_type();
    let u64_type = u64::static_type();
    let table: [(&str, &[glib::Type]); 17] = [
        ("state-changed", &[string, string]),
        ("joined", &[string, string]),
        ("left", &[string]),
        ("peer-joined", &[string, bag]),
        ("peer-metadata-changed", &[string, bag]),
        ("peer-left", &[string]),
        ("peer-state-changed", &[string, string]),
        ("connection-reset", &[string]),
        ("stream-added", &[string, string, bag]),
        ("stream-removed", &[string, string]),
        ("data", &[string, string, string, bag]),
        ("negotiation-error", &[string, string, string]),
        ("server-error", &[string, string]),
        ("going-away", &[u64_type]),
        ("token-provider-error", &[u32::static_type(), string]),
        ("retrying", &[string, u64_type]),
        ("error", &[string, string]),
    ];
    table
        .iter()
        .map(|(name, types)| Signal::builder(name).param_types(types.iter().copied()).build())
        .collect()
}
