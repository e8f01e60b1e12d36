//! What comes in, good and bad.

use super::*;
use crate::wire::NameError;

fn dropped(bench: &Bench) -> usize {
    let dropped = |event: &&ClientEvent| matches!(event, ClientEvent::FrameDropped(_));
    bench.events.iter().filter(dropped).count()
}

#[test]
fn c031_a_rejected_name_is_no_channel_and_so_is_never_replayed() {
    let long = "a".repeat(257);
    for (name, error) in [
        ("", NameError::Empty),
        (long.as_str(), NameError::TooLong(256)),
        ("a\u{85}", NameError::ControlCharacter),
        ("_System/x", NameError::Reserved),
    ] {
        // `subscribe` takes a `ChannelName`, so that there is no way past this check.
        assert_eq!(ChannelName::new(name), Err(error));
    }
    let mut bench = Bench::connected(key_config());
    bench.reconnect();
    assert!(bench.sent().is_empty());
}

#[test]
fn c032_what_is_no_frame_is_dropped_and_the_connection_kept() {
    let mut bench = Bench::connected(key_config());
    let bad = [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"brand_new"}"#,
    ];
    for text in bad {
        bench.input(NetInput::Text(bench.socket(), text.into()));
    }
    assert_eq!((dropped(&bench), bench.events.len()), (bad.len(), bad.len()));
    assert!(bench.net.is_empty());
    assert_eq!(bench.client.state(), ClientState::Connected);
}

#[test]
fn c033_presence_with_one_bad_entry_is_dropped_whole() {
    let mut bench = Bench::connected(key_config());
    let presence = |joined: Value, left: Value| json!({"type": "presence", "channel": "c", "joined": joined, "left": left});
    bench.frame(presence(json!([{"peerId": "a"}, {"peerId": 7}]), json!([])));
    bench.frame(presence(json!([{"peerId": "a"}]), json!(["b"])));
    assert_eq!((dropped(&bench), bench.events.len()), (2, 2));
    bench.frame(presence(json!([{"peerId": "a"}]), json!([])));
    assert!(matches!(bench.events.last(), Some(ClientEvent::Presence { joined, .. }) if joined.len() == 1));
}

#[test]
fn c034_metadata_that_is_no_object_is_ignored() {
    let mut bench = Bench::connected(key_config());
    for metadata in [json!([1]), json!("x"), Value::Null] {
        bench.frame(json!({"type": "direct", "from": "a", "data": 1, "fromMetadata": metadata}));
    }
    bench.frame(json!({"type": "direct", "from": "a", "data": 1, "fromMetadata": {"x": 1}}));
    let has_metadata = |event: &ClientEvent| {
        matches!(
            event,
            ClientEvent::Direct {
                from_metadata: Some(_),
                ..
            }
        )
    };
    let found: Vec<bool> = bench.events.iter().map(has_metadata).collect();
    assert_eq!((found, dropped(&bench)), (vec![false, false, false, true], 0));
}

#[test]
fn c035_null_is_data_and_nothing_is_not() {
    let mut bench = Bench::connected(key_config());
    bench.frame(json!({"type": "direct", "from": "a", "data": null}));
    bench.frame(json!({"type": "message", "channel": "c", "from": "backend", "data": null}));
    assert!(matches!(&bench.events[..], [
        ClientEvent::Direct { data: Value::Null, .. },
        ClientEvent::Message { data: Value::Null, from, .. },
    ] if from == "backend"));
    bench.events.clear();
    bench.frame(json!({"type": "direct", "from": "a"}));
    bench.frame(json!({"type": "message", "channel": "c", "from": "backend"}));
    assert_eq!((dropped(&bench), bench.events.len()), (2, 2));
}

#[test]
fn c044_a_welcome_without_an_expiry_is_good_and_one_without_a_size_is_none() {
    let mut bench = Bench::new(key_config());
    bench.connect();
    bench.open();
    for size in [json!(0), json!(-1), Value::Null] {
        bench.frame(json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": size}));
    }
    assert_eq!(dropped(&bench), 3);
    assert_eq!(bench.client.state(), ClientState::Connecting);
    bench.frame(json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": 1}));
    assert_eq!(bench.client.state(), ClientState::Connected);
}

#[test]
fn c045_a_server_cannot_send_us_away_for_more_than_five_minutes() {
    let mut bench = Bench::connected(key_config());
    bench.frame(json!({"type": "going_away", "retryAfterMs": 86_400_000}));
    assert_eq!(
        bench.events,
        [ClientEvent::GoingAway {
            retry_after: secs(300)
        }]
    );
    bench.closed(1001);
    let delay = bench.until_attempt();
    assert!((secs(300)..=secs(360)).contains(&delay), "{delay:?}");
}

#[test]
fn c046_numbers_that_json_lacks_cannot_become_data() {
    // Payloads are `Value`s, which cannot hold them: whoever makes one finds out there.
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(serde_json::Number::from_f64(number), None);
    }
    for text in ["NaN", "Infinity", "-Infinity", "[1e999]"] {
        assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
    }
}

#[test]
fn c167_the_sender_is_the_envelopes() {
    let mut bench = Bench::connected(key_config());
    let claim = json!({"from": "boss", "peerId": "boss", "fromMetadata": {"role": "boss"}});
    bench.frame(json!({"type": "direct", "from": "mallory", "data": claim}));
    bench.frame(json!({"type": "message", "channel": "c", "from": "mallory", "data": claim}));
    assert!(matches!(&bench.events[..], [
        ClientEvent::Direct { from, from_metadata: None, .. },
        ClientEvent::Message { from: publisher, from_metadata: None, .. },
    ] if *from == peer("mallory") && publisher == "mallory"));
}
