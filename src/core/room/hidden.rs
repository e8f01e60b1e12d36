//! Candidates whose address hides behind a `.local` name (RFC 8828): browsers send them, webrtcbin cannot resolve them
//! reliably, so they wait here until somebody has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::wire::{IceCandidate, PeerId};

/// Names being resolved at one time for one peer: a browser has one for each of its addresses. More candidates than
/// that are dropped.
pub(super) const QUESTIONS_PER_PEER: usize = 16;
/// And for all of them: each is a query on the local network, so a full room must not make a storm of them.
pub(super) const QUESTIONS_MAX: usize = 256;

/// Position of the connection address among the words of a candidate line (RFC 8839 §5.1).
const ADDRESS: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// By the number of the question. `None` once nobody waits for the answer any more; the question still counts
    /// until it comes.
    waiting: BTreeMap<u64, Option<(PeerId, IceCandidate)>>,
    /// Peers who have said that these were their last candidates.
    ended: BTreeSet<PeerId>,
    next: u64,
}

impl Hidden {
    /// The name that a candidate line hides behind.
    pub(super) fn host(line: &str) -> Option<&str> {
        line.split_ascii_whitespace()
            .nth(ADDRESS)
            .filter(|host| host.to_ascii_lowercase().ends_with(".local"))
    }

    /// The number of the question to ask, or `None` if there are too many already.
    pub(super) fn ask(&mut self, peer: &PeerId, candidate: IceCandidate) -> Option<u64> {
        if self.waiting.len() >= QUESTIONS_MAX || self.of(peer).count() >= QUESTIONS_PER_PEER {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.waiting.insert(id, Some((peer.clone(), candidate)));
        Some(id)
    }

    /// An answer has come: whose it was, and the candidate with the address, if there is one.
    pub(super) fn answered(
        &mut self,
        id: u64,
        addresses: &[IpAddr],
    ) -> Option<(PeerId, Option<IceCandidate>)> {
        let (peer, candidate) = self.waiting.remove(&id).flatten()?;
        let line = addresses
            .first()
            .and_then(|address| with_address(&candidate.candidate, *address));
        let candidate = line.map(|line| IceCandidate {
            candidate: line,
            ..candidate
        });
        Some((peer, candidate))
    }

    /// A peer's candidates have ended. False: some of them still wait here, and the end has to wait with them.
    pub(super) fn end(&mut self, peer: &PeerId) -> bool {
        let done = self.of(peer).next().is_none();
        if !done {
            self.ended.insert(peer.clone());
        }
        done
    }

    /// Whether a peer's end of candidates may pass now. True once.
    pub(super) fn is_over(&mut self, peer: &PeerId) -> bool {
        self.of(peer).next().is_none() && self.ended.remove(peer)
    }

    /// A new description has candidates of its own: the end of those before is of no interest.
    pub(super) fn renewed(&mut self, peer: &PeerId) {
        self.ended.remove(peer);
    }

    /// Nobody waits for a peer's candidates any more.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.ended.remove(peer);
        for question in self.waiting.values_mut() {
            if question.as_ref().is_some_and(|(from, _)| from == peer) {
                *question = None;
            }
        }
    }

    /// Nobody waits for anything any more.
    pub(super) fn clear(&mut self) {
        self.ended.clear();
        self.waiting.clear();
    }

    /// Questions under way.
    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn of<'a>(&'a self, peer: &'a PeerId) -> impl Iterator<Item = &'a IceCandidate> {
        let asked = self.waiting.values().flatten();
        asked
            .filter(move |(from, _)| from == peer)
            .map(|(_, candidate)| candidate)
    }
}

fn with_address(line: &str, address: IpAddr) -> Option<String> {
    let address = address.to_string();
    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
    *words.get_mut(ADDRESS)? = &address;
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerId {
        PeerId::new(name).unwrap()
    }

    fn candidate(host: &str) -> IceCandidate {
        IceCandidate {
            candidate: format!("candidate:1 1 udp 2122260223 {host} 50412 typ host generation 0"),
            sdp_mid: Some("0".to_owned()),
            sdp_mline_index: None,
            username_fragment: None,
        }
    }

    #[test]
    fn only_local_names_are_resolved() {
        let host = |host| Hidden::host(&candidate(host).candidate).map(str::to_owned);
        assert_eq!(host("0a1b-c2.local"), Some("0a1b-c2.local".to_owned()));
        assert_eq!(host("0a1b-c2.LOCAL"), Some("0a1b-c2.LOCAL".to_owned()));
        assert_eq!(host("192.0.2.7"), None);
        assert_eq!(Hidden::host("candidate:x.local"), None);
        assert_eq!(
            Hidden::host("candidate:1  1 udp 1  x.local 5 typ host"),
            Some("x.local")
        );
        let mut hidden = Hidden::default();
        let id = hidden.ask(&peer("a"), candidate("x.local")).unwrap();
        let (from, found) = hidden.answered(id, &[IpAddr::from([192, 0, 2, 9])]).unwrap();
        assert_eq!((from, found), (peer("a"), Some(candidate("192.0.2.9"))));
        assert_eq!(hidden.answered(id, &[]), None);
    }

    #[test]
    fn a_peer_that_asks_for_everything_leaves_room_for_others() {
        let mut hidden = Hidden::default();
        let mut asked = |name: &str| {
            (0..100)
                .filter_map(|_| hidden.ask(&peer(name), candidate("x.local")))
                .count()
        };
        assert_eq!(asked("a"), QUESTIONS_PER_PEER);
        assert_eq!(asked("b"), QUESTIONS_PER_PEER);
        let all: usize = (0..100).map(|n| asked(&format!("p{n}"))).sum();
        assert_eq!(all, QUESTIONS_MAX - 2 * QUESTIONS_PER_PEER);
    }

    #[test]
    fn the_end_waits_for_what_is_being_resolved() {
        let mut hidden = Hidden::default();
        let a = peer("a");
        assert!(hidden.end(&a));
        let ids = [(); 2].map(|()| hidden.ask(&a, candidate("x.local")).unwrap());
        assert!(!hidden.end(&a));
        hidden.answered(ids[0], &[]);
        assert!(!hidden.is_over(&a));
        hidden.answered(ids[1], &[]);
        assert!(hidden.is_over(&a) && !hidden.is_over(&a));
    }

    #[test]
    fn an_end_of_older_candidates_is_forgotten() {
        let mut hidden = Hidden::default();
        let a = peer("a");
        let id = hidden.ask(&a, candidate("x.local")).unwrap();
        hidden.end(&a);
        hidden.renewed(&a);
        hidden.answered(id, &[]);
        assert!(!hidden.is_over(&a));
        let id = hidden.ask(&a, candidate("x.local")).unwrap();
        hidden.end(&a);
        hidden.forget(&a);
        assert_eq!(hidden.answered(id, &[]), None);
        assert!(!hidden.is_over(&a));
    }
}
