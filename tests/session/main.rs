//! Peer sessions against each other, in one process, over real ICE and DTLS.
#![cfg(feature = "plugin")]

mod descriptions;
mod doubles;
mod harness;
mod media;
mod restart;
mod sections;
mod traffic;
mod trouble;
