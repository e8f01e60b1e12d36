//! What a server is started with, from code, a TOML file or flags.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StartError;
use super::pattern::Pattern;

/// The publishable key every server knows unless configured otherwise. Public by nature.
pub const DEV_KEY: &str = "pk_dev";

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Broadcast on a channel.
    Publish,
    /// Be a member of a channel.
    Subscribe,
    /// See who else is a member.
    Presence,
    /// Send direct messages, which carry all WebRTC negotiation.
    Send,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Subscribe, Self::Presence, Self::Send];
}

/// A `pk_…` key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishableKey {
    /// The key itself.
    pub key: String,
    /// Channels it covers.
    #[serde(default = "all_channels")]
    pub channels: Vec<Pattern>,
    /// What it permits. The service leaves `send` off by default; here everything is on.
    #[serde(default = "all_actions")]
    pub permissions: Vec<Action>,
    /// Origins that browsers may come from. `*` is any. An empty list stands for the development rule: no
    /// `Origin` header, a loopback origin, or the IP address this server itself was reached by.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Connections are closed with 4012.
    #[serde(default)]
    pub suspended: bool,
}

impl PublishableKey {
    /// A key for every channel and action.
    pub fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            channels: all_channels(),
            permissions: all_actions(),
            origins: Vec::new(),
            suspended: false,
        }
    }
}

/// A `sk_id_…` / `sk_secret_…` pair: signs tokens and opens the REST interface.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    /// Key id, the `kid` of tokens.
    pub id: String,
    /// The secret; the HMAC key of tokens.
    pub secret: String,
    /// Channels its tokens may cover.
    #[serde(default = "all_channels")]
    pub channels: Vec<Pattern>,
    /// What its tokens may permit.
    #[serde(default = "all_actions")]
    pub permissions: Vec<Action>,
    /// Connections are closed with 4012.
    #[serde(default)]
    pub suspended: bool,
}

impl SecretKey {
    /// A key for every channel and action.
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            channels: all_channels(),
            permissions: all_actions(),
            suspended: false,
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("id", &self.id)
            .field("secret", &"***")
            .finish_non_exhaustive()
    }
}

/// The service's limits. `None` and, for rates, 0 mean unlimited.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest inbound frame in bytes, announced in the welcome; a larger one closes with 1009.
    pub max_message_size: usize,
    /// Sustained messages per second and connection (4011).
    pub messages_per_second: u32,
    /// Messages a connection may send at once.
    pub message_burst: u32,
    /// Channels per connection.
    pub channels: usize,
    /// Concurrent connections (4010).
    pub connections: Option<usize>,
    /// Publishes and sends the server accepts in its lifetime (`over_message_quota`).
    pub message_quota: Option<u64>,
    /// Connection attempts per source address in 60 s (HTTP 429). The service allows 60; off by default here,
    /// because on loopback every client is one address.
    pub connects_per_minute: Option<usize>,
    /// Frames that may wait for one socket before it is closed as a slow consumer (1008).
    pub outbound_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 65_536,
            messages_per_second: 100,
            message_burst: 200,
            channels: 100,
            connections: None,
            message_quota: None,
            connects_per_minute: None,
            outbound_queue: 512,
        }
    }
}

/// Certificate and key files (PEM) for `wss` and `https`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Everything a server is started with.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Permits an address that other machines can reach.
    pub allow_public: bool,
    /// Serves `wss` and `https` instead of `ws` and `http`.
    pub tls: Option<Tls>,
    /// Directory served at `/`.
    pub page: Option<PathBuf>,
    /// Channel that `/config.json` proposes to pages.
    pub channel: String,
    /// Publishable keys; the first is the one `/config.json` names.
    pub publishable_keys: Vec<PublishableKey>,
    /// Secret keys. Without one there are no tokens and no REST interface.
    pub secret_keys: Vec<SecretKey>,
    /// ICE servers put into every welcome, unless the token brings its own. Copied verbatim.
    pub ice_servers: Vec<serde_json::Value>,
    /// The service's limits.
    pub limits: Limits,
    /// How long a member whose socket was lost stays in the roster. 0 announces `left` at once.
    pub presence_grace_ms: u64,
    /// Pause between the ack of a subscribe and its snapshot. Some clients lose a snapshot that arrives in the
    /// same read as the ack; 0 tests whether yours does.
    pub snapshot_delay_ms: u64,
    /// Interval of WebSocket pings.
    pub ping_interval_ms: u64,
    /// A socket that is silent for this long after a ping was due is dropped.
    pub pong_timeout_ms: u64,
    /// `retryAfterMs` of `going_away`.
    pub retry_after_ms: u64,
    /// Closes with 4003 on a subscribe outside the credential's channels instead of answering with an error.
    pub close_on_unauthorized: bool,
    /// Says on stderr who connects, and how connections end.
    pub verbose: bool,
    /// Enables the development-only requests under `/dev/`.
    pub test_hooks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            allow_public: false,
            tls: None,
            page: None,
            channel: "lobby".to_owned(),
            publishable_keys: vec![PublishableKey::new(DEV_KEY)],
            secret_keys: Vec::new(),
            ice_servers: Vec::new(),
            limits: Limits::default(),
            presence_grace_ms: 0,
            snapshot_delay_ms: 20,
            ping_interval_ms: 30_000,
            pong_timeout_ms: 10_000,
            retry_after_ms: 1_000,
            close_on_unauthorized: false,
            verbose: false,
            test_hooks: false,
        }
    }
}

impl Config {
    /// Loopback on a free port: what tests want.
    pub fn ephemeral() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ..Self::default()
        }
    }

    /// Reads a TOML file; absent settings keep their defaults.
    pub fn from_file(path: &Path) -> Result<Self, StartError> {
        let failed = |reason: String| StartError::ConfigFile {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|err| failed(err.to_string()))?;
        toml::from_str(&text).map_err(|err| {
            let line = err
                .span()
                .map_or(1, |span| text[..span.start].lines().count().max(1));
            failed(format!("line {line}: {}", without_values(err.message())))
        })
    }
}

/// Parsers quote the value they do not like, which may be a secret.
fn without_values(message: &str) -> String {
    let pieces = message.split('"').enumerate();
    pieces
        .map(|(number, piece)| if number % 2 == 0 { piece } else { "\"***\"" })
        .collect()
}

fn all_channels() -> Vec<Pattern> {
    vec![Pattern::new("**")]
}

fn all_actions() -> Vec<Action> {
    Action::ALL.to_vec()
}
