use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(value: Value) -> Result<ServerFrame, FrameError> {
    ServerFrame::parse(&value.to_string())
}

fn welcome(value: Value) -> Welcome {
    let Ok(ServerFrame::Welcome(welcome)) = parse(value) else {
        panic!("no welcome")
    };
    welcome
}

fn id() -> RequestId {
    RequestId::from_random(0x0b0f_6a5e_6f6c_4f0e_9d1d_6b2f_3a1c_9e11)
}

#[test]
fn c028_client_frames_as_the_sdks_write_them() {
    let channel = &ChannelName::new("studio/7").unwrap();
    let to = &PeerId::new("cam-3").unwrap();
    let data = &json!({"cue": 4});
    let request_id = id();
    let text = |frame: ClientFrame<'_>| frame.to_text();
    for (frame, expected) in [
        (ClientFrame::Ping, r#"{"type":"ping"}"#),
        (
            ClientFrame::Subscribe {
                channel,
                request_id,
                include_sender_metadata: true,
            },
            r#"{"type":"subscribe","channel":"studio/7","requestId":"0b0f6a5e-6f6c-4f0e-9d1d-6b2f3a1c9e11","includeSenderMetadata":true}"#,
        ),
        (
            ClientFrame::Subscribe {
                channel,
                request_id,
                include_sender_metadata: false,
            },
            r#"{"type":"subscribe","channel":"studio/7","requestId":"0b0f6a5e-6f6c-4f0e-9d1d-6b2f3a1c9e11"}"#,
        ),
        (
            ClientFrame::Unsubscribe { channel, request_id },
            r#"{"type":"unsubscribe","channel":"studio/7","requestId":"0b0f6a5e-6f6c-4f0e-9d1d-6b2f3a1c9e11"}"#,
        ),
        (
            ClientFrame::Publish {
                channel,
                data,
                request_id,
            },
            r#"{"type":"publish","channel":"studio/7","data":{"cue":4},"requestId":"0b0f6a5e-6f6c-4f0e-9d1d-6b2f3a1c9e11"}"#,
        ),
        (
            ClientFrame::Send {
                to,
                data: &Value::Null,
                request_id,
            },
            r#"{"type":"send","to":"cam-3","data":null,"requestId":"0b0f6a5e-6f6c-4f0e-9d1d-6b2f3a1c9e11"}"#,
        ),
    ] {
        assert_eq!(text(frame), expected);
    }
}

#[test]
fn welcome_of_the_service() {
    let frame = welcome(
        json!({"type": "welcome", "peerId": "cam-3", "expiresAt": 1_790_000_000,
        "serverTime": 1_789_996_400, "maxMessageSize": 65536, "future": [],
        "metadata": {"iceServers": [{"urls": ["turn:r.example:443?transport=tcp"], "username": "u", "credential": "c"}],
                     "room": 7}}),
    );
    assert_eq!(frame.peer_id.as_str(), "cam-3");
    assert_eq!(frame.expires_at, Some(1_790_000_000.0));
    assert_eq!(frame.max_message_size, 65536);
    assert_eq!(
        frame.ice_servers.unwrap()[0].urls,
        ["turn:r.example:443?transport=tcp"]
    );
    assert_eq!(Value::Object(frame.metadata.unwrap()), json!({"room": 7}));
}

#[test]
fn c044_welcome_limits() {
    let with = |size: Value| {
        parse(
            json!({"type": "welcome", "peerId": "a", "serverTime": 1, "maxMessageSize": size, "metadata": 7}),
        )
    };
    let Ok(ServerFrame::Welcome(frame)) = with(json!(1000)) else {
        panic!("absent expiresAt was refused")
    };
    assert_eq!(
        (frame.expires_at, frame.ice_servers, frame.metadata),
        (None, None, None)
    );
    for bad in [
        json!(0),
        json!(-1),
        json!(0.5),
        json!(true),
        json!("9"),
        Value::Null,
    ] {
        assert_eq!(
            with(bad),
            Err(FrameError::Member {
                frame: "welcome",
                member: "maxMessageSize"
            })
        );
    }
    assert!(parse(json!({"type": "welcome", "peerId": "", "serverTime": 1, "maxMessageSize": 9})).is_err());
    let expires =
        json!({"type": "welcome", "peerId": "a", "serverTime": 1, "maxMessageSize": 9, "expiresAt": "x"});
    assert!(parse(expires).is_err());
}

#[test]
fn c032_what_is_no_frame() {
    for (text, error) in [
        ("", FrameError::NotJson),
        ("{", FrameError::NotJson),
        ("{\"type\":\"pong\"} x", FrameError::NotJson),
        (
            "{\"type\":\"direct\",\"from\":\"a\",\"data\":1e999}",
            FrameError::NotJson,
        ),
        ("[]", FrameError::NoType),
        ("{}", FrameError::NoType),
        ("{\"type\":1}", FrameError::NoType),
        ("{\"type\":\"subscribe\"}", FrameError::UnknownType),
    ] {
        assert_eq!(ServerFrame::parse(text), Err(error), "{text}");
    }
    assert_eq!(
        ServerFrame::parse(&"[".repeat(1_000_000)),
        Err(FrameError::NotJson)
    );
}

#[test]
fn c033_one_bad_entry_voids_a_presence() {
    let presence = |joined: Value, left: Value| {
        parse(json!({"type": "presence", "channel": "c", "joined": joined, "left": left}))
    };
    for bad in [
        json!(["a"]),
        json!([{"peerId": 1}]),
        json!([{"peerId": "a"}, {}]),
        json!({}),
        Value::Null,
    ] {
        assert!(presence(bad.clone(), json!([])).is_err());
        assert!(presence(json!([]), bad).is_err());
    }
    let frame = presence(
        json!([{"peerId": "a", "metadata": {"k": 1}}, {"peerId": "b", "metadata": []}, {"peerId": ""}]),
        json!([{"peerId": "c"}]),
    );
    let Ok(ServerFrame::Presence { joined, left, .. }) = frame else {
        panic!("{frame:?}")
    };
    assert_eq!(joined.len(), 2);
    assert!(joined[0].1.is_some() && joined[1].1.is_none());
    assert_eq!(left, [PeerId::new("c").unwrap()]);
}

#[test]
fn c034_metadata_that_is_no_object_is_ignored() {
    let frame = parse(json!({"type": "direct", "from": "host", "data": 1, "fromMetadata": [1]}));
    let expected = ServerFrame::Direct {
        from: PeerId::new("host").unwrap(),
        from_metadata: None,
        data: json!(1),
    };
    assert_eq!(frame, Ok(expected));
    let frame =
        parse(json!({"type": "message", "channel": "c", "from": "", "data": 1, "fromMetadata": {"a": 1}}));
    assert!(matches!(
        frame,
        Ok(ServerFrame::Message {
            from_metadata: Some(_),
            ..
        })
    ));
}

#[test]
fn c035_null_is_data_and_nothing_is_not() {
    let frame = parse(json!({"type": "direct", "from": "host", "data": null}));
    let expected = ServerFrame::Direct {
        from: PeerId::new("host").unwrap(),
        from_metadata: None,
        data: Value::Null,
    };
    assert_eq!(frame, Ok(expected));
    assert!(parse(json!({"type": "direct", "from": "host"})).is_err());
    assert!(parse(json!({"type": "message", "channel": "c", "from": "x"})).is_err());
}

#[test]
fn errors_and_acks() {
    assert!(parse(json!({"type": "error", "code": ""})).is_err());
    assert!(parse(json!({"type": "ack", "requestId": 7})).is_err());
    let frame = parse(json!({"type": "error", "code": "brand_new", "message": 5, "requestId": null}));
    assert_eq!(
        frame,
        Ok(ServerFrame::Error {
            code: "brand_new".into(),
            message: None,
            request_id: None
        })
    );
}

#[test]
fn c025_going_away_without_a_usable_number() {
    for (value, ms) in [
        (json!({"type": "going_away"}), 1000),
        (json!({"type": "going_away", "retryAfterMs": "x"}), 1000),
        (json!({"type": "going_away", "retryAfterMs": -5}), 1000),
        (json!({"type": "going_away", "retryAfterMs": 0}), 1000),
        (json!({"type": "going_away", "retryAfterMs": 1500}), 1500),
    ] {
        assert_eq!(parse(value), going_away(ms));
    }
}

#[test]
fn c045_going_away_is_clamped() {
    for (value, ms) in [(299_999.0, 299_999), (300_001.0, 300_000), (1e300, 300_000)] {
        let frame = parse(json!({"type": "going_away", "retryAfterMs": value}));
        assert_eq!(frame, going_away(ms));
    }
}

fn going_away(ms: u64) -> Result<ServerFrame, FrameError> {
    Ok(ServerFrame::GoingAway {
        retry_after: Duration::from_millis(ms),
    })
}

/// JSON values whose member names are those of the protocol, so that they get past the first checks.
fn json_like_frames() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let any_value = leaf.prop_recursive(3, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("peerId|metadata|urls|iceServers|x", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let members = "channel|from|data|joined|left|code|message|requestId|peerId|serverTime|maxMessageSize|expiresAt|\
                   metadata|fromMetadata|retryAfterMs";
    let types = "welcome|ack|error|message|direct|presence|going_away|pong|other";
    (types, proptest::collection::hash_map(members, any_value, 0..8)).prop_map(|(name, map)| {
        let mut members: Metadata = map.into_iter().collect();
        members.insert("type".into(), name.into());
        Value::Object(members)
    })
}

proptest! {
    #[test]
    fn parse_never_panics_on_text(text in any::<String>()) {
        let _ = ServerFrame::parse(&text);
    }

    #[test]
    fn parse_never_panics_on_frames(value in json_like_frames()) {
        let _ = parse(value);
    }
}

#[test]
fn numbers_are_the_ones_that_were_sent_to_the_last_bit() {
    for number in [
        "123456789.12345679",
        "2.5471144938223346e-8",
        "3.2765193674050964e+215",
        "18446744073709551615",
    ] {
        let text = format!(r#"{{"type":"direct","from":"a","data":{number}}}"#);
        let Ok(ServerFrame::Direct { data, .. }) = ServerFrame::parse(&text) else {
            panic!("{text}");
        };
        // Rust's own reading is correctly rounded.
        let expected: f64 = number.parse().unwrap();
        assert_eq!(
            data.as_f64().map(f64::to_bits),
            Some(expected.to_bits()),
            "{data}"
        );
    }
}
