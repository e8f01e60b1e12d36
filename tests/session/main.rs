//! Peer sessions against each other, in one process, over real ICE and DTLS.
#![cfg(feature = "plugin")]

mod descriptions;
mod doubles;
mod harness;
mod media;
#[cfg(feature = "dev-server")]
mod member;
mod restart;
mod sections;
#[cfg(feature = "dev-server")]
mod storm;
mod traffic;
mod trouble;
