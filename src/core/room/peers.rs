//! The peers of the room: who comes, who goes, what they say.

use std::net::IpAddr;
use std::time::Instant;

use serde_json::Value;

use super::{MAX_RESOLVING, Room};
use crate::core::events::{DataKind, RoomEvent};
use crate::core::io::{NetOutput, TrackKey};
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
        for payload in self.early.take(now, &id) {
            self.on_payload(now, &id, payload);
        }
    }

    pub(super) fn remove_peer(&mut self, now: Instant, id: &PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.handle(now, NegotiatorInput::Close);
            self.drain_peer(now, id);
            self.peers.remove(id);
            self.forget_questions(id);
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
        self.forget_questions(id);
        self.drain_peer(now, id);
        self.event(RoomEvent::ConnectionReset(id.clone()));
        self.publish_all(now, id);
    }

    /// The answers to come are still counted, so that there is a bound on questions under way.
    fn forget_questions(&mut self, id: &PeerId) {
        for question in self.resolving.values_mut() {
            if question.as_ref().is_some_and(|(from, _)| from == id) {
                *question = None;
            }
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
            payload if self.peers.contains_key(&from) => self.on_payload(now, &from, payload),
            payload => {
                // A first offer that is lost here would never be repeated (service protocol §4.9).
                self.early.hold(now, &from, payload, size);
            }
        }
    }

    fn on_payload(&mut self, now: Instant, from: &PeerId, payload: DirectPayload) {
        match payload {
            DirectPayload::Signal(RtcSignal::Candidate(candidate)) => self.on_candidate(now, from, candidate),
            DirectPayload::Signal(signal) => {
                let input = match signal {
                    RtcSignal::Description { kind, sdp } => NegotiatorInput::Description(kind, sdp),
                    _ => NegotiatorInput::EndOfCandidates,
                };
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.handle(now, input);
                }
            }
            DirectPayload::TrackMeta(meta) => self.on_track_meta(now, from, meta),
            DirectPayload::Data(_) | DirectPayload::NearMiss(_) => {}
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

    /// Browsers hide their addresses behind `.local` names (RFC 8828); webrtcbin cannot resolve them reliably.
    fn on_candidate(&mut self, now: Instant, from: &PeerId, candidate: IceCandidate) {
        match hidden_host(&candidate.candidate) {
            Some(host) => {
                if self.resolving.len() < MAX_RESOLVING {
                    let id = self.next_question;
                    self.next_question += 1;
                    let host = host.to_owned();
                    self.resolving.insert(id, Some((from.clone(), candidate)));
                    self.net.push_back(NetOutput::Resolve { id, host });
                }
            }
            None => {
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.handle(now, NegotiatorInput::Candidate(candidate));
                }
            }
        }
    }

    pub(super) fn on_resolved(&mut self, now: Instant, id: u64, addresses: &[IpAddr]) {
        let Some((from, candidate)) = self.resolving.remove(&id).flatten() else {
            return;
        };
        let (Some(address), Some(peer)) = (addresses.first(), self.peers.get_mut(&from)) else {
            return;
        };
        if let Some(line) = with_address(&candidate.candidate, *address) {
            peer.handle(
                now,
                NegotiatorInput::Candidate(IceCandidate {
                    candidate: line,
                    ..candidate
                }),
            );
        }
    }
}

/// Position of the connection address among the words of a candidate line (RFC 8839 §5.1).
const ADDRESS: usize = 4;

fn hidden_host(line: &str) -> Option<&str> {
    line.split(' ')
        .nth(ADDRESS)
        .filter(|host| host.to_ascii_lowercase().ends_with(".local"))
}

fn with_address(line: &str, address: IpAddr) -> Option<String> {
    let address = address.to_string();
    let mut words: Vec<&str> = line.split(' ').collect();
    *words.get_mut(ADDRESS)? = &address;
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_names_are_resolved() {
        let line = "candidate:1 1 udp 2122260223 0a1b-c2.local 50412 typ host generation 0";
        assert_eq!(hidden_host(line), Some("0a1b-c2.local"));
        assert_eq!(
            hidden_host("candidate:1 1 udp 2122260223 192.0.2.7 50412 typ host"),
            None
        );
        assert_eq!(hidden_host("candidate:x.local"), None);
        let line = with_address(line, IpAddr::from([192, 0, 2, 9])).unwrap();
        assert_eq!(
            line,
            "candidate:1 1 udp 2122260223 192.0.2.9 50412 typ host generation 0"
        );
    }
}
