//! What a client is made with.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::OptionsError;
use crate::core::client::{ClientConfig, CredentialSource, ReconnectOptions};
use crate::net::{DriverOptions, ProxyPolicy, TokenSource};
use crate::wire::{Endpoint, Secret, scrub};

/// What proves to the service who we are: exactly one of these.
pub struct Credentials(Kind);

enum Kind {
    ApiKey(Secret<String>),
    Token(TokenSource),
}

impl Credentials {
    /// A publishable key, `pk_live_…`. The service gives a new peer id on every connection.
    pub fn api_key(key: impl Into<String>) -> Self {
        Self(Kind::ApiKey(Secret::new(key.into())))
    }

    /// Asks the application for a token (JWT) before every attempt to connect; tokens expire, so this is the way for
    /// whatever runs longer than one of them. The function and its future run on the library's network thread, inside
    /// a tokio runtime with IO and time, and must not block. What takes longer than
    /// [`ClientOptions::token_timeout`] is dropped.
    pub fn token_provider<F, R, E>(provider: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, E>> + Send + 'static,
        E: Display,
    {
        let provider = Arc::new(provider);
        Self(Kind::Token(TokenSource::Future(Arc::new(move || {
            let provider = provider.clone();
            Box::pin(async move {
                let token = provider().await;
                token.map(Secret::new).map_err(|error| scrub(&error.to_string()))
            })
        }))))
    }

    /// Runs a shell command before every attempt; the token is what it prints.
    pub fn token_command(command: impl Into<String>) -> Self {
        Self(Kind::Token(TokenSource::Command(command.into())))
    }

    /// The same token every time: for tools that end before it expires.
    pub fn token(token: impl Into<String>) -> Self {
        Self(Kind::Token(TokenSource::Static(Secret::new(token.into()))))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::ApiKey(_) => "ApiKey(***)",
            Kind::Token(_) => "Token(***)",
        })
    }
}

/// Options with the defaults of the vendor's SDKs. Checked by [`super::SignallingClient::new`].
#[derive(Debug)]
pub struct ClientOptions {
    endpoint: Option<String>,
    credentials: Credentials,
    reconnect: ReconnectOptions,
    retry_first_connect: bool,
    auto_resubscribe: bool,
    inactivity_window: Option<Duration>,
    token_timeout: Option<Duration>,
    driver: DriverOptions,
}

impl ClientOptions {
    /// The public service with default options.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            endpoint: None,
            credentials,
            reconnect: ReconnectOptions::default(),
            retry_first_connect: false,
            auto_resubscribe: true,
            inactivity_window: None,
            token_timeout: None,
            driver: DriverOptions::default(),
        }
    }

    /// The origin of the service, such as `wss://rms.metered.ca` (default) or `ws://localhost:8080`. `ws:` is for this
    /// machine only.
    pub fn endpoint(mut self, origin: impl Into<String>) -> Self {
        self.endpoint = Some(origin.into());
        self
    }

    /// Delays and the number of attempts after a lost connection. Default: from 0.5 s doubling to 30 s, ±20 %, 100
    /// attempts; [`ReconnectOptions::attempts`] `None` is for daemons.
    pub fn reconnect(mut self, options: ReconnectOptions) -> Self {
        self.reconnect = options;
        self
    }

    /// Retry a first connect that fails, as if a connection had been lost, for programs that start before their
    /// network. Default: off, as in the SDKs. Refusals that waiting cannot mend end the connect all the same.
    pub fn retry_first_connect(mut self, retry: bool) -> Self {
        self.retry_first_connect = retry;
        self
    }

    /// Subscribe to all channels again after a reconnect. Default: on.
    pub fn auto_resubscribe(mut self, resubscribe: bool) -> Self {
        self.auto_resubscribe = resubscribe;
        self
    }

    /// Silence of the server after which the connection is taken for dead; a third of it is the interval of
    /// heartbeats. Default: 60 s. Zero switches both off.
    pub fn inactivity_window(mut self, window: Duration) -> Self {
        self.inactivity_window = Some(window);
        self
    }

    /// What a token provider may take, more than zero. Default: 10 s.
    pub fn token_timeout(mut self, timeout: Duration) -> Self {
        self.token_timeout = Some(timeout);
        self
    }

    /// Sent as `Origin`, for API keys that are restricted to web origins.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.driver.origin = Some(origin.into());
        self
    }

    /// A PEM file with certificate authorities to trust besides those of the system.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.driver.ca_file = Some(path.into());
        self
    }

    /// Whether a `wss:` server is reached through an HTTP proxy. Default: as `https_proxy`, `all_proxy` and `no_proxy`
    /// in the environment say.
    pub fn proxy(mut self, policy: ProxyPolicy) -> Self {
        self.driver.proxy = policy;
        self
    }

    pub(super) fn into_parts(self, seed: u64) -> Result<(ClientConfig, DriverOptions), OptionsError> {
        let mut driver = self.driver;
        let credential = match self.credentials.0 {
            Kind::ApiKey(key) => CredentialSource::ApiKey(key),
            Kind::Token(source) => {
                driver.token = Some(source);
                CredentialSource::TokenProvider
            }
        };
        let defaults = ClientConfig::new(credential, seed);
        let config = ClientConfig {
            endpoint: match self.endpoint {
                Some(origin) => Endpoint::parse(&origin)?,
                None => defaults.endpoint,
            },
            reconnect: self.reconnect,
            retry_first_connect: self.retry_first_connect,
            auto_resubscribe: self.auto_resubscribe,
            inactivity_window: self.inactivity_window.unwrap_or(defaults.inactivity_window),
            token_timeout: self.token_timeout.unwrap_or(defaults.token_timeout),
            ..defaults
        };
        Ok((config, driver))
    }
}
