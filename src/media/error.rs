//! What can go wrong with local media, in words that say what to do.

use crate::core::io::{Codec, MediaKind};

/// A failure of this layer. Never fatal for a room: the peer or the pad concerned goes without media.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// No installed element can do it.
    #[error("{0}")]
    MissingPlugin(String),
    /// Caps of a `video-caps` or `audio-caps` property that name no codec of ours.
    #[error("{0}")]
    UnknownCodec(String),
    /// An audio codec was asked of a video pad, or the other way round.
    #[error("{codec:?} cannot be made from {kind} input", kind = .kind.as_str())]
    WrongKind {
        /// What the pad carries.
        kind: MediaKind,
        /// What was asked.
        codec: Codec,
    },
    /// The input is already encoded, and not with this codec.
    #[error(
        "the input is already encoded as {has:?} and a peer wants {wants:?}: feed raw media, or allow {has:?} in \
         the codec preferences"
    )]
    Encoded {
        /// Codec of the input.
        has: Codec,
        /// What was asked.
        wants: Codec,
    },
    /// The ingest or outlet has been disposed.
    #[error("this track has ended")]
    Ended,
    /// Elements could not be put together or started.
    #[error("{0}")]
    Build(String),
}

impl From<glib::BoolError> for MediaError {
    fn from(error: glib::BoolError) -> Self {
        Self::Build(error.message.to_string())
    }
}

impl From<gst::StateChangeError> for MediaError {
    fn from(_: gst::StateChangeError) -> Self {
        Self::Build("an element refused to start".into())
    }
}
