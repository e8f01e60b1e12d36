//! Frames: subscribe, presence, broadcast, direct, errors.

use std::time::{Duration, Instant};

use gstmeteredwebrtc::dev_server::{Claims, Config, Running};
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, config, start};

fn object(value: Value) -> Option<Map<String, Value>> {
    value.as_object().cloned()
}

async fn named_with_metadata(server: &Running, id: &str) -> Client {
    let claims = Claims {
        peer_metadata: object(json!({"username": id})),
        ..Claims::new(id, 600)
    };
    Client::with_token(server, &claims).await
}

#[tokio::test]
async fn welcome_of_a_key_and_of_a_token() {
    let server = start(config()).await;
    let first = Client::open(&server, "key=pk_dev").await;
    let second = Client::open(&server, "key=pk_dev").await;
    assert_ne!(first.peer_id(), second.peer_id());
    assert_eq!(first.peer_id().len(), 36);
    assert_eq!(first.welcome["expiresAt"], Value::Null);
    assert!(
        first
            .welcome
            .as_object()
            .is_some_and(|w| w.contains_key("expiresAt"))
    );
    assert_eq!(first.welcome["maxMessageSize"], 65_536);
    assert!(
        first.welcome["serverTime"]
            .as_u64()
            .is_some_and(|t| t > 1_600_000_000),
        "{}",
        first.welcome
    );
    assert!(first.welcome.get("metadata").is_none());

    let claims = Claims {
        metadata: object(json!({"plan": "x"})),
        ..Claims::new("cam-3", 600)
    };
    let third = Client::with_token(&server, &claims).await;
    assert_eq!(third.peer_id(), "cam-3");
    assert_eq!(third.welcome["expiresAt"], claims.exp);
    assert_eq!(third.welcome["metadata"], json!({"plan": "x"}));
}

#[tokio::test]
async fn presence_snapshot_and_deltas() {
    let server = start(config()).await;
    let mut a = named_with_metadata(&server, "a").await;
    assert_eq!(a.subscribe("lobby").await, Vec::<Value>::new());
    let mut b = Client::named(&server, "b").await;
    assert_eq!(
        b.subscribe("lobby").await,
        [json!({"peerId": "a", "metadata": {"username": "a"}})]
    );
    a.expect(json!({"type": "presence", "channel": "lobby", "joined": [{"peerId": "b"}], "left": []}))
        .await;

    // Subscribing again repeats ack and snapshot and tells nobody.
    assert_eq!(b.subscribe("lobby").await.len(), 1);
    a.expect_silence().await;

    b.send(json!({"type": "unsubscribe", "channel": "lobby", "requestId": "u"}))
        .await;
    b.expect(json!({"type": "ack", "requestId": "u"})).await;
    let left = json!({"type": "presence", "channel": "lobby", "joined": [], "left": [{"peerId": "b"}]});
    a.expect(left.clone()).await;
    b.send(json!({"type": "unsubscribe", "channel": "lobby", "requestId": "v"}))
        .await;
    b.expect(json!({"type": "ack", "requestId": "v"})).await;
    a.expect_silence().await;

    assert_eq!(b.subscribe("lobby").await.len(), 1);
    a.next_frame().await;
    b.leave().await;
    a.expect(left).await;
}

#[tokio::test]
async fn broadcasts_reach_the_others_with_metadata_only_if_asked_for() {
    let server = start(config()).await;
    let mut sender = named_with_metadata(&server, "sender").await;
    let mut plain = Client::named(&server, "plain").await;
    let mut curious = Client::named(&server, "curious").await;
    sender.subscribe("c").await;
    plain.subscribe("c").await;
    curious
        .send(json!({"type": "subscribe", "channel": "c", "includeSenderMetadata": true, "requestId": "s"}))
        .await;
    curious.next_frame().await;
    curious.next_frame().await;
    plain.next_frame().await;

    let publish = json!({"type": "publish", "channel": "c", "data": {"cue": 4}, "requestId": "p"});
    sender.send(publish.clone()).await;
    sender.next_frame().await;
    sender.next_frame().await;
    sender.expect(json!({"type": "ack", "requestId": "p"})).await;
    sender.expect_silence().await;
    let message = json!({"type": "message", "channel": "c", "from": "sender", "data": {"cue": 4}});
    plain.expect(message.clone()).await;
    let mut with_metadata = message.clone();
    with_metadata["fromMetadata"] = json!({"username": "sender"});
    curious.expect(with_metadata).await;

    // The last subscribe wins, in both directions.
    curious.subscribe("c").await;
    sender.send(publish).await;
    curious.expect(message).await;
}

#[tokio::test]
async fn directs_carry_metadata_and_cross_channels() {
    let server = start(config()).await;
    let mut a = named_with_metadata(&server, "a").await;
    let mut b = Client::named(&server, "b").await;
    a.send(json!({"type": "send", "to": "b", "data": null, "requestId": "1"}))
        .await;
    a.expect(json!({"type": "ack", "requestId": "1"})).await;
    b.expect(json!({"type": "direct", "from": "a", "fromMetadata": {"username": "a"}, "data": null}))
        .await;
    b.send(json!({"type": "send", "to": "a", "data": [1]})).await;
    a.expect(json!({"type": "direct", "from": "b", "data": [1]}))
        .await;
    b.expect_silence().await;
    b.send(json!({"type": "send", "to": "nobody", "data": 1, "requestId": "2"}))
        .await;
    b.expect_error("peer_not_found", Some("2")).await;
}

#[tokio::test]
async fn payload_text_is_not_touched() {
    let server = start(config()).await;
    let mut a = Client::named(&server, "a").await;
    let mut b = Client::named(&server, "b").await;
    let text = r#"{"type":"send","to":"b","data":{"n":1.50,"n":12345678901234567890123,"é":"\u00e9"}}"#;
    a.send_message(Message::text(text)).await;
    let direct = b.next_text().await;
    assert!(
        direct.ends_with(r#""data":{"n":1.50,"n":12345678901234567890123,"é":"\u00e9"}}"#),
        "{direct}"
    );
}

#[tokio::test]
async fn defective_frames_are_answered_and_survived() {
    let server = start(config()).await;
    let mut a = Client::named(&server, "a").await;
    for text in [
        "",
        "{",
        "[]",
        "7",
        r#"{"type":7}"#,
        r#"{"requestId":"x","type":"ping","requestId":[]}"#,
    ] {
        a.send_message(Message::text(text)).await;
        a.expect_error("malformed_message", None).await;
    }
    a.send_message(Message::binary(vec![1, 2, 3])).await;
    a.expect_error("malformed_message", None).await;
    let long_id = "x".repeat(129);
    for (frame, code) in [
        (json!({"type": "dance"}), "unknown_type"),
        (json!({"type": "subscribe"}), "invalid_channel"),
        (
            json!({"type": "subscribe", "channel": "x".repeat(257)}),
            "invalid_channel",
        ),
        (
            json!({"type": "publish", "channel": "a\u{7f}", "data": 1}),
            "invalid_channel",
        ),
        (json!({"type": "unsubscribe", "channel": ""}), "invalid_channel"),
        (
            json!({"type": "subscribe", "channel": "_SyStem/x"}),
            "channel_reserved",
        ),
        (
            json!({"type": "publish", "channel": "_metered/x", "data": 1}),
            "channel_reserved",
        ),
        (json!({"type": "publish", "channel": "c"}), "missing_data"),
        (json!({"type": "send", "to": "b"}), "missing_data"),
        (json!({"type": "send", "to": "", "data": 1}), "invalid_peer_id"),
        (
            json!({"type": "send", "to": long_id, "data": 1}),
            "invalid_peer_id",
        ),
    ] {
        let mut frame = frame;
        frame["requestId"] = json!("r");
        a.send(frame).await;
        a.expect_error(code, Some("r")).await;
    }
    a.send(json!({"type": "ping", "requestId": long_id})).await;
    a.expect_error("malformed_message", None).await;
    a.expect_silence().await;
}

#[tokio::test]
async fn one_peer_with_two_sockets_leaves_with_the_last() {
    let server = start(config()).await;
    let mut watcher = Client::named(&server, "watcher").await;
    watcher.subscribe("c").await;
    let mut one = Client::named(&server, "twin").await;
    one.subscribe("c").await;
    watcher.next_frame().await;
    let mut two = Client::named(&server, "twin").await;
    assert_eq!(two.subscribe("c").await, [json!({"peerId": "watcher"})]);
    watcher.expect_silence().await;

    watcher
        .send(json!({"type": "send", "to": "twin", "data": 1}))
        .await;
    let direct = json!({"type": "direct", "from": "watcher", "data": 1});
    one.expect(direct.clone()).await;
    two.expect(direct).await;

    one.leave().await;
    watcher.expect_silence().await;
    two.leave().await;
    watcher
        .expect(json!({"type": "presence", "channel": "c", "joined": [], "left": [{"peerId": "twin"}]}))
        .await;
}

#[tokio::test]
async fn a_delayed_snapshot_keeps_its_place() {
    let server = start(Config {
        snapshot_delay_ms: 100,
        ..config()
    })
    .await;
    let mut a = Client::named(&server, "a").await;
    let start = Instant::now();
    for channel in ["c", "d"] {
        a.send(json!({"type": "subscribe", "channel": channel, "requestId": channel}))
            .await;
    }
    let mut b = Client::named(&server, "b").await;
    b.send(json!({"type": "subscribe", "channel": "c"})).await;
    a.expect(json!({"type": "ack", "requestId": "c"})).await;
    a.expect(json!({"type": "presence", "channel": "c", "joined": [], "left": []}))
        .await;
    assert!(
        start.elapsed() >= Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    a.expect(json!({"type": "ack", "requestId": "d"})).await;
    a.expect(json!({"type": "presence", "channel": "d", "joined": [], "left": []}))
        .await;
    a.expect(json!({"type": "presence", "channel": "c", "joined": [{"peerId": "b"}], "left": []}))
        .await;
}

#[tokio::test]
async fn who_answers_no_pings_is_dropped() {
    let config = Config {
        ping_interval_ms: 50,
        pong_timeout_ms: 1_000,
        ..config()
    };
    let server = start(config).await;
    let mut mute = Client::named(&server, "mute").await;
    mute.subscribe("c").await;
    let mut watcher = Client::named(&server, "watcher").await;
    watcher.subscribe("c").await;
    // A client that is not polled sends no pongs; this one is polled by waiting.
    watcher
        .expect(json!({"type": "presence", "channel": "c", "joined": [], "left": [{"peerId": "mute"}]}))
        .await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn the_server_pings() {
    let server = start(Config {
        ping_interval_ms: 10,
        ..config()
    })
    .await;
    let mut client = Client::open(&server, "key=pk_dev").await;
    client.next_ping().await;
    client.next_ping().await;
}
