//! The command line.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;

use super::config::{Action, Config, SecretKey, Tls};
use super::serve::{DevServer, Running, StartError};

/// A local signalling server with the wire protocol of Metered Realtime Messaging, for development and tests.
///
/// Prints `listening <ws-url> <http-url>` as its first line on stdout. Flags win over the configuration file.
#[derive(Parser)]
#[command(name = "metered-dev-server", version)]
pub struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// Port to listen on; 0 picks a free one [default: 8787]
    #[arg(long)]
    port: Option<u16>,
    /// Permit an address that other machines can reach
    #[arg(long)]
    allow_public: bool,
    /// Serve the files of this directory at /
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Channel that /config.json proposes to pages [default: lobby]
    #[arg(long)]
    channel: Option<String>,
    /// Secret key that signs tokens and opens the REST interface
    #[arg(
        long,
        value_name = "ID:SECRET",
        env = "METERED_DEV_SECRET_KEY",
        hide_env_values = true
    )]
    secret_key: Option<String>,
    /// Take `send` from the publishable keys, as the service does by default
    #[arg(long)]
    no_send: bool,
    /// ICE server for every welcome, as a JSON object with `urls`; repeatable
    #[arg(long, value_name = "JSON")]
    ice_server: Vec<String>,
    /// Keep a member whose socket was lost in the roster for this long
    #[arg(long, value_name = "MS")]
    presence_grace_ms: Option<u64>,
    /// Pause between the ack of a subscribe and its snapshot [default: 20]
    #[arg(long, value_name = "MS")]
    snapshot_delay_ms: Option<u64>,
    /// Certificate chain (PEM): serve wss and https
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Say on stderr who connects, and how connections end
    #[arg(long, short)]
    verbose: bool,
    /// Enable the fault-injection requests under /dev/
    #[arg(long)]
    test_hooks: bool,
}

/// Why the program ends with a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The server did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A flag has a value that cannot be used. The value itself may be a secret and is not shown.
    #[error("{flag} wants {wanted}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// The system refused something the program needs.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Arguments {
    /// The configuration these arguments describe.
    pub fn into_config(self) -> Result<Config, RunError> {
        let mut config = self
            .config
            .as_deref()
            .map(Config::from_file)
            .transpose()?
            .unwrap_or_default();
        config.bind = SocketAddr::new(
            self.host.unwrap_or(config.bind.ip()),
            self.port.unwrap_or(config.bind.port()),
        );
        config.allow_public |= self.allow_public;
        config.test_hooks |= self.test_hooks;
        config.verbose |= self.verbose;
        config.page = self.page.or(config.page);
        config.channel = self.channel.unwrap_or(config.channel);
        config.presence_grace_ms = self.presence_grace_ms.unwrap_or(config.presence_grace_ms);
        config.snapshot_delay_ms = self.snapshot_delay_ms.unwrap_or(config.snapshot_delay_ms);
        if let (Some(certificate), Some(key)) = (self.tls_cert, self.tls_key) {
            config.tls = Some(Tls { certificate, key });
        }
        if let Some(pair) = &self.secret_key {
            config.secret_keys.push(parse_secret_key(pair)?);
        }
        if self.no_send {
            for key in &mut config.publishable_keys {
                key.permissions.retain(|action| *action != Action::Send);
            }
        }
        for server in &self.ice_server {
            config.ice_servers.push(parse_ice_server(server)?);
        }
        Ok(config)
    }
}

fn parse_secret_key(pair: &str) -> Result<SecretKey, RunError> {
    match pair.split_once(':') {
        Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok(SecretKey::new(id, secret)),
        _ => Err(RunError::Flag {
            flag: "--secret-key",
            wanted: "ID:SECRET",
        }),
    }
}

fn parse_ice_server(text: &str) -> Result<serde_json::Value, RunError> {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    value
        .filter(|value| value.get("urls").is_some())
        .ok_or(RunError::Flag {
            flag: "--ice-server",
            wanted: "a JSON object with `urls`",
        })
}

/// Serves until SIGINT or SIGTERM, then shuts down gracefully.
pub async fn run(arguments: Arguments) -> Result<(), RunError> {
    let mut terminations = Terminations::new()?;
    let server = DevServer::start(arguments.into_config()?).await?;
    // A script may close its end after the first line.
    let _ = announce(&server, &mut std::io::stdout());
    terminations.wait().await;
    server.shutdown().await;
    Ok(())
}

fn announce(server: &Running, out: &mut impl Write) -> std::io::Result<()> {
    let hub = &server.app().hub;
    writeln!(out, "listening {} {}", server.ws_url(), server.http_url())?;
    writeln!(
        out,
        "This server is for development: do not put real users on it."
    )?;
    if !server.local_addr().ip().is_loopback() {
        writeln!(
            out,
            "WARNING: other machines can reach it, and its publishable key is public."
        )?;
    }
    writeln!(out, "key {}, channel {}", hub.page_key(), hub.config.channel)?;
    if hub.config.test_hooks {
        writeln!(
            out,
            "test hooks are on: anybody who reaches this server can disturb its connections."
        )?;
    }
    out.flush()
}

/// The signals that end the program.
struct Terminations {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Terminations {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }

    #[cfg(not(unix))]
    async fn wait(&mut self) {
        // Without a handler the process ends by itself at Ctrl-C.
        let _ = tokio::signal::ctrl_c().await;
    }
}
