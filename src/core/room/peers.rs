//! The peers of the room: who comes, who goes, what they say.

use std::net::IpAddr;
use std::time::Instant;

use serde_json::Value;

use super::Room;
use super::hidden::Hidden;
use crate::core::events::{DataKind, RoomEvent};
use crate::core::io::{NetInput, NetOutput, TrackKey};
use crate::core::negotiator::NegotiatorInput;
use crate::core::peer::RemotePeer;
use crate::wire::{DirectPayload, IceCandidate, Metadata, PeerId, RtcSignal, TrackMeta};

impl Room {
    pub(super) fn add_peer(&mut self, now: Instant, id: PeerId) {
        let metadata = self.roster.metadata(&id).cloned();
        let config = self.negotiator_config(&id);
        self.peers.insert(
            id.clone(),
            RemotePeer::new(metadata.clone(), config, self.newest, now),
        );
        self.event(RoomEvent::PeerJoined(id.clone(), metadata));
        self.publish_all(now, &id);
        self.take_early(now, &id);
    }

    pub(super) fn remove_peer(&mut self, now: Instant, id: &PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.handle(now, NegotiatorInput::Close);
            self.drain_peer(now, id);
            self.peers.remove(id);
            self.hidden.forget(id);
            self.client.forget_peer(id);
            self.event(RoomEvent::PeerLeft(id.clone()));
        }
    }

    /// A new connection for a peer that stayed while we were away (service protocol §4.6).
    pub(super) fn swap_peer(&mut self, now: Instant, id: &PeerId) {
        let config = self.negotiator_config(id);
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.swap(config, now);
        self.hidden.forget(id);
        self.drain_peer(now, id);
        self.event(RoomEvent::ConnectionReset(id.clone()));
        self.publish_all(now, id);
    }

    /// The application wants a new path to this peer, or to all.
    pub(super) fn restart_ice(&mut self, now: Instant, to: Option<&str>) {
        for (id, peer) in &mut self.peers {
            if to.is_none_or(|to| to == id.as_str()) {
                peer.handle(now, NegotiatorInput::RestartIce);
            }
        }
    }

    /// This machine has other addresses. The connection to the service may be gone, too.
    pub(super) fn on_addresses(&mut self, now: Instant, addresses: Vec<IpAddr>) {
        for peer in self.peers.values_mut() {
            peer.handle(now, NegotiatorInput::AddressesChanged(addresses.clone()));
        }
        self.client.handle_net(now, NetInput::AddressesChanged(addresses));
    }

    /// What a peer said about itself before it was known to be there.
    pub(super) fn take_early(&mut self, now: Instant, id: &PeerId) {
        for payload in self.early.take(now, id) {
            self.on_payload(now, id, payload);
        }
    }

    /// Metadata first: receivers look it up once, when the offer brings the track (service protocol §6.3).
    fn publish_all(&mut self, now: Instant, id: &PeerId) {
        let keys: Vec<TrackKey> = self.published.keys().copied().collect();
        for key in keys {
            self.publish(now, id, key);
        }
    }

    pub(super) fn publish(&mut self, now: Instant, id: &PeerId, key: TrackKey) {
        self.send_metadata(now, id, key);
        let Some(track) = self.published.get(&key).map(|published| published.track.clone()) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(id) {
            peer.handle(now, NegotiatorInput::AddTrack(track));
        }
    }

    pub(super) fn on_direct(
        &mut self,
        now: Instant,
        from: PeerId,
        data: Value,
        metadata: Option<Metadata>,
        size: usize,
    ) {
        if self.is_ending() {
            return;
        }
        match DirectPayload::classify(data) {
            DirectPayload::Data(data) => {
                // Direct data of strangers is dropped, as in the SDKs: the roster is the only boundary (§4.9).
                if self.peers.contains_key(&from) {
                    let from = from.as_str().to_owned();
                    self.event(RoomEvent::Data {
                        from,
                        known: true,
                        kind: DataKind::Direct,
                        data,
                        metadata,
                    });
                }
            }
            DirectPayload::NearMiss(_) => {}
            DirectPayload::Farewell(connection) => self.on_farewell(&connection),
            payload if self.peers.contains_key(&from) && !self.is_away(&from) => {
                self.on_payload(now, &from, payload)
            }
            payload => {
                // A first offer that is lost here would never be repeated (service protocol §4.9).
                self.early.hold(now, &from, payload, size);
            }
        }
    }

    fn on_payload(&mut self, now: Instant, from: &PeerId, payload: DirectPayload) {
        match payload {
            DirectPayload::Signal(RtcSignal::Candidate(candidate)) => self.on_candidate(now, from, candidate),
            DirectPayload::Signal(RtcSignal::Description { kind, sdp }) => {
                self.hidden.renewed(from);
                self.tell(now, from, NegotiatorInput::Description(kind, sdp));
            }
            DirectPayload::Signal(RtcSignal::EndOfCandidates) => {
                if self.hidden.end(from) {
                    self.tell(now, from, NegotiatorInput::EndOfCandidates);
                }
            }
            DirectPayload::TrackMeta(meta) => self.on_track_meta(now, from, meta),
            DirectPayload::Data(_) | DirectPayload::NearMiss(_) | DirectPayload::Farewell(_) => {}
        }
    }

    fn on_track_meta(&mut self, now: Instant, from: &PeerId, meta: TrackMeta) {
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        if meta.metadata.is_some() {
            peer.handle(now, NegotiatorInput::ExpectOffer);
        }
        peer.tracks.apply(meta);
    }

    fn on_candidate(&mut self, now: Instant, from: &PeerId, candidate: IceCandidate) {
        let Some(host) = Hidden::host(&candidate.candidate).map(str::to_owned) else {
            return self.tell(now, from, NegotiatorInput::Candidate(candidate));
        };
        if let Some(id) = self.hidden.ask(from, candidate) {
            self.net.push_back(NetOutput::Resolve { id, host });
        }
    }

    pub(super) fn on_resolved(&mut self, now: Instant, id: u64, addresses: &[IpAddr]) {
        let Some((from, candidate)) = self.hidden.answered(id, addresses) else {
            return;
        };
        if let Some(candidate) = candidate {
            self.tell(now, &from, NegotiatorInput::Candidate(candidate));
        }
        if self.hidden.is_over(&from) {
            self.tell(now, &from, NegotiatorInput::EndOfCandidates);
        }
    }

    fn tell(&mut self, now: Instant, peer: &PeerId, input: NegotiatorInput) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.handle(now, input);
        }
    }
}
