//! Peers that keep their connection while the signalling is away: theirs, or ours (`negotiator::keeping`).
//!
//! A peer that the service says has left, and whose connection works, is *away*: it stays, and the application hears
//! nothing of it. It is gone when its connection ends or falls silent, when it says farewell, or when the grace is
//! over. Who ends a connection says farewell, because GStreamer tells the other side nothing.

use std::time::Instant;

use super::Room;
use crate::core::client::Priority;
use crate::core::negotiator::Gap;
use crate::core::peer::RemotePeer;
use crate::wire::{DirectPayload, PeerId};

impl Room {
    pub(super) fn is_away(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.away.is_some())
    }

    /// The service is gone, and with it everything that is said to peers now. Nor does it say who comes back, so that
    /// nobody's grace runs until there is a new list.
    pub(super) fn pause_all(&mut self, now: Instant) {
        self.roster.forget_absences();
        for peer in self.peers.values_mut() {
            peer.away = None;
            peer.pause(now);
        }
    }

    /// A peer has left, but its connection works.
    pub(super) fn wait_for(&mut self, now: Instant, id: &PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.away = Some(now + self.config.departure_grace);
            peer.pause(now);
            self.client.forget_peer(id);
        }
    }

    /// A peer that we know is there after a gap.
    pub(super) fn reconcile_peer(&mut self, now: Instant, id: &PeerId, gap: Gap) {
        let kept = |peer: &RemotePeer| peer.is_keepable(now);
        if self.renamed || !self.peers.get(id).is_some_and(kept) {
            let farewell = self.peers.get(id).and_then(RemotePeer::farewell);
            self.swap_peer(now, id);
            if let Some(connection) = farewell.filter(|_| self.renamed) {
                // It waits for whom we were.
                self.say_farewell(now, id, &connection);
            }
        } else if let Some(peer) = self.peers.get_mut(id) {
            peer.resume(now, gap);
            let keys: Vec<_> = self.published.keys().copied().collect();
            for key in keys {
                self.send_metadata(now, id, key);
            }
        }
        self.take_early(now, id);
    }

    /// Removes those who will not come back. True if there were any.
    pub(super) fn remove_lost(&mut self, now: Instant) -> bool {
        let lost = self.peers.iter().filter(|(_, peer)| peer.is_lost(now));
        let lost: Vec<PeerId> = lost.map(|(id, _)| id.clone()).collect();
        for id in &lost {
            self.roster.forget(id);
            self.remove_peer(now, id);
        }
        !lost.is_empty()
    }

    /// Whom to tell that our connections end, and what.
    pub(super) fn farewells(&self) -> Vec<(PeerId, String)> {
        let present = self.peers.iter().filter(|(_, peer)| peer.away.is_none());
        present
            .filter_map(|(id, peer)| Some((id.clone(), peer.farewell()?)))
            .collect()
    }

    pub(super) fn say_farewell(&mut self, now: Instant, id: &PeerId, connection: &str) {
        self.signal(
            now,
            id,
            &DirectPayload::farewell(connection),
            Priority::Description,
        );
    }

    /// Also from strangers: one who returns under another name says it of whom we knew.
    pub(super) fn on_farewell(&mut self, connection: &str) {
        for peer in self.peers.values_mut() {
            peer.hear_farewell(connection);
        }
    }
}
