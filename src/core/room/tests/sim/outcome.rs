//! What rooms want of the network and tell their owners, and whether all of it is right in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::world::{Event, World};
use crate::core::events::{RoomEvent, RoomInput, RoomState};
use crate::core::io::{Machine, NetInput, NetOutput, SocketEnd};

/// More descriptions than any run can need.
const STORM: usize = 4000;

impl World {
    pub(super) fn on_net(&mut self, member: usize, output: NetOutput) {
        let who = self.who(member);
        match output {
            NetOutput::OpenSocket { id, .. } => {
                self.members[member].socket = Some(id);
                let when = self.after(200);
                if self.chance(self.weather.unreachable) {
                    let (detail, certificate) = ("model".into(), false);
                    let end = SocketEnd::Unreachable { detail, certificate };
                    self.push(when, Event::Net(who, NetInput::SocketClosed(id, end)));
                } else {
                    self.push(when, Event::Accept((who, id)));
                }
            }
            NetOutput::SendText(id, text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                self.descriptions += usize::from(frame["data"]["type"] == "rtc-description");
                assert!(self.descriptions < STORM, "negotiation storm");
                let when = self.in_order((false, who, id));
                self.push(when, Event::Frame((who, id), frame));
            }
            NetOutput::CloseSocket { id, .. } => {
                let when = self.in_order((false, who, id));
                self.push(when, Event::Gone((who, id)));
            }
            NetOutput::FetchToken(_) | NetOutput::ForgetToken(_) | NetOutput::Resolve { .. } => {
                panic!("nobody asked for that")
            }
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
            RoomEvent::NegotiationError(peer, problem) => {
                member.problems.push(format!("{peer} {}", problem.code));
            }
            RoomEvent::Fatal { code, text } => panic!("fatal {code}: {text}"),
            RoomEvent::Left { .. } => {
                member.socket = None;
                member.tracks.clear();
            }
            _ => {}
        }
    }

    /// Why the rooms are not where they should be.
    pub fn verdict(&self) -> Result<(), String> {
        let id = |index: usize| {
            let socket = self.members[index].socket?;
            self.server.id((self.who(index), socket))
        };
        for (index, member) in self.members.iter().enumerate() {
            let state = member.ledger.state;
            if matches!(state, RoomState::Idle | RoomState::Closed) {
                continue;
            }
            let Some(own) = id(index).filter(|_| state == RoomState::Joined) else {
                return Err(format!("member {index} is {state:?}"));
            };
            let present: BTreeSet<&str> = member.ledger.present.iter().map(|peer| peer.as_str()).collect();
            let truth: BTreeSet<&str> = self.server.others(own).map(|(_, id)| id).collect();
            if present != truth {
                return Err(format!(
                    "member {index} ({own}) sees {present:?} instead of {truth:?}"
                ));
            }
            let mut expected = BTreeSet::new();
            for (other, from) in self
                .members
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
            {
                let Some(name) = id(other) else { continue };
                expected.extend(from.tracks.values().map(|track| (name, track.track_id.as_str())));
            }
            let heard: BTreeSet<(&str, &str)> = member
                .heard
                .iter()
                .map(|((peer, ..), track)| (peer.as_str(), track.as_str()))
                .collect();
            if heard != expected || heard.len() != member.heard.len() {
                return Err(format!(
                    "member {index} ({own}) receives {heard:?} instead of {expected:?}, problems {:?}",
                    member.problems
                ));
            }
        }
        Ok(())
    }

    /// Whatever there was, nothing remains.
    pub fn everybody_leaves(&mut self) {
        for member in 0..self.members.len() {
            self.input(member, RoomInput::Leave);
            assert!(self.members[member].ledger.has_left());
            assert!(self.members[member].room.is_finished());
            assert_eq!(self.members[member].room.poll_timeout(), None);
        }
        let end = self.now.saturating_duration_since(self.start) + Duration::from_secs(1);
        self.run(end);
    }
}
