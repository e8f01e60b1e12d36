//! Kinds of media and codecs, as SDP and caps name them.

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
}

impl MediaKind {
    /// `audio` or `video`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// A codec as SDP and caps name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Codec {
    /// RFC 7741
    Vp8,
    /// RFC 9628
    Vp9,
    /// RFC 6184, packetization-mode 1, constrained baseline
    H264,
    /// AOM AV1 RTP
    Av1,
    /// RFC 7587
    Opus,
    /// G.711 µ-law
    Pcmu,
    /// G.711 A-law
    Pcma,
}
