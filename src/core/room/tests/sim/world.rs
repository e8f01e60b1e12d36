//! Rooms, server and network in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::media::{Key, Luck, Media, Paths, asks, changes};
use super::plan::{Action, Kind, Plan};
use super::server::{Delivery, Server, Socket, TURN_SECRET};
use crate::core::client::CredentialSource;
use crate::core::events::{RoomInput, RoomOutput};
use crate::core::io::{Generation, Machine, NetInput, SessionEvent, SocketId};
use crate::core::negotiator::LocalTrack;
use crate::core::room::Room;
use crate::core::room::tests::ledger::Ledger;
use crate::core::room::tests::{config, ms};
use crate::wire::{PeerId, Secret};

/// What a token looks like.
pub const TOKEN_SECRET: &str = "jwt-5ecret";

/// Strings that nobody may show.
const SECRETS: [&str; 4] = [TURN_SECRET, TOKEN_SECRET, "pk_live_7Qd2", "passwordpassword"];

/// The service takes so many frames at once, and so many more each second (4011).
const RATE: (f64, f64) = (200.0, 100.0);

/// So many timers in a row without a moment passing: the room is busy with nothing.
const SPIN: u32 = 1000;

#[derive(Debug)]
pub(super) enum Event {
    Act(usize, Action),
    /// The application of a process does something.
    Input(usize, RoomInput),
    /// Something reaches a room, unless its socket is an old one.
    Net(usize, NetInput),
    /// Something reaches the server.
    Frame(Socket, Value),
    Accept(Socket),
    Gone(Socket),
    /// The server ends a connection with this code.
    Close(Socket, u16),
    Session(Key, SessionEvent),
    /// A process goes on.
    Thaw(usize),
    /// A new process has the place of one that is gone.
    Back(usize),
    /// A process notices that its machine has other addresses.
    Addresses(usize),
    /// Media may flow elsewhere.
    Look,
    /// A second has passed.
    Second,
}

pub(super) struct Member {
    pub kind: Kind,
    pub room: Room,
    pub ledger: Ledger,
    pub socket: Option<SocketId>,
    pub tracks: BTreeMap<u32, LocalTrack>,
    pub heard: BTreeMap<(PeerId, Generation, String), String>,
    pub problems: Vec<String>,
    /// Peers that were given up, until they are connected again.
    pub exhausted: BTreeSet<PeerId>,
    pub incarnation: usize,
    /// Delays and losses of its own, so that a plan with a step less has the others' as before.
    pub rng: fastrand::Rng,
    pub frozen: Option<Instant>,
    /// It has stood still at this time last.
    pub thawed: Option<Instant>,
    /// What waits until it goes on.
    backlog: VecDeque<Event>,
    /// The process runs.
    pub alive: bool,
    /// Signals to it that will be lost.
    pub lose: u64,
    due: Option<Instant>,
    /// What the service would count.
    bucket: (f64, Instant),
}

/// Rooms of one member are so far apart.
pub(super) const EACH: usize = 100;

pub(super) fn index(who: usize) -> usize {
    who % EACH
}

pub struct World {
    pub(super) plan: Plan,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) members: Vec<Member>,
    pub(super) server: Server,
    pub(super) media: Media,
    pub(super) paths: Paths,
    /// The server takes nobody until then.
    pub(super) down: Option<Instant>,
    queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    /// Each direction of a connection keeps its order.
    last: BTreeMap<(bool, usize, SocketId), Instant>,
    ids: u64,
    pub(super) descriptions: usize,
    trace: bool,
    /// Everything that is said is searched for secrets.
    nosy: bool,
    /// Something about the sessions has changed.
    changed: bool,
}

impl World {
    pub fn new(plan: &Plan, trace: bool) -> Self {
        let now = Instant::now();
        let member = |(number, kind): (usize, &Kind)| Member {
            kind: *kind,
            room: room(plan.seed, *kind, number, 0, now),
            ledger: Ledger::default(),
            socket: None,
            tracks: BTreeMap::new(),
            heard: BTreeMap::new(),
            problems: Vec::new(),
            exhausted: BTreeSet::new(),
            incarnation: 0,
            rng: fastrand::Rng::with_seed(plan.seed * 16 + number as u64),
            frozen: None,
            thawed: None,
            backlog: VecDeque::new(),
            alive: true,
            lose: 0,
            due: None,
            bucket: (RATE.0, now),
        };
        let mut world = Self {
            start: now,
            now,
            members: plan.members.iter().enumerate().map(member).collect(),
            server: Server::default(),
            media: Media::new(plan.weather.deaf > 0),
            paths: Paths::default(),
            down: None,
            queue: BTreeMap::new(),
            serial: 0,
            last: BTreeMap::new(),
            ids: 0,
            descriptions: 0,
            trace,
            nosy: plan.seed.is_multiple_of(16),
            changed: false,
            plan: plan.clone(),
        };
        for step in plan.steps.iter().filter(|step| step.member < plan.members.len()) {
            world.push(now + ms(step.at), Event::Act(step.member, step.action));
        }
        world.push(now + ms(1000), Event::Second);
        world
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn push(&mut self, when: Instant, event: Event) {
        self.serial += 1;
        self.queue.insert((when, self.serial), event);
    }

    /// The way of a frame to or from a member.
    pub(super) fn way(&mut self, member: usize) -> Instant {
        self.now + ms(self.members[member].rng.u64(0..self.plan.weather.delay.max(1)))
    }

    fn bad(&self) -> bool {
        self.elapsed() < ms(self.plan.weather.until)
    }

    pub(super) fn chance(&mut self, member: usize, percent: u32) -> bool {
        self.members[member].rng.u32(0..100) < percent && self.bad()
    }

    pub(super) fn say(&self, member: usize, arrow: &str, what: &dyn Debug) {
        if self.trace {
            let text: String = format!("{what:?}").chars().take(170).collect();
            let all = std::env::var("SIM_TRACE").is_ok_and(|how| how == "all");
            if all
                || !["andidate", "\"ack", "Traffic"]
                    .iter()
                    .any(|dull| text.contains(dull))
            {
                println!("{:7.3} {member} {arrow} {text}", self.elapsed().as_secs_f64());
            }
        }
    }

    /// Whatever reaches an application or a log.
    pub(super) fn nothing_shown(&self, what: &dyn Debug) {
        if self.nosy {
            let text = format!("{what:?}");
            let secret = SECRETS.iter().find(|secret| text.contains(**secret));
            assert_eq!(secret, None, "a secret is shown: {text}");
        }
    }

    /// Runs until this time.
    pub fn run(&mut self, until: Duration) {
        let end = self.start + until;
        let mut spin = 0;
        loop {
            let timers = self.members.iter().filter_map(|member| member.due);
            let (due, next) = (timers.min(), self.queue.keys().next().map(|(when, _)| *when));
            let Some(at) = [due, next].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            spin = if at > self.now { 0 } else { spin + 1 };
            assert!(spin < SPIN, "timers that never end");
            self.now = self.now.max(at);
            if next.is_some_and(|next| next <= self.now) {
                if let Some((_, event)) = self.queue.pop_first() {
                    spin = 0;
                    self.dispatch(event);
                }
                continue;
            }
            for member in 0..self.members.len() {
                if self.members[member].due.is_some_and(|due| due <= self.now) {
                    self.members[member].room.handle_timeout(self.now);
                    self.drain(member);
                }
            }
        }
        self.now = end;
    }

    /// Which process an event is for, if it runs it.
    fn process(event: &Event) -> Option<usize> {
        match event {
            Event::Net(who, _) | Event::Input(who, _) | Event::Session((who, ..), _) => Some(*who),
            _ => None,
        }
    }

    fn dispatch(&mut self, event: Event) {
        if let Some(who) = Self::process(&event) {
            let Some(member) = self.current(who) else { return };
            if self.members[member].frozen.is_some() {
                return self.members[member].backlog.push_back(event);
            }
        }
        match event {
            Event::Act(member, action) => self.act(member, action),
            Event::Input(who, input) => {
                let member = index(who);
                self.members[member].room.handle_input(self.now, input);
                self.drain(member);
            }
            Event::Net(who, input) => self.net(index(who), input),
            Event::Frame(socket, frame) => {
                let deliveries = self.server.frame(socket, &frame);
                self.deliver(deliveries);
            }
            Event::Accept(socket) => self.accept(socket),
            Event::Gone(socket) => {
                let deliveries = self.server.gone(socket);
                self.deliver(deliveries);
            }
            Event::Close(socket, code) => self.close(socket, code),
            Event::Session((who, peer, generation), event) => {
                let member = index(who);
                self.say(member, "<-", &(&peer, generation, &event));
                self.members[member].ledger.report(&peer, generation, &event);
                let input = RoomInput::Session(peer, generation, event);
                self.members[member].room.handle_input(self.now, input);
                self.drain(member);
            }
            Event::Thaw(who) => self.thaw(who),
            Event::Back(member) => self.come_back(member),
            Event::Addresses(who) => {
                let found = NetInput::AddressesChanged(self.paths.addresses(who));
                self.dispatch(Event::Net(who, found));
            }
            Event::Look => self.changed = true,
            Event::Second => self.second(),
        }
        if std::mem::take(&mut self.changed) {
            self.observe();
        }
    }

    fn net(&mut self, member: usize, input: NetInput) {
        self.say(member, "<=", &input);
        self.nothing_shown(&input);
        if let NetInput::SocketClosed(socket, _) = &input
            && self.members[member].socket == Some(*socket)
        {
            self.members[member].socket = None;
        }
        self.members[member].room.handle_net(self.now, input);
        self.drain(member);
    }

    fn thaw(&mut self, who: usize) {
        let Some(member) = self.current(who) else { return };
        if self.members[member].frozen.is_some_and(|until| until <= self.now) {
            self.members[member].frozen = None;
            self.members[member].thawed = Some(self.now);
            for event in std::mem::take(&mut self.members[member].backlog) {
                self.dispatch(event);
            }
            self.touched(member);
        }
    }

    fn second(&mut self) {
        for (key, event) in self.media.count(self.now, &self.paths) {
            self.dispatch(Event::Session(key, event));
        }
        self.check();
        self.changed = true;
        self.push(self.now + ms(1000), Event::Second);
    }

    fn observe(&mut self) {
        let news = self.media.observe(self.now, &self.paths);
        if !news.is_empty() {
            self.push(self.now + ms(30), Event::Look);
        }
        let mut last: Option<(Key, Instant)> = None;
        for (key, event) in news {
            // What one session says keeps its order.
            let same = last.take().filter(|(before, _)| *before == key);
            let late = || self.now + ms(self.members[index(key.0)].rng.u64(0..30));
            let when = same.map_or_else(late, |(_, when)| when);
            last = Some((key.clone(), when));
            self.push(when, Event::Session(key, event));
        }
    }

    fn accept(&mut self, socket: Socket) {
        let (who, id) = socket;
        let Some(member) = self.current(who) else { return };
        if self.members[member].socket != Some(id) || self.down.is_some_and(|down| self.now < down) {
            return;
        }
        self.ids += 1;
        // Any order of the ids must do: who is polite depends on it.
        let letter = |number: u64| char::from(b'a' + u8::try_from(number % 26).unwrap());
        let name = match self.members[member].kind {
            Kind::Token => format!("{}-{member}", letter(self.plan.seed * 7 + member as u64 * 11)),
            Kind::Key => format!(
                "{}{}-{member}",
                letter(self.plan.seed * 5 + self.ids * 17),
                self.ids
            ),
        };
        self.push(self.now, Event::Net(who, NetInput::SocketOpened(id)));
        let deliveries = self.server.accept(socket, &name);
        self.deliver(deliveries);
    }

    pub(super) fn deliver(&mut self, deliveries: Vec<Delivery>) {
        for ((who, socket), frame) in deliveries {
            let member = index(who);
            if frame["type"] == "direct" {
                let told = self.members[member].lose > 0;
                self.members[member].lose -= u64::from(told);
                if self.chance(member, self.plan.weather.loss) || told {
                    self.say(member, "lost", &frame.to_string());
                    continue;
                }
            }
            let when = self.in_order((true, who, socket));
            let input = NetInput::Text(socket, frame.to_string());
            self.push(when, Event::Net(who, input));
        }
    }

    pub(super) fn in_order(&mut self, channel: (bool, usize, SocketId)) -> Instant {
        let when = self.way(index(channel.1));
        let last = self.last.entry(channel).or_insert(when);
        *last = when.max(*last);
        *last
    }

    /// The application does something, or would if its process ran.
    pub(super) fn input(&mut self, member: usize, input: RoomInput) {
        if self.members[member].alive {
            self.dispatch(Event::Input(self.who(member), input));
        }
    }

    pub(super) fn drain(&mut self, member: usize) {
        while let Some(output) = self.members[member].room.poll_net() {
            self.nothing_shown(&output);
            self.on_net(member, output);
        }
        while let Some(output) = self.members[member].room.poll_output() {
            self.say(member, "->", &output);
            self.members[member].ledger.output(&output);
            match output {
                RoomOutput::Session(peer, generation, command) => {
                    let weather = self.plan.weather;
                    let asked = asks(&command);
                    let luck = Luck {
                        fails: asked && self.chance(member, weather.failures),
                        hangs: asked && self.chance(member, weather.hangs),
                    };
                    let key = (self.who(member), peer, generation);
                    self.changed |= changes(&command);
                    let rng = &mut self.members[member].rng;
                    let delay = || ms(rng.u64(0..weather.slow.max(1)));
                    let told = (&self.paths, &luck);
                    for (when, event) in self.media.command(self.now, &key, command, told, delay) {
                        self.push(when, Event::Session(key.clone(), event));
                    }
                }
                RoomOutput::Event(event) => {
                    self.nothing_shown(&event);
                    self.on_event(member, event);
                }
            }
        }
        self.touched(member);
    }

    fn touched(&mut self, member: usize) {
        let member = &mut self.members[member];
        let runs = member.frozen.is_none() && member.alive;
        member.due = member.room.poll_timeout().filter(|_| runs);
    }

    /// A process stops, for now or for good.
    pub(super) fn stop(&mut self, member: usize) {
        self.touched(member);
    }

    /// A frame of a member, as the service counts it.
    pub(super) fn counted(&mut self, member: usize, new: bool) {
        let (tokens, since) = &mut self.members[member].bucket;
        let passed = (self.now - *since).as_secs_f64();
        *tokens = match new {
            true => RATE.0 + 1.0,
            false => (*tokens + passed * RATE.1).min(RATE.0),
        };
        *since = self.now;
        *tokens -= 1.0;
        assert!(*tokens >= 0.0, "more frames than the service takes");
    }
}

pub(super) fn room(seed: u64, kind: Kind, member: usize, incarnation: usize, now: Instant) -> Room {
    let mut config = config(seed * 100 + (member * 10 + incarnation) as u64);
    config.client.retry_first_connect = true;
    config.departure_grace = Duration::from_secs(30);
    if kind == Kind::Token {
        config.client.credential = CredentialSource::TokenProvider;
    }
    Room::new(config, now).unwrap()
}

pub(super) fn token() -> Secret<String> {
    Secret::new(TOKEN_SECRET.to_owned())
}
