//! Layer 0: session descriptions. Pure functions over text; no state that outlives a call, no time, no GStreamer.
//!
//! Two SDP worlds meet in this project. The *wire* is what the peer reads and writes; the *internal* world is what
//! webrtcbin sees. Nothing of a peer's text ever reaches webrtcbin: [`check`] turns a description into plain facts,
//! and [`section`] writes the sections of both worlds anew from such facts. Which section is which, in either
//! world, is the business of `core::negotiator::world`.

pub mod check;
pub mod codec;
pub mod model;
pub mod msid;
pub mod payload;
pub mod section;
pub mod transport;

pub use check::{Remote, RemoteSection, SdpError, SectionKind};
pub use model::Sdp;
