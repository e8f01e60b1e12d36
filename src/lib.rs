//! GStreamer elements that make a pipeline a member of a Metered Realtime Messaging room.
//!
//! * `meteredwebrtcsink` publishes what is linked to it to everybody in the room, encoded once.
//! * `meteredwebrtcsrc` has a pad for each track of everybody in the room.
//!
//! Both join the channel, follow presence, negotiate with each peer and reconnect by themselves. Peers are browsers,
//! Python and Flutter programs with the vendor's SDKs, and other pipelines.
//!
//! An application that links this crate instead of installing the plugin calls `plugin_register_static` after
//! `gst::init`. The layers and their rules are in `docs/architecture.md`.

#![cfg_attr(not(feature = "plugin"), allow(dead_code))]

pub mod core;
pub mod sdp;
pub mod wire;

#[cfg(feature = "signalling")]
pub mod net;
#[cfg(feature = "signalling")]
pub mod signalling;

#[cfg(any(test, fuzzing))]
pub mod fuzz;

#[cfg(feature = "plugin")]
pub mod elements;
#[cfg(feature = "plugin")]
pub mod media;
#[cfg(feature = "plugin")]
pub mod session;

#[cfg(feature = "dev-server")]
pub mod dev_server;

#[cfg(feature = "plugin")]
mod plugin;
#[cfg(feature = "plugin")]
pub use plugin::plugin_register_static;
