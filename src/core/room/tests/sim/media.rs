//! What happens between the webrtcbins of all rooms.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::core::io::{ConnectionState, Generation, SessionCommand, SessionEvent, SessionOp};
use crate::core::negotiator::tests::bin::Bin;
use crate::wire::PeerId;

/// Member, its peer, generation.
pub type Key = (usize, PeerId, Generation);

struct Session {
    bin: Bin,
    /// The end it was last connected to.
    connected: Option<String>,
    mismatch_since: Option<Instant>,
    told: HashSet<String>,
    busy: Instant,
    received: u64,
}

pub struct Media {
    deaf: bool,
    live: BTreeMap<Key, Session>,
    made: u64,
}

/// Checks that do not answer take libnice so long.
pub const GIVE_UP: Duration = Duration::from_secs(7);

fn asks(command: &SessionCommand) -> bool {
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

impl Media {
    /// `deaf`: a connection that is lost is not noticed.
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
        failures: u32,
        rng: &mut fastrand::Rng,
    ) -> Vec<(Instant, SessionEvent)> {
        match command {
            SessionCommand::Create(_) => {
                self.made += 1;
                let session = Session {
                    bin: Bin::new(self.made),
                    connected: None,
                    mismatch_since: None,
                    told: HashSet::new(),
                    busy: now,
                    received: 0,
                };
                self.live.insert(key.clone(), session);
                return Vec::new();
            }
            SessionCommand::Dispose => {
                self.live.remove(key);
                return Vec::new();
            }
            _ => {}
        }
        let session = self.live.get_mut(key).expect("a command for no session");
        let fails = asks(&command) && !session.bin.broken && rng.u32(0..100) < failures;
        let events = if fails {
            session.bin.broken = true;
            let (op, reason) = (SessionOp::SetRemote, "model".into());
            vec![SessionEvent::Failed { op, reason }]
        } else {
            session.bin.run(command)
        };
        session.busy = session.busy.max(now);
        let timed = events.into_iter().map(|event| {
            session.busy += Duration::from_millis(rng.u64(0..40));
            (session.busy, event)
        });
        timed.collect()
    }

    /// A second's packets of those who are connected and hear each other.
    pub fn count(&mut self) -> Vec<(Key, SessionEvent)> {
        let names = |session: &Session| Some((session.bin.ufrag.clone(), session.bin.remote_ufrag()?));
        let ends: HashMap<String, String> = self.live.values().filter_map(names).collect();
        let mut news = Vec::new();
        for (key, session) in &mut self.live {
            let pair = names(session).filter(|_| session.connected.is_some());
            if pair.is_some_and(|(own, other)| ends.get(&other) == Some(&own)) {
                session.received += 1;
            }
            let (received, sending) = (session.received, !session.bin.routing.sending.is_empty());
            if received > 0 {
                news.push((key.clone(), SessionEvent::Traffic { received, sending }));
            }
        }
        news
    }

    /// Ends that name each other connect; ends that do not fail. Also says whether somebody begins to doubt, and is to
    /// be looked at again later.
    pub fn observe(&mut self, now: Instant) -> (Vec<(Key, SessionEvent)>, bool) {
        let mut again = false;
        let named = |session: &Session| Some((session.bin.ufrag.clone(), session.bin.remote_ufrag()?));
        let ends: HashMap<String, (String, Vec<u32>)> = self
            .live
            .values()
            .filter_map(|session| {
                let (own, other) = named(session)?;
                Some((own, (other, session.bin.sources())))
            })
            .collect();
        let mut news = Vec::new();
        for (key, session) in &mut self.live {
            let Some((own, other)) = named(session) else {
                continue;
            };
            let Some((_, sending)) = ends.get(&other).filter(|(back, _)| *back == own) else {
                if self.deaf && session.connected.is_some() {
                    continue;
                }
                again |= session.mismatch_since.is_none();
                let since = *session.mismatch_since.get_or_insert(now);
                if now >= since + GIVE_UP {
                    (session.mismatch_since, session.connected, again) = (None, None, true);
                    news.push((key.clone(), SessionEvent::Connection(ConnectionState::Failed)));
                }
                continue;
            };
            session.mismatch_since = None;
            if session.connected.as_ref() != Some(&other) {
                session.connected = Some(other);
                news.push((key.clone(), SessionEvent::Connection(ConnectionState::Connected)));
            }
            let taken = &session.bin.routing.receiving;
            session
                .told
                .retain(|mid| taken.iter().any(|inbound| inbound.mid == *mid));
            for inbound in taken {
                let flows = inbound.ssrcs.iter().any(|ssrc| sending.contains(ssrc));
                let fresh = flows && !session.told.contains(&inbound.mid);
                if let Some(codec) = session.bin.codec(&inbound.mid).filter(|_| fresh) {
                    let mid = inbound.mid.clone();
                    session.told.insert(mid.clone());
                    news.push((key.clone(), SessionEvent::MediaArrived { mid, codec }));
                }
            }
        }
        (news, again)
    }
}
