//! Connections that outlive the signalling: two rooms and what the service tells them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::Harness;
use super::{bag, config, id, ms, publishing};
use crate::core::events::{RoomInput, RoomState};
use crate::core::io::{ConnectionState, Generation, SessionEvent, TrackKey};
use crate::core::room::RoomConfig;

const GRACE: Duration = Duration::from_secs(30);
const NAMES: [&str; 2] = ["a", "z"];

/// What must not happen to a kept connection.
fn is_harm(line: &str) -> bool {
    let [new, old] = [" Create", " Dispose"].map(|end| line.ends_with(end));
    new || old || line.starts_with("peer") || line.starts_with("reset")
}

/// A room of the next incarnation of a program.
fn restarted(now: Instant) -> Harness {
    let mut fresh = Harness::with(keeping(9));
    (fresh.now, fresh.salt) = (now, 300);
    fresh.input(RoomInput::Join);
    fresh.open();
    fresh
}

fn keeping(seed: u64) -> RoomConfig {
    let mut config = config(seed);
    config.client.reconnect.max = ms(1000);
    RoomConfig {
        departure_grace: GRACE,
        ..config
    }
}

/// `a`, who publishes, and `z`, connected to each other; the service carries signals between those who are there.
struct Couple {
    rooms: [Harness; 2],
    names: [String; 2],
    present: [bool; 2],
    /// How much each has sent that was carried.
    read: [usize; 2],
    /// Packets come in on this side.
    talk: [bool; 2],
    received: u64,
}

impl Couple {
    fn connected() -> Self {
        Self::with([keeping(1), keeping(2)])
    }

    fn with(configs: [RoomConfig; 2]) -> Self {
        let mut couple = Self {
            rooms: configs.map(Harness::with),
            names: NAMES.map(str::to_owned),
            present: [false; 2],
            read: [0; 2],
            talk: [true; 2],
            received: 0,
        };
        for (side, name) in NAMES.iter().enumerate() {
            couple.rooms[side].salt = 100 * side as u64;
            couple.rooms[side].input(RoomInput::Join);
            couple.rooms[side].open();
            couple.arrive(side, name);
        }
        couple.rooms[0].input(RoomInput::AddTrack(publishing::audio(1), bag("mic")));
        couple.pass(ms(1000));
        couple.connect();
        couple.pass(ms(1000));
        couple.forget();
        couple
    }

    /// Both ends of the newest connections are up.
    fn connect(&mut self) {
        for side in 0..2 {
            self.report(side, SessionEvent::Connection(ConnectionState::Connected));
        }
    }

    fn live(&self, side: usize) -> Option<Generation> {
        self.rooms[side].ledger.live(&id(&self.names[1 - side]))
    }

    fn report(&mut self, side: usize, event: SessionEvent) {
        let other = self.names[1 - side].clone();
        if let Some(generation) = self.live(side) {
            self.rooms[side].session(&other, generation, event);
        }
        self.carry();
    }

    /// Welcomed, subscribed, and told to the other.
    fn arrive(&mut self, side: usize, name: &str) {
        self.names[side] = name.to_owned();
        self.rooms[side].welcome(name);
        self.rooms[side].ack("subscribe");
        self.present[side] = true;
        self.read[side] = self.rooms[side].net.len();
        let other = self.names[1 - side].clone();
        let there: Vec<&str> = self.present[1 - side]
            .then_some(other.as_str())
            .into_iter()
            .collect();
        self.rooms[side].presence(&there, &[]);
        if self.present[1 - side] {
            self.rooms[1 - side].presence(&[name], &[]);
        }
        self.carry();
    }

    /// The service has lost this side, and says so.
    fn drop_socket(&mut self, side: usize) {
        self.rooms[side].lost();
        self.gone(side);
    }

    fn gone(&mut self, side: usize) {
        self.carry();
        self.present[side] = false;
        if self.present[1 - side] {
            let name = self.names[side].clone();
            self.rooms[1 - side].presence(&[], &[&name]);
        }
        self.carry();
    }

    fn reconnect(&mut self, side: usize) {
        let before = self.rooms[side].socket;
        while self.rooms[side].socket == before {
            self.pass(ms(100));
        }
        self.rooms[side].open();
    }

    fn back(&mut self, side: usize) {
        self.reconnect(side);
        let name = self.names[side].clone();
        self.arrive(side, &name);
    }

    /// Takes what both have sent to the other, until there is nothing.
    fn carry(&mut self) {
        loop {
            let mut moved = false;
            for side in 0..2 {
                let frames: Vec<Value> = self.unread(side);
                for frame in frames.into_iter().filter(|frame| frame["type"] == "send") {
                    moved = true;
                    let there = self.present[1 - side] && frame["to"] == self.names[1 - side].as_str();
                    let answer = match there {
                        true => json!({"type": "ack", "requestId": frame["requestId"]}),
                        false => {
                            json!({"type": "error", "requestId": frame["requestId"], "code": "peer_not_found"})
                        }
                    };
                    assert!(
                        there || frame["type"] != "send",
                        "sent to one who is not there: {frame}"
                    );
                    self.rooms[side].frame(answer);
                    if there {
                        let from = self.names[side].clone();
                        self.rooms[1 - side].direct(&from, frame["data"].clone());
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn unread(&mut self, side: usize) -> Vec<Value> {
        use crate::core::io::NetOutput;
        let net = &self.rooms[side].net[self.read[side]..];
        let frames = net.iter().filter_map(|output| match output {
            NetOutput::SendText(_, text) => Some(serde_json::from_str(text).unwrap()),
            _ => None,
        });
        let frames = frames.collect();
        self.read[side] = self.rooms[side].net.len();
        frames
    }

    fn pass(&mut self, by: Duration) {
        let end = self.rooms[0].now + by;
        while self.rooms[0].now < end {
            let before = self.received / 20;
            self.received += 1;
            for side in 0..2 {
                self.rooms[side].pass(ms(50));
                if self.received / 20 != before && self.talk[side] {
                    let (received, sending) = (self.received, side == 0);
                    self.report(side, SessionEvent::Traffic { received, sending });
                }
            }
            self.carry();
        }
    }

    fn forget(&mut self) {
        for side in 0..2 {
            self.rooms[side].forget();
            self.read[side] = 0;
        }
    }

    fn log(&self, side: usize, wanted: &[&str]) -> Vec<&str> {
        self.rooms[side].log_of(wanted)
    }

    fn unharmed(&self) {
        for side in 0..2 {
            self.unharmed_side(side);
        }
    }

    fn unharmed_side(&self, side: usize) {
        let log = &self.rooms[side].log;
        assert!(!log.iter().any(|line| is_harm(line)), "{side}: {log:?}");
        assert_eq!(self.rooms[side].ledger.state, RoomState::Joined);
    }

    /// Offers and answers of both sides.
    fn descriptions(&self) -> Vec<&str> {
        let wanted = [
            "send send z offer",
            "send send z answer",
            "send send a offer",
            "send send a answer",
        ];
        [0, 1]
            .into_iter()
            .flat_map(|side| self.log(side, &wanted))
            .collect()
    }
}

#[test]
fn a_token_that_expires_is_not_noticed() {
    for side in 0..2 {
        let mut couple = Couple::connected();
        for _ in 0..3 {
            couple.forget();
            couple.drop_socket(side);
            assert!(
                couple.rooms[1 - side].log.is_empty(),
                "{:?}",
                couple.rooms[1 - side].log
            );
            couple.back(side);
            couple.pass(ms(20_000));
            couple.unharmed();
            // One proof, and what was said about the track is said again.
            let expected = match side {
                0 => ["send send z offer", "send send a answer"],
                _ => ["send send z answer", "send send a offer"],
            };
            assert_eq!(couple.descriptions(), expected, "side {side}");
            assert_eq!(couple.log(0, &["send send z meta"]).len(), 1);
        }
    }
}

#[test]
fn nothing_is_said_to_who_is_away_and_changes_wait_for_its_return() {
    for side in 0..2 {
        let mut couple = Couple::connected();
        couple.drop_socket(side);
        // `carry` fails if anything is sent now.
        couple.rooms[0].input(RoomInput::AddTrack(publishing::audio(2), bag("second")));
        couple.rooms[1].input(RoomInput::AddTrack(publishing::audio(3), bag("third")));
        couple.pass(ms(200));
        couple.rooms[0].input(RoomInput::RemoveTrack(TrackKey(2)));
        couple.pass(ms(200));
        couple.back(side);
        couple.pass(ms(20_000));
        couple.unharmed();
        let offers = couple
            .descriptions()
            .iter()
            .filter(|line| line.ends_with("offer"))
            .count();
        assert!((1..=3).contains(&offers), "{:?}", couple.descriptions());
        assert_eq!(couple.log(1, &["send send a meta"]).len(), 1);
    }
}

#[test]
fn an_offer_that_was_lost_is_made_again() {
    for side in 0..2 {
        let mut couple = Couple::connected();
        couple.rooms[1 - side].input(RoomInput::AddTrack(publishing::audio(2), None));
        couple.rooms[1 - side].pass(ms(50));
        // On the way when the service loses the other side.
        couple.unread(1 - side);
        couple.drop_socket(side);
        couple.back(side);
        couple.forget();
        couple.pass(ms(60_000));
        couple.unharmed();
    }
}

#[test]
fn who_is_silent_has_gone() {
    let mut couple = Couple::connected();
    couple.gone(0);
    couple.talk = [false; 2];
    couple.pass(ms(1000));
    assert!(couple.log(1, &["peer"]).is_empty());
    couple.pass(ms(1600));
    assert_eq!(
        couple.log(1, &["peer", "a Dispose"]),
        ["a Dispose", "peer-state a Closed", "peer-left a"]
    );
}

#[test]
fn who_was_silent_before_is_not_waited_for() {
    let mut couple = Couple::connected();
    couple.talk = [false; 2];
    couple.pass(ms(2600));
    couple.gone(0);
    assert_eq!(couple.log(1, &["peer-left"]), ["peer-left a"]);
}

#[test]
fn the_grace_ends_and_starts_anew_with_every_return() {
    let mut couple = Couple::connected();
    for _ in 0..2 {
        couple.drop_socket(0);
        couple.pass(ms(20_000));
        couple.back(0);
    }
    couple.unharmed();
    couple.gone(0);
    couple.pass(GRACE - ms(100));
    assert!(couple.log(1, &["peer"]).is_empty());
    couple.pass(ms(100));
    assert_eq!(couple.log(1, &["peer-left"]), ["peer-left a"]);
}

#[test]
fn a_connection_that_ends_takes_its_peer_along() {
    for state in [ConnectionState::Failed, ConnectionState::Closed] {
        let mut couple = Couple::connected();
        couple.gone(0);
        couple.report(1, SessionEvent::Connection(state));
        assert_eq!(couple.log(1, &["peer-left"]), ["peer-left a"], "{state:?}");
    }
}

#[test]
fn who_leaves_says_farewell_and_is_gone_at_once() {
    for side in 0..2 {
        let mut couple = Couple::connected();
        couple.rooms[side].input(RoomInput::Leave);
        let words = couple.log(side, &["send", "close"]);
        let expected = format!("send send {} farewell", NAMES[1 - side]);
        assert_eq!(words, [expected.as_str(), "close 1000"]);
        couple.carry();
        assert!(couple.log(1 - side, &["peer"]).is_empty(), "presence says it");
        couple.gone(side);
        let left = format!("peer-left {}", NAMES[side]);
        assert_eq!(couple.log(1 - side, &["peer-left"]), [left]);
    }
}

#[test]
fn a_farewell_to_another_connection_is_nothing() {
    let mut couple = Couple::connected();
    couple.rooms[1].direct("a", json!({"__meteredWebrtcFarewell": "17"}));
    couple.gone(0);
    assert!(couple.rooms[1].log.is_empty(), "{:?}", couple.rooms[1].log);
}

#[test]
fn a_new_id_keeps_nothing() {
    for side in 0..2 {
        let mut couple = Couple::connected();
        let before = NAMES[side];
        couple.drop_socket(side);
        couple.reconnect(side);
        couple.arrive(side, "n");
        // Who stays has both for a moment; the farewell comes under the new name.
        let (reset, left) = (
            format!("reset {}", NAMES[1 - side]),
            format!("peer-left {before}"),
        );
        assert_eq!(couple.log(side, &["reset"]), [reset]);
        assert_eq!(
            couple.log(1 - side, &["peer-left", "peer-joined"]),
            ["peer-joined n", left.as_str()]
        );
        couple.pass(ms(1000));
        couple.connect();
        couple.pass(ms(1000));
        couple.forget();
        // From now on this is its name.
        couple.drop_socket(side);
        couple.back(side);
        couple.pass(ms(5000));
        couple.unharmed();
    }
}

#[test]
fn both_return_at_once() {
    let mut couple = Couple::connected();
    for side in 0..2 {
        couple.present[side] = false;
        couple.rooms[side].lost();
    }
    couple.pass(ms(30_000));
    for side in 0..2 {
        couple.rooms[side].open();
    }
    // The first finds nobody, the second is news.
    couple.arrive(1, "z");
    couple.pass(ms(300));
    couple.arrive(0, "a");
    couple.pass(ms(20_000));
    couple.unharmed();
    assert!(couple.descriptions().len() <= 4, "{:?}", couple.descriptions());
}

/// The service goes down, and the last that it says is that everybody else has left.
#[test]
fn nobodys_grace_runs_while_the_service_is_away() {
    let mut couple = Couple::connected();
    couple.drop_socket(0);
    couple.drop_socket(1);
    couple.pass(GRACE + ms(5000));
    // Nobody is there yet, and the grace begins.
    couple.back(1);
    couple.pass(GRACE - ms(15_000));
    couple.unharmed_side(1);
    couple.back(0);
    couple.pass(ms(20_000));
    couple.unharmed();
}

#[test]
fn proofs_that_collide_are_harmless() {
    let mut couple = Couple::connected();
    for side in 0..2 {
        couple.present[side] = false;
        couple.rooms[side].lost();
    }
    couple.pass(ms(5000));
    for (side, name) in NAMES.iter().enumerate() {
        couple.rooms[side].open();
        couple.rooms[side].welcome(name);
        couple.rooms[side].ack("subscribe");
        couple.read[side] = couple.rooms[side].net.len();
    }
    couple.present = [true; 2];
    for side in 0..2 {
        couple.rooms[side].presence(&[NAMES[1 - side]], &[]);
        // Long enough for both offers, which nobody carries.
        couple.rooms[side].pass(ms(400));
    }
    couple.carry();
    couple.pass(ms(20_000));
    couple.unharmed();
}

/// The other side has made its connection anew, and we have kept ours: its first answer shows it.
#[test]
fn a_proof_that_meets_another_end_makes_the_connection_anew() {
    for (side, publishes) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut couple = Couple::connected();
        couple.drop_socket(side);
        // As if the other had lost everything.
        let other = 1 - side;
        couple.rooms[other] = restarted(couple.rooms[0].now);
        couple.arrive(other, NAMES[other]);
        if publishes {
            couple.rooms[other].input(RoomInput::AddTrack(publishing::audio(7), None));
        }
        couple.back(side);
        let before = couple.live(side);
        couple.pass(ms(3000));
        assert!(couple.live(side) > before, "{:?}", couple.rooms[side].log);
        couple.connect();
        couple.pass(ms(30_000));
        assert_eq!(couple.log(side, &["peer-left"]), [] as [&str; 0]);
        // Both know of one connection.
        let states = [0, 1].map(|side| {
            couple
                .log(side, &["peer-state"])
                .last()
                .map(|line| line.to_string())
        });
        assert_eq!(
            states[side].as_deref(),
            Some(format!("peer-state {} Connected", NAMES[other]).as_str())
        );
    }
}

/// A receiver that was started anew under its old name has nothing to offer.
#[test]
fn who_has_stayed_asks_one_that_does_not_offer() {
    let mut couple = Couple::connected();
    couple.gone(1);
    couple.rooms[1] = restarted(couple.rooms[0].now);
    couple.arrive(1, "z");
    let before = couple.live(0);
    assert!(couple.log(0, &["peer"]).is_empty());
    couple.pass(ms(3500));
    assert!(couple.live(0) > before, "{:?}", couple.rooms[0].log);
    couple.connect();
    assert_eq!(
        couple.log(1, &["peer-state"]).last(),
        Some(&"peer-state a Connected")
    );
}

#[test]
fn only_what_works_is_kept() {
    let mut couple = Couple::connected();
    couple.drop_socket(0);
    couple.report(0, SessionEvent::Connection(ConnectionState::Failed));
    couple.back(0);
    assert_eq!(couple.log(0, &["reset"]), ["reset z"]);
    couple.pass(ms(1000));
    couple.connect();
    couple.pass(ms(30_000));
    assert_eq!(
        couple.log(0, &["peer-state"]).last(),
        Some(&"peer-state z Connected")
    );
    assert!(
        couple.log(1, &["peer-left"]).is_empty(),
        "it has seen nothing of that"
    );
}

/// A path that was gone during the outage and came back by itself.
#[test]
fn a_path_that_recovers_in_the_gap_is_kept() {
    let mut couple = Couple::connected();
    couple.drop_socket(0);
    couple.report(0, SessionEvent::Connection(ConnectionState::Failed));
    couple.report(0, SessionEvent::Connection(ConnectionState::Connected));
    couple.back(0);
    couple.pass(ms(20_000));
    assert!(couple.log(0, &["reset", "z Dispose"]).is_empty());
    assert_eq!(couple.descriptions().len(), 2);
}

#[test]
fn who_waits_for_nobody_is_not_waited_for() {
    for side in 0..2 {
        let mut configs = [keeping(1), keeping(2)];
        configs[side].departure_grace = Duration::ZERO;
        let mut couple = Couple::with(configs);
        couple.drop_socket(0);
        assert_eq!(couple.log(1, &["peer-left"]), ["peer-left a"], "{side}");
        couple.back(0);
        assert_eq!(couple.log(0, &["reset"]), ["reset z"], "{side}");
        couple.forget();
        couple.rooms[0].input(RoomInput::Leave);
        assert!(couple.log(0, &["send send z farewell"]).is_empty(), "{side}");
    }
}

#[test]
fn signals_that_are_faster_than_presence_wait_for_the_return() {
    let mut couple = Couple::connected();
    couple.drop_socket(0);
    let mut fresh = restarted(couple.rooms[1].now);
    fresh.welcome("a");
    fresh.ack("subscribe");
    fresh.presence(&["z"], &[]);
    fresh.input(RoomInput::AddTrack(publishing::audio(1), None));
    fresh.pass(ms(1000));
    let offer = fresh.sent_to("z").remove(0);
    couple.rooms[1].direct("a", offer);
    assert!(couple.log(1, &["a "]).is_empty(), "{:?}", couple.rooms[1].log);
    couple.rooms[1].presence(&["a"], &[]);
    assert_eq!(
        couple.log(1, &["a Dispose", "a Create"])[..2],
        ["a Dispose", "a Create"]
    );
}

#[test]
fn who_is_away_has_its_place() {
    let mut configs = [keeping(1), keeping(2)];
    configs[1].max_peers = 1;
    let mut couple = Couple::with(configs);
    couple.gone(0);
    couple.rooms[1].presence(&["b"], &[]);
    assert_eq!(couple.rooms[1].codes(), ["max_peers"]);
    couple.rooms[1].room.check_bounds(usize::MAX);
    couple.pass(GRACE);
    couple.rooms[1].presence(&["c"], &[]);
    assert_eq!(couple.log(1, &["peer-joined"]), ["peer-joined c"]);
}

#[test]
fn nothing_is_left_of_who_is_away_when_we_leave() {
    let mut couple = Couple::connected();
    couple.gone(0);
    couple.rooms[1].input(RoomInput::Leave);
    assert!(couple.rooms[1].ledger.has_left());
    assert!(couple.log(1, &["send"]).is_empty());
}

#[test]
fn silence_in_the_gap_is_shown() {
    for back_in_time in [true, false] {
        let mut couple = Couple::connected();
        couple.pass(ms(2000));
        couple.drop_socket(1);
        couple.talk = [false; 2];
        couple.pass(ms(13_000));
        assert_eq!(couple.log(1, &["peer-state"]), ["peer-state a Reconnecting"]);
        couple.talk = [back_in_time; 2];
        couple.pass(ms(2000));
        couple.back(1);
        let (states, resets) = (
            couple.log(1, &["peer-state"]).len(),
            couple.log(1, &["reset"]).len(),
        );
        assert_eq!((states, resets), if back_in_time { (2, 0) } else { (1, 1) });
    }
}
