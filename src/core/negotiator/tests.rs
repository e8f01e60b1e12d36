//! Tests: a model of webrtcbin, two negotiators on a bad network, scripted peers.

#![allow(clippy::indexing_slicing)]

mod addresses;
pub mod bin;
mod bundling;
mod checklist;
mod churn;
mod golden;
mod hostile;
mod layout;
pub mod pair;
mod peer;
mod renumbering;
mod restart;
mod scenario;
mod silence;
