//! How an ingest works, and what it tells.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::io::{Codec, MediaKind};
use crate::media::keyframes;

/// An encoding nobody uses any more is kept this long: a renegotiation detaches and attaches again.
const LINGER: Duration = Duration::from_secs(2);

/// An encoding has failed. The peers that wanted it go without this track for the time being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the ingest.
    pub ingest: String,
    /// What was to be made.
    pub codec: Codec,
    /// What happened, for the operator.
    pub text: String,
}

/// Told of faults, on any thread, streaming threads included: it must do no more than post.
pub type FaultHook = Arc<dyn Fn(Fault) + Send + Sync>;
/// Shown each new encoder before it starts (`encoder-setup`).
pub type EncoderHook = Arc<dyn Fn(&gst::Element) + Send + Sync>;

/// How an ingest works.
#[derive(Clone)]
pub struct IngestSettings {
    /// Bitrate with which encoders start, in bit/s.
    pub bitrate: u32,
    /// How long an encoding outlives its last subscriber.
    pub linger: Duration,
    /// Least time between two key-frame requests to one encoder.
    pub key_frame_interval: Duration,
    /// Told of faults.
    pub on_fault: Option<FaultHook>,
    /// Shown each new encoder.
    pub on_encoder: Option<EncoderHook>,
}

impl IngestSettings {
    /// The defaults for a kind.
    pub fn new(kind: MediaKind) -> Self {
        let bitrate = match kind {
            MediaKind::Audio => 64_000,
            MediaKind::Video => 2_048_000,
        };
        Self {
            bitrate,
            linger: LINGER,
            key_frame_interval: keyframes::QUIET,
            on_fault: None,
            on_encoder: None,
        }
    }
}

impl fmt::Debug for IngestSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestSettings")
            .field("bitrate", &self.bitrate)
            .finish_non_exhaustive()
    }
}

/// Counters of one encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodingStats {
    /// What it makes.
    pub codec: Codec,
    /// It runs at the moment.
    pub active: bool,
    /// Factory of the encoder; nothing if the input passes through or nothing runs.
    pub encoder: Option<String>,
    /// Peers that get it.
    pub subscribers: usize,
    /// Bitrate asked of the encoder, in bit/s.
    pub bitrate: u32,
    /// How many times an encoder was started.
    pub starts: u64,
    /// Encoded buffers.
    pub buffers: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Key frames that were asked for by peers.
    pub key_frames_requested: u64,
    /// Requests that went on to the encoder.
    pub key_frames_forwarded: u64,
}

/// Counters of an ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestStats {
    /// Buffers that came in.
    pub buffers_in: u64,
    /// The encodings there are or were.
    pub encodings: Vec<EncodingStats>,
}
