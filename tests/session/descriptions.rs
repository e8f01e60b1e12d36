//! Offers, answers, m-lines.

use gst::prelude::*;
use gstmeteredwebrtc::core::io::{
    ConnectionState, IceCredentials, InboundMedia, Routing, SenderSpec, SessionCommand, SessionEvent,
};
use gstmeteredwebrtc::wire::SdpKind;

use crate::doubles::VIDEO;
use crate::harness::{self, Call, Note, audio, inbound, video};
use crate::sections;

#[test]
fn offer_without_data() {
    let mut call = Call::new();
    call.send(0, SessionCommand::AddSender(video()));
    call.send(0, SessionCommand::AddSender(audio()));
    let offer = call.offer(0);
    println!("{offer}");
    let lines = |start: &str| offer.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(lines("m="), 2, "{offer}");
    assert_eq!(lines("a=rtpmap:"), 2, "{offer}");
    assert_eq!(lines("a=rtpmap:97 VP8/90000"), 1, "{offer}");
    assert_eq!(lines("a=rtpmap:111 OPUS/48000/2"), 1, "{offer}");
    assert_eq!((lines("a=mid:gv1"), lines("a=mid:ga1")), (1, 1), "{offer}");
    call.end();
}

#[test]
fn renegotiation_with_data() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 5);
    let (offer, _) = call.negotiate(0);
    let codecs: Vec<_> = offer
        .lines()
        .filter(|line| line.starts_with("a=rtpmap:"))
        .collect();
    assert_eq!(codecs, ["a=rtpmap:97 VP8/90000", "a=rtpmap:111 OPUS/48000/2"]);
    // The other way, on an m-line of its own.
    let back = SenderSpec {
        mid: "pv1".into(),
        ssrc: 0x3333,
        payload_type: 98,
        ..video()
    };
    call.send(1, SessionCommand::AddSender(back.clone()));
    let (offer, _) = call.negotiate(1);
    let mids: Vec<_> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=mid:"))
        .collect();
    assert_eq!(mids, ["gv1", "ga1", "pv1"], "{offer}");
    let mut there = inbound("gv1");
    (there.mid, there.mline, there.ssrcs, there.payload_types) = ("pv1".into(), 2, vec![], vec![98]);
    let sending = vec!["gv1".into(), "ga1".into()];
    call.send(
        0,
        SessionCommand::Route(Routing {
            sending,
            receiving: vec![there],
        }),
    );
    let receiving = vec![inbound("gv1"), inbound("ga1")];
    call.send(
        1,
        SessionCommand::Route(Routing {
            sending: vec!["pv1".into()],
            receiving,
        }),
    );
    call.frames(0, "pv1", 10);
    call.frames(1, "gv1", 10);
    call.frames(1, "ga1", 10);
    call.end();
}

/// A browser's data section: the session answers it, and nothing breaks when the channel is used.
#[test]
fn a_data_section_is_survived() {
    let mut call = Call::new();
    let bin = call.foreign(0);
    let channel = bin.emit_by_name::<gst_webrtc::WebRTCDataChannel>(
        "create-data-channel",
        &[&"chat", &None::<gst::Structure>],
    );
    let (open, opened) = std::sync::mpsc::channel();
    channel.connect_on_open(move |_| {
        let _ = open.send(());
    });
    call.foreign_offers(0, &bin);
    call.event(0, "connected", |event| {
        matches!(event, SessionEvent::Connection(ConnectionState::Connected)).then_some(())
    });
    opened.recv_timeout(harness::LIMIT).expect("the channel opens");
    channel.send_string_full(Some("hello")).unwrap();
    call.foreign_offers(0, &bin);
    drop(channel);
    bin.parent()
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap()
        .set_state(gst::State::Null)
        .unwrap();
    call.end();
}

/// The m-line of a track that is gone carries the next one, with the same source and no new description for webrtcbin.
#[test]
fn a_sender_is_used_again() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 3);
    for _ in 0..3 {
        call.route(&["ga1"]);
        call.until("the track is gone", |side, note| {
            (side == 0 && matches!(note, Note::Detached(VIDEO))).then_some(())
        });
        let (mid, track) = ("gv1".into(), VIDEO);
        call.send(0, SessionCommand::ReuseSender { mid, track });
        let (offer, _) = call.negotiate(0);
        assert_eq!(offer.matches("m=").count(), 2, "{offer}");
        call.route(&["gv1", "ga1"]);
        call.frames(1, "gv1", 3);
    }
    let (mid, track) = ("gv7".into(), VIDEO);
    call.send(0, SessionCommand::ReuseSender { mid, track });
    call.event(0, "Failed", |event| {
        matches!(event, SessionEvent::Failed { .. }).then_some(())
    });
    call.end();
}

#[test]
fn gathering_completes_once() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 1);
    call.negotiate(0);
    call.frames(1, "gv1", 5);
    let ends = |side| call.seen(side, "GatheringComplete").len();
    assert_eq!((ends(0), ends(1)), (1, 1));
    for side in 0..2 {
        let set = call.seen(side, "LocalSet")[0];
        assert!(
            call.seen(side, "Event(Candidate").iter().all(|at| *at > set),
            "candidates before LocalSet"
        );
    }
    call.end();
}

/// A sender that has no m-line yet is not lost to the m-line of the peer's offer, though the codec fits.
#[test]
fn own_media_keeps_its_own_line() {
    own_media(false);
}

/// Nor one that is added in the middle of the answer.
#[test]
fn late_own_media_keeps_its_own_line() {
    own_media(true);
}

fn own_media(late: bool) {
    let mut call = Call::new();
    let own = SenderSpec {
        mid: "pv1".into(),
        ssrc: 0x3333,
        ..video()
    };
    call.send(0, SessionCommand::AddSender(video()));
    let offer = call.offer(0);
    call.set(0, SessionCommand::SetLocal(SdpKind::Offer, offer.clone()));
    if !late {
        call.send(1, SessionCommand::AddSender(own.clone()));
    }
    call.set(1, SessionCommand::SetRemote(SdpKind::Offer, offer));
    if late {
        call.send(1, SessionCommand::AddSender(own));
    }
    let answer = call.answer(1);
    call.set(0, SessionCommand::SetRemote(SdpKind::Answer, answer.clone()));
    assert!(
        answer.contains("a=recvonly") && !answer.contains("a=ssrc"),
        "{answer}"
    );
    let (offer, _) = call.negotiate(1);
    let mids: Vec<_> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=mid:"))
        .collect();
    assert_eq!(mids, ["gv1", "pv1"], "{offer}");
    assert_eq!(offer.matches("a=rtpmap:97 VP8/90000").count(), 2, "{offer}");
    let there = InboundMedia {
        mid: "pv1".into(),
        mline: 1,
        ssrcs: vec![0x3333],
        ..inbound("gv1")
    };
    let sending = vec!["gv1".into()];
    call.connected();
    call.send(
        0,
        SessionCommand::Route(Routing {
            sending,
            receiving: vec![there],
        }),
    );
    let receiving = vec![inbound("gv1")];
    call.send(
        1,
        SessionCommand::Route(Routing {
            sending: vec!["pv1".into()],
            receiving,
        }),
    );
    call.frames(0, "pv1", 5);
    call.frames(1, "gv1", 5);
    call.end();
}

/// Both add media at once. Side 1 forgets its offer, answers, and offers again: a collision with late commit.
#[test]
fn a_forgotten_offer_is_made_again() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 3);
    let own = SenderSpec {
        mid: "pv1".into(),
        ssrc: 0x3333,
        payload_type: 97,
        ..video()
    };
    call.send(1, SessionCommand::AddSender(own));
    let forgotten = call.offer(1);
    let second = SenderSpec {
        mid: "gv2".into(),
        ssrc: 0x5555,
        ..video()
    };
    call.send(0, SessionCommand::AddSender(second));
    let offer = call.offer(0);

    // Side 1 sees its own section as a ghost, then the new one.
    let (head, theirs) = sections::split(&offer);
    let (_, mine) = sections::split(&forgotten);
    let ghost = sections::ghost(&mine[2], &theirs[0]);
    let seen = vec![theirs[0].clone(), theirs[1].clone(), ghost, theirs[2].clone()];
    call.set(
        1,
        SessionCommand::SetRemote(SdpKind::Offer, sections::join(&head, &seen)),
    );
    call.send(1, SessionCommand::CreateAnswer(IceCredentials::Kept));
    let answer = call.event(1, "AnswerCreated", |event| match event {
        SessionEvent::AnswerCreated(sdp) => Some(sdp.clone()),
        _ => None,
    });
    let (head, mut answered) = sections::split(&answer);
    let mids: Vec<_> = answered.iter().map(|section| sections::mid(section)).collect();
    assert_eq!(mids, ["gv1", "ga1", "pv1", "gv2"], "{answer}");
    assert!(
        answered[3].contains("a=recvonly") && !answered[3].contains("a=ssrc"),
        "{answer}"
    );
    answered[2] = answered[2].replacen("m=video 9", "m=video 0", 1);
    call.set(
        1,
        SessionCommand::SetLocal(SdpKind::Answer, sections::join(&head, &answered)),
    );
    answered.remove(2);
    call.set(0, SessionCommand::SetLocal(SdpKind::Offer, offer));
    call.set(
        0,
        SessionCommand::SetRemote(SdpKind::Answer, sections::join(&head, &answered)),
    );

    // And once more, now for good. Side 0 has the two last sections the other way round.
    let offer = call.offer(1);
    let (head, sections) = sections::split(&offer);
    let mids: Vec<_> = sections.iter().map(|section| sections::mid(section)).collect();
    assert_eq!(mids, ["gv1", "ga1", "pv1", "gv2"], "{offer}");
    assert!(sections[2].contains("a=ssrc:13107"), "{offer}");
    let swap = |sections: &[String]| [0, 1, 3, 2].map(|index| sections[index].clone()).to_vec();
    call.set(
        0,
        SessionCommand::SetRemote(SdpKind::Offer, sections::join(&head, &swap(&sections))),
    );
    let answer = call.answer(0);
    let (head, answered) = sections::split(&answer);
    call.set(1, SessionCommand::SetLocal(SdpKind::Offer, offer));
    call.set(
        1,
        SessionCommand::SetRemote(SdpKind::Answer, sections::join(&head, &swap(&answered))),
    );

    let of = |mid: &str, mline, ssrc| InboundMedia {
        mid: mid.into(),
        mline,
        ssrcs: vec![ssrc],
        ..inbound("gv1")
    };
    let sending = vec!["gv1".into(), "ga1".into(), "gv2".into()];
    let receiving = vec![inbound("gv1"), inbound("ga1"), of("gv2", 3, 0x5555)];
    call.send(
        0,
        SessionCommand::Route(Routing {
            sending,
            receiving: vec![of("pv1", 3, 0x3333)],
        }),
    );
    call.send(
        1,
        SessionCommand::Route(Routing {
            sending: vec!["pv1".into()],
            receiving,
        }),
    );
    call.frames(0, "pv1", 5);
    call.frames(1, "gv2", 5);
    call.frames(1, "gv1", 5);
    call.end();
}
