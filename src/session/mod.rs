//! Layer 2: the GStreamer half of one remote peer. GStreamer yes; tokio and the protocol no.
//!
//! A [`PeerSession`] is one generation of one peer: one webrtcbin in a pipeline of its own, and one thread that
//! executes the room's commands one after the other. It is told what to do with
//! [`SessionCommand`](crate::core::io::SessionCommand)s and answers with
//! [`SessionEvent`]s. Encoded media comes in through a [`Feed`] and goes out through an
//! [`Outlet`]; both are somebody else's.

use std::any::Any;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::core::io::{Codec, Generation, SessionEvent, TrackKey};

mod actor;
mod certificate;
mod description;
mod fingerprint;
mod firewall;
mod ice;
mod interfaces;
mod message;
mod nice;
mod no_fec;
mod peer_session;
mod receiving;
mod registry;
mod rtp;
mod sending;
mod text;
mod traffic;
mod transport;
mod webrtcbin;

pub use interfaces::Loopback;
pub use peer_session::PeerSession;
pub use registry::Registry;
pub use rtp::unavailable;
pub use text::missing;
pub use webrtcbin::lacking;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "meteredsession",
        gst::DebugColorFlags::empty(),
        Some("Metered WebRTC peer session"),
    )
});

/// Where the encodings of local tracks come from.
pub trait Feed: Send + Sync {
    /// Lets the encoding of this track and codec flow into the `appsrc`, until the returned guard is dropped. The
    /// first frame must be a key frame, and upstream force-key-unit events on the appsrc's src pad must reach the
    /// encoder: a `StreamProducer`'s `add_consumer` does all of this. Called on the session's thread; must not block.
    fn attach(
        &self,
        track: TrackKey,
        codec: Codec,
        appsrc: &gst_app::AppSrc,
    ) -> Result<Box<dyn Any + Send>, FeedError>;
}

/// Why a track cannot be fed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// No such track, or not any more.
    #[error("there is no such track")]
    UnknownTrack,
    /// The encoding cannot be made; the text says what to do about it (see [`missing`]).
    #[error("{0}")]
    Unavailable(String),
}

/// Where received media goes to. Both functions are called on the session's thread and must not block.
pub trait Outlet: Send + Sync {
    /// Media of this m-line comes out of `producer` from now on. A second call for one mid replaces the first: the
    /// remote has changed its source. Every consumer that is added asks for a key frame by itself.
    fn media(&self, generation: Generation, mid: &str, codec: Codec, producer: gst_utils::StreamProducer);

    /// Nothing more comes on this m-line: no longer routed, ended by the remote, or the session is being disposed.
    /// Every [`Outlet::media`] is followed by one, unless another `media` replaces it.
    fn ended(&self, generation: Generation, mid: &str);
}

/// The time of the element, so that running times agree with those of its pipeline.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The pipeline's clock.
    pub clock: gst::Clock,
    /// The element's base time.
    pub base_time: gst::ClockTime,
}

/// What a session is made with.
pub struct SessionContext {
    /// Number of the peer within its element, for thread names and logs.
    pub peer: u32,
    /// Which webrtcbin of the peer this is.
    pub generation: Generation,
    /// Clock and base time of the element.
    pub timing: Timing,
    /// Size of the jitterbuffers.
    pub latency: Duration,
    /// Whether 127.0.0.1 is a candidate.
    pub loopback: Loopback,
    /// Source of local encodings.
    pub feed: Arc<dyn Feed>,
    /// Sink of remote media.
    pub outlet: Arc<dyn Outlet>,
    /// Takes the session's events, in order, on the session's thread. Must not block: post to the room's queue.
    pub events: Box<dyn Fn(SessionEvent) + Send + Sync>,
    /// Takes what the user should know about the ICE servers, in words to show. Must not block; may be told the same
    /// again.
    pub warn: Box<dyn Fn(String) + Send + Sync>,
    /// Counts this session for as long as it exists.
    pub registry: Registry,
}
