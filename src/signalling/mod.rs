//! The service's signalling connection on its own: many channels, publish and subscribe, direct messages and presence
//! on one WebSocket that comes back by itself. Needs no GStreamer: `--no-default-features --features signalling`.
//!
//! It drives the same state machine as the rooms of the elements ([`crate::core::client`]).
//!
//! ```no_run
//! use gstmeteredwebrtc::signalling::{ClientOptions, Credentials, SignallingClient, SubscribeOptions};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = SignallingClient::new(ClientOptions::new(Credentials::api_key("pk_live_…")))?;
//! let mut messages = client.messages();
//! client.connect().await?;
//! client.subscribe("studio/7", SubscribeOptions::default()).await?;
//! client.publish("studio/7", "hello").await?;
//! while let Some(message) = messages.next().await {
//!     println!("{}: {}", message.from, message.data);
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod event;
mod machine;
mod options;
mod payload;
mod stream;

pub use client::SignallingClient;
pub use error::{ConnectError, OptionsError, RequestError};
pub use event::{
    ConnectFailed, Direct, Disconnected, Event, FrameDropped, GoingAway, Member, Message, Presence,
    ResubscribeFailed, ServerError, StateChanged, TokenProviderError,
};
pub use options::{ClientOptions, Credentials};
pub use stream::Events;

pub use crate::core::client::{
    ClientState, ConnectFailure, Connected, ReconnectOptions, RequestError as Refusal, SubscribeOptions,
};
pub use crate::net::ProxyPolicy;
pub use crate::wire::{ChannelName, CloseCode, IceServer, PeerId};
