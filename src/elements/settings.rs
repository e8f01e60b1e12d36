//! What the user has set, common to all elements: one table of properties, and its validation.

use std::sync::Mutex;
use std::time::Duration;

use glib::prelude::*;

use crate::wire::secret::Secret;

/// The service's public endpoint.
pub const DEFAULT_URL: &str = "wss://rms.metered.ca";
const ENV_URL: &str = "METERED_URL";
const ENV_API_KEY: &str = "METERED_API_KEY";
const ENV_TOKEN: &str = "METERED_TOKEN";

/// `ice-transport-policy`: which candidates may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMeteredWebRTCIceTransportPolicy")]
pub enum IceTransportPolicy {
    /// Any candidate.
    #[default]
    #[enum_value(name = "All: any candidate", nick = "all")]
    All,
    /// TURN relays only.
    #[enum_value(name = "Relay: TURN relays only", nick = "relay")]
    Relay,
}

/// User values. Strings are kept as given; they are checked in NULL→READY.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `channel`
    pub channel: Option<String>,
    /// `url`
    pub url: Option<String>,
    /// `api-key`
    pub api_key: Option<Secret<String>>,
    /// `token`
    pub token: Option<Secret<String>>,
    /// `token-command`
    pub token_command: Option<String>,
    /// `origin`
    pub origin: Option<String>,
    /// `ca-file`
    pub ca_file: Option<String>,
    /// `include-sender-metadata`
    pub include_sender_metadata: bool,
    /// `auto-reconnect`
    pub auto_reconnect: bool,
    /// `reconnect-initial-delay`
    pub reconnect_initial_delay: Duration,
    /// `reconnect-multiplier`
    pub reconnect_multiplier: f64,
    /// `reconnect-max-delay`
    pub reconnect_max_delay: Duration,
    /// `reconnect-jitter`
    pub reconnect_jitter: f64,
    /// `reconnect-max-attempts`; 0 means for ever.
    pub reconnect_max_attempts: u32,
    /// `inactivity-timeout`; zero switches it off.
    pub inactivity_timeout: Duration,
    /// `token-provider-timeout`
    pub token_provider_timeout: Duration,
    /// `max-peers`
    pub max_peers: u32,
    /// `departure-grace`; zero waits for nobody.
    pub departure_grace: Duration,
    /// `stun-server`
    pub stun_server: Option<String>,
    /// `turn-servers`
    pub turn_servers: Vec<Secret<String>>,
    /// `ice-transport-policy`
    pub ice_transport_policy: IceTransportPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            channel: None,
            url: None,
            api_key: None,
            token: None,
            token_command: None,
            origin: None,
            ca_file: None,
            include_sender_metadata: false,
            auto_reconnect: true,
            reconnect_initial_delay: Duration::from_millis(500),
            reconnect_multiplier: 2.0,
            reconnect_max_delay: Duration::from_secs(30),
            reconnect_jitter: 0.2,
            reconnect_max_attempts: 0,
            inactivity_timeout: Duration::from_secs(60),
            token_provider_timeout: Duration::from_secs(10),
            max_peers: 256,
            departure_grace: Duration::from_secs(30),
            stun_server: None,
            turn_servers: Vec::new(),
            ice_transport_policy: IceTransportPolicy::All,
        }
    }
}

/// The settings as properties, to be appended to an element's own. New ones for each class: a property belongs to one.
pub fn properties() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let mut all = identity_specs();
    all.extend(reconnect_specs(&defaults));
    all.extend(ice_specs(&defaults));
    all
}

fn text(name: &'static str, blurb: &'static str) -> glib::ParamSpecStringBuilder<'static> {
    glib::ParamSpecString::builder(name).blurb(blurb)
}

fn milliseconds(name: &'static str, blurb: &'static str, default: Duration) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name)
        .blurb(blurb)
        .default_value(u32::try_from(default.as_millis()).unwrap_or(u32::MAX))
        .ready_only()
        .build()
}

/// Names the mutability the way gst-inspect shows it.
trait ReadyOnly {
    fn ready_only(self) -> Self;
}
macro_rules! ready_only {
    ($($type:ty),*) => { $(impl ReadyOnly for $type {
        fn ready_only(self) -> Self {
            gst::prelude::GstParamSpecBuilderExt::mutable_ready(self)
        }
    })* };
}
ready_only!(
    glib::ParamSpecStringBuilder<'_>,
    glib::ParamSpecUIntBuilder<'_>,
    glib::ParamSpecDoubleBuilder<'_>,
    glib::ParamSpecBooleanBuilder<'_>
);

fn identity_specs() -> Vec<glib::ParamSpec> {
    vec![
        text("channel", "Channel to join; required").ready_only().build(),
        text(
            "url",
            "Origin of the signalling service, wss://host[:port] (ws:// on loopback only); if unset METERED_URL is \
             read, then it is wss://rms.metered.ca",
        )
        .ready_only()
        .build(),
        text(
            "api-key",
            "Publishable key (pk_…) to join with; write only. Exactly one of api-key, token and token-command; if \
             none is set METERED_API_KEY and METERED_TOKEN are read",
        )
        .write_only()
        .ready_only()
        .build(),
        text("token", "JSON Web Token to join with; write only. Replaced at any time with set-token")
            .write_only()
            .build(),
        text(
            "token-command",
            "Shell command that prints a fresh token on its standard output; run for every connection attempt",
        )
        .ready_only()
        .build(),
        text("origin", "Origin header to send, for keys that are bound to origins")
            .ready_only()
            .build(),
        text("ca-file", "PEM file of certificate authorities to trust in addition to the system's")
            .ready_only()
            .build(),
        glib::ParamSpecBoolean::builder("include-sender-metadata")
            .blurb("Ask for the sender's metadata with every broadcast")
            .ready_only()
            .build(),
    ]
}

fn reconnect_specs(defaults: &Settings) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("auto-reconnect")
            .blurb("Reconnect when the connection to the service is lost, and keep trying at start")
            .default_value(defaults.auto_reconnect)
            .ready_only()
            .build(),
        milliseconds(
            "reconnect-initial-delay",
            "Milliseconds before the first reconnect attempt",
            defaults.reconnect_initial_delay,
        ),
        glib::ParamSpecDouble::builder("reconnect-multiplier")
            .blurb("Factor between the delays of successive attempts")
            .minimum(1.0)
            .maximum(100.0)
            .default_value(defaults.reconnect_multiplier)
            .ready_only()
            .build(),
        milliseconds(
            "reconnect-max-delay",
            "Longest delay between attempts, in milliseconds",
            defaults.reconnect_max_delay,
        ),
        glib::ParamSpecDouble::builder("reconnect-jitter")
            .blurb("Random part of a delay, 0 to 1")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(defaults.reconnect_jitter)
            .ready_only()
            .build(),
        glib::ParamSpecUInt::builder("reconnect-max-attempts")
            .blurb("Attempts before giving up with an error; 0 tries for ever")
            .default_value(defaults.reconnect_max_attempts)
            .ready_only()
            .build(),
        milliseconds(
            "inactivity-timeout",
            "Milliseconds of silence after which the connection counts as lost; 0 switches the check off",
            defaults.inactivity_timeout,
        ),
        milliseconds(
            "token-provider-timeout",
            "Milliseconds that the token source may take",
            defaults.token_provider_timeout,
        ),
    ]
}

fn ice_specs(defaults: &Settings) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("max-peers")
            .blurb("Peers to connect to at most; further ones are ignored")
            .minimum(1)
            .maximum(256)
            .default_value(defaults.max_peers)
            .ready_only()
            .build(),
        milliseconds(
            "departure-grace",
            "Milliseconds for which a peer with these elements stays after the service has lost it, while its media \
             flows; 0 removes it at once",
            defaults.departure_grace,
        ),
        text("stun-server", "STUN server to use instead of the ones that the service names, stun://host:port")
            .ready_only()
            .build(),
        gst::ParamSpecArray::builder("turn-servers")
            .blurb("TURN servers to use instead of the ones that the service names, <\"turn://user:password@host:port?transport=udp\">; write only")
            .element_spec(&glib::ParamSpecString::builder("turn-server").build())
            .flags(glib::ParamFlags::WRITABLE | gst::PARAM_FLAG_MUTABLE_READY)
            .build(),
        glib::ParamSpecEnum::builder_with_default("ice-transport-policy", defaults.ice_transport_policy)
            .blurb("Whether direct paths may be used besides TURN relays")
            .flags(glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_READY)
            .build(),
    ]
}

/// An empty string counts as unset, as in the SDKs.
fn filled(value: &glib::Value) -> Option<String> {
    value
        .get::<Option<String>>()
        .ok()
        .flatten()
        .filter(|text| !text.is_empty())
}

fn duration(value: &glib::Value) -> Duration {
    Duration::from_millis(value.get::<u32>().unwrap_or_default().into())
}

/// Sets a property; `false` if it is none of [`properties`].
pub fn set(settings: &Mutex<Settings>, name: &str, value: &glib::Value) -> bool {
    let mut settings = settings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match name {
        "channel" => settings.channel = filled(value),
        "url" => settings.url = filled(value),
        "api-key" => settings.api_key = filled(value).map(Secret::new),
        "token" => settings.token = filled(value).map(Secret::new),
        "token-command" => settings.token_command = filled(value),
        "origin" => settings.origin = filled(value),
        "ca-file" => settings.ca_file = filled(value),
        "include-sender-metadata" => settings.include_sender_metadata = value.get().unwrap_or_default(),
        "auto-reconnect" => settings.auto_reconnect = value.get().unwrap_or_default(),
        "reconnect-initial-delay" => settings.reconnect_initial_delay = duration(value),
        "reconnect-multiplier" => settings.reconnect_multiplier = value.get().unwrap_or_default(),
        "reconnect-max-delay" => settings.reconnect_max_delay = duration(value),
        "reconnect-jitter" => settings.reconnect_jitter = value.get().unwrap_or_default(),
        "reconnect-max-attempts" => settings.reconnect_max_attempts = value.get().unwrap_or_default(),
        "inactivity-timeout" => settings.inactivity_timeout = duration(value),
        "token-provider-timeout" => settings.token_provider_timeout = duration(value),
        "max-peers" => settings.max_peers = value.get().unwrap_or_default(),
        "departure-grace" => settings.departure_grace = duration(value),
        "stun-server" => settings.stun_server = filled(value),
        "turn-servers" => settings.turn_servers = secrets(value),
        "ice-transport-policy" => settings.ice_transport_policy = value.get().unwrap_or_default(),
        _ => return false,
    }
    true
}

fn secrets(value: &glib::Value) -> Vec<Secret<String>> {
    let Ok(array) = value.get::<gst::ArrayRef>() else {
        return Vec::new();
    };
    array
        .iter()
        .filter_map(|item| item.get::<String>().ok())
        .map(Secret::new)
        .collect()
}

/// Reads a property; secrets cannot be read.
pub fn get(settings: &Mutex<Settings>, name: &str) -> Option<glib::Value> {
    let settings = settings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).to_value();
    Some(match name {
        "channel" => settings.channel.to_value(),
        "url" => settings.url.to_value(),
        "token-command" => settings.token_command.to_value(),
        "origin" => settings.origin.to_value(),
        "ca-file" => settings.ca_file.to_value(),
        "include-sender-metadata" => settings.include_sender_metadata.to_value(),
        "auto-reconnect" => settings.auto_reconnect.to_value(),
        "reconnect-initial-delay" => ms(settings.reconnect_initial_delay),
        "reconnect-multiplier" => settings.reconnect_multiplier.to_value(),
        "reconnect-max-delay" => ms(settings.reconnect_max_delay),
        "reconnect-jitter" => settings.reconnect_jitter.to_value(),
        "reconnect-max-attempts" => settings.reconnect_max_attempts.to_value(),
        "inactivity-timeout" => ms(settings.inactivity_timeout),
        "token-provider-timeout" => ms(settings.token_provider_timeout),
        "max-peers" => settings.max_peers.to_value(),
        "departure-grace" => ms(settings.departure_grace),
        "stun-server" => settings.stun_server.to_value(),
        "ice-transport-policy" => settings.ice_transport_policy.to_value(),
        _ => return None,
    })
}

/// Reads an environment variable; injected so that tests need not change the process.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment; empty variables count as unset.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Who we are towards the service: exactly one of these.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Publishable key.
    ApiKey(Secret<String>),
    /// A token that the application renews with `set-token`.
    Token(Secret<String>),
    /// A command that prints a token.
    Command(String),
}

impl Settings {
    /// The endpoint's origin: property, environment, default.
    pub fn effective_url(&self, env: Env<'_>) -> String {
        self.url
            .clone()
            .or_else(|| env(ENV_URL))
            .unwrap_or_else(|| DEFAULT_URL.to_owned())
    }

    /// Picks the credential, from the properties or else the environment. The error says what to do.
    pub fn credential(&self, env: Env<'_>) -> Result<Credential, String> {
        let set: Vec<(&str, Credential)> = [
            self.api_key
                .clone()
                .map(|key| ("api-key", Credential::ApiKey(key))),
            self.token
                .clone()
                .map(|token| ("token", Credential::Token(token))),
            self.token_command
                .clone()
                .map(|command| ("token-command", Credential::Command(command))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let given = if set.is_empty() { environment(env) } else { set };
        match given.as_slice() {
            [(_, credential)] => Ok(credential.clone()),
            [] => Err(format!(
                "no credential: set api-key (a publishable key, pk_…) or token, or the environment variable \
                 {ENV_API_KEY} or {ENV_TOKEN}"
            )),
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
                Err(format!(
                    "more than one credential is set ({}): keep exactly one",
                    names.join(" and ")
                ))
            }
        }
    }
}

fn environment(env: Env<'_>) -> Vec<(&'static str, Credential)> {
    [
        env(ENV_API_KEY).map(|key| (ENV_API_KEY, Credential::ApiKey(Secret::new(key)))),
        env(ENV_TOKEN).map(|token| (ENV_TOKEN, Credential::Token(Secret::new(token)))),
    ]
    .into_iter()
    .flatten()
    .collect()
}
