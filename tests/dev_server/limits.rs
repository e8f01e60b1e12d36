//! Sizes, rates, counts, and consumers that do not consume.

use gstmeteredwebrtc::dev_server::{Config, Limits};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, config, refused, start};

#[tokio::test]
async fn a_frame_of_the_maximum_passes_and_one_byte_more_closes() {
    let server = start(config()).await;
    let mut a = Client::named(&server, "a").await;
    let mut b = Client::named(&server, "b").await;
    let frame = |size: usize| {
        let empty = json!({"type": "send", "to": "b", "data": ""}).to_string().len();
        Message::text(json!({"type": "send", "to": "b", "data": "x".repeat(size - empty)}).to_string())
    };
    a.send_message(frame(65_536)).await;
    assert_eq!(b.next_frame().await["type"], "direct");
    a.send_message(frame(65_537)).await;
    assert_eq!(a.closed().await, (1009, "frame_too_large".to_owned()));
    b.send_message(Message::binary(vec![0; 65_537])).await;
    assert_eq!(b.closed().await.0, 1009);
}

#[tokio::test]
async fn more_messages_than_the_burst_close() {
    let server = start(config()).await;
    let mut client = Client::open(&server, "key=pk_dev").await;
    // Refilled with 100 a second, the bucket cannot keep up with a loop.
    for _ in 0..600 {
        client.send(json!({"type": "ping"})).await;
    }
    assert_eq!(client.closed().await, (4011, "over_message_rate".to_owned()));
}

#[tokio::test]
async fn channels_per_connection() {
    let limits = Limits {
        messages_per_second: 0,
        ..Limits::default()
    };
    let server = start(Config { limits, ..config() }).await;
    let mut client = Client::open(&server, "key=pk_dev").await;
    for number in 0..100 {
        client.subscribe(&format!("c/{number}")).await;
    }
    client
        .send(json!({"type": "subscribe", "channel": "c/100", "requestId": "r"}))
        .await;
    client.expect_error("channel_limit_exceeded", Some("r")).await;
    client.subscribe("c/7").await;
    client
        .send(json!({"type": "unsubscribe", "channel": "c/7", "requestId": "r"}))
        .await;
    client.next_frame().await;
    client.subscribe("c/100").await;
}

#[tokio::test]
async fn concurrent_connections() {
    let limits = Limits {
        connections: Some(1),
        ..Limits::default()
    };
    let server = start(Config { limits, ..config() }).await;
    let first = Client::open(&server, "key=pk_dev").await;
    let closed = Client::dial(&server, "key=pk_dev").await.closed().await;
    assert_eq!(closed, (4010, "over_concurrent_limit".to_owned()));
    first.leave().await;
    Client::open(&server, "key=pk_dev").await;
}

#[tokio::test]
async fn connection_attempts_per_minute() {
    let limits = Limits {
        connects_per_minute: Some(3),
        ..Limits::default()
    };
    let server = start(Config { limits, ..config() }).await;
    for _ in 0..3 {
        Client::open(&server, "key=pk_dev").await;
    }
    let (status, retry_after, body) = refused(&server, "key=pk_dev", None).await;
    assert_eq!(status, 429, "{body}");
    assert!(
        retry_after.parse::<u64>().is_ok_and(|s| (1..=60).contains(&s)),
        "{retry_after}"
    );
    assert_eq!(body["error"], "rate_limited");
}

#[tokio::test]
async fn the_quota_counts_publish_and_send_but_keeps_the_socket() {
    let limits = Limits {
        message_quota: Some(2),
        ..Limits::default()
    };
    let server = start(Config { limits, ..config() }).await;
    let mut a = Client::named(&server, "a").await;
    a.send(json!({"type": "send", "to": "a", "data": 1})).await;
    a.expect(json!({"type": "direct", "from": "a", "data": 1})).await;
    a.send(json!({"type": "publish", "channel": "c", "data": 1, "requestId": "1"}))
        .await;
    a.expect(json!({"type": "ack", "requestId": "1"})).await;
    a.send(json!({"type": "publish", "channel": "c", "data": 1, "requestId": "2"}))
        .await;
    a.expect_error("over_message_quota", Some("2")).await;
    a.subscribe("c").await;
    server.set_message_quota(None);
    a.send(json!({"type": "publish", "channel": "c", "data": 1, "requestId": "3"}))
        .await;
    a.expect(json!({"type": "ack", "requestId": "3"})).await;
}

#[tokio::test]
async fn a_slow_consumer_is_dropped_and_blocks_nobody() {
    let limits = Limits {
        messages_per_second: 0,
        outbound_queue: 64,
        ..Limits::default()
    };
    let server = start(Config { limits, ..config() }).await;
    let mut publisher = Client::named(&server, "publisher").await;
    publisher.subscribe("c").await;
    let mut healthy = Client::named(&server, "healthy").await;
    healthy.subscribe("c").await;
    publisher.next_frame().await;
    let mut slow = Client::named(&server, "slow").await;
    slow.subscribe("c").await;
    publisher.next_frame().await;
    healthy.next_frame().await;

    let data = "x".repeat(60_000);
    let mut left = false;
    // The kernel's buffers hold some megabytes for the slow one before its queue fills up.
    for number in 0..2_000 {
        publisher
            .send(json!({"type": "publish", "channel": "c", "data": data, "requestId": "p"}))
            .await;
        while publisher.next_frame().await["type"] != "ack" {}
        loop {
            let frame = healthy.next_frame().await;
            left |= frame["left"] == json!([{"peerId": "slow"}]);
            if frame["type"] == "message" {
                break;
            }
        }
        if left {
            println!("dropped after {number} messages");
            break;
        }
    }
    assert!(left, "the slow consumer was never dropped");
    healthy.expect_silence().await;
}
