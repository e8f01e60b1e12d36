//! Rooms, server and network in virtual time.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::actions::Action;
use super::media::{GIVE_UP, Key, Media, changes};
use super::server::{Delivery, Server};
use crate::core::events::{RoomInput, RoomOutput};
use crate::core::io::{Generation, Machine, NetInput, SessionEvent, SocketId};
use crate::core::negotiator::LocalTrack;
use crate::core::room::Room;
use crate::core::room::tests::config;
use crate::core::room::tests::ledger::Ledger;
use crate::wire::PeerId;

#[derive(Debug)]
pub(super) enum Event {
    Act(usize, Action),
    /// Something reaches a room, unless its socket is an old one.
    Net(usize, NetInput),
    /// Something reaches the server.
    Frame((usize, SocketId), Value),
    Accept((usize, SocketId)),
    Gone((usize, SocketId)),
    Session(Key, SessionEvent),
    Tick,
    /// Sessions count packets.
    Count,
}

/// Shares in percent, and how long they last.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Signals that get lost on the way.
    pub loss: u32,
    /// Session operations that fail.
    pub failures: u32,
    /// Attempts to connect that fail.
    pub unreachable: u32,
    /// Sessions do not notice that the other end is gone, as with GStreamer 1.22.
    pub deaf: bool,
    /// Sessions count packets, so that silence is noticed and connections are kept.
    pub counts: bool,
    pub until: Duration,
}

pub(super) struct Member {
    pub room: Room,
    pub ledger: Ledger,
    /// Its id stays the same over all connections.
    pub sticky: Option<String>,
    pub socket: Option<SocketId>,
    pub tracks: BTreeMap<u32, LocalTrack>,
    pub heard: BTreeMap<(PeerId, Generation, String), String>,
    pub problems: Vec<String>,
    pub incarnation: usize,
}

/// Rooms of one member are so far apart.
pub(super) const EACH: usize = 100;

pub(super) fn index(who: usize) -> usize {
    who % EACH
}

/// Names the seed of a run that panics.
pub(super) struct Confession(pub u64);

impl Drop for Confession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

pub struct World {
    pub(super) confession: Confession,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) weather: Weather,
    pub(super) rng: fastrand::Rng,
    pub(super) members: Vec<Member>,
    pub(super) server: Server,
    pub(super) media: Media,
    pub(super) queue: BTreeMap<(Instant, u64), Event>,
    pub(super) serial: u64,
    /// Each direction of a connection keeps its order.
    pub(super) last: BTreeMap<(bool, usize, SocketId), Instant>,
    pub(super) ids: u64,
    pub(super) descriptions: usize,
    trace: bool,
    /// Something about the sessions has changed.
    changed: bool,
}

impl World {
    pub fn new(seed: u64, weather: Weather, members: usize) -> Self {
        let now = Instant::now();
        let mut rng = fastrand::Rng::with_seed(seed);
        let member = |number: usize| Member {
            room: room(seed, number, 0, now),
            ledger: Ledger::default(),
            sticky: rng.bool().then(|| format!("{}-{number}", rng.lowercase())),
            socket: None,
            tracks: BTreeMap::new(),
            heard: BTreeMap::new(),
            problems: Vec::new(),
            incarnation: 0,
        };
        let members = (0..members).map(member).collect();
        Self {
            confession: Confession(seed),
            start: now,
            now,
            weather,
            rng,
            members,
            server: Server::default(),
            media: Media::new(weather.deaf),
            queue: BTreeMap::new(),
            serial: 0,
            last: BTreeMap::new(),
            ids: 0,
            descriptions: 0,
            trace: std::env::var_os("ROOM_TRACE").is_some(),
            changed: false,
        }
    }

    /// Sessions count packets once a second, from now on.
    fn count(&mut self) {
        if self.weather.counts {
            for (key, event) in self.media.count() {
                let when = self.after(30);
                self.push(when, Event::Session(key, event));
            }
            self.push(self.now + Duration::from_secs(1), Event::Count);
        }
    }

    pub fn at(&mut self, when: Duration, member: usize, action: Action) {
        self.push(self.start + when, Event::Act(member, action));
    }

    pub(super) fn push(&mut self, when: Instant, event: Event) {
        self.serial += 1;
        self.queue.insert((when, self.serial), event);
    }

    pub(super) fn after(&mut self, most: u64) -> Instant {
        self.now + Duration::from_millis(self.rng.u64(0..most))
    }

    fn bad(&self) -> bool {
        self.now < self.start + self.weather.until
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.bad() && self.rng.u32(0..100) < percent
    }

    pub(super) fn say(&self, member: usize, arrow: &str, what: &dyn Debug) {
        if self.trace {
            let text: String = format!("{what:?}").chars().take(150).collect();
            if !text.contains("andidate") && !text.contains("\"ack") {
                println!(
                    "{:7.3} {member} {arrow} {text}",
                    (self.now - self.start).as_secs_f64()
                );
            }
        }
    }

    /// Runs until this time.
    pub fn run(&mut self, until: Duration) {
        let end = self.start + until;
        if self.now == self.start {
            self.count();
        }
        loop {
            let timers = self
                .members
                .iter()
                .filter_map(|member| member.room.poll_timeout());
            let (due, next) = (timers.min(), self.queue.keys().next().map(|(when, _)| *when));
            let Some(at) = [due, next].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            if next.is_some_and(|next| next <= self.now) {
                let Some((_, event)) = self.queue.pop_first() else {
                    continue;
                };
                self.dispatch(event);
            } else {
                for member in 0..self.members.len() {
                    self.members[member].room.handle_timeout(self.now);
                    self.drain(member);
                }
            }
        }
        self.now = end;
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Act(member, action) => self.act(member, action),
            Event::Net(who, input) => {
                let Some(member) = self.current(who) else { return };
                self.say(member, "<=", &input);
                if let NetInput::SocketClosed(socket, _) = &input
                    && self.members[member].socket == Some(*socket)
                {
                    self.members[member].socket = None;
                }
                self.members[member].room.handle_net(self.now, input);
                self.drain(member);
            }
            Event::Frame(socket, frame) => {
                let deliveries = self.server.frame(socket, &frame);
                self.deliver(deliveries);
            }
            Event::Accept(socket) => self.accept(socket),
            Event::Gone(socket) => {
                let deliveries = self.server.gone(socket);
                self.deliver(deliveries);
            }
            Event::Session((who, peer, generation), event) => {
                let Some(member) = self.current(who) else { return };
                self.say(member, "<-", &(&peer, generation, &event));
                self.members[member].ledger.report(&peer, generation, &event);
                let input = RoomInput::Session(peer, generation, event);
                self.members[member].room.handle_input(self.now, input);
                self.drain(member);
            }
            Event::Tick => self.changed = true,
            Event::Count => self.count(),
        }
        if std::mem::take(&mut self.changed) {
            self.observe();
        }
    }

    fn observe(&mut self) {
        let (news, again) = self.media.observe(self.now);
        for (key, event) in news {
            let when = self.after(30);
            self.push(when, Event::Session(key, event));
        }
        if again {
            self.push(self.now + GIVE_UP, Event::Tick);
        }
    }

    fn accept(&mut self, socket: (usize, SocketId)) {
        let (who, id) = socket;
        let Some(member) = self.current(who) else { return };
        if self.members[member].socket != Some(id) {
            return;
        }
        self.ids += 1;
        let fresh = format!("{}{}-{member}", self.rng.lowercase(), self.ids);
        let name = self.members[member].sticky.clone().unwrap_or(fresh);
        self.push(self.now, Event::Net(who, NetInput::SocketOpened(id)));
        let deliveries = self.server.accept(socket, &name);
        self.deliver(deliveries);
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        for ((who, socket), frame) in deliveries {
            if frame["type"] == "direct" && self.chance(self.weather.loss) {
                self.say(index(who), "lost", &frame.to_string());
                continue;
            }
            let when = self.in_order((true, who, socket));
            let input = NetInput::Text(socket, frame.to_string());
            self.push(when, Event::Net(who, input));
        }
    }

    pub(super) fn in_order(&mut self, channel: (bool, usize, SocketId)) -> Instant {
        let when = self.after(120);
        let last = self.last.entry(channel).or_insert(when);
        *last = when.max(*last);
        *last
    }

    pub(super) fn input(&mut self, member: usize, input: RoomInput) {
        self.members[member].room.handle_input(self.now, input);
        self.drain(member);
    }

    pub(super) fn drain(&mut self, member: usize) {
        while let Some(output) = self.members[member].room.poll_net() {
            self.on_net(member, output);
        }
        while let Some(output) = self.members[member].room.poll_output() {
            self.say(member, "->", &output);
            self.members[member].ledger.output(&output);
            match output {
                RoomOutput::Session(peer, generation, command) => {
                    let failures = if self.bad() { self.weather.failures } else { 0 };
                    let key = (self.who(member), peer, generation);
                    self.changed |= changes(&command);
                    let Self { media, rng, now, .. } = self;
                    for (when, event) in media.command(*now, &key, command, failures, rng) {
                        self.push(when, Event::Session(key.clone(), event));
                    }
                }
                RoomOutput::Event(event) => self.on_event(member, event),
            }
        }
    }
}

pub(super) fn room(seed: u64, member: usize, incarnation: usize, now: Instant) -> Room {
    let mut config = config(seed * 100 + (member * 10 + incarnation) as u64);
    config.client.retry_first_connect = true;
    config.departure_grace = Duration::from_secs(30);
    Room::new(config, now).unwrap()
}
