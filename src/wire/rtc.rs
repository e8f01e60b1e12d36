//! What peers tell each other inside `send` / `direct` frames.

use serde_json::{Map, Value};

/// The two kinds of description that exist on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpKind {
    /// Opens a negotiation round.
    Offer,
    /// Closes it.
    Answer,
}

/// An `RTCIceCandidateInit` as browsers write it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    /// The `candidate:…` line; empty marks the end of one generation of candidates.
    pub candidate: String,
    /// The mid of the section it belongs to.
    pub sdp_mid: Option<String>,
    /// The index of that section, for peers that send no mid.
    #[serde(rename = "sdpMLineIndex")]
    pub sdp_mline_index: Option<u32>,
    /// The ICE generation it belongs to.
    pub username_fragment: Option<String>,
}

/// One signal of the WebRTC layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcSignal {
    /// `rtc-description`
    Description {
        /// Offer or answer.
        kind: SdpKind,
        /// The SDP, CRLF line ends.
        sdp: String,
    },
    /// `rtc-ice` with a candidate.
    Candidate(IceCandidate),
    /// `rtc-ice` with null.
    EndOfCandidates,
}

/// `__meteredTrackMeta`: what a peer says about one of its tracks, ahead of the offer that brings it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackMeta {
    /// The sender's track id, as in its `a=msid`.
    pub track_id: String,
    /// The bag; `None` forgets the track.
    pub metadata: Option<Map<String, Value>>,
    /// `audio` or `video`, when the sender says so.
    pub kind: Option<String>,
    /// The stream the track belongs to, when the sender says so.
    pub stream_id: Option<String>,
}
