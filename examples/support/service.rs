//! The options by which the examples find the service and prove who they are.

use std::error::Error;
use std::path::PathBuf;

use gstmeteredwebrtc::signalling::{ChannelName, ClientOptions, Credentials};

/// Checks the name of a channel before anything is connected.
pub fn channel(name: &str) -> Result<String, String> {
    ChannelName::new(name)
        .map(|_| name.to_owned())
        .map_err(|error| error.to_string())
}

/// Exactly one of key, token and token command is needed.
#[derive(Default, clap::Args)]
pub struct Service {
    /// Origin of the service, such as wss://rms.metered.ca or ws://localhost:8080
    #[arg(long, env = "METERED_URL", value_name = "ORIGIN")]
    url: Option<String>,
    /// Publishable key, pk_live_…
    #[arg(long, env = "METERED_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Token (JWT), for programs that end before it expires
    #[arg(long, env = "METERED_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Shell command that prints a token; run before every attempt to connect
    #[arg(
        long,
        env = "METERED_TOKEN_COMMAND",
        hide_env_values = true,
        value_name = "COMMAND"
    )]
    token_command: Option<String>,
    /// PEM file with certificate authorities to trust besides those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Service {
    /// Options with everything that is not the service's as by default.
    pub fn options(self) -> Result<ClientOptions, Box<dyn Error>> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let credentials = match (given(self.api_key), given(self.token), given(self.token_command)) {
            (Some(key), None, None) => Credentials::api_key(key),
            (None, Some(token), None) => Credentials::token(token),
            (None, None, Some(command)) => Credentials::token_command(command),
            (None, None, None) => return Err("set --api-key, --token or --token-command".into()),
            _ => return Err("set only one of --api-key, --token and --token-command".into()),
        };
        let mut options = ClientOptions::new(credentials);
        if let Some(url) = given(self.url) {
            options = options.endpoint(url);
        }
        if let Some(file) = self.ca_file {
            options = options.ca_file(file);
        }
        Ok(options)
    }
}
