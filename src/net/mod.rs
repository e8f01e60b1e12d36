//! Layer 2a: drives a [`crate::core::io::Machine`] on sockets, timers, token sources and name resolution. Knows tokio
//! and TLS, not GStreamer.

mod addresses;
mod connect;
mod dial;
pub mod driver;
mod head;
pub mod proxy;
mod resolve;
mod retry_after;
pub mod runtime;
mod socket;
mod stream;
pub mod tls;
pub mod token;
pub mod tunnel;

pub use driver::{DriverOptions, Ended, Handle, spawn};
pub use proxy::ProxyPolicy;
pub use runtime::Runtime;
pub use tls::TlsOptions;
pub use token::{TokenReply, TokenSource};
pub use tunnel::Tunnels;
