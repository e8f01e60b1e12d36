//! Who is in the room, as presence says. Pure bookkeeping: what follows from a change is the room's business.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::limits::PEERS_MAX;
use crate::wire::{Metadata, PeerId};

/// What a presence has changed.
#[derive(Debug, Clone, PartialEq)]
pub enum RosterChange {
    /// A new member.
    Joined(PeerId),
    /// A member of a snapshot whom we knew already.
    Kept(PeerId),
    /// A member has gone.
    Left(PeerId),
    /// A member has gone, but is kept for a while.
    Away(PeerId),
    /// One that was away is there again, as presence says that is no snapshot.
    Returned(PeerId),
    /// A member's public metadata is different from before.
    MetadataChanged(PeerId),
    /// The room is full; this member is ignored, also when others leave.
    Refused(PeerId),
}

/// The members besides us, with their public metadata.
#[derive(Debug, Clone)]
pub struct Roster {
    own: Option<PeerId>,
    /// Ids of our own earlier connections, which the server may still list until it notices that they are dead.
    ghosts: BTreeSet<PeerId>,
    limit: usize,
    peers: BTreeMap<PeerId, Option<Metadata>>,
    /// Those of them who have gone, but are kept.
    away: BTreeSet<PeerId>,
}

impl Roster {
    /// Nobody; room for as many as the SDKs take.
    pub fn new() -> Self {
        Self::with_limit(PEERS_MAX)
    }

    /// Nobody; room for so many, at most [`PEERS_MAX`].
    pub fn with_limit(limit: usize) -> Self {
        Self {
            own: None,
            ghosts: BTreeSet::new(),
            limit: limit.min(PEERS_MAX),
            peers: BTreeMap::new(),
            away: BTreeSet::new(),
        }
    }

    /// Our own id, as the newest welcome says. Until it is known nobody can be told from us, and presence is
    /// ignored. The id of the connection before it is nobody's until presence says that it has gone.
    pub fn set_own(&mut self, own: PeerId) {
        self.ghosts.remove(&own);
        match self.own.replace(own) {
            Some(before) if Some(&before) != self.own.as_ref() => {
                self.ghosts.insert(before);
            }
            _ => {}
        }
    }

    /// A list of all members has come: a ghost that is not in it is gone.
    pub fn forget_ghosts(&mut self, present: &[(PeerId, Option<Metadata>)]) {
        self.ghosts
            .retain(|ghost| present.iter().any(|(peer, _)| peer == ghost));
    }

    /// Our own id.
    pub fn own(&self) -> Option<&PeerId> {
        self.own.as_ref()
    }

    /// Whether somebody is a member.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// A member's public metadata.
    pub fn metadata(&self, peer: &PeerId) -> Option<&Metadata> {
        self.peers.get(peer)?.as_ref()
    }

    /// The members, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, Option<&Metadata>)> {
        self.peers
            .iter()
            .map(|(peer, metadata)| (peer, metadata.as_ref()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Forgets everybody: the room is left.
    pub fn clear(&mut self) -> Vec<PeerId> {
        self.away.clear();
        std::mem::take(&mut self.peers).into_keys().collect()
    }

    /// Forgets one who was away.
    pub fn forget(&mut self, peer: &PeerId) {
        if self.away.remove(peer) {
            self.peers.remove(peer);
        }
    }

    /// We cannot be told of returns any more: until the next snapshot nobody is known to be away.
    pub fn forget_absences(&mut self) {
        self.away.clear();
    }

    /// Somebody is not there any more.
    fn drop(&mut self, peer: PeerId, keep: &dyn Fn(&PeerId) -> bool) -> Option<RosterChange> {
        if !self.peers.contains_key(&peer) {
            return None;
        }
        if keep(&peer) {
            return self.away.insert(peer.clone()).then_some(RosterChange::Away(peer));
        }
        self.away.remove(&peer);
        self.peers.remove(&peer);
        Some(RosterChange::Left(peer))
    }

    /// Presence as changes: first those who came, then those who went. Members who come again only bring their
    /// metadata, unknown ones who go are ignored, and so are, for now, those who go and are to be kept.
    pub fn apply_delta(
        &mut self,
        joined: Vec<(PeerId, Option<Metadata>)>,
        left: &[PeerId],
        keep: &dyn Fn(&PeerId) -> bool,
    ) -> Vec<RosterChange> {
        let mut changes = Vec::new();
        for (peer, metadata) in joined {
            let returned = self.away.remove(&peer);
            match self.add(peer.clone(), metadata) {
                Some(RosterChange::Kept(_)) | None => {}
                Some(change) => changes.push(change),
            }
            if returned {
                changes.push(RosterChange::Returned(peer));
            }
        }
        for peer in left {
            self.ghosts.remove(peer);
            changes.extend(self.drop(peer.clone(), keep));
        }
        changes
    }

    /// Presence as the whole list, after a reconnect: first those who are gone, then the list in its order, each
    /// member once. `MetadataChanged` comes before the `Kept` of the same member.
    pub fn apply_snapshot(
        &mut self,
        joined: Vec<(PeerId, Option<Metadata>)>,
        keep: &dyn Fn(&PeerId) -> bool,
    ) -> Vec<RosterChange> {
        if self.own.is_none() {
            return Vec::new();
        }
        let present: BTreeSet<PeerId> = joined.iter().map(|(peer, _)| peer.clone()).collect();
        let gone = |peer: &&PeerId| !present.contains(*peer) || self.own.as_ref() == Some(*peer);
        let gone: Vec<PeerId> = self.peers.keys().filter(gone).cloned().collect();
        let mut changes = Vec::new();
        for peer in gone {
            // Whoever had the id that is ours now is gone for good.
            let other = |peer: &PeerId| Some(peer) != self.own.as_ref() && keep(peer);
            let other = other(&peer);
            changes.extend(self.drop(peer, &|_| other));
        }
        let mut seen = BTreeSet::new();
        for (peer, metadata) in joined {
            if !seen.insert(peer.clone()) {
                continue;
            }
            self.away.remove(&peer);
            match self.add(peer, metadata) {
                Some(RosterChange::MetadataChanged(peer)) => {
                    changes.push(RosterChange::MetadataChanged(peer.clone()));
                    changes.push(RosterChange::Kept(peer));
                }
                Some(change) => changes.push(change),
                None => {}
            }
        }
        changes
    }

    /// `None` for ourselves.
    fn add(&mut self, peer: PeerId, metadata: Option<Metadata>) -> Option<RosterChange> {
        if self.own.as_ref()? == &peer || self.ghosts.contains(&peer) {
            return None;
        }
        let full = self.peers.len() >= self.limit;
        match self.peers.get_mut(&peer) {
            Some(known) if *known == metadata => Some(RosterChange::Kept(peer)),
            Some(known) => {
                *known = metadata;
                Some(RosterChange::MetadataChanged(peer))
            }
            None if full => Some(RosterChange::Refused(peer)),
            None => {
                self.peers.insert(peer.clone(), metadata);
                Some(RosterChange::Joined(peer))
            }
        }
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::RosterChange::{Joined, Kept, Left, MetadataChanged, Refused};
    use super::*;
    use serde_json::json;

    fn nobody(_: &PeerId) -> bool {
        false
    }

    fn id(name: &str) -> PeerId {
        PeerId::new(name).unwrap()
    }

    fn list(names: &[&str]) -> Vec<(PeerId, Option<Metadata>)> {
        names.iter().map(|name| (id(name), None)).collect()
    }

    fn roster(names: &[&str]) -> Roster {
        let mut roster = Roster::new();
        roster.set_own(id("me"));
        roster.apply_delta(list(names), &[], &nobody);
        roster
    }

    #[test]
    fn c083_c085_self_duplicates_and_strangers() {
        let mut roster = roster(&[]);
        let changes = roster.apply_delta(list(&["me", "a", "a"]), &[id("nobody")], &nobody);
        assert_eq!(changes, [Joined(id("a"))]);
        let bag = json!({"name": "Ana"}).as_object().cloned();
        assert_eq!(
            roster.apply_delta(vec![(id("a"), bag.clone())], &[], &nobody),
            [MetadataChanged(id("a"))]
        );
        assert_eq!(roster.metadata(&id("a")), bag.as_ref());
        assert_eq!(roster.apply_delta(vec![], &[id("a")], &nobody), [Left(id("a"))]);
        assert!(Roster::new().apply_delta(list(&["a"]), &[], &nobody).is_empty());
    }

    #[test]
    fn c084_the_257th_is_refused_and_not_retried() {
        let mut roster = roster(&[]);
        let names: Vec<String> = (0..257).map(|n| format!("p{n:03}")).collect();
        let all: Vec<_> = names.iter().map(|name| (id(name), None)).collect();
        let changes = roster.apply_delta(all, &[], &nobody);
        assert_eq!(roster.len(), 256);
        assert_eq!(changes.last(), Some(&Refused(id("p256"))));
        assert_eq!(
            roster.apply_delta(vec![], &[id("p000")], &nobody),
            [Left(id("p000"))]
        );
    }

    #[test]
    fn c089_to_c092_snapshot() {
        let mut roster = roster(&["a", "b", "c"]);
        let bag = json!({"x": 1}).as_object().cloned();
        let mut snapshot = list(&["d", "b", "b", "me"]);
        snapshot.push((id("a"), bag));
        let changes = roster.apply_snapshot(snapshot, &nobody);
        let expected = [
            Left(id("c")),
            Joined(id("d")),
            Kept(id("b")),
            MetadataChanged(id("a")),
            Kept(id("a")),
        ];
        assert_eq!(changes, expected);
    }

    #[test]
    fn our_new_id_was_somebody_elses() {
        let mut roster = roster(&["a"]);
        roster.set_own(id("a"));
        assert_eq!(roster.apply_snapshot(list(&["a"]), &nobody), [Left(id("a"))]);
    }

    #[test]
    fn who_is_kept_is_away_and_returns() {
        let mut roster = roster(&["a", "b"]);
        let keep = |peer: &PeerId| peer.as_str() == "a";
        let gone = [id("a"), id("b")];
        assert_eq!(
            roster.apply_delta(vec![], &gone, &keep),
            [RosterChange::Away(id("a")), Left(id("b"))]
        );
        assert_eq!(roster.apply_delta(vec![], &gone, &keep), []);
        let bag = json!({"x": 1}).as_object().cloned();
        let changes = roster.apply_delta(vec![(id("a"), bag)], &[], &keep);
        assert_eq!(
            changes,
            [MetadataChanged(id("a")), RosterChange::Returned(id("a"))]
        );
        roster.forget(&id("a"));
        assert!(roster.contains(&id("a")), "only who is away is forgotten");
        assert_eq!(
            roster.apply_snapshot(vec![], &keep),
            [RosterChange::Away(id("a"))]
        );
        assert_eq!(roster.apply_snapshot(vec![], &keep), []);
        assert_eq!(roster.apply_snapshot(vec![], &nobody), [Left(id("a"))]);
        roster.apply_delta(list(&["a"]), &[], &keep);
        roster.apply_snapshot(vec![], &keep);
        roster.forget(&id("a"));
        assert!(roster.is_empty());
        // Whose id is ours now is not kept.
        roster.apply_delta(list(&["a"]), &[], &keep);
        roster.set_own(id("a"));
        assert_eq!(roster.apply_snapshot(list(&["a"]), &keep), [Left(id("a"))]);
    }
}
