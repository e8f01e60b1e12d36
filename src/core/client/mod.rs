//! The SDKs' `SignallingClient` as a state machine: one connection to the service, kept alive and restored, with
//! publish, subscribe and direct messages on it.
//!
//! Follows the contract of [`super::io`], by inherent methods: a room owns a client and forwards to it. The owner
//! may call any command at any time; what is not possible is an error, never a panic.

mod commands;
mod config;
mod connection;
mod event;
mod inbound;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::io::{NetInput, NetOutput, SocketId};
use super::pacer::Pacer;
use super::requests::Requests;
use super::rng::Rng;
use crate::wire::limits::MAX_MESSAGE_SIZE_FALLBACK;
use crate::wire::{ChannelName, IceServer, PeerId};

pub use super::backoff::ReconnectOptions;
pub use super::pacer::Priority;
pub use config::{ClientConfig, ConfigError, CredentialSource};
pub use event::{ClientEvent, ClientState, ConnectFailure, Connected, InvalidState, RequestError};

/// Options of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// Deliver the sender's public metadata with each message.
    pub include_sender_metadata: bool,
}

/// A channel that is to stay subscribed.
#[derive(Debug, Clone, Copy)]
struct Tracked {
    options: SubscribeOptions,
    /// Failed replays on this connection.
    failures: u32,
    /// When to try again.
    retry_at: Option<Instant>,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The token provider has been asked.
    Token { deadline: Instant },
    /// The socket is opening, or the welcome is awaited.
    Opening { deadline: Instant },
    /// Welcomed.
    Live { since: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    id: SocketId,
    phase: Phase,
}

impl Attempt {
    fn has_socket(&self) -> bool {
        !matches!(self.phase, Phase::Token { .. })
    }
}

#[derive(Debug, Clone, Copy)]
struct Keepalive {
    heartbeat: Instant,
    watchdog: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    rng: Rng,
    backoff: Backoff,
    pacer: Pacer,
    requests: Requests,
    state: ClientState,
    /// The only attempt whose facts count.
    attempt: Option<Attempt>,
    last_socket: u64,
    retry_at: Option<Instant>,
    keepalive: Option<Keepalive>,
    /// A welcome was seen since `connect`.
    welcomed: bool,
    token_failures: u32,
    auth_refusals: u32,
    /// When the server has announced its end, and how long it asked us to stay away.
    going_away: Option<(Instant, Duration)>,
    tracked: BTreeMap<ChannelName, Tracked>,
    peer_id: Option<PeerId>,
    max_message_size: usize,
    ice_servers: Vec<IceServer>,
    net: VecDeque<NetOutput>,
    events: VecDeque<ClientEvent>,
}

impl Client {
    /// An idle client.
    pub fn new(config: ClientConfig, now: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            rng: Rng::seeded(config.seed),
            backoff: Backoff::new(config.reconnect.clone()),
            config,
            pacer: Pacer::new(now),
            requests: Requests::default(),
            state: ClientState::Idle,
            attempt: None,
            last_socket: 0,
            retry_at: None,
            keepalive: None,
            welcomed: false,
            token_failures: 0,
            auth_refusals: 0,
            going_away: None,
            tracked: BTreeMap::new(),
            peer_id: None,
            max_message_size: MAX_MESSAGE_SIZE_FALLBACK,
            ice_servers: Vec::new(),
            net: VecDeque::new(),
            events: VecDeque::new(),
        })
    }

    /// The state.
    pub fn state(&self) -> ClientState {
        self.state
    }

    /// Our id on the newest connection, as its welcome said.
    pub fn peer_id(&self) -> Option<&PeerId> {
        self.peer_id.as_ref()
    }

    /// Largest frame the server takes, in bytes.
    pub fn max_message_size(&self) -> usize {
        self.max_message_size
    }

    /// The newest list of ICE servers a welcome has had.
    pub fn ice_servers(&self) -> &[IceServer] {
        &self.ice_servers
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Takes a fact of the network. Facts about anything but the newest attempt are ignored.
    pub fn handle_net(&mut self, now: Instant, input: NetInput) {
        self.handle_net_input(now, input);
        self.flush(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_attempt(now);
        self.expire_keepalive(now);
        while let Some((id, origin)) = self.requests.expire(now) {
            self.request_failed(now, id, origin, RequestError::AckTimeout);
        }
        self.retry_replays(now);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.start_attempt(now);
        }
        self.flush(now);
    }

    /// The next thing to do on the network.
    pub fn poll_net(&mut self) -> Option<NetOutput> {
        self.net.pop_front()
    }

    /// The next thing to tell the owner.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// When [`Client::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let attempt = self.attempt.and_then(|attempt| match attempt.phase {
            Phase::Token { deadline } | Phase::Opening { deadline } => Some(deadline),
            Phase::Live { .. } => None,
        });
        let keepalive = self
            .keepalive
            .map(|keepalive| keepalive.heartbeat.min(keepalive.watchdog));
        let replay = self.tracked.values().filter_map(|tracked| tracked.retry_at).min();
        let sending = self.pacer.deadline().filter(|_| self.live_socket().is_some());
        [
            attempt,
            keepalive,
            replay,
            sending,
            self.retry_at,
            self.requests.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn live_socket(&self) -> Option<SocketId> {
        self.attempt
            .filter(|attempt| matches!(attempt.phase, Phase::Live { .. }))
            .map(|attempt| attempt.id)
    }

    fn set_state(&mut self, to: ClientState) {
        let from = std::mem::replace(&mut self.state, to);
        if from != to {
            self.events.push_back(ClientEvent::StateChanged { from, to });
        }
    }

    /// Hands over to the network whose turn it is.
    fn flush(&mut self, now: Instant) {
        let Some(socket) = self.live_socket() else { return };
        while let Some(frame) = self.pacer.pop(now) {
            if let Some((id, origin)) = frame.request {
                self.requests.sent(now, id, origin);
            }
            self.net.push_back(NetOutput::SendText(socket, frame.text));
        }
    }
}
