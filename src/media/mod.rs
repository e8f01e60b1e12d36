//! Layer 2c: local media, independent of peers, rooms and networks.
//!
//! * [`Ingest`] takes what one sink pad of an element gets and encodes it *once* per codec, whoever subscribes.
//! * [`Outlet`] hands one remote track to the application, encoded or decoded as downstream wants it.
//! * [`codecs`] and [`encoders`] know the codecs, the elements for them, and the names of missing packages.
//!
//! Streaming threads in here never wait for a peer, and a peer's trouble never becomes a flow return upstream.

pub mod codecs;
pub mod encoders;
mod error;
mod gate;
mod graph;
mod ingest;
pub mod keyframes;
mod outlet;
mod outlet_chain;
mod plugins;
mod properties;
mod tasks;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub use error::MediaError;
pub use ingest::{
    EncoderHook, EncodingStats, Fault, FaultHook, Ingest, IngestSettings, IngestStats, Subscription,
    configure_consumer,
};
pub use outlet::{FaultTextHook, Outlet, Output};
pub use plugins::{make, missing_plugin, package_of};

/// Debug category of this layer.
pub(crate) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "meteredmedia",
        gst::DebugColorFlags::empty(),
        Some("Metered WebRTC: encoding and output of media"),
    )
});
