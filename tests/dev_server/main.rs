//! The development server, spoken to as a client does: over WebSockets and HTTP on 127.0.0.1.
#![cfg(all(feature = "dev-server", feature = "signalling"))]

mod client;
mod closing;
mod credentials;
mod hooks;
mod http;
mod limits;
mod program;
mod protocol;
mod rest;
mod tls;
