//! First offers that aiortc can take: two sounds beside a picture, all in the first offer, left it without sound.

use std::time::Duration;

use super::golden::accept;
use super::pair::{FAIR, Pair, everything, track};
use super::peer::Lone;
use crate::core::io::{ConnectionState, MediaKind, TrackKey};
use crate::core::negotiator::NegotiatorInput;
use crate::sdp::model::Sdp;
use MediaKind::{Audio, Video};

/// More than any wait before an offer.
const TURN: Duration = Duration::from_secs(1);

/// What the transceivers of aiortc do with a first offer ("balanced"): whether every line ends on the transport of the
/// tag. As in `__createTransceiver` and "remove bundled transports" of `rtcpeerconnection.py`, 1.16.0.
fn all_bundled(offer: &Sdp) -> bool {
    // Index of the line that the transport was made for, and whether it counts as bundled.
    let mut lines: Vec<(&str, usize, bool)> = Vec::new();
    for (index, media) in offer.media.iter().enumerate() {
        let sibling = lines.iter().find(|(kind, ..)| *kind == media.media).copied();
        lines.push(match sibling {
            Some((kind, transport, _)) => (kind, transport, true),
            None => (&media.media, index, false),
        });
    }
    for line in lines.iter_mut().skip(1).filter(|line| !line.2) {
        line.1 = 0;
    }
    lines.iter().all(|line| line.1 == 0)
}

fn kinds(offer: &Sdp) -> Vec<&str> {
    offer.media.iter().map(|media| media.media.as_str()).collect()
}

/// The offers for these tracks, published at once.
fn offers(tracks: &[MediaKind]) -> Vec<Sdp> {
    let mut lone = Lone::polite();
    for (key, kind) in (1..).zip(tracks) {
        lone.handle(NegotiatorInput::AddTrack(track(key, *kind)));
    }
    let mut offers = Vec::new();
    lone.pass(TURN);
    while lone.sent.len() > offers.len() {
        offers.push(lone.last().1);
        lone.answer(&accept(&lone, "Brt8"));
        lone.pass(TURN);
    }
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    offers
}

#[test]
fn of_a_first_offer_aiortc_loses_nothing() {
    let cases: [(&[MediaKind], &[&str], usize); 6] = [
        (&[Video, Audio], &["video", "audio"], 1),
        (&[Audio, Video], &["audio", "video"], 1),
        (&[Video, Audio, Audio], &["audio", "audio", "video"], 1),
        (&[Audio, Video, Video], &["video", "video", "audio"], 1),
        (&[Audio, Audio, Audio], &["audio", "audio", "audio"], 1),
        (&[Video, Audio, Video, Audio], &["video", "video", "audio"], 2),
    ];
    for (tracks, first, count) in cases {
        let offers = offers(tracks);
        assert_eq!(kinds(&offers[0]), first, "{tracks:?}");
        assert!(all_bundled(&offers[0]), "{tracks:?}");
        assert_eq!(offers.len(), count, "{tracks:?}");
        assert_eq!(offers[count - 1].media.len(), tracks.len(), "{tracks:?}");
    }
}

/// The model says what was seen with aiortc.
#[test]
fn what_aiortc_loses() {
    let mut offer = offers(&[Video, Audio, Audio]).remove(0);
    assert!(all_bundled(&offer));
    offer.media.rotate_right(1);
    assert_eq!(kinds(&offer), ["video", "audio", "audio"]);
    assert!(!all_bundled(&offer));
}

/// A connection that is made anew has the m-lines of the last one: they cannot be split.
#[test]
fn the_layout_of_the_last_connection_stays() {
    let mut lone = Lone::polite();
    for (key, kind) in (1..).zip([Video, Audio, Video, Audio]) {
        lone.handle(NegotiatorInput::AddTrack(track(key, kind)));
    }
    for _ in 0..2 {
        lone.pass(TURN);
        lone.answer(&accept(&lone, "Brt8"));
    }
    lone.event(crate::core::io::SessionEvent::Connection(
        ConnectionState::Connected,
    ));
    let before: Vec<String> = lone.directions().into_iter().map(|(mid, _)| mid).collect();
    lone.handle(NegotiatorInput::Reset);
    lone.pass(Duration::from_secs(3));
    let after = lone.directions();
    assert_eq!(lone.generations, 2);
    assert_eq!(
        after.iter().map(|(mid, _)| mid).collect::<Vec<_>>(),
        before.iter().collect::<Vec<_>>()
    );
    assert!(after.iter().all(|(_, direction)| *direction == "sendonly"));
}

#[test]
fn two_of_our_own_with_many_tracks() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed, FAIR, [everything(), everything()]);
        for side in 0..2 {
            for (key, kind) in (1..).zip([Video, Audio, Video, Audio, Audio]) {
                pair.at(Duration::ZERO, side, NegotiatorInput::AddTrack(track(key, kind)));
            }
            pair.at(
                Duration::from_millis(300),
                side,
                NegotiatorInput::RemoveTrack(TrackKey(2)),
            );
        }
        pair.run(Duration::from_secs(8));
        pair.verdict().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert!(pair.sides.iter().all(|side| side.bins.len() <= 2), "seed {seed}");
    }
}
