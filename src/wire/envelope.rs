//! Payloads of direct messages that are not the application's: WebRTC signals and track metadata.

use serde_json::{Map, Value, json};

use super::Metadata;
use super::limits::{CANDIDATE_STRING_MAX, SDP_MAX, TRACK_META_STRING_MAX};
use super::rtc::{IceCandidate, RtcSignal, SdpKind, TrackMeta};

const DESCRIPTION: &str = "rtc-description";
const ICE: &str = "rtc-ice";
const TRACK_META: &str = "__meteredTrackMeta";
const FAREWELL: &str = "__meteredWebrtcFarewell";

/// Longest number in an `o=` line.
const SESSION_ID_MAX: usize = 20;

/// What the payload of a direct message is.
#[derive(Debug, Clone, PartialEq)]
pub enum DirectPayload {
    /// Anything else: the application's.
    Data(Value),
    /// It claims to be a signal or track metadata and is not a valid one: to be dropped. The SDKs hand it to the
    /// application, which then has to cope with half a signal.
    NearMiss(&'static str),
    /// A signal.
    Signal(RtcSignal),
    /// Track metadata.
    TrackMeta(TrackMeta),
    /// The connection whose sender's descriptions have this `o=` session id has ended. Only elements of ours send it,
    /// and only to each other: presence may hide the end from those who keep connections.
    Farewell(String),
}

impl DirectPayload {
    /// Sorts a payload.
    pub fn classify(data: Value) -> Self {
        let Value::Object(mut members) = data else {
            return Self::Data(data);
        };
        let signal = match members.get("type").and_then(Value::as_str) {
            Some(DESCRIPTION) => Some(description(&mut members)),
            Some(ICE) => Some(ice(&mut members)),
            _ => None,
        };
        match signal {
            Some(Ok(signal)) => Self::Signal(signal),
            Some(Err(reason)) => Self::NearMiss(reason),
            None => match (members.remove(TRACK_META), members.get(FAREWELL)) {
                (Some(body), _) => track_meta(body).map_or_else(Self::NearMiss, Self::TrackMeta),
                (None, Some(session)) => farewell(session),
                (None, None) => Self::Data(Value::Object(members)),
            },
        }
    }

    /// Whether receivers would take this application payload for a signal or for track metadata, and swallow it.
    pub fn is_reserved(data: &Value) -> bool {
        let reserved_type = |value: &Value| matches!(value.as_str(), Some(DESCRIPTION | ICE));
        data.get("type").is_some_and(reserved_type)
            || data.get(TRACK_META).is_some()
            || data.get(FAREWELL).is_some()
    }

    /// The payload that tells the end of a connection.
    pub fn farewell(session: &str) -> Value {
        json!({FAREWELL: session})
    }
}

fn farewell(session: &Value) -> DirectPayload {
    match session.as_str() {
        Some(id) if (1..=SESSION_ID_MAX).contains(&id.len()) => DirectPayload::Farewell(id.to_owned()),
        _ => DirectPayload::NearMiss("a farewell to no connection"),
    }
}

fn description(members: &mut Map<String, Value>) -> Result<RtcSignal, &'static str> {
    let Some(Value::Object(mut body)) = members.remove("description") else {
        return Err("a description that is no object");
    };
    let kind = match body.get("type").and_then(Value::as_str) {
        Some("offer") => SdpKind::Offer,
        Some("answer") => SdpKind::Answer,
        _ => return Err("a description that is neither offer nor answer"),
    };
    match body.remove("sdp") {
        Some(Value::String(sdp)) if sdp.len() <= SDP_MAX => Ok(RtcSignal::Description { kind, sdp }),
        Some(Value::String(_)) => Err("a description that is too long"),
        _ => Err("a description without SDP"),
    }
}

fn ice(members: &mut Map<String, Value>) -> Result<RtcSignal, &'static str> {
    match members.remove("candidate") {
        Some(Value::Null) => Ok(RtcSignal::EndOfCandidates),
        Some(Value::Object(mut body)) => candidate(&mut body).map(RtcSignal::Candidate),
        _ => Err("a candidate that is neither object nor null"),
    }
}

fn candidate(body: &mut Map<String, Value>) -> Result<IceCandidate, &'static str> {
    let mut text = |member: &str| match body.remove(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= CANDIDATE_STRING_MAX => Ok(Some(text)),
        Some(Value::String(_)) => Err("a candidate with a string that is too long"),
        Some(_) => Err("a candidate with a member of the wrong type"),
    };
    let line = text("candidate")?.ok_or("a candidate without text")?;
    let sdp_mid = text("sdpMid")?;
    let username_fragment = text("usernameFragment")?;
    let sdp_mline_index = match body.remove("sdpMLineIndex") {
        None | Some(Value::Null) => None,
        Some(index) => Some(mline_index(&index).ok_or("a candidate with a bad line index")?),
    };
    // The end marker of a generation concerns all sections.
    if !line.is_empty() && sdp_mid.is_none() && sdp_mline_index.is_none() {
        return Err("a candidate that names no section");
    }
    Ok(IceCandidate {
        candidate: line,
        sdp_mid,
        sdp_mline_index,
        username_fragment,
    })
}

/// `RTCIceCandidateInit` has an unsigned short; some serialisers write it as a float.
fn mline_index(value: &Value) -> Option<u32> {
    let number = value
        .as_f64()
        .filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(n))?;
    Some(number as u32)
}

fn track_meta(body: Value) -> Result<TrackMeta, &'static str> {
    let Value::Object(mut body) = body else {
        return Err("track metadata that is no object");
    };
    let mut text = |member: &str| match body.remove(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if (1..=TRACK_META_STRING_MAX).contains(&text.chars().count()) => {
            Ok(Some(text))
        }
        Some(_) => Err("track metadata with a bad name"),
    };
    let track_id = text("trackId")?.ok_or("track metadata without a track")?;
    let kind = text("kind")?;
    let stream_id = text("streamId")?;
    let metadata = match body.remove("metadata") {
        None | Some(Value::Null) => None,
        Some(Value::Object(bag)) => Some(bag),
        Some(_) => return Err("track metadata that is no bag"),
    };
    Ok(TrackMeta {
        track_id,
        metadata,
        kind,
        stream_id,
    })
}

impl RtcSignal {
    /// The payload of the direct message that carries it. Candidates have all four members, null for what is not
    /// known: browsers and SDKs read them without asking.
    pub fn to_data(&self) -> Value {
        match self {
            Self::Description { kind, sdp } => {
                let kind = match kind {
                    SdpKind::Offer => "offer",
                    SdpKind::Answer => "answer",
                };
                json!({"type": DESCRIPTION, "description": {"type": kind, "sdp": sdp}})
            }
            Self::Candidate(candidate) => json!({"type": ICE, "candidate": candidate}),
            Self::EndOfCandidates => json!({"type": ICE, "candidate": null}),
        }
    }
}

impl TrackMeta {
    /// The payload of the direct message that carries it. To clear is to leave `metadata` out: null would make the
    /// JavaScript SDK hand the message to the application.
    pub fn to_data(&self) -> Value {
        let mut body = Metadata::new();
        body.insert("trackId".into(), self.track_id.as_str().into());
        if let Some(bag) = &self.metadata {
            body.insert("metadata".into(), Value::Object(bag.clone()));
            let optional = [("kind", &self.kind), ("streamId", &self.stream_id)];
            for (member, value) in optional {
                if let Some(value) = value {
                    body.insert(member.into(), value.as_str().into());
                }
            }
        }
        json!({TRACK_META: body})
    }
}

#[cfg(test)]
mod tests;
