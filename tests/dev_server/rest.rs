//! The backend's interface.

use gstmeteredwebrtc::dev_server::{Action, Config, Pattern, SecretKey};
use serde_json::{Value, json};

use crate::client::{Client, config, http, secret_key, start};

const KEY: &str = "Authorization: Bearer sk_id_test:sk_secret_test\r\n";

fn parse(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|err| panic!("{err}: {body}"))
}

#[tokio::test]
async fn tokens_are_minted_and_work() {
    let server = start(config()).await;
    let request = json!({
        "peerId": "ana", "channels": ["room/*"], "permissions": ["subscribe", "presence"], "expiresInSec": 60,
        "metadata": {"a": 1}, "peerMetadata": {"username": "Ana"},
    });
    let (status, _, body) = http(&server, "POST /v1/tokens", KEY, &request.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let answer = parse(&body);
    let token = answer["token"].as_str().expect("token");
    let mut client = Client::open(&server, &format!("token={token}")).await;
    assert_eq!(client.peer_id(), "ana");
    assert_eq!(client.welcome["expiresAt"], answer["expiresAt"]);
    assert_eq!(client.welcome["metadata"], json!({"a": 1}));
    client.subscribe("room/1").await;

    let (_, _, body) = http(&server, "GET /v1/channels/room%2F1/peers", KEY, "").await;
    let roster = json!({"channel": "room/1", "peers": [{"peerId": "ana", "metadata": {"username": "Ana"}}]});
    assert_eq!(parse(&body), roster);
}

#[tokio::test]
async fn a_publish_reaches_every_subscriber() {
    let server = start(config()).await;
    let mut client = Client::named(&server, "a").await;
    client
        .send(json!({"type": "subscribe", "channel": "c", "includeSenderMetadata": true}))
        .await;
    client.next_frame().await;
    let body = json!({"data": {"x": null}, "from": "news", "peerMetadata": {"k": 1}}).to_string();
    assert_eq!(
        http(&server, "POST /v1/channels/c/publish", KEY, &body).await.0,
        200
    );
    client
        .expect(json!({
            "type": "message", "channel": "c", "from": "news", "fromMetadata": {"k": 1}, "data": {"x": null}
        }))
        .await;
    assert_eq!(
        http(&server, "POST /v1/channels/c/publish", KEY, r#"{"data":null}"#)
            .await
            .0,
        200
    );
    client
        .expect(json!({"type": "message", "channel": "c", "from": "server", "data": null}))
        .await;
}

#[tokio::test]
async fn refusals() {
    let narrow = SecretKey {
        channels: vec![Pattern::new("room/*")],
        permissions: vec![Action::Subscribe],
        ..secret_key()
    };
    let server = start(Config {
        secret_keys: vec![narrow],
        ..config()
    })
    .await;
    let wrong = "Authorization: Bearer sk_id_test:wrong\r\n";
    let large = json!({"data": "x".repeat(33_000)}).to_string();
    for (head, headers, body, status, code) in [
        ("POST /v1/tokens", "", r#"{"peerId":"a"}"#, 401, "unauthorized"),
        ("POST /v1/tokens", wrong, r#"{"peerId":"a"}"#, 401, "unauthorized"),
        ("POST /v1/tokens", KEY, "{", 400, "invalid_request"),
        ("POST /v1/tokens", KEY, "{}", 400, "invalid_request"),
        (
            "POST /v1/tokens",
            KEY,
            r#"{"peerId":"ü"}"#,
            400,
            "invalid_request",
        ),
        (
            "POST /v1/tokens",
            KEY,
            r#"{"peerId":"a","expiresInSec":86401}"#,
            400,
            "invalid_request",
        ),
        (
            "POST /v1/tokens",
            KEY,
            r#"{"peerId":"a","channels":["**"]}"#,
            403,
            "channel_not_authorized",
        ),
        (
            "POST /v1/tokens",
            KEY,
            r#"{"peerId":"a","permissions":["send"]}"#,
            403,
            "action_not_permitted",
        ),
        (
            "POST /v1/channels/_system%2Fx/publish",
            KEY,
            r#"{"data":1}"#,
            400,
            "channel_reserved",
        ),
        (
            "POST /v1/channels/lobby/publish",
            KEY,
            r#"{"data":1}"#,
            403,
            "channel_not_authorized",
        ),
        (
            "POST /v1/channels/room%2F1/publish",
            KEY,
            r#"{"data":1}"#,
            403,
            "action_not_permitted",
        ),
        (
            "GET /v1/channels/room%2F1/peers",
            KEY,
            "",
            403,
            "action_not_permitted",
        ),
        ("POST /v1/tokens", KEY, &large, 413, "payload_too_large"),
        ("DELETE /v1/peers/nobody", KEY, "", 404, "peer_not_found"),
    ] {
        let (got, _, answer) = http(&server, head, headers, body).await;
        assert_eq!(got, status, "{head} {body:.60}: {answer}");
        let answer = parse(&answer);
        assert_eq!(answer["error"], code, "{head} {body:.60}");
        assert!(answer["message"].is_string());
    }
}
