//! Tests: a model of webrtcbin, two negotiators on a bad network, scripted peers.

mod addresses;
pub mod bin;
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
