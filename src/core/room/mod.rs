//! The room: the SDKs' `MeteredPeer` (service protocol §4) over a [`Client`] and one negotiator for each peer.

mod hidden;
mod keeping;
mod peers;
mod reconcile;
mod service;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Client, ClientConfig, ClientState, ConfigError, Priority};
use super::early::EarlySignals;
use super::events::{RoomEvent, RoomInput, RoomOutput, RoomState};
use super::io::{Generation, Machine, NetInput, NetOutput, SessionCommand, SessionConfig, TrackKey};
use super::metadata::TrackQuery;
use super::negotiator::{LocalTrack, NegotiatorConfig, NegotiatorInput, NegotiatorOutput, ReceivePolicy};
use super::peer::RemotePeer;
use super::roster::Roster;
use crate::wire::{ChannelName, DirectPayload, IceServer, Metadata, PeerId, RequestId, RtcSignal, TrackMeta};
use hidden::Hidden;
use reconcile::Reconcile;

/// How a room is made.
#[derive(Debug, Clone)]
pub struct RoomConfig {
    /// The channel.
    pub channel: ChannelName,
    /// The connection to the service.
    pub client: ClientConfig,
    /// What is taken from peers.
    pub receive: ReceivePolicy,
    /// Ask for the sender's metadata with broadcasts.
    pub include_sender_metadata: bool,
    /// Peers beyond this number are ignored.
    pub max_peers: usize,
    /// In place of the welcome's list.
    pub ice_servers: Option<Vec<IceServer>>,
    /// `ice-transport-policy=relay`
    pub relay_only: bool,
    /// How long a peer that has left is waited for while its connection works, if it keeps connections as we do; zero
    /// keeps none.
    pub departure_grace: Duration,
    /// The only randomness.
    pub seed: u64,
}

struct Published {
    track: LocalTrack,
    metadata: Option<Metadata>,
}

/// What a request was for, so that its outcome can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Join,
    Signal,
    Data,
}

/// See the module. Follows the contract of [`super::io`].
pub struct Room {
    config: RoomConfig,
    client: Client,
    state: RoomState,
    own_id: Option<PeerId>,
    /// Our id has changed, and the peers have not been compared since.
    renamed: bool,
    roster: Roster,
    peers: BTreeMap<PeerId, RemotePeer>,
    early: EarlySignals<DirectPayload>,
    published: BTreeMap<TrackKey, Published>,
    ice_servers: Vec<IceServer>,
    /// The list of members of a reconnect is awaited.
    reconcile: Option<Reconcile>,
    requests: BTreeMap<RequestId, Purpose>,
    hidden: Hidden,
    /// The newest generation that any peer has had.
    newest: Generation,
    seed: u64,
    net: VecDeque<NetOutput>,
    outputs: VecDeque<RoomOutput>,
}

impl Room {
    /// A room that has done nothing yet.
    pub fn new(config: RoomConfig, now: Instant) -> Result<Self, ConfigError> {
        let client = Client::new(config.client.clone(), now)?;
        Ok(Self {
            roster: Roster::with_limit(config.max_peers),
            ice_servers: config.ice_servers.clone().unwrap_or_default(),
            seed: config.seed,
            config,
            client,
            state: RoomState::Idle,
            own_id: None,
            renamed: false,
            peers: BTreeMap::new(),
            early: EarlySignals::default(),
            published: BTreeMap::new(),
            reconcile: None,
            requests: BTreeMap::new(),
            hidden: Hidden::default(),
            newest: Generation::default(),
            net: VecDeque::new(),
            outputs: VecDeque::new(),
        })
    }

    /// Panics if more is kept than may be.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check_bounds(&self, candidates: usize) {
        assert!(self.peers.len() <= self.config.max_peers && self.peers.len() == self.roster.len());
        assert!(self.hidden.len() <= hidden::QUESTIONS_MAX);
        assert!(self.peers.values().all(|peer| peer.held() <= candidates));
        assert!(self.state != RoomState::Closed || (self.peers.is_empty() && self.requests.is_empty()));
    }

    /// Since when the oldest offer waits for its answer.
    #[cfg(test)]
    pub(crate) fn oldest_offer(&self) -> Option<Instant> {
        self.peers.values().filter_map(RemotePeer::offer_since).min()
    }

    /// Who gives way when two offers meet.
    #[cfg(test)]
    pub(crate) fn is_polite(&self, peer: &str) -> Option<bool> {
        let mut all = self.peers.iter();
        all.find_map(|(id, known)| (id.as_str() == peer).then(|| known.is_polite()))
    }

    fn event(&mut self, event: RoomEvent) {
        self.outputs.push_back(RoomOutput::Event(event));
    }

    fn set_state(&mut self, to: RoomState) {
        let from = std::mem::replace(&mut self.state, to);
        if from != to {
            self.event(RoomEvent::StateChanged(from, to));
        }
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, RoomState::Leaving | RoomState::Closed)
    }

    fn negotiator_config(&mut self, peer: &PeerId) -> NegotiatorConfig {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        NegotiatorConfig {
            polite: self.own_id.as_ref().is_some_and(|own| own < peer),
            receive: self.config.receive.clone(),
            session: self.session_config(),
            keeps: !self.config.departure_grace.is_zero(),
            seed: self.seed,
        }
    }

    fn session_config(&self) -> SessionConfig {
        SessionConfig {
            ice_servers: self.ice_servers.clone(),
            relay_only: self.config.relay_only,
        }
    }

    /// Drains the machines below until nothing moves any more.
    fn pump(&mut self, now: Instant) {
        loop {
            let mut moved = self.remove_lost(now);
            while let Some(event) = self.client.poll_event() {
                moved = true;
                self.on_client(now, event);
            }
            let ids: Vec<PeerId> = self.peers.keys().cloned().collect();
            for id in ids {
                moved |= self.drain_peer(now, &id);
            }
            if !moved {
                return;
            }
        }
    }

    fn drain_peer(&mut self, now: Instant, id: &PeerId) -> bool {
        let mut moved = false;
        while let Some(output) = self.peers.get_mut(id).and_then(RemotePeer::poll) {
            moved = true;
            self.on_negotiator(now, id, output);
        }
        moved
    }

    fn on_negotiator(&mut self, now: Instant, id: &PeerId, output: NegotiatorOutput) {
        match output {
            NegotiatorOutput::Signal(signal) => self.send_signal(now, id, &signal),
            NegotiatorOutput::Session(generation, command) => {
                if let SessionCommand::Create(_) = command {
                    self.newest = self.newest.max(generation);
                }
                self.outputs
                    .push_back(RoomOutput::Session(id.clone(), generation, command));
            }
            NegotiatorOutput::State(state) => {
                if let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.state != state) {
                    peer.state = state;
                    self.event(RoomEvent::PeerStateChanged(id.clone(), state));
                }
            }
            NegotiatorOutput::TrackAdded(track) => {
                let Some(peer) = self.peers.get(id) else { return };
                let query = TrackQuery {
                    kind: track.kind,
                    track_id: track.track_id.as_deref(),
                    stream_id: track.stream_id.as_deref(),
                };
                let signalled: Vec<&str> = track.signalled.iter().map(String::as_str).collect();
                let metadata = peer.tracks.find(query, &signalled).cloned();
                let peer_metadata = peer.metadata.clone();
                self.event(RoomEvent::TrackAdded {
                    peer: id.clone(),
                    peer_metadata,
                    track,
                    metadata,
                });
            }
            NegotiatorOutput::TrackRemoved(generation, mid) => {
                self.event(RoomEvent::TrackRemoved {
                    peer: id.clone(),
                    generation,
                    mid,
                });
            }
            NegotiatorOutput::Problem(problem) => {
                self.event(RoomEvent::NegotiationError(id.clone(), problem));
            }
        }
    }

    fn send_signal(&mut self, now: Instant, to: &PeerId, signal: &RtcSignal) {
        // Not delivered while disconnected: after the reconnect there are fresh descriptions, on the connection there
        // is or on a new one.
        let priority = match signal {
            RtcSignal::Description { .. } => Priority::Description,
            _ => Priority::Candidate,
        };
        self.signal(now, to, &signal.to_data(), priority);
    }

    fn signal(&mut self, now: Instant, to: &PeerId, data: &Value, priority: Priority) {
        if self.is_away(to) {
            // The service would refuse it. What matters is repeated when the peer is back.
            return;
        }
        if let Ok(request) = self.client.send(now, to, data, priority) {
            self.requests.insert(request, Purpose::Signal);
        }
    }

    fn send_metadata(&mut self, now: Instant, to: &PeerId, key: TrackKey) {
        if let Some(meta) = self.track_meta(key) {
            self.signal(now, to, &meta.to_data(), Priority::Metadata);
        }
    }

    /// What is said about a track, if anything.
    fn track_meta(&self, key: TrackKey) -> Option<TrackMeta> {
        let published = self.published.get(&key)?;
        let metadata = published.metadata.clone()?;
        Some(TrackMeta {
            track_id: published.track.track_id.clone(),
            metadata: Some(metadata),
            kind: Some(published.track.kind.as_str().to_owned()),
            stream_id: Some(published.track.stream_id.clone()),
        })
    }

    fn add_track(&mut self, now: Instant, track: LocalTrack, metadata: Option<Metadata>) {
        let key = track.key;
        match self.published.get(&key) {
            // Its caps have changed, the codecs it can be sent with have not: nothing to negotiate.
            Some(known) if known.track == track && known.metadata == metadata => return,
            Some(_) => self.remove_track(now, key),
            None => {}
        }
        self.published.insert(key, Published { track, metadata });
        self.check_metadata(key);
        let peers: Vec<PeerId> = self.peers.keys().cloned().collect();
        for peer in peers {
            self.publish(now, &peer, key);
        }
    }

    /// What no frame can carry is left out, and said once.
    fn check_metadata(&mut self, key: TrackKey) {
        let limit = self.client.max_message_size();
        let Some(size) = self.track_meta(key).map(|meta| meta.to_data().to_string().len()) else {
            return;
        };
        let Some(published) = self.published.get_mut(&key).filter(|_| size > limit) else {
            return;
        };
        published.metadata = None;
        let text = format!(
            "the metadata of track {} is too large for the service ({size} bytes, at most {limit}) and is not sent:              make it smaller",
            published.track.track_id
        );
        self.event(RoomEvent::Warning { text });
    }

    fn remove_track(&mut self, now: Instant, key: TrackKey) {
        let Some(published) = self.published.remove(&key) else {
            return;
        };
        let peers: Vec<PeerId> = self.peers.keys().cloned().collect();
        for id in peers {
            if published.metadata.is_some() {
                let meta = TrackMeta {
                    track_id: published.track.track_id.clone(),
                    metadata: None,
                    kind: None,
                    stream_id: None,
                };
                self.signal(now, &id, &meta.to_data(), Priority::Metadata);
            }
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.handle(now, NegotiatorInput::RemoveTrack(key));
            }
        }
    }

    fn send_data(&mut self, now: Instant, to: Option<String>, data: Value) {
        if self.state != RoomState::Joined {
            let message = "data can be sent only while joined".to_owned();
            return self.event(RoomEvent::ServerError {
                code: "not_joined".to_owned(),
                message,
            });
        }
        let sent = match to {
            None => self.client.publish(now, &self.config.channel.clone(), &data),
            Some(to) => match PeerId::new(&to) {
                Ok(peer) if Some(&peer) == self.own_id.as_ref() => {
                    let message = "a member cannot send to itself".to_owned();
                    return self.event(RoomEvent::ServerError {
                        code: "self_send".to_owned(),
                        message,
                    });
                }
                Ok(peer) => self.client.send(now, &peer, &data, Priority::Data),
                Err(error) => {
                    let message = format!("`{to}` is no peer id: {error}");
                    return self.event(RoomEvent::ServerError {
                        code: "invalid_args".to_owned(),
                        message,
                    });
                }
            },
        };
        match sent {
            Ok(request) => {
                self.requests.insert(request, Purpose::Data);
            }
            Err(error) => {
                let message = error.to_string();
                self.event(RoomEvent::ServerError {
                    code: service::error_code(&error),
                    message,
                });
            }
        }
    }

    fn fatal(&mut self, now: Instant, code: &str, text: String) {
        if !self.is_ending() {
            self.event(RoomEvent::Fatal {
                code: code.to_owned(),
                text,
            });
            self.leave(now);
        }
    }

    fn leave(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        self.set_state(RoomState::Leaving);
        let farewells = self.farewells();
        let peers: Vec<PeerId> = self.peers.keys().cloned().collect();
        for peer in peers {
            self.remove_peer(now, &peer);
        }
        for (peer, connection) in farewells {
            self.say_farewell(now, &peer, &connection);
        }
        self.published.clear();
        self.early.clear();
        self.reconcile = None;
        self.hidden.clear();
        self.requests.clear();
        self.roster.clear();
        self.client.close();
        if self.client.state() == ClientState::Closed || self.client.state() == ClientState::Idle {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if self.state != RoomState::Closed {
            self.set_state(RoomState::Closed);
            let peer_id = self.own_id.clone();
            self.event(RoomEvent::Left { peer_id });
        }
    }
}

impl Machine for Room {
    type Input = RoomInput;
    type Output = RoomOutput;

    fn handle_net(&mut self, now: Instant, input: NetInput) {
        if self.is_finished() {
            return;
        }
        match input {
            NetInput::Resolved(id, addresses) => self.on_resolved(now, id, &addresses),
            NetInput::AddressesChanged(addresses) => self.on_addresses(now, addresses),
            input => self.client.handle_net(now, input),
        }
        self.pump(now);
    }

    fn handle_input(&mut self, now: Instant, input: RoomInput) {
        if self.is_finished() {
            return;
        }
        match input {
            RoomInput::Join if self.state == RoomState::Idle => {
                self.set_state(RoomState::Joining);
                // Legal: the client is idle until the first Join.
                let _ = self.client.connect(now);
            }
            RoomInput::Join => {}
            RoomInput::AddTrack(track, metadata) => self.add_track(now, track, metadata),
            RoomInput::RemoveTrack(key) => self.remove_track(now, key),
            RoomInput::Send(data) => self.send_data(now, None, data),
            RoomInput::SendTo(to, data) => self.send_data(now, Some(to), data),
            RoomInput::RestartIce(peer) => self.restart_ice(now, peer.as_deref()),
            RoomInput::Session(peer, generation, event) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.handle(now, NegotiatorInput::Session(generation, event));
                }
            }
            RoomInput::Leave => self.leave(now),
        }
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        self.early.handle_timeout(now);
        self.expire_reconcile(now);
        for peer in self.peers.values_mut() {
            peer.handle_timeout(now);
        }
        self.pump(now);
    }

    fn poll_net(&mut self) -> Option<NetOutput> {
        self.net.pop_front().or_else(|| self.client.poll_net())
    }

    fn poll_output(&mut self) -> Option<RoomOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let peers = self.peers.values().filter_map(RemotePeer::poll_timeout);
        peers
            .chain(self.client.poll_timeout())
            .chain(self.early.poll_timeout())
            .chain(self.reconcile.as_ref().and_then(Reconcile::deadline))
            .min()
    }

    fn is_finished(&self) -> bool {
        self.state == RoomState::Closed
    }
}
