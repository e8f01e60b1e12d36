//! What members do, and what is done to them.

use std::time::Instant;

use serde_json::json;

use super::world::{EACH, Event, World, index, room};
use crate::core::events::RoomInput;
use crate::core::io::{NetInput, SocketEnd, SocketId, TrackKey};
use crate::core::negotiator::LocalTrack;
use crate::core::room::tests::bag;
use crate::core::room::tests::ledger::Ledger;

/// What somebody does.
#[derive(Debug)]
pub enum Action {
    Add(LocalTrack),
    Drop,
    Join,
    Leave,
    Remove(u32),
    Say,
    /// The server takes the connection for dead; we hear of it later.
    ServerLoses,
}

impl World {
    pub(super) fn act(&mut self, member: usize, action: Action) {
        self.say(member, "##", &action);
        let socket = self.members[member].socket;
        match (action, socket) {
            (Action::Join, _) => {
                if self.members[member].ledger.has_left() {
                    self.reincarnate(member);
                }
                self.input(member, RoomInput::Join);
            }
            (Action::Leave, _) => self.input(member, RoomInput::Leave),
            (Action::Say, _) => self.input(member, RoomInput::Send(json!("hello"))),
            (Action::Add(track), _) => {
                if !self.members[member].ledger.has_left() {
                    self.members[member].tracks.insert(track.key.0, track.clone());
                    self.input(member, RoomInput::AddTrack(track, bag("x")));
                }
            }
            (Action::Remove(key), _) => {
                self.members[member].tracks.remove(&key);
                self.input(member, RoomInput::RemoveTrack(TrackKey(key)));
            }
            (Action::Drop, Some(socket)) => {
                self.lose(member, socket, self.now);
                let most = [300, 3000, 20_000][self.rng.usize(0..3)];
                let noticed = self.after(most);
                self.push(noticed, Event::Gone((self.who(member), socket)));
            }
            (Action::ServerLoses, Some(socket)) if self.server.knows((self.who(member), socket)) => {
                self.push(self.now, Event::Gone((self.who(member), socket)));
                let noticed = self.after(10_000);
                self.lose(member, socket, noticed);
            }
            (Action::Drop | Action::ServerLoses, _) => {}
        }
    }

    fn lose(&mut self, member: usize, socket: SocketId, when: Instant) {
        let end = SocketEnd::Lost {
            detail: "model".into(),
        };
        self.push(
            when,
            Event::Net(self.who(member), NetInput::SocketClosed(socket, end)),
        );
    }

    /// Which room of a member: what belongs to an earlier one does not reach the next.
    pub(super) fn who(&self, member: usize) -> usize {
        member + EACH * self.members[member].incarnation
    }

    pub(super) fn current(&self, who: usize) -> Option<usize> {
        (self.who(index(who)) == who).then_some(index(who))
    }

    /// A new room for somebody who has left.
    fn reincarnate(&mut self, index: usize) {
        let seed = self.confession.0;
        let member = &mut self.members[index];
        member.incarnation += 1;
        member.room = room(seed, index, member.incarnation, self.now);
        member.ledger = Ledger::default();
        member.heard.clear();
        member.tracks.clear();
        member.socket = None;
    }
}
