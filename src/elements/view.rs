//! What the application may read at any time: state, own id, roster, streams. Kept by the notifier thread.

use std::collections::{BTreeMap, BTreeSet};

use glib::prelude::*;
use serde_json::{Map, Value};

use super::notices::{peer_state, room_state};
use super::structure;
use crate::core::events::{RoomEvent, RoomState};
use crate::core::io::Generation;
use crate::core::negotiator::PeerState;

/// A peer as the application sees it.
#[derive(Debug, Clone)]
struct PeerView {
    metadata: Option<Map<String, Value>>,
    state: PeerState,
}

/// See the module.
#[derive(Debug, Default)]
pub struct View {
    state: RoomState,
    peer_id: Option<String>,
    peers: BTreeMap<String, PeerView>,
    streams: BTreeMap<(String, String), BTreeSet<(Generation, String)>>,
}

impl View {
    /// Takes notice of an event, before the application hears of it.
    pub fn update(&mut self, event: &RoomEvent) {
        match event {
            RoomEvent::StateChanged(_, to) => self.state = *to,
            RoomEvent::Joined { peer_id, .. } => self.peer_id = Some(peer_id.as_str().to_owned()),
            RoomEvent::Left { .. } => {
                *self = Self {
                    state: RoomState::Closed,
                    ..Self::default()
                }
            }
            RoomEvent::PeerJoined(peer, metadata) => {
                let view = PeerView {
                    metadata: metadata.clone(),
                    state: PeerState::Idle,
                };
                self.peers.insert(peer.as_str().to_owned(), view);
            }
            RoomEvent::PeerMetadata(peer, metadata) => {
                if let Some(view) = self.peers.get_mut(peer.as_str()) {
                    view.metadata.clone_from(metadata);
                }
            }
            RoomEvent::PeerStateChanged(peer, state) => {
                if let Some(view) = self.peers.get_mut(peer.as_str()) {
                    view.state = *state;
                }
            }
            RoomEvent::PeerLeft(peer) => {
                self.peers.remove(peer.as_str());
            }
            _ => {}
        }
    }

    /// Counts a track in; `true` if it is the first of its stream.
    pub fn stream_track_added(&mut self, peer: &str, stream: &str, track: (Generation, String)) -> bool {
        let tracks = self
            .streams
            .entry((peer.to_owned(), stream.to_owned()))
            .or_default();
        tracks.insert(track);
        tracks.len() == 1
    }

    /// Counts a track out; the stream's id if it was its last.
    pub fn stream_track_removed(&mut self, peer: &str, track: &(Generation, String)) -> Option<String> {
        let mut ended = None;
        self.streams.retain(|(owner, stream), tracks| {
            if owner == peer && tracks.remove(track) && tracks.is_empty() {
                ended = Some(stream.clone());
            }
            !tracks.is_empty()
        });
        ended
    }

    /// `state`
    pub fn state(&self) -> &'static str {
        room_state(self.state)
    }

    /// `peer-id`
    pub fn peer_id(&self) -> Option<&str> {
        self.peer_id.as_deref()
    }

    /// `peers`: one structure for each, `peer, peer-id=…, state=…, metadata=…`.
    pub fn peers(&self) -> gst::Array {
        gst::Array::new(self.peers.iter().map(|(id, peer)| {
            let mut entry = gst::Structure::builder("peer")
                .field("peer-id", id)
                .field("state", peer_state(peer.state))
                .build();
            if let Some(metadata) = &peer.metadata {
                entry.set("metadata", structure::from_json("metadata", metadata));
            }
            entry.to_send_value()
        }))
    }

    /// How many peers there are, and how many of them are connected.
    pub fn counts(&self) -> (u32, u32) {
        let connected = self
            .peers
            .values()
            .filter(|peer| peer.state == PeerState::Connected)
            .count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (count(self.peers.len()), count(connected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PeerId;

    #[test]
    fn a_stream_lasts_from_its_first_track_to_its_last() {
        let mut view = View::default();
        let (one, two) = ((Generation(1), "0".to_owned()), (Generation(1), "1".to_owned()));
        assert!(view.stream_track_added("a", "s", one.clone()));
        assert!(!view.stream_track_added("a", "s", two.clone()));
        assert!(
            view.stream_track_added("b", "s", one.clone()),
            "streams belong to their peer"
        );
        assert_eq!(view.stream_track_removed("a", &one), None);
        assert_eq!(view.stream_track_removed("a", &two), Some("s".to_owned()));
        assert_eq!(view.stream_track_removed("a", &two), None);
    }

    #[test]
    fn the_roster_follows_the_events() {
        gst::init().unwrap();
        let peer = PeerId::new("p").unwrap();
        let mut view = View::default();
        view.update(&RoomEvent::PeerJoined(peer.clone(), None));
        view.update(&RoomEvent::PeerStateChanged(peer.clone(), PeerState::Connected));
        assert_eq!(view.counts(), (1, 1));
        assert_eq!(view.peers().len(), 1);
        view.update(&RoomEvent::PeerLeft(peer));
        assert_eq!(view.counts(), (0, 0));
    }
}
