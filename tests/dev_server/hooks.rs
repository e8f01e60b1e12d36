//! Faults on demand.

use gstmeteredwebrtc::dev_server::Config;
use serde_json::{Value, json};

use crate::client::{Client, config, http, refused, start};

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn faults_in_process() {
    let server = start(config()).await;
    let mut a = Client::named(&server, "a").await;
    assert_eq!(server.inject("a", r#"{"type":"nonsense"}"#), 1);
    a.expect(json!({"type": "nonsense"})).await;
    server.fail_next("backend_error");
    a.send(json!({"type": "subscribe", "channel": "c", "requestId": "r"}))
        .await;
    a.expect_error("backend_error", Some("r")).await;
    assert!(server.members("c").is_empty());
    server.send_away(7);
    a.expect(json!({"type": "going_away", "retryAfterMs": 7})).await;
    assert_eq!(a.closed().await.0, 1001);

    server.refuse_upgrades(Some(503));
    assert_eq!(refused(&server, "key=pk_dev", None).await.0, 503);
    server.refuse_upgrades(None);
    server.hold_welcome(true);
    let mut held = Client::dial(&server, "key=pk_dev").await;
    held.expect_silence().await;
    server.hold_welcome(false);
    let mut b = Client::named(&server, "b").await;
    assert_eq!(server.close_peer("b", 4999, "why not"), 1);
    assert_eq!(b.closed().await, (4999, "why not".to_owned()));
    assert_eq!(server.close_peer("b", 4999, ""), 0);
}

#[tokio::test]
async fn a_frozen_peer_hears_nothing_until_it_thaws() {
    let server = start(config()).await;
    let mut a = Client::named(&server, "a").await;
    let mut b = Client::named(&server, "b").await;
    a.subscribe("c").await;
    assert_eq!(server.freeze_peer("a", true), 1);
    // What the frozen one asks for is not done, but it stays a member.
    a.send(json!({"type": "send", "to": "b", "data": 1})).await;
    b.send(json!({"type": "send", "to": "a", "data": 2, "requestId": "r"}))
        .await;
    b.expect(json!({"type": "ack", "requestId": "r"})).await;
    b.expect_silence().await;
    assert_eq!(server.members("c"), ["a"]);
    server.freeze_peer("a", false);
    a.expect(json!({"type": "direct", "from": "b", "data": 2})).await;
    b.expect(json!({"type": "direct", "from": "a", "data": 1})).await;
}

#[tokio::test]
async fn faults_over_http_need_the_flag() {
    let server = start(config()).await;
    assert_eq!(http(&server, "GET /dev/peers", "", "").await.0, 404);
    let server = start(Config {
        test_hooks: true,
        ..config()
    })
    .await;
    let mut a = Client::named(&server, "a").await;
    assert_eq!(
        http(&server, "GET /dev/peers", "", "").await.2,
        r#"{"peers":["a"]}"#
    );
    let post = async |path: &str, body: Value| {
        http(&server, &format!("POST /dev/{path}"), JSON, &body.to_string())
            .await
            .0
    };
    assert_eq!(post("inject", json!({"peerId": "a", "text": "{}"})).await, 200);
    a.expect(json!({})).await;
    assert_eq!(post("fail-next", json!({"code": "internal_error"})).await, 200);
    a.send(json!({"type": "ping"})).await;
    a.expect_error("internal_error", None).await;
    assert_eq!(post("quota", json!({"left": 0})).await, 200);
    a.send(json!({"type": "publish", "channel": "c", "data": 1, "requestId": "q"}))
        .await;
    a.expect_error("over_message_quota", Some("q")).await;
    assert_eq!(post("freeze", json!({"peerId": "a", "frozen": true})).await, 200);
    assert_eq!(post("freeze", json!({"peerId": "a", "frozen": false})).await, 200);
    assert_eq!(post("hold-welcome", json!({"held": false})).await, 200);
    assert_eq!(post("refuse-upgrades", json!({"status": 403})).await, 200);
    assert_eq!(refused(&server, "key=pk_dev", None).await.0, 403);
    assert_eq!(
        post("close", json!({"peerId": "nobody", "code": 4001})).await,
        404
    );
    assert_eq!(
        post("close", json!({"peerId": "a", "code": 4001, "reason": "r"})).await,
        200
    );
    assert_eq!(a.closed().await, (4001, "r".to_owned()));
    assert_eq!(post("going-away", json!({"retryAfterMs": 1})).await, 200);
}
