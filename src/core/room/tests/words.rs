//! What a room does, in a few words.

use serde_json::Value;

use crate::core::events::RoomEvent;

/// A frame in a few words.
pub fn what(frame: &Value) -> String {
    let data = &frame["data"];
    let inner = match (data["type"].as_str(), data.get("__meteredTrackMeta")) {
        (Some("rtc-description"), _) => data["description"]["type"].as_str().unwrap_or_default(),
        (Some("rtc-ice"), _) if data["candidate"].is_null() => "end",
        (Some("rtc-ice"), _) => "candidate",
        (_, Some(meta)) if meta.get("metadata").is_some() => "meta",
        (_, Some(_)) => "clear",
        _ if data.get("__meteredWebrtcFarewell").is_some() => "farewell",
        _ => "",
    };
    let words = [
        frame["type"].as_str().unwrap_or_default(),
        frame["to"].as_str().unwrap_or_default(),
        inner,
    ];
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// An event in a few words.
pub fn said(event: &RoomEvent) -> String {
    match event {
        RoomEvent::StateChanged(_, to) => format!("state {to:?}"),
        RoomEvent::Joined { peer_id, .. } => format!("joined as {peer_id}"),
        RoomEvent::Left { .. } => "left".into(),
        RoomEvent::PeerJoined(peer, _) => format!("peer-joined {peer}"),
        RoomEvent::PeerMetadata(peer, _) => format!("peer-metadata {peer}"),
        RoomEvent::PeerLeft(peer) => format!("peer-left {peer}"),
        RoomEvent::PeerStateChanged(peer, state) => format!("peer-state {peer} {state:?}"),
        RoomEvent::ConnectionReset(peer) => format!("reset {peer}"),
        RoomEvent::Fatal { code, .. } => format!("fatal {code}"),
        RoomEvent::ServerError { code, .. } => format!("error {code}"),
        RoomEvent::Retrying { .. } => "retrying".into(),
        other => format!("{other:?}"),
    }
}
