//! What happens between the webrtcbins of all rooms: ICE, DTLS, packets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::core::io::{ConnectionState, Generation, SessionCommand, SessionEvent, SessionOp};
use crate::core::negotiator::tests::bin::Bin;
use crate::wire::PeerId;

/// Member, its peer, generation.
pub type Key = (usize, PeerId, Generation);

/// Checks that do not answer take libnice so long.
const GIVE_UP: Duration = Duration::from_secs(7);

/// A session waits for a promise of webrtcbin so long.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// Packets a second where media flows.
const PACKETS: u64 = 50;

struct Session {
    bin: Bin,
    /// Names it, over all members.
    serial: u64,
    /// The address of its member when it was made: ICE is started anew with the candidates there are.
    address: u8,
    /// User fragments of both ends, once both descriptions are in place.
    pair: Option<(String, String)>,
    /// The checks of this pair began then.
    since: Instant,
    ice: Ice,
    /// Other end of the DTLS association.
    link: Option<u64>,
    /// What the path leads over.
    bindings: (u32, u32),
    /// Nothing has come since.
    silent: Option<Instant>,
    told: HashSet<String>,
    received: u64,
    reported: (u64, bool),
    busy: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ice {
    Checking,
    Connected,
    Failed,
}

/// How an operation of a session goes.
pub struct Luck {
    pub fails: bool,
    pub hangs: bool,
}

/// Which members reach each other.
#[derive(Default)]
pub struct Paths {
    pub blocked: HashMap<(usize, usize), Instant>,
    /// Processes that stand still.
    pub frozen: HashMap<usize, Instant>,
    pub address: HashMap<usize, u8>,
    /// How often the translators of their addresses have forgotten them.
    pub bindings: HashMap<usize, u32>,
}

impl Paths {
    fn open(&self, now: Instant, a: usize, b: usize) -> bool {
        let free = |until: Option<&Instant>| until.is_none_or(|until| *until <= now);
        let (a, b) = (super::world::index(a), super::world::index(b));
        free(self.blocked.get(&(a.min(b), a.max(b))))
            && free(self.frozen.get(&a))
            && free(self.frozen.get(&b))
    }

    /// The process stands still.
    fn stands(&self, now: Instant, who: usize) -> bool {
        let until = self.frozen.get(&super::world::index(who));
        until.is_some_and(|until| *until > now)
    }

    fn address(&self, who: usize) -> u8 {
        let known = self.address.get(&super::world::index(who));
        known.copied().unwrap_or_default()
    }

    fn bindings(&self, a: usize, b: usize) -> (u32, u32) {
        let of = |who| {
            self.bindings
                .get(&super::world::index(who))
                .copied()
                .unwrap_or_default()
        };
        (of(a), of(b))
    }

    /// What the machine of a member has.
    pub fn addresses(&self, who: usize) -> Vec<IpAddr> {
        (0..3).map(|last| ip(who, self.address(who), last)).collect()
    }
}

/// Three of each machine, all others after a move. The model of webrtcbin calls the first three 10.0.0.x.
fn ip(who: usize, moves: u8, last: u8) -> IpAddr {
    let member = u8::try_from(super::world::index(who)).expect("few members");
    [10, member, moves, last].into()
}

/// A candidate with the addresses of its machine.
fn placed(event: SessionEvent, who: usize, moves: u8) -> SessionEvent {
    match event {
        SessionEvent::Candidate { mline, candidate } => {
            let network = ip(who, moves, 0).to_string();
            let candidate = candidate.replace(" 10.0.0.", &format!(" {}", network.trim_end_matches('0')));
            SessionEvent::Candidate { mline, candidate }
        }
        event => event,
    }
}

pub struct Media {
    /// A path that is lost is not noticed.
    deaf: bool,
    live: BTreeMap<Key, Session>,
    made: u64,
}

pub fn asks(command: &SessionCommand) -> bool {
    matches!(
        command,
        SessionCommand::CreateOffer(_)
            | SessionCommand::CreateAnswer(_)
            | SessionCommand::SetLocal(..)
            | SessionCommand::SetRemote(..)
    )
}

/// Whether media may flow elsewhere after this command.
pub fn changes(command: &SessionCommand) -> bool {
    matches!(
        command,
        SessionCommand::SetLocal(..)
            | SessionCommand::SetRemote(..)
            | SessionCommand::Route(_)
            | SessionCommand::Dispose
    )
}

/// What another end looks like from here.
struct View {
    /// The end that names ours, and is named by it.
    partner: Option<u64>,
    /// Packets get through to it.
    open: bool,
    /// Packets get through on the DTLS association.
    flows: bool,
    /// What a path would lead over now.
    bindings: (u32, u32),
    /// m-lines on which media comes.
    media: Vec<String>,
}

impl Media {
    pub fn new(deaf: bool) -> Self {
        let live = BTreeMap::new();
        Self { deaf, live, made: 0 }
    }

    /// Executes a command; what the session reports, and when.
    pub fn command(
        &mut self,
        now: Instant,
        key: &Key,
        command: SessionCommand,
        (paths, luck): (&Paths, &Luck),
        mut delay: impl FnMut() -> Duration,
    ) -> Vec<(Instant, SessionEvent)> {
        match command {
            SessionCommand::Create(_) => {
                self.made += 1;
                let session = Session {
                    bin: Bin::new(self.made),
                    serial: self.made,
                    address: paths.address(key.0),
                    pair: None,
                    since: now,
                    ice: Ice::Checking,
                    link: None,
                    bindings: (0, 0),
                    silent: None,
                    told: HashSet::new(),
                    received: 0,
                    reported: (0, false),
                    busy: now,
                };
                self.live.insert(key.clone(), session);
                return Vec::new();
            }
            SessionCommand::RepeatChecks => {
                if let Some(session) = self
                    .live
                    .get_mut(key)
                    .filter(|session| session.ice != Ice::Connected)
                {
                    (session.since, session.ice) = (now, Ice::Checking);
                }
                return Vec::new();
            }
            SessionCommand::Dispose => {
                self.live.remove(key);
                return Vec::new();
            }
            _ => {}
        }
        let session = self.live.get_mut(key).expect("a command for no session");
        session.busy = session.busy.max(now);
        let described = changes(&command);
        let unlucky = (luck.fails || luck.hangs) && asks(&command) && !session.bin.broken;
        let events = if unlucky {
            session.bin.broken = true;
            if luck.hangs {
                session.busy += REPLY_LIMIT;
            }
            let (op, reason) = (SessionOp::SetRemote, "model".into());
            vec![SessionEvent::Failed { op, reason }]
        } else {
            session.bin.run(command)
        };
        if described {
            let remote = session.bin.remote_ufrag();
            let pair = remote.map(|remote| (session.bin.ufrag.clone(), remote));
            if pair != session.pair {
                (session.pair, session.since, session.ice) = (pair, now, Ice::Checking);
            }
        }
        let timed = events.into_iter().map(|event| {
            session.busy += delay();
            (session.busy, placed(event, key.0, session.address))
        });
        timed.collect()
    }

    /// A process is gone, and all its sessions with it.
    pub fn kill(&mut self, who: usize) {
        self.live.retain(|key, _| key.0 != who);
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// All sessions, and what they see of each other.
    fn views(&self, now: Instant, paths: &Paths) -> Vec<View> {
        let by_name: HashMap<&str, (&Key, &Session)> = self
            .live
            .iter()
            .filter_map(|(key, session)| Some((session.pair.as_ref()?.0.as_str(), (key, session))))
            .collect();
        let by_serial: HashMap<u64, (&Key, &Session)> = self
            .live
            .iter()
            .map(|(key, session)| (session.serial, (key, session)))
            .collect();
        let reached = |(key, session): (&Key, &Session), (other_key, other): (&Key, &Session)| {
            paths.open(now, key.0, other_key.0)
                && session.address == paths.address(key.0)
                && other.address == paths.address(other_key.0)
        };
        let view = |(key, session): (&Key, &Session)| {
            let partner = session.pair.as_ref().and_then(|(own, remote)| {
                let found = by_name.get(remote.as_str())?;
                (found.1.pair.as_ref()?.1 == *own).then_some(*found)
            });
            let willing = |(_, other): (&Key, &Session)| {
                let free = |link: Option<u64>, serial| link.is_none_or(|link| link == serial);
                other.ice != Ice::Failed
                    && free(session.link, other.serial)
                    && free(other.link, session.serial)
            };
            let linked = session.link.and_then(|link| by_serial.get(&link)).copied();
            let flows = linked
                .is_some_and(|other| other.1.link == Some(session.serial) && reached((key, session), other))
                && linked.is_some_and(|(other, _)| session.bindings == paths.bindings(key.0, other.0));
            let sources = linked.map_or_else(Vec::new, |(_, other)| other.bin.sources());
            let receiving = session.bin.routing.receiving.iter();
            let receiving = receiving
                .filter(|media| media.ssrcs.iter().any(|ssrc| sources.contains(ssrc)))
                .map(|media| media.mid.clone());
            View {
                partner: partner.map(|(_, other)| other.serial),
                bindings: partner.map_or((0, 0), |(other, _)| paths.bindings(key.0, other.0)),
                open: partner.is_some_and(|other| willing(other) && reached((key, session), other)),
                flows,
                media: match flows {
                    true => receiving.collect(),
                    false => Vec::new(),
                },
            }
        };
        self.live.iter().map(view).collect()
    }

    /// Ends that name each other connect; ends that do not fail.
    pub fn observe(&mut self, now: Instant, paths: &Paths) -> Vec<(Key, SessionEvent)> {
        let mut news = Vec::new();
        let views = self.views(now, paths);
        for ((key, session), view) in self.live.iter_mut().zip(views) {
            if session.pair.is_none() || paths.stands(now, key.0) {
                continue;
            }
            let mut say = |event| news.push((key.clone(), event));
            match session.ice {
                Ice::Checking if view.open => {
                    (session.ice, session.link, session.silent) = (Ice::Connected, view.partner, None);
                    session.bindings = view.bindings;
                    say(SessionEvent::Path(ip(key.0, session.address, 1)));
                    say(SessionEvent::Connection(ConnectionState::Connected));
                }
                Ice::Checking if now >= session.since + GIVE_UP => {
                    session.ice = Ice::Failed;
                    say(SessionEvent::Connection(ConnectionState::Failed));
                }
                Ice::Connected if !view.flows && !self.deaf => {
                    let since = *session.silent.get_or_insert(now);
                    if now >= since + GIVE_UP {
                        (session.ice, session.silent) = (Ice::Failed, None);
                        say(SessionEvent::Connection(ConnectionState::Failed));
                    }
                }
                _ => session.silent = None,
            }
            let taken = &session.bin.routing.receiving;
            session
                .told
                .retain(|mid| taken.iter().any(|inbound| inbound.mid == *mid));
            for mid in view.media {
                if let (Some(codec), false) = (session.bin.codec(&mid), session.told.contains(&mid)) {
                    session.told.insert(mid.clone());
                    say(SessionEvent::MediaArrived { mid, codec });
                }
            }
        }
        news
    }

    /// A second has passed: what the sessions have counted.
    pub fn count(&mut self, now: Instant, paths: &Paths) -> Vec<(Key, SessionEvent)> {
        let mut news = Vec::new();
        let views = self.views(now, paths);
        for ((key, session), view) in self.live.iter_mut().zip(views) {
            if session.link.is_none() || paths.stands(now, key.0) {
                continue;
            }
            let routing = &session.bin.routing;
            let sending = !routing.sending.is_empty();
            session.received += match (view.flows, view.media.is_empty()) {
                (true, false) => PACKETS,
                // Reports.
                (true, true) if sending || !routing.receiving.is_empty() => 1,
                _ => 0,
            };
            let report = (session.received, sending);
            if session.reported != report {
                session.reported = report;
                let (received, sending) = report;
                news.push((key.clone(), SessionEvent::Traffic { received, sending }));
            }
        }
        news
    }

    /// The tracks that come in now.
    pub fn flowing(&self, now: Instant, paths: &Paths) -> HashSet<(Key, String)> {
        let views = self.views(now, paths);
        let tracks = |(key, view): (&Key, View)| {
            let key = key.clone();
            view.media.into_iter().map(move |mid| (key.clone(), mid))
        };
        self.live.keys().zip(views).flat_map(tracks).collect()
    }
}
