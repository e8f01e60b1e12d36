//! What the examples share.

pub mod service;
