//! What a client is made with.

use std::time::Duration;

use crate::core::backoff::ReconnectOptions;
use crate::wire::limits::{
    HEARTBEAT_MIN, HEARTBEATS_PER_WINDOW, INACTIVITY_WINDOW, TIME_LIMIT_MAX, TOKEN_TIMEOUT,
};
use crate::wire::{Endpoint, Secret};

/// Where the credential of an attempt comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// The same publishable key every time.
    ApiKey(Secret<String>),
    /// The token provider is asked for every attempt ([`crate::core::io::NetOutput::FetchToken`]).
    TokenProvider,
}

/// See the fields. [`ClientConfig::new`] has the defaults of the SDKs.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The service.
    pub endpoint: Endpoint,
    /// The credential.
    pub credential: CredentialSource,
    /// Reconnecting.
    pub reconnect: ReconnectOptions,
    /// Treat a failing first connect like a lost connection. The SDKs report it at once instead; an appliance that
    /// starts before its network must not.
    pub retry_first_connect: bool,
    /// Subscribe to all tracked channels again after a reconnect.
    pub auto_resubscribe: bool,
    /// Silence after which the connection is taken for dead; zero switches watchdog and heartbeat off.
    pub inactivity_window: Duration,
    /// What the token provider may take.
    pub token_timeout: Duration,
    /// Seed of jitter and request ids: the only randomness.
    pub seed: u64,
}

/// Why a configuration was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The API key has no characters.
    #[error("the API key is empty; set an API key or a token provider")]
    EmptyApiKey,
    /// See [`ReconnectOptions::problem`].
    #[error("{0}")]
    Reconnect(&'static str),
    /// A token provider that may take no time cannot answer.
    #[error("the token timeout must be greater than zero")]
    TokenTimeout,
}

impl ClientConfig {
    /// The public service with default options.
    pub fn new(credential: CredentialSource, seed: u64) -> Self {
        Self {
            endpoint: Endpoint::default(),
            credential,
            reconnect: ReconnectOptions::default(),
            retry_first_connect: false,
            auto_resubscribe: true,
            inactivity_window: INACTIVITY_WINDOW,
            token_timeout: TOKEN_TIMEOUT,
            seed,
        }
    }

    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if matches!(&self.credential, CredentialSource::ApiKey(key) if key.expose().is_empty()) {
            return Err(ConfigError::EmptyApiKey);
        }
        if self.token_timeout.is_zero() {
            return Err(ConfigError::TokenTimeout);
        }
        self.reconnect
            .problem()
            .map_or(Ok(()), |problem| Err(ConfigError::Reconnect(problem)))
    }

    /// Heartbeat interval and inactivity window, unless they are switched off.
    pub(super) fn keepalive(&self) -> Option<(Duration, Duration)> {
        let window = self.inactivity_window.min(TIME_LIMIT_MAX);
        (!window.is_zero()).then(|| ((window / HEARTBEATS_PER_WINDOW).max(HEARTBEAT_MIN), window))
    }
}
