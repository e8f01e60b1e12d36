//! From what the user has set to what the room and the driver are made with. Every refusal says what to do.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::settings::{Credential, Env, IceTransportPolicy, Settings};
use crate::core::backoff::ReconnectOptions;
use crate::core::client::{ClientConfig, CredentialSource};
use crate::core::negotiator::ReceivePolicy;
use crate::core::room::RoomConfig;
use crate::net::{DriverOptions, TokenReply, TokenSource};
use crate::wire::{ChannelName, Endpoint, IceServer, Secret};

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    setting: bool,
    text: String,
}

impl Refusal {
    /// The user's settings are wrong.
    pub fn setting(text: impl Into<String>) -> Self {
        Self {
            setting: true,
            text: text.into(),
        }
    }

    /// Something the element needs is not there.
    pub fn failed(text: impl Into<String>) -> Self {
        Self {
            setting: false,
            text: text.into(),
        }
    }

    /// Posts the error on the bus.
    pub fn post(self, element: &gst::Element) -> gst::StateChangeError {
        if self.setting {
            gst::element_error!(element, gst::ResourceError::Settings, ("{}", self.text));
        } else {
            gst::element_error!(element, gst::ResourceError::Failed, ("{}", self.text));
        }
        gst::StateChangeError
    }
}

/// The newest token, shared with the driver: `set-token` replaces it while the element runs.
#[derive(Debug, Clone, Default)]
pub struct TokenSlot(Arc<Mutex<Option<Secret<String>>>>);

impl TokenSlot {
    /// Replaces the token; the next connection attempt uses it.
    pub fn set(&self, token: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Secret::new(token));
    }

    fn get(&self) -> Option<Secret<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Checks what can be checked without touching the network.
pub fn check(settings: &Settings, env: Env<'_>) -> Result<(), Refusal> {
    channel(settings)?;
    endpoint(settings, env)?;
    settings.credential(env).map_err(Refusal::setting)?;
    reconnect(settings)?;
    turn_override(settings)?;
    Ok(())
}

/// Puts everything together.
pub fn assemble(
    settings: &Settings,
    env: Env<'_>,
    receive: ReceivePolicy,
    tokens: &TokenSlot,
) -> Result<(RoomConfig, DriverOptions), Refusal> {
    let seed = fastrand::u64(..);
    let (credential, source) = credential(settings.credential(env).map_err(Refusal::setting)?, tokens);
    let client = ClientConfig {
        endpoint: endpoint(settings, env)?,
        reconnect: reconnect(settings)?,
        retry_first_connect: settings.auto_reconnect,
        inactivity_window: settings.inactivity_timeout,
        token_timeout: settings.token_provider_timeout,
        ..ClientConfig::new(credential, seed)
    };
    client
        .validate()
        .map_err(|error| Refusal::setting(error.to_string()))?;
    let room = RoomConfig {
        channel: channel(settings)?,
        client,
        receive,
        include_sender_metadata: settings.include_sender_metadata,
        max_peers: settings.max_peers as usize,
        ice_servers: turn_override(settings)?,
        relay_only: settings.ice_transport_policy == IceTransportPolicy::Relay,
        departure_grace: settings.departure_grace,
        seed: seed.rotate_left(17),
    };
    let driver = DriverOptions {
        origin: settings.origin.clone(),
        ca_file: settings.ca_file.clone().map(PathBuf::from),
        token: source,
        ..DriverOptions::default()
    };
    Ok((room, driver))
}

fn channel(settings: &Settings) -> Result<ChannelName, Refusal> {
    let name = settings.channel.as_deref().ok_or_else(|| {
        Refusal::setting("no channel is set: say which room to join, for example channel=lobby")
    })?;
    ChannelName::new(name).map_err(|error| {
        Refusal::setting(format!(
            "channel `{}` cannot be joined: {error}",
            name.escape_debug()
        ))
    })
}

fn endpoint(settings: &Settings, env: Env<'_>) -> Result<Endpoint, Refusal> {
    let url = settings.effective_url(env);
    Endpoint::parse(&url).map_err(|error| {
        Refusal::setting(format!(
            "url is not usable: {error}. It is an origin such as wss://rms.metered.ca; ws:// works with localhost only"
        ))
    })
}

fn reconnect(settings: &Settings) -> Result<ReconnectOptions, Refusal> {
    let options = ReconnectOptions {
        enabled: settings.auto_reconnect,
        initial: settings.reconnect_initial_delay,
        multiplier: settings.reconnect_multiplier,
        max: settings.reconnect_max_delay,
        jitter: settings.reconnect_jitter,
        attempts: (settings.reconnect_max_attempts > 0).then_some(settings.reconnect_max_attempts),
    };
    match options.problem() {
        Some(problem) => Err(Refusal::setting(problem)),
        None => Ok(options),
    }
}

fn credential(credential: Credential, tokens: &TokenSlot) -> (CredentialSource, Option<TokenSource>) {
    match credential {
        Credential::ApiKey(key) => (CredentialSource::ApiKey(key), None),
        Credential::Command(command) => (
            CredentialSource::TokenProvider,
            Some(TokenSource::Command(command)),
        ),
        Credential::Token(token) => {
            let tokens = tokens.clone();
            let newest =
                move |reply: TokenReply| reply.reply(Ok(tokens.get().unwrap_or_else(|| token.clone())));
            (
                CredentialSource::TokenProvider,
                Some(TokenSource::Callback(Arc::new(newest))),
            )
        }
    }
}

/// `stun-server` and `turn-servers` in the form of the welcome's list; none of them set leaves the welcome's.
fn turn_override(settings: &Settings) -> Result<Option<Vec<IceServer>>, Refusal> {
    if settings.stun_server.is_none() && settings.turn_servers.is_empty() {
        return Ok(None);
    }
    let mut servers = Vec::new();
    if let Some(stun) = &settings.stun_server {
        let host = stun
            .strip_prefix("stun://")
            .or_else(|| stun.strip_prefix("stun:"));
        let host = host.ok_or_else(|| Refusal::setting("stun-server must look like stun://host:port"))?;
        servers.push(IceServer {
            urls: vec![format!("stun:{host}")],
            username: None,
            credential: None,
        });
    }
    for turn in &settings.turn_servers {
        servers.push(turn_server(turn.expose()).ok_or_else(|| {
            Refusal::setting("each of turn-servers must look like turn://user:password@host:port?transport=udp, with user and password percent-encoded")
        })?);
    }
    Ok(Some(servers))
}

fn turn_server(text: &str) -> Option<IceServer> {
    let (scheme, rest) = text.split_once("://")?;
    if !matches!(scheme, "turn" | "turns") {
        return None;
    }
    let (user, host) = rest.rsplit_once('@')?;
    let (name, password) = user.split_once(':')?;
    if name.is_empty() || password.is_empty() || host.is_empty() {
        return None;
    }
    Some(IceServer {
        urls: vec![format!("{scheme}:{host}")],
        username: Some(Secret::new(decode(name)?)),
        credential: Some(Secret::new(decode(password)?)),
    })
}

/// Percent-decoding of user names and passwords (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_env(_: &str) -> Option<String> {
        None
    }

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings {
            channel: Some("lobby".to_owned()),
            api_key: Some(Secret::new("pk_live_x".to_owned())),
            ..Settings::default()
        };
        change(&mut settings);
        match check(&settings, &no_env) {
            Ok(()) => String::new(),
            Err(refusal) => refusal.text,
        }
    }

    #[test]
    fn each_wrong_setting_says_what_to_do() {
        assert_eq!(refused(|_| ()), "");
        assert!(refused(|s| s.channel = None).contains("channel=lobby"));
        assert!(refused(|s| s.channel = Some("_Metered/x".to_owned())).contains("reserved"));
        assert!(refused(|s| s.url = Some("http://x".to_owned())).contains("wss://"));
        assert!(refused(|s| s.url = Some("ws://example.org".to_owned())).contains("localhost"));
        assert!(refused(|s| s.api_key = None).contains("api-key"));
        assert!(refused(|s| s.token = Some(Secret::new("t".to_owned()))).contains("api-key and token"));
        assert!(refused(|s| s.turn_servers = vec![Secret::new("turn:h".to_owned())]).contains("turn://user"));
        assert!(refused(|s| s.stun_server = Some("h:1".to_owned())).contains("stun://"));
    }

    #[test]
    fn the_environment_stands_in_for_what_is_unset() {
        let settings = Settings {
            channel: Some("lobby".to_owned()),
            ..Settings::default()
        };
        let env = |name: &str| match name {
            "METERED_API_KEY" => Some("pk_env".to_owned()),
            "METERED_URL" => Some("wss://example.org".to_owned()),
            _ => None,
        };
        assert_eq!(check(&settings, &env), Ok(()));
        assert_eq!(settings.effective_url(&env), "wss://example.org");
        let both = |_: &str| Some("wss://example.org".to_owned());
        assert!(
            check(&settings, &both)
                .unwrap_err()
                .text
                .contains("METERED_API_KEY and METERED_TOKEN")
        );
    }

    #[test]
    fn turn_servers_are_taken_apart() {
        let server = turn_server("turn://a%3Ab:p%40ss@[::1]:3478?transport=tcp").unwrap();
        assert_eq!(server.urls, ["turn:[::1]:3478?transport=tcp"]);
        assert_eq!(server.username.unwrap().expose(), "a:b");
        assert_eq!(server.credential.unwrap().expose(), "p@ss");
        assert_eq!(turn_server("turn://user@host"), None);
        assert_eq!(turn_server("http://a:b@host"), None);
    }
}
