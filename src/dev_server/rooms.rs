//! Channels and their members. A member is a peer id, however many connections it has.

use std::collections::{BTreeMap, HashMap};

use axum::extract::ws::Utf8Bytes;
use serde_json::value::RawValue;

use super::frames::{Entry, Frame};

/// Number of a connection, never reused.
pub(super) type ConnId = u64;

/// How one connection listens to a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening {
    pub(super) with_metadata: bool,
    pub(super) with_presence: bool,
}

#[derive(Debug, Default)]
struct Member {
    connections: HashMap<ConnId, Listening>,
    metadata: Option<Box<RawValue>>,
    /// Counts departures, so that the end of an old grace period does not remove a member that came back.
    departures: u64,
}

/// What a connection's departure means to the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The peer is still here, by another connection, or it never was.
    Nothing,
    /// The last connection is gone.
    Left,
    /// The last connection is gone, the member stays until [`Rooms::expire`] is called with this number.
    Grace(u64),
}

/// All channels that have members.
#[derive(Debug, Default)]
pub(super) struct Rooms(HashMap<String, BTreeMap<String, Member>>);

impl Rooms {
    /// Adds a connection, or changes how it listens. True if the peer is new to the channel.
    pub(super) fn join(
        &mut self,
        channel: &str,
        peer_id: &str,
        metadata: Option<&RawValue>,
        connection: ConnId,
        listening: Listening,
    ) -> bool {
        let members = self.0.entry(channel.to_owned()).or_default();
        let is_new = !members.contains_key(peer_id);
        let member = members.entry(peer_id.to_owned()).or_default();
        member.metadata = metadata.map(ToOwned::to_owned);
        member.connections.insert(connection, listening);
        is_new
    }

    /// Takes a connection out; with `grace` its member is kept for a while.
    pub(super) fn leave(
        &mut self,
        channel: &str,
        peer_id: &str,
        connection: ConnId,
        grace: bool,
    ) -> Departure {
        let Some(member) = self
            .0
            .get_mut(channel)
            .and_then(|members| members.get_mut(peer_id))
        else {
            return Departure::Nothing;
        };
        if member.connections.remove(&connection).is_none() || !member.connections.is_empty() {
            return Departure::Nothing;
        }
        if grace {
            member.departures += 1;
            return Departure::Grace(member.departures);
        }
        self.forget(channel, peer_id);
        Departure::Left
    }

    /// Ends a grace period. True if the member is gone by that.
    pub(super) fn expire(&mut self, channel: &str, peer_id: &str, departure: u64) -> bool {
        let member = self.0.get(channel).and_then(|members| members.get(peer_id));
        let over = member.is_some_and(|m| m.connections.is_empty() && m.departures == departure);
        if over {
            self.forget(channel, peer_id);
        }
        over
    }

    fn forget(&mut self, channel: &str, peer_id: &str) {
        if let Some(members) = self.0.get_mut(channel) {
            members.remove(peer_id);
            if members.is_empty() {
                self.0.remove(channel);
            }
        }
    }

    /// The roster, without `except`.
    pub(super) fn members(&self, channel: &str, except: Option<&str>) -> Vec<Entry<'_>> {
        let members = self.0.get(channel).into_iter().flatten();
        members
            .filter(|(peer_id, _)| Some(peer_id.as_str()) != except)
            .map(|(peer_id, member)| Entry {
                peer_id,
                metadata: member.metadata.as_deref(),
            })
            .collect()
    }

    /// The snapshot that answers a subscribe of `peer_id`.
    pub(super) fn snapshot(&self, channel: &str, peer_id: &str) -> Utf8Bytes {
        let joined = self.members(channel, Some(peer_id));
        Frame::Presence {
            channel,
            joined,
            left: Vec::new(),
        }
        .encode()
    }

    /// Every connection that listens to `channel`.
    pub(super) fn listeners(&self, channel: &str) -> Vec<(ConnId, Listening)> {
        let members = self.0.get(channel).into_iter().flat_map(BTreeMap::values);
        members
            .flat_map(|member| member.connections.iter().map(|(id, how)| (*id, *how)))
            .collect()
    }

    /// The connections that are told when `peer_id` comes or goes.
    pub(super) fn watchers(&self, channel: &str, peer_id: &str) -> Vec<ConnId> {
        let members = self.0.get(channel).into_iter().flatten();
        members
            .filter(|(other, _)| other.as_str() != peer_id)
            .flat_map(|(_, member)| &member.connections)
            .filter(|(_, listening)| listening.with_presence)
            .map(|(id, _)| *id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Listening = Listening {
        with_metadata: false,
        with_presence: true,
    };

    #[test]
    fn a_peer_with_two_connections_leaves_once() {
        let mut rooms = Rooms::default();
        assert!(rooms.join("c", "a", None, 1, ALL));
        assert!(!rooms.join("c", "a", None, 2, ALL));
        assert_eq!(rooms.leave("c", "a", 1, false), Departure::Nothing);
        assert_eq!(rooms.leave("c", "a", 1, false), Departure::Nothing);
        assert_eq!(rooms.leave("c", "a", 2, false), Departure::Left);
        assert!(rooms.0.is_empty());
    }

    #[test]
    fn who_returns_within_the_grace_never_left() {
        let mut rooms = Rooms::default();
        rooms.join("c", "a", None, 1, ALL);
        assert_eq!(rooms.leave("c", "a", 1, true), Departure::Grace(1));
        assert_eq!(rooms.members("c", None).len(), 1);
        assert!(!rooms.join("c", "a", None, 2, ALL));
        assert!(!rooms.expire("c", "a", 1));
        assert_eq!(rooms.leave("c", "a", 2, true), Departure::Grace(2));
        assert!(!rooms.expire("c", "a", 1));
        assert!(rooms.expire("c", "a", 2));
        assert!(rooms.0.is_empty());
    }
}
