//! `metered-dev-server`: the service's wire protocol on loopback, for development and tests.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gstmeteredwebrtc::dev_server::{Claims, Config, DevServer, SecretKey};
//!
//! let key = SecretKey::new("sk_id_test", "sk_secret_test");
//! let server = DevServer::start(Config { secret_keys: vec![key.clone()], ..Config::ephemeral() }).await?;
//! let token = Claims::new("cam-3", 60).sign(&key)?;
//! println!("{}/v1?token={token}", server.ws_url());
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! It knows one process, keeps everything in memory and is meant for one machine. Where the service's documents are
//! silent it decides as follows: a snapshot leaves out the subscriber itself; a member without the `presence`
//! permission is seen by others but is told nothing; a key with an origin list refuses clients without an `Origin`
//! header; a token whose channels exceed its key's is closed with 4003; the members' list over REST needs
//! `presence`; kicking an unknown peer is 404.

mod cli;
mod codes;
mod config;
mod dispatch;
mod frames;
mod grant;
mod hooks;
mod hub;
mod limits;
mod names;
mod page;
mod pattern;
mod problem;
mod rest;
mod rooms;
mod serve;
mod socket;
mod state;
mod token;
mod upgrade;

pub use cli::{Arguments, RunError, run};
pub use config::{Action, Config, DEV_KEY, Limits, PublishableKey, SecretKey, Tls};
pub use pattern::Pattern;
pub use serve::{DevServer, Running, StartError};
pub use token::Claims;
