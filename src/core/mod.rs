//! Layer 1: the room as state machines. Events, time and randomness go in, actions come out.
//!
//! Nothing in here reads a clock, opens a socket, starts a thread, or knows GStreamer, so every behaviour can be
//! replayed from a seed. `tests/layering.rs` enforces it.

pub mod backlog;
pub mod backoff;
pub mod client;
pub mod early;
pub mod events;
pub mod io;
mod liveness;
pub mod metadata;
pub mod negotiator;
pub mod pacer;
mod peer;
pub mod requests;
pub mod rng;
pub mod room;
pub mod roster;
mod shown;
