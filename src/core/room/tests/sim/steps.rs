//! What members do, and what is done to them.

use std::time::Instant;

use serde_json::json;

use super::plan::{Action, Ms};
use super::server::Socket;
use super::world::{EACH, Event, World, index, room};
use crate::core::events::RoomInput;
use crate::core::io::{MediaKind, NetInput, SocketEnd, SocketId, TrackKey};
use crate::core::negotiator::tests::pair::track;
use crate::core::room::tests::ledger::Ledger;
use crate::core::room::tests::{bag, ms};

fn kind(key: u32) -> MediaKind {
    match key.is_multiple_of(2) {
        true => MediaKind::Audio,
        false => MediaKind::Video,
    }
}

impl World {
    pub(super) fn act(&mut self, member: usize, action: Action) {
        self.say(member, "##", &action);
        let name = |key: u64| u32::try_from(member as u64 * 10 + key).unwrap();
        match action {
            Action::Join if self.members[member].alive => {
                if self.members[member].ledger.has_left() {
                    self.reincarnate(member);
                }
                self.input(member, RoomInput::Join);
            }
            Action::Join => {}
            Action::Leave => self.input(member, RoomInput::Leave),
            Action::Say => self.input(member, RoomInput::Send(json!("hello"))),
            Action::Add(key) => self.add(member, name(key)),
            Action::Remove(key) => {
                if self.members[member].alive {
                    self.members[member].tracks.remove(&name(key));
                    self.input(member, RoomInput::RemoveTrack(TrackKey(name(key))));
                }
            }
            Action::Freeze(long) => self.freeze(member, long),
            Action::Block(other, long) => {
                let pair = (member.min(other), member.max(other));
                let until = self.paths.blocked.entry(pair).or_insert(self.now);
                *until = (*until).max(self.now + ms(long));
            }
            Action::Move => {
                *self.paths.address.entry(member).or_default() += 1;
                // The driver looks twice a second, and believes what it finds twice.
                let when = self.now + ms(self.members[member].rng.u64(500..1000));
                self.push(when, Event::Addresses(self.who(member)));
            }
            Action::Rebind => *self.paths.bindings.entry(member).or_default() += 1,
            Action::Restart(other) => {
                let socket = self.members.get(other).and_then(|other| other.socket);
                let id = socket.and_then(|socket| self.server.id((self.who(other), socket)));
                if let Some(id) = id.map(str::to_owned) {
                    self.input(member, RoomInput::RestartIce(Some(id)));
                }
            }
            Action::RestartAll => self.input(member, RoomInput::RestartIce(None)),
            Action::ServerRestart(long) => {
                self.down = Some(self.now + ms(long));
                for socket in self.server.forget() {
                    self.lose(socket, self.now);
                }
            }
            Action::Duplicate => {
                let socket = self.socket(member);
                let id = socket
                    .and_then(|socket| self.server.id(socket))
                    .map(str::to_owned);
                if let Some(id) = id {
                    let deliveries = self.server.told(&id);
                    self.deliver(deliveries);
                }
            }
            Action::Lose(count) => self.members[member].lose += count,
            Action::Die(back, noticed) => self.die(member, back, noticed),
            Action::Drop(_) | Action::ServerLoses(_) | Action::Expire | Action::GoingAway(..) => {
                if let Some(socket) = self.socket(member) {
                    self.connection(member, socket, action);
                }
            }
        }
    }

    fn socket(&self, member: usize) -> Option<Socket> {
        Some((self.who(member), self.members[member].socket?))
    }

    fn connection(&mut self, member: usize, socket: Socket, action: Action) {
        let known = self.server.knows(socket);
        match action {
            Action::Drop(noticed) => {
                self.lose(socket, self.now);
                self.push(self.now + ms(noticed), Event::Gone(socket));
            }
            Action::ServerLoses(noticed) if known => {
                self.push(self.now, Event::Gone(socket));
                self.lose(socket, self.now + ms(noticed));
            }
            Action::Expire if known => self.push(self.now, Event::Close(socket, 4002)),
            Action::GoingAway(back, close) if known => {
                let when = self.way(member);
                let text = json!({"type": "going_away", "retryAfterMs": back}).to_string();
                self.push(when, Event::Net(socket.0, NetInput::Text(socket.1, text)));
                self.push(self.now + ms(close), Event::Close(socket, 1001));
            }
            _ => {}
        }
    }

    fn add(&mut self, member: usize, name: u32) {
        if self.members[member].alive && !self.members[member].ledger.has_left() {
            let track = track(name, kind(name));
            self.members[member].tracks.insert(name, track.clone());
            self.input(member, RoomInput::AddTrack(track, bag("x")));
        }
    }

    fn freeze(&mut self, member: usize, long: Ms) {
        if self.members[member].alive && self.members[member].frozen.is_none() {
            let until = self.now + ms(long);
            self.members[member].frozen = Some(until);
            self.paths.frozen.insert(member, until);
            self.stop(member);
            self.push(until, Event::Thaw(self.who(member)));
        }
    }

    fn die(&mut self, member: usize, back: Ms, noticed: Ms) {
        let idle = self.members[member].ledger.has_left() || !self.members[member].ledger.has_begun();
        if !self.members[member].alive || idle {
            return;
        }
        if let Some(socket) = self.socket(member) {
            self.push(self.now + ms(noticed), Event::Gone(socket));
        }
        self.media.kill(self.who(member));
        self.members[member].alive = false;
        self.members[member].socket = None;
        self.stop(member);
        self.push(self.now + ms(back), Event::Back(member));
    }

    pub(super) fn come_back(&mut self, member: usize) {
        let tracks = std::mem::take(&mut self.members[member].tracks);
        self.reincarnate(member);
        self.input(member, RoomInput::Join);
        for name in tracks.into_keys() {
            self.add(member, name);
        }
    }

    /// The server ends a connection.
    pub(super) fn close(&mut self, socket: Socket, code: u16) {
        if !self.server.knows(socket) {
            return;
        }
        let deliveries = self.server.gone(socket);
        self.deliver(deliveries);
        let when = self.in_order((true, socket.0, socket.1));
        let reason = String::new();
        let end = SocketEnd::Closed { code, reason };
        self.push(when, Event::Net(socket.0, NetInput::SocketClosed(socket.1, end)));
    }

    pub(super) fn lose(&mut self, (who, socket): Socket, when: Instant) {
        let end = SocketEnd::Lost {
            detail: "model".into(),
        };
        self.push(when, Event::Net(who, NetInput::SocketClosed(socket, end)));
    }

    /// Which room of a member: what belongs to an earlier one does not reach the next.
    pub(super) fn who(&self, member: usize) -> usize {
        member + EACH * self.members[member].incarnation
    }

    /// The member of a process that runs.
    pub(super) fn current(&self, who: usize) -> Option<usize> {
        let member = index(who);
        (self.who(member) == who && self.members[member].alive).then_some(member)
    }

    /// A new room for somebody who has left, or was ended.
    fn reincarnate(&mut self, index: usize) {
        let seed = self.plan.seed;
        let member = &mut self.members[index];
        member.incarnation += 1;
        member.room = room(seed, member.kind, index, member.incarnation, self.now);
        member.ledger = Ledger::default();
        member.heard.clear();
        member.tracks.clear();
        member.problems.clear();
        member.exhausted.clear();
        (member.socket, member.frozen, member.alive) = (None, None, true);
        self.paths.frozen.remove(&index);
    }

    pub(super) fn opened(&mut self, member: usize, id: SocketId) {
        let who = self.who(member);
        self.members[member].socket = Some(id);
        self.counted(member, true);
        let when = self.way(member);
        let down = self.down.is_some_and(|down| when < down);
        if self.chance(member, self.plan.weather.unreachable) || down {
            let (detail, certificate) = ("model".into(), false);
            let end = SocketEnd::Unreachable { detail, certificate };
            self.push(when, Event::Net(who, NetInput::SocketClosed(id, end)));
        } else {
            self.push(when, Event::Accept((who, id)));
        }
    }
}
