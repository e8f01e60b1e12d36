//! One room driven by hand.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::Ledger;
use super::words::{said, what};
use super::{config, ms};
use crate::core::events::{RoomEvent, RoomInput, RoomOutput};
use crate::core::io::{
    Generation, Machine, NetInput, NetOutput, SessionCommand, SessionEvent, SocketEnd, SocketId,
};
use crate::core::negotiator::tests::bin::Bin;
use crate::core::room::{Room, RoomConfig};
use crate::wire::PeerId;

/// A room, its clock, its sessions, and everything it has said.
pub struct Harness {
    pub room: Room,
    pub now: Instant,
    pub socket: SocketId,
    /// Everything in order, for the tests that are about order.
    pub log: Vec<String>,
    pub net: Vec<NetOutput>,
    pub commands: Vec<(PeerId, Generation, SessionCommand)>,
    pub events: Vec<RoomEvent>,
    pub ledger: Ledger,
    /// Sessions answer by themselves.
    pub automatic: bool,
    /// Makes the ends of its connections unlike those of another room.
    pub salt: u64,
    bins: BTreeMap<(PeerId, Generation), Bin>,
    reports: VecDeque<RoomInput>,
}

impl Harness {
    pub fn with(config: RoomConfig) -> Self {
        let now = Instant::now();
        Self {
            room: Room::new(config, now).unwrap(),
            now,
            socket: SocketId(0),
            log: Vec::new(),
            net: Vec::new(),
            commands: Vec::new(),
            events: Vec::new(),
            ledger: Ledger::default(),
            automatic: true,
            salt: 0,
            bins: BTreeMap::new(),
            reports: VecDeque::new(),
        }
    }

    pub fn new() -> Self {
        Self::with(config(7))
    }

    /// `m` in the room with these others, with nothing left to read.
    pub fn joined(others: &[&str]) -> Self {
        Self::joined_with(config(7), others)
    }

    pub fn joined_with(config: RoomConfig, others: &[&str]) -> Self {
        let mut harness = Self::with(config);
        harness.input(RoomInput::Join);
        harness.open();
        harness.welcome("m");
        harness.ack("subscribe");
        harness.presence(others, &[]);
        harness.forget();
        harness
    }

    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Forgets what was said so far.
    pub fn forget(&mut self) {
        self.log.clear();
        self.net.clear();
        self.commands.clear();
        self.events.clear();
    }

    pub fn input(&mut self, input: RoomInput) {
        self.room.handle_input(self.now, input);
        self.drain();
    }

    pub fn net(&mut self, input: NetInput) {
        self.room.handle_net(self.now, input);
        self.drain();
    }

    pub fn session(&mut self, peer: &str, generation: Generation, event: SessionEvent) {
        let peer = super::id(peer);
        self.ledger.report(&peer, generation, &event);
        self.input(RoomInput::Session(peer, generation, event));
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.room.poll_net() {
                self.on_net(output);
            }
            while let Some(output) = self.room.poll_output() {
                self.ledger.output(&output);
                self.on_output(output);
            }
            let Some(report) = self.reports.pop_front() else {
                return;
            };
            if let RoomInput::Session(peer, generation, event) = &report {
                self.ledger.report(peer, *generation, event);
            }
            self.room.handle_input(self.now, report);
        }
    }

    fn on_net(&mut self, output: NetOutput) {
        match &output {
            NetOutput::OpenSocket { id, .. } => {
                self.log.push("open".into());
                self.socket = *id;
            }
            NetOutput::SendText(id, text) => {
                assert_eq!(*id, self.socket);
                let frame: Value = serde_json::from_str(text).unwrap();
                self.log.push(format!("send {}", what(&frame)));
            }
            NetOutput::CloseSocket { code, .. } => self.log.push(format!("close {code}")),
            NetOutput::FetchToken(_) => self.log.push("token?".into()),
            NetOutput::ForgetToken(_) => self.log.push("no token".into()),
            NetOutput::Resolve { host, .. } => self.log.push(format!("resolve {host}")),
        }
        self.net.push(output);
    }

    fn on_output(&mut self, output: RoomOutput) {
        match output {
            RoomOutput::Session(peer, generation, command) => {
                let text = format!("{command:?}");
                let name = text.split(['(', ' ']).next().unwrap_or_default();
                self.log.push(format!("{peer} {name}"));
                self.execute(&peer, generation, command.clone());
                self.commands.push((peer, generation, command));
            }
            RoomOutput::Event(event) => {
                self.log.push(said(&event));
                self.events.push(event);
            }
        }
    }

    fn execute(&mut self, peer: &PeerId, generation: Generation, command: SessionCommand) {
        let key = (peer.clone(), generation);
        if let SessionCommand::Create(_) = command {
            self.bins
                .insert(key.clone(), Bin::new(self.salt + u64::from(generation.0)));
        }
        let bin = self.bins.get_mut(&key).expect("a command before Create");
        for event in bin.run(command) {
            if self.automatic {
                self.reports
                    .push_back(RoomInput::Session(peer.clone(), generation, event));
            }
        }
    }

    pub fn open(&mut self) {
        self.net(NetInput::SocketOpened(self.socket));
    }

    pub fn frame(&mut self, frame: Value) {
        self.net(NetInput::Text(self.socket, frame.to_string()));
    }

    pub fn welcome(&mut self, own: &str) {
        self.frame(json!({"type": "welcome", "peerId": own, "serverTime": 1, "expiresAt": null, "maxMessageSize": 65536}));
    }

    pub fn ack(&mut self, kind: &str) {
        let request = self.request(kind);
        self.frame(json!({"type": "ack", "requestId": request}));
    }

    pub fn refuse(&mut self, kind: &str, code: &str) {
        let request = self.request(kind);
        self.frame(json!({"type": "error", "requestId": request, "code": code, "message": "words"}));
    }

    pub fn presence(&mut self, joined: &[&str], left: &[&str]) {
        let list =
            |peers: &[&str]| -> Vec<Value> { peers.iter().map(|peer| json!({"peerId": peer})).collect() };
        let (joined, left) = (list(joined), list(left));
        self.frame(json!({"type": "presence", "channel": "studio", "joined": joined, "left": left}));
    }

    pub fn direct(&mut self, from: &str, data: Value) {
        self.frame(json!({"type": "direct", "from": from, "data": data}));
    }

    pub fn closed(&mut self, code: u16) {
        let reason = "server words".to_owned();
        self.net(NetInput::SocketClosed(
            self.socket,
            SocketEnd::Closed { code, reason },
        ));
    }

    pub fn lost(&mut self) {
        let detail = "reset".to_owned();
        self.net(NetInput::SocketClosed(self.socket, SocketEnd::Lost { detail }));
    }

    /// Lost, reconnected, and welcomed under this name; the subscription is acknowledged.
    pub fn back_as(&mut self, own: &str) {
        self.lost();
        self.reconnect();
        self.welcome(own);
        self.ack("subscribe");
    }

    /// Waits for the next attempt and opens its socket.
    pub fn reconnect(&mut self) {
        let before = self.socket;
        while self.socket == before {
            self.pass(ms(100));
        }
        self.open();
    }

    /// Lets time pass, stopping wherever the room wants to be woken.
    pub fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.room.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.room.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn sent(&self) -> Vec<Value> {
        let text = |output: &NetOutput| match output {
            NetOutput::SendText(_, text) => Some(serde_json::from_str(text).unwrap()),
            _ => None,
        };
        self.net.iter().filter_map(text).collect()
    }

    /// The request id of the newest frame of this type.
    fn request(&self, kind: &str) -> String {
        let sent = self.sent();
        let frame = sent.iter().rev().find(|frame| frame["type"] == kind);
        let frame = frame.unwrap_or_else(|| panic!("no {kind} was sent"));
        frame["requestId"].as_str().unwrap().to_owned()
    }

    /// Payloads sent to a peer.
    pub fn sent_to(&self, peer: &str) -> Vec<Value> {
        let direct = |frame: &Value| frame["type"] == "send" && frame["to"] == peer;
        let sent = self.sent().into_iter().filter(direct);
        sent.map(|mut frame| frame["data"].take()).collect()
    }

    /// What the room has said, without what is not asked for.
    pub fn log_of(&self, wanted: &[&str]) -> Vec<&str> {
        let wants = |line: &&String| wanted.iter().any(|start| line.starts_with(start));
        self.log.iter().filter(wants).map(String::as_str).collect()
    }

    pub fn codes(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|event| match event {
                RoomEvent::ServerError { code, .. } | RoomEvent::Fatal { code, .. } => Some(code.as_str()),
                _ => None,
            })
            .collect()
    }

    pub fn questions(&self) -> Vec<u64> {
        let question = |output: &NetOutput| match output {
            NetOutput::Resolve { id, .. } => Some(*id),
            _ => None,
        };
        self.net.iter().filter_map(question).collect()
    }
}
