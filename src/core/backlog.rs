//! News that waits for an application which takes its time.
//!
//! Nobody may make it endless. Policy: of application data and of notices the newest are dropped and counted, and once
//! the application has caught up one warning says how many. Everything else tells who is there and what they send, so
//! nothing of it may be lost; but what has come and gone unseen need not be told. Only when much waits: an application
//! that keeps up sees everything.

use std::collections::{HashMap, VecDeque};

use super::events::RoomEvent;
use super::io::Generation;
use super::metadata::value_weight;
use crate::wire::PeerId;
use crate::wire::limits::{EVENT_BYTES_MAX, EVENTS_MAX};

/// Errors and warnings that wait, at most: each is for a human.
pub const NOTICES_MAX: usize = 256;

/// So much other news waits before it is gone through: a full room with a few tracks each.
pub const NEWS_MIN: usize = 2048;

/// So few events wait once the application has caught up.
const CAUGHT_UP: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Backlog {
    events: VecDeque<RoomEvent>,
    data: usize,
    data_bytes: usize,
    notices: usize,
    compact_at: usize,
    dropped_data: u64,
    dropped_notices: u64,
    /// How many of them have been told.
    told: u64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            data: 0,
            data_bytes: 0,
            notices: 0,
            compact_at: NEWS_MIN,
            dropped_data: 0,
            dropped_notices: 0,
            told: 0,
        }
    }
}

fn is_notice(event: &RoomEvent) -> bool {
    matches!(
        event,
        RoomEvent::NegotiationError(..)
            | RoomEvent::ServerError { .. }
            | RoomEvent::GoingAway { .. }
            | RoomEvent::TokenProviderError { .. }
            | RoomEvent::Retrying { .. }
            | RoomEvent::Warning { .. }
    )
}

/// Of data, in bytes, roughly.
fn size(event: &RoomEvent) -> Option<usize> {
    match event {
        RoomEvent::Data { data, .. } => Some(value_weight(data)),
        _ => None,
    }
}

impl Backlog {
    /// Takes an event, or drops it.
    pub fn push(&mut self, event: RoomEvent) {
        if let Some(bytes) = size(&event) {
            if self.data >= EVENTS_MAX || self.data_bytes + bytes > EVENT_BYTES_MAX {
                self.dropped_data += 1;
                return;
            }
            self.data += 1;
            self.data_bytes += bytes;
        } else if is_notice(&event) {
            if self.notices >= NOTICES_MAX {
                self.dropped_notices += 1;
                return;
            }
            self.notices += 1;
        }
        self.events.push_back(event);
        if self.news() > self.compact_at {
            self.events = compact(std::mem::take(&mut self.events));
            self.compact_at = (2 * self.news()).max(NEWS_MIN);
        }
    }

    /// The next event.
    pub fn pop(&mut self) -> Option<RoomEvent> {
        let dropped = self.dropped_data + self.dropped_notices;
        if dropped > self.told && self.events.len() < CAUGHT_UP {
            self.told = dropped;
            let text = format!(
                "the application was too slow for this room: {} messages and {} notices have been dropped so far; \
                 return from handlers sooner",
                self.dropped_data, self.dropped_notices
            );
            return Some(RoomEvent::Warning { text });
        }
        let event = self.events.pop_front()?;
        if let Some(bytes) = size(&event) {
            self.data -= 1;
            self.data_bytes -= bytes;
        } else if is_notice(&event) {
            self.notices -= 1;
        }
        if self.events.is_empty() {
            self.compact_at = NEWS_MIN;
        }
        Some(event)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Data messages lost so far.
    pub fn dropped_data(&self) -> u64 {
        self.dropped_data
    }

    fn news(&self) -> usize {
        self.events.len() - self.data - self.notices
    }
}

/// What only its newest value counts of.
#[derive(PartialEq, Eq, Hash)]
enum Latest {
    Room,
    Metadata(PeerId),
    State(PeerId),
    Reset(PeerId),
}

type Track = (PeerId, Generation, String);

/// Leaves out what is over before it was told: peers who have come and gone, tracks likewise, states that others
/// followed.
#[derive(Default)]
struct Compaction {
    kept: Vec<Option<RoomEvent>>,
    latest: HashMap<Latest, usize>,
    tracks: HashMap<Track, usize>,
    /// What there is of a peer since it joined.
    peers: HashMap<PeerId, Vec<usize>>,
}

fn compact(events: VecDeque<RoomEvent>) -> VecDeque<RoomEvent> {
    let mut compaction = Compaction::default();
    for event in events {
        compaction.take(event);
    }
    compaction.kept.into_iter().flatten().collect()
}

impl Compaction {
    fn take(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::PeerJoined(peer, metadata) => {
                self.peers.insert(peer.clone(), Vec::new());
                self.keep(Some(peer.clone()), RoomEvent::PeerJoined(peer, metadata));
            }
            RoomEvent::PeerLeft(peer) => match self.peers.remove(&peer) {
                Some(indices) => indices.into_iter().for_each(|index| self.forget(index)),
                None => self.keep(None, RoomEvent::PeerLeft(peer)),
            },
            RoomEvent::StateChanged(from, to) => {
                let first = self
                    .latest
                    .get(&Latest::Room)
                    .and_then(|index| self.kept.get(*index));
                let from = match first {
                    Some(Some(RoomEvent::StateChanged(first, _))) => *first,
                    _ => from,
                };
                self.replace(Latest::Room, None, RoomEvent::StateChanged(from, to));
            }
            RoomEvent::PeerMetadata(peer, metadata) => {
                let event = RoomEvent::PeerMetadata(peer.clone(), metadata);
                self.replace(Latest::Metadata(peer.clone()), Some(peer), event);
            }
            RoomEvent::PeerStateChanged(peer, state) => {
                let event = RoomEvent::PeerStateChanged(peer.clone(), state);
                self.replace(Latest::State(peer.clone()), Some(peer), event);
            }
            RoomEvent::ConnectionReset(peer) => {
                let event = RoomEvent::ConnectionReset(peer.clone());
                self.replace(Latest::Reset(peer.clone()), Some(peer), event);
            }
            RoomEvent::TrackAdded {
                peer,
                peer_metadata,
                track,
                metadata,
            } => {
                let name = (peer.clone(), track.generation, track.mid.clone());
                self.tracks.insert(name, self.kept.len());
                let event = RoomEvent::TrackAdded {
                    peer: peer.clone(),
                    peer_metadata,
                    track,
                    metadata,
                };
                self.keep(Some(peer), event);
            }
            RoomEvent::TrackRemoved {
                peer,
                generation,
                mid,
            } => match self.tracks.remove(&(peer.clone(), generation, mid.clone())) {
                Some(index) => self.forget(index),
                None => self.keep(
                    Some(peer.clone()),
                    RoomEvent::TrackRemoved {
                        peer,
                        generation,
                        mid,
                    },
                ),
            },
            other => self.keep(None, other),
        }
    }

    fn keep(&mut self, peer: Option<PeerId>, event: RoomEvent) {
        let index = self.kept.len();
        if let Some(indices) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            indices.push(index);
        }
        self.kept.push(Some(event));
    }

    fn replace(&mut self, what: Latest, peer: Option<PeerId>, event: RoomEvent) {
        if let Some(index) = self.latest.insert(what, self.kept.len()) {
            self.forget(index);
        }
        self.keep(peer, event);
    }

    fn forget(&mut self, index: usize) {
        if let Some(event) = self.kept.get_mut(index) {
            *event = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::core::events::{DataKind, RoomState};
    use crate::core::io::{Codec, MediaKind};
    use crate::core::negotiator::{PeerState, Problem, RemoteTrack};

    fn id(n: usize) -> PeerId {
        PeerId::new(&format!("p{n}")).unwrap()
    }

    fn data(bytes: usize) -> RoomEvent {
        RoomEvent::Data {
            from: "p1".into(),
            known: true,
            kind: DataKind::Direct,
            data: serde_json::Value::String("x".repeat(bytes)),
            metadata: None,
        }
    }

    fn added(peer: usize, generation: u32, mid: &str) -> RoomEvent {
        RoomEvent::TrackAdded {
            peer: id(peer),
            peer_metadata: None,
            track: RemoteTrack {
                generation: Generation(generation),
                mid: mid.into(),
                kind: MediaKind::Video,
                stream_id: None,
                track_id: None,
                codec: Codec::Vp8,
                signalled: Vec::new(),
            },
            metadata: None,
        }
    }

    fn removed(peer: usize, generation: u32, mid: &str) -> RoomEvent {
        RoomEvent::TrackRemoved {
            peer: id(peer),
            generation: Generation(generation),
            mid: mid.into(),
        }
    }

    fn drain(backlog: &mut Backlog) -> Vec<RoomEvent> {
        std::iter::from_fn(|| backlog.pop()).collect()
    }

    #[test]
    fn little_is_left_as_it_is() {
        let mut backlog = Backlog::default();
        let events = [
            RoomEvent::PeerJoined(id(1), None),
            added(1, 1, "0"),
            removed(1, 1, "0"),
            RoomEvent::PeerLeft(id(1)),
        ];
        events.iter().cloned().for_each(|event| backlog.push(event));
        assert_eq!(drain(&mut backlog), events);
    }

    #[test]
    fn data_and_notices_have_limits_and_one_warning_says_so() {
        let mut backlog = Backlog::default();
        let problem = Problem {
            code: "x",
            text: "x".into(),
        };
        for _ in 0..10_000 {
            backlog.push(data(10));
            backlog.push(RoomEvent::NegotiationError(id(1), problem.clone()));
        }
        assert_eq!(backlog.len(), EVENTS_MAX + NOTICES_MAX);
        assert_eq!(backlog.dropped_data(), 10_000 - EVENTS_MAX as u64);
        let all = drain(&mut backlog);
        let warnings = all
            .iter()
            .filter(|event| matches!(event, RoomEvent::Warning { .. }));
        assert_eq!(warnings.count(), 1);
        assert!(backlog.pop().is_none() && backlog.data_bytes == 0 && backlog.notices == 0);
        // A few large ones.
        for _ in 0..100 {
            backlog.push(data(1 << 20));
        }
        assert!(backlog.len() < 17, "{}", backlog.len());
    }

    /// A week of a blocked handler: 100 000 visits, tracks and states each. What is told at last is the truth.
    #[test]
    fn what_came_and_went_unseen_is_not_told() {
        let mut backlog = Backlog::default();
        let start = Instant::now();
        backlog.push(RoomEvent::PeerJoined(id(0), None));
        backlog.push(added(0, 1, "cam"));
        assert_eq!(backlog.pop(), Some(RoomEvent::PeerJoined(id(0), None)));
        assert_eq!(backlog.pop(), Some(added(0, 1, "cam")));
        let mut most = 0;
        for n in 0..100_000_u32 {
            let peer = 1 + n as usize % 300;
            backlog.push(RoomEvent::StateChanged(
                RoomState::Joined,
                RoomState::Reconnecting,
            ));
            backlog.push(RoomEvent::StateChanged(
                RoomState::Reconnecting,
                RoomState::Joined,
            ));
            backlog.push(RoomEvent::PeerStateChanged(id(0), PeerState::Reconnecting));
            backlog.push(added(0, n + 2, "screen"));
            backlog.push(removed(0, n + 2, "screen"));
            backlog.push(RoomEvent::PeerJoined(id(peer), None));
            backlog.push(RoomEvent::PeerStateChanged(id(peer), PeerState::Connected));
            backlog.push(added(peer, n, "0"));
            backlog.push(removed(peer, n, "0"));
            backlog.push(RoomEvent::PeerLeft(id(peer)));
            most = most.max(backlog.len());
        }
        backlog.push(removed(0, 1, "cam"));
        backlog.push(RoomEvent::PeerStateChanged(id(0), PeerState::Connected));
        backlog.push(RoomEvent::PeerJoined(id(1), None));
        backlog.push(added(1, 9, "0"));
        backlog.push(RoomEvent::Left { peer_id: None });
        let took = start.elapsed();
        assert!(most <= NEWS_MIN + 1, "{most} events wait");
        assert!(took < Duration::from_secs(60), "{took:?}");
        let mut peers: BTreeMap<PeerId, bool> = BTreeMap::from([(id(0), true)]);
        let mut state = PeerState::Idle;
        let mut tracks = vec![(id(0), "cam".to_owned())];
        let mut last = None;
        for event in drain(&mut backlog) {
            match &event {
                RoomEvent::PeerJoined(peer, _) => drop(peers.insert(peer.clone(), true)),
                RoomEvent::PeerLeft(peer) => assert!(peers.remove(peer).is_some(), "{peer} was never there"),
                RoomEvent::PeerStateChanged(peer, new) if *peer == id(0) => state = *new,
                RoomEvent::TrackAdded { peer, track, .. } => tracks.push((peer.clone(), track.mid.clone())),
                RoomEvent::TrackRemoved { peer, mid, .. } => {
                    let at = tracks
                        .iter()
                        .position(|track| *track == (peer.clone(), mid.clone()));
                    tracks.remove(at.expect("a track that was never told"));
                }
                _ => {}
            }
            last = Some(event);
        }
        assert_eq!(peers.into_keys().collect::<Vec<_>>(), [id(0), id(1)]);
        assert_eq!(
            (state, tracks),
            (PeerState::Connected, vec![(id(1), "0".to_owned())])
        );
        assert_eq!(last, Some(RoomEvent::Left { peer_id: None }));
    }
}
