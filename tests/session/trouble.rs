//! What goes wrong, and what that may not touch.

use gst::prelude::*;
use gstmeteredwebrtc::core::io::{
    IceCredentials, SenderSpec, SessionCommand, SessionConfig, SessionEvent, SessionOp,
};
use gstmeteredwebrtc::wire::SdpKind;

use crate::doubles::{AUDIO, VIDEO};
use crate::harness::{Call, Note, audio, video};

/// What goes wrong below one outlet is no business of the other tracks.
#[test]
fn a_failing_chain_is_alone() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 5);
    let appsink = call.outlets[1].appsink("gv1");
    // Flushing and not-linked.
    appsink.set_state(gst::State::Null).unwrap();
    call.frames(1, "ga1", 30);
    appsink.set_state(gst::State::Playing).unwrap();
    call.frames(1, "gv1", 5);
    // EOS.
    let pad = appsink.static_pad("sink").unwrap();
    pad.send_event(gst::event::Eos::new());
    call.frames(1, "ga1", 30);
    // Errors: the chain is made anew, until it has failed too often.
    for round in 0..4 {
        let appsink = call.outlets[1].appsink("gv1");
        gst::element_error!(appsink, gst::StreamError::Failed, ["made by the test"]);
        call.until("the chain is replaced or given up", |side, note| match note {
            Note::Media(mid, _) => (side == 1 && mid == "gv1" && round < 3).then_some(()),
            Note::Ended(mid) => (side == 1 && mid == "gv1" && round == 3).then_some(()),
            Note::Event(SessionEvent::Failed { .. }) => panic!("{note:?}"),
            _ => None,
        });
    }
    call.frames(1, "ga1", 30);
    call.end();
}

/// A consumer that returns errors stays without effect on anything.
#[test]
fn a_failing_consumer_is_alone() {
    let mut call = Call::new();
    *call.outlets[1].saboteur.lock().unwrap() = Some("gv1".into());
    call.send(0, SessionCommand::AddSender(video()));
    call.send(0, SessionCommand::AddSender(audio()));
    call.negotiate(0);
    call.connected();
    call.route(&["gv1", "ga1"]);
    call.until("the consumer's first frame", |_, note| {
        matches!(note, Note::Frames(mid, _) if mid == "gv1").then_some(())
    });
    call.frames(1, "ga1", 50);
    call.end();
}

#[test]
fn a_feed_of_the_wrong_kind_is_alone() {
    let mut call = Call::new();
    // The video track's frames into an audio payloader.
    call.send(
        0,
        SessionCommand::AddSender(SenderSpec {
            track: VIDEO,
            ..audio()
        }),
    );
    call.send(
        0,
        SessionCommand::AddSender(SenderSpec {
            track: VIDEO,
            ..video()
        }),
    );
    call.negotiate(0);
    call.connected();
    call.route(&["gv1", "ga1"]);
    call.until("the wrong one is detached", |_, note| {
        matches!(note, Note::Detached(VIDEO)).then_some(())
    });
    call.frames(1, "gv1", 20);
    call.end();
}

/// C140: a peer with another certificate than the one that was signalled is given nothing and taken nothing from.
#[test]
fn c140_another_certificate_is_refused() {
    let mut call = Call::new();
    call.munge = |sdp| {
        let flip = |line: &str| match line.strip_prefix("a=fingerprint:sha-256 ") {
            Some(digest) => format!("a=fingerprint:sha-256 {}00", &digest[..digest.len() - 2]),
            None => line.to_owned(),
        };
        sdp.lines().map(|line| flip(line) + "\r\n").collect()
    };
    call.send(0, SessionCommand::AddSender(audio()));
    call.negotiate(0);
    call.route(&["ga1"]);
    let mut failed = [false; 2];
    call.until("both refuse", |side, note| {
        match note {
            Note::Event(SessionEvent::Failed {
                op: SessionOp::Pipeline,
                ..
            }) => failed[side] = true,
            Note::Attached(AUDIO) | Note::Media(..) => panic!("{note:?}"),
            _ => (),
        }
        failed.iter().all(|failed| *failed).then_some(())
    });
    call.end();
}

#[test]
fn a_new_fingerprint_is_refused() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 1);
    let offer = call
        .offer(0)
        .replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-512 ");
    call.send(1, SessionCommand::SetRemote(SdpKind::Offer, offer));
    call.event(1, "Failed", |event| {
        matches!(
            event,
            SessionEvent::Failed {
                op: SessionOp::SetRemote,
                ..
            }
        )
        .then_some(())
    });
    call.end();
}

#[test]
fn hostile_descriptions_fail() {
    let tail = "c=IN IP4 0.0.0.0\r\na=mid:x\r\n";
    let hostile = [
        String::new(),
        "\0".into(),
        "hello".into(),
        "v=0".into(),
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n".into(),
        format!("v=0\r\nm=\r\n{tail}"),
        format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n{tail}"),
        format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n{tail}m=video 9 UDP/TLS/RTP/SAVPF 96\r\n{tail}"),
        format!("v=0\r\nm=video 99999999999999 UDP/TLS/RTP/SAVPF -1\r\n{tail}"),
        format!("v=0\r\n{}", "a=x\r\n".repeat(100_000)),
    ];
    let mut call = Call::new();
    for sdp in hostile {
        for kind in [SdpKind::Offer, SdpKind::Answer] {
            call.send(1, SessionCommand::SetRemote(kind, sdp.clone()));
            call.event(1, "Failed", |event| {
                matches!(
                    event,
                    SessionEvent::Failed {
                        op: SessionOp::SetRemote,
                        ..
                    }
                )
                .then_some(())
            });
        }
    }
    call.send(
        1,
        SessionCommand::AddCandidate {
            mline: 9999,
            candidate: "candidate:\u{0}junk".into(),
        },
    );
    call.send(
        1,
        SessionCommand::AddCandidate {
            mline: 0,
            candidate: String::new(),
        },
    );
    call.end();
}

#[test]
fn commands_out_of_order_fail() {
    let mut call = Call::new();
    let expect = |call: &mut Call, op| {
        call.event(0, "Failed", |event| match event {
            SessionEvent::Failed { op: failed, .. } => (*failed == op).then_some(()),
            _ => None,
        });
    };
    call.send(0, SessionCommand::Create(SessionConfig::default()));
    expect(&mut call, SessionOp::Create);
    call.send(0, SessionCommand::AddSender(video()));
    call.send(0, SessionCommand::AddSender(video()));
    expect(&mut call, SessionOp::AddSender);
    call.send(0, SessionCommand::CreateAnswer(IceCredentials::Kept));
    expect(&mut call, SessionOp::CreateAnswer);
    call.end();
}

#[test]
fn dispose_in_every_state() {
    Call::new().end();

    let call = Call::new();
    call.send(0, SessionCommand::AddSender(video()));
    call.send(0, SessionCommand::CreateOffer(IceCredentials::Kept));
    call.end();

    let mut call = Call::new();
    call.send(0, SessionCommand::AddSender(video()));
    let offer = call.offer(0);
    call.send(0, SessionCommand::SetLocal(SdpKind::Offer, offer.clone()));
    call.send(1, SessionCommand::SetRemote(SdpKind::Offer, offer));
    call.send(1, SessionCommand::CreateAnswer(IceCredentials::Kept));
    call.end();

    let mut call = Call::new();
    call.send(0, SessionCommand::AddSender(video()));
    call.negotiate(0);
    call.end();

    let mut call = Call::media_call();
    call.frames(1, "gv1", 3);
    call.send(0, SessionCommand::Dispose);
    call.send(0, SessionCommand::CreateOffer(IceCredentials::Kept));
    call.end();
}
