//! Peers, strangers and servers that say too much. Numbers, so that nobody loosens a bound without noticing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::Harness;
use super::signals::offer;
use super::{config, id, ms};
use crate::core::events::RoomEvent;
use crate::core::io::SessionCommand;

/// What a test may take in a debug build on a busy machine; the work itself takes a fraction.
const PATIENCE: Duration = Duration::from_secs(60);

fn commands(room: &Harness, peer: &str, wanted: fn(&SessionCommand) -> bool) -> usize {
    let theirs = room.commands.iter().filter(|(of, ..)| *of == id(peer));
    theirs.filter(|(_, _, command)| wanted(command)).count()
}

fn problems(room: &Harness, code: &str) -> usize {
    let this =
        |event: &&RoomEvent| matches!(event, RoomEvent::NegotiationError(_, problem) if problem.code == code);
    room.events.iter().filter(this).count()
}

/// The same connection says it again, with another session version.
fn version(offer: &Value, n: usize) -> Value {
    let mut offer = offer.clone();
    let sdp = offer["description"]["sdp"].as_str().unwrap();
    let old = sdp.lines().find(|line| line.starts_with("o=")).unwrap();
    let mut words: Vec<String> = old.split(' ').map(str::to_owned).collect();
    words[2] = n.to_string();
    offer["description"]["sdp"] = sdp.replace(old, &words.join(" ")).into();
    offer
}

#[test]
fn a_thousand_offers_in_a_second() {
    let mut room = Harness::joined(&["a", "b"]);
    let offer = offer();
    let start = Instant::now();
    for n in 0..1000 {
        room.direct("a", version(&offer, n));
        room.pass(ms(1));
        if n == 500 {
            room.direct("b", offer.clone());
            assert_eq!(
                room.log_of(&["send send b answer"]).len(),
                1,
                "another is not slowed down"
            );
        }
    }
    let answers = |room: &Harness| commands(room, "a", |c| matches!(c, SessionCommand::CreateAnswer(_)));
    assert!((20..=26).contains(&answers(&room)), "{}", answers(&room));
    assert_eq!(problems(&room, "too_many_offers"), 1);
    // The newest is answered, soon.
    let before = answers(&room);
    room.direct("a", version(&offer, 1000));
    room.pass(ms(250));
    assert_eq!(answers(&room), before + 1);
    room.forget();
    room.pass(ms(10_000));
    assert_eq!(answers(&room), 0);
    room.direct("a", version(&offer, 1001));
    assert_eq!(answers(&room), 1, "at once, when it has calmed down");
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn a_thousand_connections_in_a_second() {
    let mut room = Harness::joined(&["a"]);
    let text = offer().to_string();
    for n in 0..1000 {
        let other = text.replace("a=ice-ufrag:", &format!("a=ice-ufrag:n{n}"));
        room.direct("a", serde_json::from_str(&other).unwrap());
        room.pass(ms(1));
    }
    let made = commands(&room, "a", |c| matches!(c, SessionCommand::Create(_)));
    assert!(made <= 8, "{made} webrtcbins");
    room.pass(ms(2000));
    let last = room
        .commands
        .iter()
        .rev()
        .find_map(|(_, _, command)| match command {
            SessionCommand::SetRemote(_, sdp) => Some(sdp.clone()),
            _ => None,
        });
    assert!(last.unwrap().contains("a=ice-ufrag:n999"), "the newest counts");
}

#[test]
fn a_thousand_descriptions_that_are_none() {
    let mut room = Harness::joined(&["a"]);
    for n in 0..1000 {
        let kind = if n % 2 == 0 { "offer" } else { "answer" };
        let description = json!({"type": kind, "sdp": "v=0\r\nm=x\r\n"});
        room.direct(
            "a",
            json!({"type": "rtc-description", "description": description}),
        );
        room.pass(ms(1));
    }
    let told = problems(&room, "invalid_description");
    assert!((1..=25).contains(&told), "{told}");
    assert!(room.commands.is_empty());
}

#[test]
fn twenty_thousand_candidates() {
    let mut room = Harness::joined(&["a", "b"]);
    let line = |n: usize| format!("candidate:{n} 1 udp 2122260223 192.0.2.7 50412 typ host");
    let candidate = |n| json!({"type": "rtc-ice", "candidate": {"candidate": line(n), "sdpMid": null, "sdpMLineIndex": 0}});
    let start = Instant::now();
    for n in 0..10_000 {
        room.direct("a", candidate(n));
    }
    room.room.check_bounds(200);
    room.direct("a", offer());
    for n in 0..10_000 {
        room.direct("a", candidate(n));
        room.direct("a", json!({"type": "rtc-ice", "candidate": null}));
    }
    let given = commands(&room, "a", |c| matches!(c, SessionCommand::AddCandidate { .. }));
    assert!((200..=401).contains(&given), "{given}");
    assert!(
        room.events
            .iter()
            .all(|event| !matches!(event, RoomEvent::NegotiationError(..)))
    );
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn ten_thousand_tracks_that_are_only_announced() {
    let mut room = Harness::joined(&["a"]);
    let start = Instant::now();
    for n in 0..10_000 {
        let meta = json!({"trackId": format!("t{n}"), "metadata": {"label": "x".repeat(4000)}});
        room.direct("a", json!({"__meteredTrackMeta": meta}));
    }
    let kept = room.room.peers[&id("a")].tracks.len();
    assert!((200..=512).contains(&kept), "{kept}");
    assert!(room.events.is_empty() && room.commands.is_empty());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

/// A frame of a megabyte: one event for all who are too many, and nothing for them when they go.
#[test]
fn a_presence_of_fifty_thousand() {
    let mut room = Harness::joined(&[]);
    let names: Vec<String> = (0..50_000).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = Instant::now();
    room.presence(&names, &[]);
    assert_eq!(room.log_of(&["peer-joined"]).len(), 256);
    let refused: Vec<&str> = room
        .events
        .iter()
        .filter_map(|event| match event {
            RoomEvent::ServerError { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].starts_with("peer p256 and 49743 more are ignored"),
        "{}",
        refused[0]
    );
    assert_eq!(room.events.len(), 257);
    room.presence(&[], &names);
    assert_eq!(room.log_of(&["peer-left"]).len(), 256);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn strangers_who_signal_and_send() {
    let mut room = Harness::joined(&["a"]);
    let offer = offer();
    for n in 0..1000 {
        let stranger = format!("s{n}");
        for _ in 0..10 {
            room.direct(&stranger, offer.clone());
            room.direct(&stranger, json!({"hello": "x".repeat(1000)}));
        }
    }
    assert!(room.log.is_empty(), "{:?}", room.log.first());
    // Those who came first are heard, should they turn out to be members.
    let names: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    room.presence(&names, &[]);
    let made = |(_, _, command): &&(_, _, SessionCommand)| matches!(command, SessionCommand::Create(_));
    assert_eq!(room.commands.iter().filter(made).count(), 32);
}

/// Who did not get in is taken as soon as there is room and the service names them again.
#[test]
fn c084_a_refused_peer_is_taken_when_it_is_announced_again() {
    let mut config = config(1);
    config.max_peers = 2;
    let mut room = Harness::joined_with(config, &["a", "b", "c"]);
    room.presence(&[], &["a"]);
    room.presence(&["c"], &[]);
    assert_eq!(room.log_of(&["peer-joined"]), ["peer-joined c"]);
    room.direct("c", offer());
    assert_eq!(room.log_of(&["send send c answer"]).len(), 1);
}
