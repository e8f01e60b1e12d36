//! What rooms want of the network and tell their owners, and whether all of it is right.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::server::FRAME_MAX;
use super::world::{Event, World, token};
use crate::core::events::{RoomEvent, RoomInput, RoomState};
use crate::core::io::{Machine, NetInput, NetOutput};
use crate::core::negotiator::PeerState;

/// More descriptions than any two members can need.
const STORM: usize = 700;

/// No offer is out for longer.
const OFFER_OUT: Duration = Duration::from_secs(45);

impl World {
    pub(super) fn on_net(&mut self, member: usize, output: NetOutput) {
        let who = self.who(member);
        match output {
            NetOutput::OpenSocket { id, .. } => self.opened(member, id),
            NetOutput::SendText(id, text) => {
                self.counted(member, false);
                assert!(text.len() <= FRAME_MAX, "a frame of {} bytes", text.len());
                let frame: Value = serde_json::from_str(&text).unwrap();
                self.descriptions += usize::from(frame["data"]["type"] == "rtc-description");
                let pairs = self.members.len() * (self.members.len() - 1) / 2;
                assert!(self.descriptions < STORM * pairs, "negotiation storm");
                let when = self.in_order((false, who, id));
                self.push(when, Event::Frame((who, id), frame));
            }
            NetOutput::CloseSocket { id, .. } => {
                let when = self.in_order((false, who, id));
                self.push(when, Event::Gone((who, id)));
            }
            NetOutput::FetchToken(id) => {
                let when = self.way(member);
                self.push(when, Event::Net(who, NetInput::Token(id, Ok(token()))));
            }
            NetOutput::ForgetToken(_) => {}
            NetOutput::Resolve { .. } => panic!("nobody asked for that"),
        }
    }

    pub(super) fn on_event(&mut self, member: usize, event: RoomEvent) {
        let member = &mut self.members[member];
        match event {
            RoomEvent::TrackAdded { peer, track, .. } => {
                let name = track.track_id.unwrap_or_default();
                member.heard.insert((peer, track.generation, track.mid), name);
            }
            RoomEvent::TrackRemoved {
                peer,
                generation,
                mid,
            } => {
                member.heard.remove(&(peer, generation, mid));
            }
            RoomEvent::PeerStateChanged(peer, PeerState::Connected) | RoomEvent::PeerLeft(peer) => {
                member.exhausted.remove(&peer);
            }
            RoomEvent::NegotiationError(peer, problem) => {
                member.problems.push(format!("{peer} {}", problem.code));
                if problem.code == "IceRestartExhausted" {
                    member.exhausted.insert(peer);
                }
            }
            RoomEvent::Fatal { code, text } => panic!("fatal {code}: {text}"),
            RoomEvent::Left { .. } => {
                member.socket = None;
                member.tracks.clear();
            }
            _ => {}
        }
    }

    /// What must be true all the time.
    pub(super) fn check(&self) {
        for (index, member) in self.members.iter().enumerate() {
            let slept = member.thawed.is_some_and(|thawed| self.now < thawed + OFFER_OUT);
            if !member.alive || member.frozen.is_some() || slept {
                continue;
            }
            let oldest = member.room.oldest_offer();
            let late = oldest.is_some_and(|since| self.now > since + OFFER_OUT);
            assert!(!late, "member {index} waits for an answer for ever");
        }
    }

    /// The id of a member that is in the channel.
    fn id(&self, index: usize) -> Option<&str> {
        let socket = self.members[index].socket?;
        self.server.id((self.who(index), socket))
    }

    /// Why the rooms are not where they should be.
    pub fn verdict(&self) -> Result<(), String> {
        let flowing = self.media.flowing(self.now, &self.paths);
        for (index, member) in self.members.iter().enumerate() {
            let state = member.ledger.state;
            if matches!(state, RoomState::Idle | RoomState::Closed) {
                continue;
            }
            let Some(own) = self.id(index).filter(|_| state == RoomState::Joined) else {
                return Err(format!("member {index} is {state:?}"));
            };
            let present: BTreeSet<&str> = member.ledger.present.iter().map(|peer| peer.as_str()).collect();
            let truth: BTreeSet<&str> = self.server.others(own).map(|(_, id)| id).collect();
            if present != truth {
                return Err(format!(
                    "member {index}, {own}, sees {present:?} instead of {truth:?}"
                ));
            }
            let mut expected = BTreeSet::new();
            let mut given_up = false;
            for (other, from) in self
                .members
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
            {
                let Some(name) = self.id(other) else { continue };
                let gave_up = |peers: &BTreeSet<_>, id: &str| {
                    peers.iter().any(|peer: &crate::wire::PeerId| peer.as_str() == id)
                };
                given_up |= gave_up(&member.exhausted, name) || gave_up(&from.exhausted, own);
                expected.extend(from.tracks.values().map(|track| (name, track.track_id.as_str())));
                if member.room.is_polite(name) == from.room.is_polite(own) {
                    return Err(format!("members {index} and {other} are of one politeness"));
                }
            }
            if given_up {
                // It was told.
                continue;
            }
            let heard: BTreeSet<(&str, &str)> = member
                .heard
                .iter()
                .map(|((peer, ..), track)| (peer.as_str(), track.as_str()))
                .collect();
            if heard != expected || heard.len() != member.heard.len() {
                return Err(format!(
                    "member {index}, {own}, receives {heard:?} instead of {expected:?}, problems {:?}",
                    member.problems
                ));
            }
            for ((peer, generation, mid), name) in &member.heard {
                let key = (self.who(index), peer.clone(), *generation);
                if !flowing.contains(&(key, mid.clone())) {
                    return Err(format!(
                        "member {index}, {own}, hears nothing of {name} of {peer:?}, problems {:?}",
                        member.problems
                    ));
                }
            }
        }
        Ok(())
    }

    /// Somebody has been given up.
    pub fn gave_up(&self) -> bool {
        self.members.iter().any(|member| !member.exhausted.is_empty())
    }

    /// Whatever there was, nothing remains.
    pub fn everybody_leaves(&mut self) {
        for member in 0..self.members.len() {
            self.input(member, RoomInput::Leave);
            assert!(self.members[member].ledger.has_left());
            assert!(self.members[member].room.is_finished());
            assert_eq!(self.members[member].room.poll_timeout(), None);
        }
        let end = self.elapsed() + Duration::from_secs(1);
        self.run(end);
        assert!(self.media.is_empty(), "a session is left behind");
    }
}
