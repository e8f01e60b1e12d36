//! The public client against servers and networks that misbehave, on real sockets. Every test asserts the whole
//! sequence of events, that a connect ends exactly once, and that no socket is left.
#![cfg(feature = "signalling")]

#[path = "../common/certificates.rs"]
#[allow(dead_code, reason = "shared with other tests, which use other parts")]
mod certificates;
mod closing;
mod frames;
mod futures;
mod listeners;
mod network;
mod refusals;
mod restart;
mod run;
mod secrets;
mod server;
mod tokens;

use std::time::Duration;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);
