//! What flows, and when.

use gst::prelude::*;
use gstmeteredwebrtc::core::io::{Codec, InboundMedia, Routing, SenderSpec, SessionCommand, SessionEvent};

use crate::doubles::{AUDIO, VIDEO};
use crate::harness::{Call, Note, audio, inbound, video};

#[test]
fn media_flows_when_routed() {
    let mut call = Call::new();
    call.send(0, SessionCommand::AddSender(video()));
    call.send(0, SessionCommand::AddSender(audio()));
    call.negotiate(0);
    call.connected();
    // A keepalive of the queue: after another round trip still nothing has been attached.
    call.offer(0);
    let early: Vec<_> = call.drain();
    assert!(
        !early
            .iter()
            .any(|(_, note)| matches!(note, Note::Attached(_) | Note::Media(..))),
        "{early:?}"
    );
    call.route(&["gv1", "ga1"]);
    let mut left = vec!["gv1", "ga1"];
    call.until("both arrive", |side, note| {
        if let Note::Event(SessionEvent::MediaArrived { mid, codec }) = note {
            assert_eq!(side, 1);
            assert_eq!(*codec, if mid == "gv1" { Codec::Vp8 } else { Codec::Opus });
            left.retain(|name| name != mid);
        }
        left.is_empty().then_some(())
    });
    call.frames(1, "gv1", 10);
    call.frames(1, "ga1", 10);
    call.end();
}

#[test]
fn key_units_reach_the_encoder() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 20);
    call.drain();
    let pad = call.outlets[1].appsink("gv1").static_pad("sink").unwrap();
    let event = gst_video::UpstreamForceKeyUnitEvent::builder()
        .all_headers(true)
        .build();
    assert!(pad.push_event(event));
    call.until("a key unit request at the encoder", |side, note| {
        (side == 0 && matches!(note, Note::KeyUnit(VIDEO))).then_some(())
    });
    call.end();
}

#[test]
fn routes_come_and_go() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 5);
    for _ in 0..2 {
        call.route(&["ga1"]);
        let mut left = 2;
        call.until("video is detached on both sides", |side, note| {
            match note {
                Note::Detached(VIDEO) => assert_eq!(side, 0),
                Note::Ended(mid) => assert_eq!((side, mid.as_str()), (1, "gv1")),
                Note::Detached(_) | Note::Media(..) => panic!("{note:?}"),
                _ => return None,
            }
            left -= 1;
            (left == 0).then_some(())
        });
        call.frames(1, "ga1", 10);
        call.route(&["gv1", "ga1"]);
        call.frames(1, "gv1", 10);
    }
    call.end();
}

#[test]
fn a_new_ssrc_replaces_the_old() {
    let mut call = Call::media_call();
    call.frames(1, "ga1", 5);
    call.frames(1, "gv1", 1);
    let appsrc = call.encoders[0].appsrcs.lock().unwrap()[&AUDIO].clone();
    // Below the payloader: it takes its SSRC from the m-line and keeps it.
    let payloader = appsrc
        .static_pad("src")
        .unwrap()
        .peer()
        .unwrap()
        .parent_element()
        .unwrap();
    fn rewrite(buffer: gst::Buffer) -> gst::Buffer {
        let mut header = [0; 8];
        buffer.copy_to_slice(0, &mut header).unwrap();
        let rest = buffer.copy_region(gst::BufferCopyFlags::all(), 12..).unwrap();
        let mut whole = gst::Buffer::from_slice([&header[..], &0x4444u32.to_be_bytes()].concat());
        let copied = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS;
        rest.copy_into(whole.make_mut(), copied, ..).unwrap();
        whole.append(rest);
        whole
    }
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    payloader.static_pad("src").unwrap().add_probe(types, |_, info| {
        match info.data.take() {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                info.data = Some(gst::PadProbeData::Buffer(rewrite(buffer)))
            }
            Some(gst::PadProbeData::BufferList(list)) => {
                let list = list.iter_owned().map(rewrite).collect();
                info.data = Some(gst::PadProbeData::BufferList(list));
            }
            other => info.data = other,
        }
        gst::PadProbeReturn::Ok
    });
    call.until("another producer", |side, note| match note {
        Note::Media(mid, codec) => (side == 1 && mid == "ga1" && *codec == Codec::Opus).then_some(()),
        Note::Ended(_) | Note::Event(SessionEvent::MediaArrived { .. }) => panic!("{note:?}"),
        _ => None,
    });
    call.frames(1, "ga1", 10);
    drop((appsrc, payloader));
    call.end();
}

/// One m-line of each codec at once: each offers its one codec without data, and passes its media.
#[test]
fn every_codec_passes() {
    let codecs = [
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::Opus,
        Codec::Pcmu,
        Codec::Pcma,
    ];
    let mut call = Call::new();
    let mut receiving = Vec::new();
    for (index, codec) in (0u8..).zip(codecs) {
        let base = if index < 3 { video() } else { audio() };
        let spec = SenderSpec {
            codec,
            mid: format!("m{index}"),
            payload_type: 96 + index,
            ssrc: 100 + u32::from(index),
            ..base
        };
        receiving.push(InboundMedia {
            mid: spec.mid.clone(),
            mline: index.into(),
            kind: spec.kind,
            ssrcs: vec![],
            payload_types: vec![spec.payload_type],
        });
        call.send(0, SessionCommand::AddSender(spec));
    }
    let (offer, _) = call.negotiate(0);
    let names: Vec<_> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:"))
        .collect();
    let expected = [
        "96 VP8/90000",
        "97 VP9/90000",
        "98 H264/90000",
        "99 OPUS/48000/2",
        "100 PCMU/8000",
        "101 PCMA/8000",
    ];
    assert_eq!(names, expected, "{offer}");
    assert!(
        offer.contains("a=fmtp:98 packetization-mode=1;profile-level-id=42e01f"),
        "{offer}"
    );
    call.connected();
    let sending: Vec<_> = receiving.iter().map(|media| media.mid.clone()).collect();
    call.send(
        1,
        SessionCommand::Route(Routing {
            sending: vec![],
            receiving,
        }),
    );
    call.send(
        0,
        SessionCommand::Route(Routing {
            sending: sending.clone(),
            receiving: vec![],
        }),
    );
    for mid in &sending {
        call.frames(1, mid, 5);
    }
    let (again, _) = call.negotiate(0);
    let names: Vec<_> = again
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:"))
        .collect();
    assert_eq!(names, expected, "{again}");
    for mid in &sending {
        call.frames(1, mid, 5);
    }
    call.end();
}

/// What nobody has asked for yet is drained, and starts with a key frame when it is asked for.
#[test]
fn unrouted_media_waits() {
    let mut call = Call::new();
    call.send(0, SessionCommand::AddSender(video()));
    call.send(0, SessionCommand::AddSender(audio()));
    call.negotiate(0);
    call.connected();
    let sending = vec!["gv1".into(), "ga1".into()];
    call.send(
        0,
        SessionCommand::Route(Routing {
            sending,
            receiving: vec![],
        }),
    );
    call.until("the feed", |_, note| {
        matches!(note, Note::Attached(AUDIO)).then_some(())
    });
    call.negotiate(0);
    let receiving = vec![inbound("ga1")];
    call.send(
        1,
        SessionCommand::Route(Routing {
            sending: vec![],
            receiving,
        }),
    );
    call.frames(1, "ga1", 30);
    assert!(call.seen(1, "gv1\", Vp8").is_empty(), "video was not asked for");
    call.route(&["gv1", "ga1"]);
    call.frames(1, "gv1", 5);
    call.end();
}
