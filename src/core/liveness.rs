//! Whether packets still come in: webrtcbin 1.22 never notices that a path is dead, and browsers need a quarter of a
//! minute.
//!
//! The machine is told how many packets the session has received, about twice a second and only when it has changed
//! (STUN is not counted: libnice keeps it to itself), and for how long none may come while media is expected. It says
//! [`Change::Stalled`] when none has come for that long, [`Change::Alive`] with the first one after that.
//!
//! Where we only send, reports are expected only while media really goes out: Chromium 156 reports on sound when there
//! is some.
//!
//! Nothing is expected of a peer that has not been heard on this connection: a track may be promised and silent, and
//! then browsers send no reports either. If such a path dies they notice, since they ask for consent all the time (RFC
//! 7675). Elements of ours do not notice, but they have media when they promise it, so they have to begin. One whose
//! source stands still sends no reports before its first packet: after [`SILENT`] connections it is left in peace.

use std::time::{Duration, Instant};

use super::io::{MediaKind, Routing};

/// Where we receive, or send, pictures. Pictures come in several times a second; where the peer has stopped them,
/// reports do: browsers, aiortc and our own elements send those of pictures every 0.5 to 1.5 s.
const RECEIVING: Duration = Duration::from_secs(5);

/// Sound alone. It comes in many times a second too, but a peer may stop it, and then there are reports only: browsers
/// send those of sound every 2.5 to 7.5 s (RFC 3550 §6.2; Chromium 156 does when `replaceTrack(null)` has ended the
/// sound), and they are counted twice a second.
const RECEIVING_SOUND: Duration = Duration::from_secs(10);

/// We only send, pictures among it: nothing but reports comes in, about one a second, and some of them get lost. Where
/// every tenth packet is lost this is about one false alarm a day, which costs a restart that nobody sees; where every
/// third is, one in some minutes, and the time doubles with each.
const SENDING: Duration = Duration::from_millis(5500);

/// We send nothing but sound: the same with a report every 2.5 to 7.5 s.
const SENDING_SOUND: Duration = Duration::from_secs(25);

/// Expected is what has come at all: a peer that sends no reports before it has media gets no alarm, and what comes
/// in this moment after the connection is up, and with it the first count, belongs to the handshakes.
const SETTLING: Duration = Duration::from_millis(1500);

/// The peer's first packet, where it must come: its encoder has to begin with a whole picture.
const BEGIN: Duration = Duration::from_secs(10);

/// Connections in a row that come up and bring nothing, after which nothing is expected of the next.
const SILENT: u32 = 2;

/// A timer that is so late has stood still with the whole process, or the whole machine: nobody has counted packets.
const LATE: Duration = Duration::from_millis(1500);

/// After that, the time for packets to be counted: some reports of the session.
const AWAKE: Duration = Duration::from_secs(2);

/// Our addresses have changed: what came in this moment after that may have come before.
const DOUBTFUL: Duration = Duration::from_millis(1500);

/// For how long nothing may come then. Two reports, where there is nothing but reports.
const DOUBT: Duration = Duration::from_secs(3);

/// A connection that comes back so soon after an alarm may never have been dead: the next alarm takes twice as long.
const SOON: Duration = Duration::from_secs(3);

/// Most times that it is doubled: a peer with reports so rare is not renewed for ever.
const MAX_DOUBLED: u32 = 3;

/// After this long without an alarm nothing is doubled any more.
const FORGIVEN: Duration = Duration::from_secs(300);

/// How long no packet may come; none where none is expected. Data alone is quiet for 30 s and more (heartbeats of
/// SCTP), so it is not watched.
pub(super) fn patience(routing: &Routing, sends_pictures: bool) -> Option<Patience> {
    let pictures = |kind: &MediaKind| *kind == MediaKind::Video;
    let receives_pictures = routing.receiving.iter().any(|media| pictures(&media.kind));
    let reports_only = routing.receiving.is_empty();
    let limit = match (reports_only, routing.sending.is_empty()) {
        (true, true) => return None,
        (true, false) if sends_pictures => SENDING,
        (true, false) => SENDING_SOUND,
        (false, _) if receives_pictures || sends_pictures => RECEIVING,
        (false, _) => RECEIVING_SOUND,
    };
    Some(Patience { limit, reports_only })
}

/// For how long no packet may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    limit: Duration,
    /// We only send.
    reports_only: bool,
}

/// What has become of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// No packet for too long.
    Stalled,
    /// The same, but a new path is being looked for already.
    Silent,
    /// Packets again.
    Alive,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// Since when the connection is up.
    up: Option<Instant>,
    patience: Option<Patience>,
    /// Media of ours goes out.
    sending: bool,
    /// The newest count, and when it, or a new expectation, came. None until a packet has come after the handshakes.
    last: Option<Instant>,
    count: u64,
    /// Media has come since the connection is up.
    media: bool,
    /// Something has come on this webrtcbin, maybe before its path was restored.
    heard: bool,
    /// Connections in a row on which nothing has come.
    silent: u32,
    stalled: bool,
    /// The silence during a restart has been told.
    shown: bool,
    /// Since when the path may be gone.
    doubt: Option<Instant>,
    /// A new path is being looked for: no alarm until then.
    held: Option<Instant>,
    alarm: Option<Instant>,
    doubled: u32,
}

impl Liveness {
    /// The connection is up, for the first time or again. An element of ours has to begin.
    pub fn connected(&mut self, now: Instant, patience: Option<Patience>, ours: bool) {
        if self.held.take().is_some() {
            // What came last came on the old path.
            self.last = self.last.map(|_| now);
        }
        self.shown = false;
        if self.up.is_some() {
            return self.expect(now, patience);
        }
        if let Some(alarm) = self.alarm {
            self.doubled = match now.saturating_duration_since(alarm) {
                since if since <= SOON => (self.doubled + 1).min(MAX_DOUBLED),
                since if since >= FORGIVEN => 0,
                _ => self.doubled,
            };
        }
        (self.up, self.patience) = (Some(now), patience);
        let expected = (ours || self.heard) && self.silent < SILENT;
        self.silent = (self.silent + 1).min(SILENT);
        self.last = expected.then_some(now);
        (self.count, self.stalled, self.sending) = (0, false, false);
        self.doubt = None;
        self.media = false;
    }

    /// The path may be gone: it has to show that it is not.
    pub fn doubt(&mut self, now: Instant) {
        self.doubt = Some(now);
    }

    /// A new path is being looked for. No alarm until then, or until the connection is up again.
    pub fn hold(&mut self, until: Instant) {
        self.held = self.held.max(Some(until));
    }

    /// The path is no more.
    pub fn gone(&mut self) {
        (self.up, self.last, self.stalled, self.held) = (None, None, false, None);
        self.shown = false;
    }

    /// The webrtcbin is no more.
    pub fn disposed(&mut self) {
        self.gone();
        self.heard = false;
    }

    /// Other media flows from now on.
    pub fn expect(&mut self, now: Instant, patience: Option<Patience>) {
        if self.patience != patience {
            self.patience = patience;
            self.last = self.last.map(|_| now);
        }
    }

    /// The session has received so many packets, and media of ours goes out, or does not.
    pub fn traffic(&mut self, now: Instant, count: u64, sending: bool) -> Option<Change> {
        if !std::mem::replace(&mut self.sending, sending) && sending {
            // From now on reports are expected.
            self.last = self.last.map(|_| now);
        }
        let news = std::mem::replace(&mut self.count, count) != count;
        let settling = |up| now < up + SETTLING && !self.media && !self.heard;
        if !news || self.up.is_none_or(settling) {
            return None;
        }
        self.last = Some(now);
        (self.heard, self.silent) = (true, 0);
        self.doubt = self.doubt.filter(|since| now < *since + DOUBTFUL);
        let forgiven = self.alarm.is_some_and(|alarm| now >= alarm + FORGIVEN);
        if forgiven {
            (self.alarm, self.doubled) = (None, 0);
        }
        let (stalled, shown) = (std::mem::take(&mut self.stalled), std::mem::take(&mut self.shown));
        (stalled || shown).then_some(Change::Alive)
    }

    /// Media has come, which is no handshake however early it is.
    pub fn media(&mut self) {
        self.media = self.up.is_some();
    }

    /// When [`Liveness::expire`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let Patience { limit, reports_only } = self.patience.filter(|_| !self.stalled)?;
        let expected = self.sending || !reports_only;
        let limit = if self.heard { limit } else { limit.max(BEGIN) };
        let due = self.last.filter(|_| expected)? + limit * 2u32.pow(self.doubled);
        let due = self.doubt.map_or(due, |since| due.min(since + DOUBT));
        let held = self.held.filter(|_| self.shown);
        Some(held.map_or(due, |held| due.max(held)))
    }

    /// Time has passed.
    pub fn expire(&mut self, now: Instant) -> Option<Change> {
        let due = self.deadline().filter(|due| *due <= now)?;
        if now >= due + LATE {
            // As if the last packet had come so long ago that only this is left.
            self.last = self.last.map(|last| last + (now - due) + AWAKE);
            self.doubt = None;
            return None;
        }
        if self.held.is_some_and(|held| held > now) {
            self.shown = true;
            return Some(Change::Silent);
        }
        (self.stalled, self.alarm, self.doubt) = (true, Some(now), None);
        Some(Change::Stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::io::InboundMedia;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn routing(sending: usize, receiving: &[MediaKind]) -> Routing {
        let inbound = |kind: &MediaKind| InboundMedia {
            mid: "0".into(),
            mline: 0,
            kind: *kind,
            ssrcs: vec![],
            payload_types: vec![],
        };
        Routing {
            sending: vec!["a".into(); sending],
            receiving: receiving.iter().map(inbound).collect(),
        }
    }

    fn receiving(limit: Duration) -> Patience {
        let reports_only = false;
        Patience { limit, reports_only }
    }

    /// A connection whose packets are counted once a second, in virtual time.
    struct Line {
        start: Instant,
        now: Instant,
        count: u64,
        told: u64,
        liveness: Liveness,
        changes: Vec<(f64, Change)>,
    }

    impl Line {
        fn new(limit: Option<Duration>) -> Self {
            let patience = limit.map(receiving);
            let now = Instant::now();
            let mut liveness = Liveness::default();
            liveness.connected(now, patience, false);
            Self {
                start: now,
                now,
                count: 0,
                told: 0,
                liveness,
                changes: Vec::new(),
            }
        }

        /// Packets at these moments, none after the last, until `end`; both from the start.
        fn run(&mut self, packets: &[f64], end: f64) {
            let end = self.start + s(end);
            let start = self.start;
            let mut packets = packets.iter().map(|at| start + s(*at)).peekable();
            while self.now < end {
                self.now += s(0.05);
                while packets.next_if(|at| *at <= self.now).is_some() {
                    self.count += 1;
                }
                let whole = (self.now - self.start).as_millis() % 1000 < 50;
                if whole && std::mem::replace(&mut self.told, self.count) != self.count {
                    let change = self.liveness.traffic(self.now, self.count, true);
                    self.changes.extend(at(self.start, self.now, change));
                }
                if self.liveness.deadline().is_some_and(|at| at <= self.now) {
                    let change = self.liveness.expire(self.now);
                    self.changes.extend(at(self.start, self.now, change));
                }
            }
        }
    }

    fn at(start: Instant, now: Instant, change: Option<Change>) -> Option<(f64, Change)> {
        Some(((now - start).as_secs_f64(), change?))
    }

    /// Packets at random intervals.
    fn random(rng: &mut fastrand::Rng, between: (f64, f64), end: f64) -> Vec<f64> {
        let mut at = 0.0;
        let mut packets = Vec::new();
        while at < end {
            at += between.0 + rng.f64() * (between.1 - between.0);
            packets.push(at);
        }
        packets
    }

    #[test]
    fn what_is_expected_of_media() {
        use MediaKind::{Audio, Video};
        let cases = [
            (routing(0, &[]), false, None),
            (routing(1, &[]), true, Some(SENDING)),
            (routing(1, &[]), false, Some(SENDING_SOUND)),
            (routing(0, &[Video]), false, Some(RECEIVING)),
            (routing(1, &[Audio]), true, Some(RECEIVING)),
            (routing(1, &[Audio]), false, Some(RECEIVING_SOUND)),
        ];
        for (routing, pictures, expected) in cases {
            let found = patience(&routing, pictures);
            assert_eq!(found.map(|found| found.limit), expected, "{routing:?}");
            let reports_only = routing.receiving.is_empty();
            assert!(found.is_none_or(|found| found.reports_only == reports_only));
        }
    }

    #[test]
    fn no_alarm_while_the_rarest_legal_reports_come() {
        // Reports of pictures, and of sound.
        for (patience, between) in [
            (RECEIVING, (0.5, 1.5)),
            (SENDING, (0.5, 1.5)),
            (RECEIVING_SOUND, (2.5, 7.5)),
            (SENDING_SOUND, (2.5, 7.5)),
        ] {
            for seed in 0..50 {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut line = Line::new(Some(patience));
                let packets = random(&mut rng, between, 600.0);
                line.run(&packets, 600.0);
                assert_eq!(line.changes, [], "{patience:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn an_alarm_when_they_end_and_its_end_with_the_first() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let cut = 3.0 + rng.f64() * 60.0;
            let mut packets = random(&mut rng, (0.005, 0.2), cut);
            let back = cut + 8.0 + rng.f64() * 20.0;
            packets.push(back);
            let mut line = Line::new(Some(RECEIVING));
            line.run(&packets, back + 4.0);
            let [(stalled, Change::Stalled), (alive, Change::Alive)] = line.changes[..] else {
                panic!("seed {seed}: {:?}", line.changes);
            };
            assert!(
                (4.9..=6.3).contains(&(stalled - cut)),
                "seed {seed}: {stalled} {cut}"
            );
            assert!(
                (0.0..=1.1).contains(&(alive - back)),
                "seed {seed}: {alive} {back}"
            );
        }
    }

    #[test]
    fn nothing_expected_no_alarm() {
        let mut line = Line::new(None);
        line.run(&[0.5, 1.5, 2.5], 600.0);
        assert_eq!((line.changes.len(), line.liveness.deadline()), (0, None));
        // Nothing has ever come: the peer may not report.
        let mut line = Line::new(Some(SENDING));
        line.run(&[0.1, 0.2], 600.0);
        assert_eq!(line.changes, []);
        // Media that starts has its full time, and what has stopped none.
        let mut line = Line::new(None);
        line.run(&[1.5, 2.5], 100.0);
        line.liveness.expect(line.now, Some(receiving(RECEIVING)));
        assert_eq!(line.liveness.deadline(), Some(line.now + RECEIVING));
        line.liveness.expect(line.now, None);
        assert_eq!(line.liveness.deadline(), None);
    }

    #[test]
    fn media_that_comes_at_once_and_ends_is_missed() {
        let mut line = Line::new(Some(RECEIVING_SOUND));
        line.liveness.media();
        line.run(&[0.3, 0.9], 10.0);
        assert_eq!(line.changes, []);
        line.run(&[], 12.0);
        assert!(
            matches!(line.changes[..], [(_, Change::Stalled)]),
            "{:?}",
            line.changes
        );
    }

    #[test]
    fn an_element_of_ours_has_to_begin_but_not_for_ever() {
        let mut line = Line::new(None);
        line.liveness = Liveness::default();
        for round in 0..4 {
            line.liveness.disposed();
            line.liveness
                .connected(line.now, Some(receiving(RECEIVING)), true);
            let due = line.liveness.deadline();
            assert_eq!(due.is_some(), round < 2, "round {round}");
            let Some(due) = due else { break };
            assert_eq!(due - line.now, BEGIN);
            line.now = due;
            assert_eq!(line.liveness.expire(due), Some(Change::Stalled));
            line.now += s(10.0);
        }
        line.now += s(10.0);
        line.liveness.traffic(line.now, 1, true);
        assert_eq!(line.liveness.deadline(), Some(line.now + RECEIVING));
    }

    /// ICE has started anew: there are no handshakes, and what came before is expected.
    #[test]
    fn a_restored_path_that_dies_at_once_is_missed() {
        let mut line = Line::new(Some(RECEIVING));
        line.run(&[1.6, 2.5], 3.0);
        line.liveness.gone();
        line.liveness
            .connected(line.now, Some(receiving(RECEIVING)), false);
        assert_eq!(line.liveness.deadline(), Some(line.now + RECEIVING));
        line.now += s(0.5);
        line.liveness.traffic(line.now, 9, true);
        assert_eq!(line.liveness.deadline(), Some(line.now + RECEIVING));
        // A peer whose media has ended by itself is asked once more, and no more.
        for expected in [true, true, false] {
            line.liveness.gone();
            line.liveness
                .connected(line.now, Some(receiving(RECEIVING)), false);
            assert_eq!(line.liveness.deadline().is_some(), expected);
        }
    }

    #[test]
    fn reports_are_expected_while_media_goes_out() {
        let mut line = Line::new(None);
        let (limit, reports_only) = (SENDING, true);
        line.liveness
            .expect(line.now, Some(Patience { limit, reports_only }));
        line.run(&[1.5, 2.5, 3.5], 4.5);
        assert!(line.liveness.deadline().is_some());
        line.liveness.traffic(line.now, line.count, false);
        assert_eq!(line.liveness.deadline(), None);
        line.now += s(60.0);
        line.liveness.traffic(line.now, line.count, true);
        assert_eq!(line.liveness.deadline(), Some(line.now + SENDING));
    }

    #[test]
    fn a_process_that_slept_looks_again_first() {
        let mut line = Line::new(Some(RECEIVING));
        line.run(&[1.5, 2.5, 3.5], 4.0);
        line.now += s(3600.0);
        assert_eq!(line.liveness.expire(line.now), None);
        let due = line.liveness.deadline().unwrap();
        assert_eq!(due, line.now + AWAKE);
        assert_eq!(line.liveness.expire(due), Some(Change::Stalled));
        assert_eq!(line.liveness.deadline(), None);
        assert_eq!(line.liveness.traffic(due + s(1.0), 9, true), Some(Change::Alive));
    }

    #[test]
    fn an_alarm_for_nothing_makes_patient() {
        let mut line = Line::new(Some(RECEIVING));
        for round in 0..6 {
            line.run(&[], (line.now - line.start).as_secs_f64() + 1.6);
            line.liveness.traffic(line.now, 5 + u64::from(round), true);
            let due = line.liveness.deadline().unwrap();
            assert_eq!(due - line.now, RECEIVING * 2u32.pow(round.min(3)));
            line.now = due;
            assert_eq!(line.liveness.expire(due), Some(Change::Stalled));
            line.liveness.gone();
            line.now += s(1.0);
            line.liveness
                .connected(line.now, Some(receiving(RECEIVING)), false);
        }
        line.now += FORGIVEN;
        line.run(&[], (line.now - line.start).as_secs_f64() + 1.6);
        line.liveness.traffic(line.now, 20, true);
        assert_eq!(line.liveness.deadline(), Some(line.now + RECEIVING));
    }
}
