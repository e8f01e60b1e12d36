//! The elements in a room, in this process, on the development server: everything real but the distance.
#![cfg(all(feature = "dev-server", feature = "plugin"))]

mod calls;
mod census;
mod churn;
mod decoding;
mod keeping;
mod leaks;
mod lifecycle;
mod refusals;
mod restart;
mod secrets;
mod service;
mod support;
