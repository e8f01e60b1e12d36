use proptest::prelude::*;

use super::*;

fn bag(value: Value) -> Metadata {
    value.as_object().unwrap().clone()
}

#[test]
fn c106_signals_have_exactly_the_known_members() {
    let candidate = IceCandidate {
        candidate: "candidate:84216 1 udp 2122260223 192.0.2.7 50412 typ host generation 0 ufrag kR2x".into(),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        username_fragment: Some("kR2x".into()),
    };
    let text = &candidate.candidate;
    let bare = IceCandidate {
        candidate: String::new(),
        ..IceCandidate::default()
    };
    for (signal, expected) in [
        (
            RtcSignal::Description {
                kind: SdpKind::Offer,
                sdp: "v=0\r\n".into(),
            },
            json!({"type": "rtc-description", "description": {"type": "offer", "sdp": "v=0\r\n"}}),
        ),
        (
            RtcSignal::Candidate(candidate.clone()),
            json!({"type": "rtc-ice", "candidate": {"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0,
                   "usernameFragment": "kR2x"}}),
        ),
        (
            RtcSignal::Candidate(bare),
            json!({"type": "rtc-ice", "candidate": {"candidate": "", "sdpMid": null, "sdpMLineIndex": null,
                   "usernameFragment": null}}),
        ),
        (
            RtcSignal::EndOfCandidates,
            json!({"type": "rtc-ice", "candidate": null}),
        ),
    ] {
        assert_eq!(signal.to_data(), expected);
        assert_eq!(DirectPayload::classify(expected), DirectPayload::Signal(signal));
    }
}

#[test]
fn c126_either_mid_or_index_is_enough() {
    for body in [
        json!({"candidate": "candidate:1", "sdpMid": "a", "sdpMLineIndex": null}),
        json!({"candidate": "candidate:1", "sdpMLineIndex": 1}),
        json!({"candidate": "candidate:1", "sdpMid": null, "sdpMLineIndex": 1.0}),
        json!({"candidate": ""}),
    ] {
        let payload = DirectPayload::classify(json!({"type": "rtc-ice", "candidate": body}));
        assert!(
            matches!(payload, DirectPayload::Signal(RtcSignal::Candidate(_))),
            "{payload:?}"
        );
    }
}

#[test]
fn c121_candidates_with_long_strings_are_dropped() {
    let payload = |candidate: &str, mid: &str| {
        let body = json!({"candidate": candidate, "sdpMid": mid});
        DirectPayload::classify(json!({"type": "rtc-ice", "candidate": body}))
    };
    let (fits, long) = ("x".repeat(1000), "x".repeat(1001));
    assert!(matches!(payload(&fits, &fits), DirectPayload::Signal(_)));
    assert!(matches!(payload(&long, "0"), DirectPayload::NearMiss(_)));
    assert!(matches!(payload("", &long), DirectPayload::NearMiss(_)));
}

#[test]
fn c168_near_misses_are_dropped() {
    for data in [
        json!({"type": "rtc-description"}),
        json!({"type": "rtc-description", "description": {"type": "rollback"}}),
        json!({"type": "rtc-description", "description": {"type": "pranswer", "sdp": ""}}),
        json!({"type": "rtc-description", "description": {"type": "offer", "sdp": null}}),
        json!({"type": "rtc-description", "description": {"type": "offer", "sdp": "x".repeat(SDP_MAX + 1)}}),
        json!({"type": "rtc-ice"}),
        json!({"type": "rtc-ice", "candidate": []}),
        json!({"type": "rtc-ice", "candidate": {}}),
        json!({"type": "rtc-ice", "candidate": {"candidate": "candidate:1"}}),
        json!({"type": "rtc-ice", "candidate": {"candidate": "candidate:1", "sdpMid": 0}}),
        json!({"type": "rtc-ice", "candidate": {"candidate": "candidate:1", "sdpMLineIndex": -1}}),
        json!({"type": "rtc-ice", "candidate": {"candidate": "candidate:1", "sdpMLineIndex": 1.5}}),
        json!({"__meteredWebrtcFarewell": null}),
        json!({"__meteredWebrtcFarewell": 7}),
        json!({"__meteredWebrtcFarewell": ""}),
        json!({"__meteredWebrtcFarewell": "1".repeat(21)}),
        json!({"__meteredTrackMeta": null}),
        json!({"__meteredTrackMeta": {}}),
        json!({"__meteredTrackMeta": {"trackId": ""}}),
        json!({"__meteredTrackMeta": {"trackId": "a", "metadata": []}}),
        json!({"__meteredTrackMeta": {"trackId": "a", "metadata": 7}}),
        json!({"__meteredTrackMeta": {"trackId": "a", "metadata": {}, "kind": 7}}),
        json!({"__meteredTrackMeta": {"trackId": "a", "metadata": {}, "streamId": "x".repeat(257)}}),
    ] {
        let payload = DirectPayload::classify(data.clone());
        assert!(
            matches!(payload, DirectPayload::NearMiss(_)),
            "{data} was {payload:?}"
        );
        assert!(DirectPayload::is_reserved(&data));
    }
}

#[test]
fn c146_c147_track_metadata() {
    let set = TrackMeta {
        track_id: "cam-main".into(),
        metadata: Some(bag(json!({"role": "camera"}))),
        kind: Some("video".into()),
        stream_id: Some("st-1".into()),
    };
    let wire = json!({"__meteredTrackMeta": {"trackId": "cam-main", "metadata": {"role": "camera"}, "kind": "video",
                      "streamId": "st-1"}});
    assert_eq!(set.to_data(), wire);
    assert_eq!(
        DirectPayload::classify(wire),
        DirectPayload::TrackMeta(set.clone())
    );

    let clear = TrackMeta {
        metadata: None,
        ..set
    };
    let wire = json!({"__meteredTrackMeta": {"trackId": "cam-main"}});
    assert_eq!(clear.to_data(), wire);
    let expected = TrackMeta {
        track_id: "cam-main".into(),
        metadata: None,
        kind: None,
        stream_id: None,
    };
    assert_eq!(
        DirectPayload::classify(wire),
        DirectPayload::TrackMeta(expected.clone())
    );
    let null = json!({"__meteredTrackMeta": {"trackId": "cam-main", "metadata": null}});
    assert_eq!(DirectPayload::classify(null), DirectPayload::TrackMeta(expected));
}

#[test]
fn everything_else_is_the_applications() {
    for data in [
        json!(null),
        json!(7),
        json!([1]),
        json!("rtc-ice"),
        json!({}),
        json!({"type": "chat"}),
    ] {
        assert!(!DirectPayload::is_reserved(&data));
        assert_eq!(DirectPayload::classify(data.clone()), DirectPayload::Data(data));
    }
}

fn json_like_envelopes() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<f64>().prop_map(Value::from),
        "rtc-ice|rtc-description|offer|answer|.{0,4}".prop_map(Value::from),
    ];
    let members = "type|description|sdp|candidate|sdpMid|sdpMLineIndex|usernameFragment|__meteredTrackMeta|trackId|\
                   metadata|kind|streamId|__meteredWebrtcFarewell";
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::hash_map(members, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn classify_is_total_and_what_it_takes_reads_back(data in json_like_envelopes()) {
        match DirectPayload::classify(data.clone()) {
            DirectPayload::Data(same) => prop_assert_eq!(same, data),
            DirectPayload::NearMiss(_) => prop_assert!(DirectPayload::is_reserved(&data)),
            DirectPayload::Farewell(session) => {
                let again = DirectPayload::classify(DirectPayload::farewell(&session));
                prop_assert_eq!(again, DirectPayload::Farewell(session));
            }
            DirectPayload::Signal(signal) => {
                prop_assert_eq!(DirectPayload::classify(signal.to_data()), DirectPayload::Signal(signal));
            }
            DirectPayload::TrackMeta(meta) => {
                let again = DirectPayload::classify(meta.to_data());
                prop_assert!(matches!(again, DirectPayload::TrackMeta(same)
                    if same.track_id == meta.track_id && same.metadata == meta.metadata));
            }
        }
    }
}
