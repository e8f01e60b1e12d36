//! Peers from which nothing comes any more.

use std::time::Duration;

use super::golden::{CHROMIUM, accept};
use super::pair::{everything, track};
use super::peer::Lone;
use super::restart::restarted;
use crate::core::io::{ConnectionState, MediaKind, SessionEvent, TrackKey};
use crate::core::negotiator::{NegotiatorInput, NegotiatorOutput, PeerState, ReceivePolicy};
use crate::wire::SdpKind;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Packets come for so long.
pub fn lives(lone: &mut Lone, count: &mut u64, seconds: u64) {
    for _ in 0..seconds {
        lone.pass(s(1));
        *count += 50;
        lone.event(SessionEvent::Traffic {
            received: *count,
            sending: true,
        });
    }
}

fn states(lone: &Lone) -> Vec<PeerState> {
    let state = |output: &NegotiatorOutput| match output {
        NegotiatorOutput::State(state) => Some(*state),
        _ => None,
    };
    lone.others.iter().filter_map(state).collect()
}

/// Receives a browser's camera and microphone.
fn receiver(polite: bool) -> Lone {
    let mut lone = Lone::new(polite, everything());
    lone.offer(CHROMIUM);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone
}

/// Sends a track of this kind, and receives nothing.
fn sender(kind: MediaKind) -> Lone {
    let (audio, video) = (Vec::new(), Vec::new());
    let mut lone = Lone::new(false, ReceivePolicy { audio, video });
    lone.handle(NegotiatorInput::AddTrack(track(1, kind)));
    lone.pass(s(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone
}

/// Has received for a while, and then nothing any more: the alarm, and the offer of a restart.
fn silent(polite: bool) -> Lone {
    let mut lone = receiver(polite);
    let mut count = 0;
    lives(&mut lone, &mut count, 20);
    lone.pass(Duration::from_millis(4900));
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    lone.pass(s(1));
    assert_eq!(states(&lone).last(), Some(&PeerState::Reconnecting));
    assert_eq!(lone.problems, ["connection_stalled"]);
    assert_eq!((lone.generations, lone.last().0), (1, SdpKind::Offer));
    lone
}

#[test]
fn a_receiver_restarts_ice_on_the_connection_there_is() {
    for polite in [true, false] {
        let mut lone = silent(polite);
        lone.answer(&restarted(&accept(&lone, "Brt8"), 1));
        lone.event(SessionEvent::Connection(ConnectionState::Connecting));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        assert_eq!(states(&lone).last(), Some(&PeerState::Connected));
        // The same webrtcbin counts on.
        let mut count = 20 * 50;
        lives(&mut lone, &mut count, 60);
        assert_eq!((lone.generations, lone.problems.len()), (1, 1));
        // It is watched as before, with more patience: it may never have been dead.
        lone.pass(s(11));
        assert_eq!(lone.problems, ["connection_stalled"; 2]);
    }
}

/// A call whose path is lost, and which is told at that moment to look for another one: on a busy machine that takes
/// longer than silence is borne, and was taken for a second loss.
#[test]
fn there_is_no_alarm_while_a_restart_is_under_way() {
    for (polite, ours) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut lone = receiver(polite);
        let mut count = 0;
        lives(&mut lone, &mut count, 20);
        if ours {
            lone.handle(NegotiatorInput::RestartIce);
            lone.pass(s(2));
            lone.answer(&restarted(&accept(&lone, "Brt8"), 1));
        } else {
            lone.pass(s(2));
            lone.offer(&restarted(CHROMIUM, 1));
        }
        lone.pass(s(7));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        // Nor at once: packets have the usual time from now on.
        lone.pass(s(3));
        lives(&mut lone, &mut count, 60);
        assert_eq!(lone.problems.len(), 0, "{:?}", lone.problems);
        // It has been silent for longer than usual, and that is said.
        let states = states(&lone);
        assert_eq!(
            states[states.len() - 2..],
            [PeerState::Reconnecting, PeerState::Connected]
        );
        // The next silence is as any other.
        lone.pass(s(6));
        assert_eq!(lone.problems, ["connection_stalled"]);
    }
}

#[test]
fn a_restart_that_takes_too_long_is_told() {
    // The answer does not come.
    let mut lone = receiver(false);
    let mut count = 0;
    lives(&mut lone, &mut count, 20);
    lone.handle(NegotiatorInput::RestartIce);
    lone.pass(s(9));
    assert_eq!(lone.problems.len(), 0);
    lone.pass(s(2));
    assert_eq!(lone.problems, ["connection_stalled"]);
    assert_eq!(states(&lone).last(), Some(&PeerState::Reconnecting));
    // It comes, but no path does.
    let mut lone = receiver(false);
    lives(&mut lone, &mut count, 20);
    lone.handle(NegotiatorInput::RestartIce);
    lone.pass(s(5));
    lone.answer(&restarted(&accept(&lone, "Brt8"), 1));
    lone.pass(s(9));
    assert_eq!(lone.problems.len(), 0);
    lone.pass(s(2));
    assert_eq!(states(&lone).last(), Some(&PeerState::Reconnecting));
    assert_eq!(lone.generations, 1);
}

#[test]
fn a_receiver_whose_peer_does_not_follow_makes_the_connection_anew() {
    for polite in [true, false] {
        let mut lone = silent(polite);
        // The old credentials.
        lone.answer(&accept(&lone, "Brt8"));
        lone.pass(s(1));
        assert_eq!(lone.generations, 2);
        // An offer of its own, in the layout that the peer knows.
        assert_eq!((lone.last().0, lone.directions().len()), (SdpKind::Offer, 2));
        lone.answer(&accept(&lone, "Next"));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        assert_eq!(states(&lone).last(), Some(&PeerState::Connected));
        // The next webrtcbin counts from zero.
        let mut count = 0;
        lives(&mut lone, &mut count, 60);
        assert_eq!(lone.generations, 2);
    }
}

#[test]
fn a_receiver_whose_peer_says_nothing_makes_the_connection_anew() {
    for polite in [true, false] {
        let mut lone = silent(polite);
        let offers = lone.sent.len();
        lone.pass(s(5));
        // Once more, and then time for a peer that stands still.
        assert_eq!((lone.generations, lone.sent.len()), (1, offers + 1));
        lone.pass(s(13));
        assert_eq!((lone.generations, lone.sent.len()), (1, offers + 1));
        lone.pass(s(4));
        assert_eq!(lone.generations, 2);
        assert_eq!(states(&lone).last(), Some(&PeerState::Reconnecting));
    }
}

#[test]
fn a_sender_waits_for_reports() {
    for (kind, patience) in [(MediaKind::Video, 5), (MediaKind::Audio, 24)] {
        let mut lone = sender(kind);
        let mut count = 0;
        lives(&mut lone, &mut count, 20);
        lone.pass(s(patience));
        assert_eq!(lone.problems.len(), 0);
        lone.pass(s(2));
        assert_eq!(lone.problems, ["connection_stalled"]);
        assert_eq!(states(&lone).last(), Some(&PeerState::Reconnecting));
    }
}

#[test]
fn where_no_media_flows_silence_is_no_alarm() {
    // The only track has gone.
    let mut lone = sender(MediaKind::Video);
    let mut count = 0;
    lives(&mut lone, &mut count, 5);
    lone.handle(NegotiatorInput::RemoveTrack(TrackKey(1)));
    lone.pass(s(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.pass(s(600));
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    // It comes back: reports have their full time.
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
    lone.pass(s(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.pass(s(4));
    lives(&mut lone, &mut count, 5);
    assert_eq!(lone.problems.len(), 0);

    // We take nothing of what the peer offers.
    let (audio, video) = (Vec::new(), Vec::new());
    let mut lone = Lone::new(true, ReceivePolicy { audio, video });
    lone.offer(CHROMIUM);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lives(&mut lone, &mut count, 5);
    lone.pass(s(600));
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
}

#[test]
fn a_peer_that_is_gone_for_good_is_given_up_once() {
    let mut lone = receiver(false);
    let mut count = 0;
    for round in 1..3 {
        lives(&mut lone, &mut count, 5);
        lone.pass(s(3600));
        let exhausted = lone
            .problems
            .iter()
            .filter(|code| **code == "IceRestartExhausted");
        assert_eq!(exhausted.count(), round);
        // Back: everything is allowed again.
        let mut offer = crate::sdp::model::Sdp::parse(CHROMIUM).unwrap();
        for media in &mut offer.media {
            media.set("ice-ufrag", &format!("back{round}"));
        }
        lone.offer(&offer.write());
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        assert_eq!(states(&lone).last(), Some(&PeerState::Connected));
        count = 0;
    }
}
