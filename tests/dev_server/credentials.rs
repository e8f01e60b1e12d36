//! Keys, tokens, origins, scopes and ICE servers.

use gstmeteredwebrtc::dev_server::{Action, Claims, Config, Pattern, PublishableKey, SecretKey};
use serde_json::{Value, json};

use crate::client::{Client, config, refused, secret_key, sign, start};

#[tokio::test]
async fn bad_credentials_are_refused_after_the_upgrade() {
    let server = start(config()).await;
    let other = SecretKey::new("sk_id_other", "sk_secret_test");
    let forged = SecretKey::new("sk_id_test", "guess");
    let claims = Claims::new("a", 600);
    let too_long = Claims::new(&"x".repeat(129), 600);
    let fat = |bytes: usize| json!({"x": "y".repeat(bytes)}).as_object().cloned();
    let many = vec!["c".to_owned(); 101];
    for (query, what) in [
        ("key=pk_unknown".to_owned(), "unknown key"),
        (
            format!("token={}", claims.sign(&other).expect("token")),
            "unknown kid",
        ),
        (
            format!("token={}", claims.sign(&forged).expect("token")),
            "signature",
        ),
        (format!("token={}", sign(&too_long)), "long sub"),
        (
            format!("token={}", sign(&Claims::new("ümlaut", 600))),
            "sub not ASCII",
        ),
        (
            format!(
                "token={}",
                sign(&Claims {
                    peer_metadata: fat(4096),
                    ..claims.clone()
                })
            ),
            "peerMetadata",
        ),
        (
            format!(
                "token={}",
                sign(&Claims {
                    metadata: fat(8192),
                    ..claims.clone()
                })
            ),
            "metadata",
        ),
        (
            format!(
                "token={}",
                sign(&Claims {
                    channels: Some(many),
                    ..claims.clone()
                })
            ),
            "channels",
        ),
    ] {
        let closed = Client::dial(&server, &query).await.closed().await;
        assert_eq!(closed, (4001, "invalid_token".to_owned()), "{what}");
    }
    let expired = format!(
        "token={}",
        sign(&Claims {
            exp: 1_700_000_000,
            ..claims
        })
    );
    assert_eq!(Client::dial(&server, &expired).await.closed().await.0, 4002);
}

#[tokio::test]
async fn a_token_for_ever_is_not_an_overflow() {
    let server = start(config()).await;
    let claims = Claims {
        exp: u64::MAX,
        ..Claims::new("a", 0)
    };
    Client::with_token(&server, &claims).await.expect_silence().await;
}

#[tokio::test]
async fn what_is_no_credential_at_all_is_refused_before_the_upgrade() {
    let server = start(config()).await;
    for query in [
        "token=nonsense",
        "token=a.b.c",
        "token=",
        "",
        "key=pk_dev&token=a.b.c",
    ] {
        let (status, _, body) = refused(&server, query, None).await;
        assert_eq!(
            (status, &body["error"]),
            (401, &json!("invalid_token")),
            "{query}"
        );
    }
}

#[tokio::test]
async fn permissions_and_channels_of_a_token() {
    let server = start(config()).await;
    let claims = Claims {
        channels: Some(vec!["room/*".to_owned()]),
        permissions: Some(vec![Action::Subscribe, Action::Presence]),
        ..Claims::new("viewer", 600)
    };
    let mut viewer = Client::with_token(&server, &claims).await;
    viewer.subscribe("room/7").await;
    for (frame, code) in [
        (
            json!({"type": "subscribe", "channel": "room/7/a", "requestId": "r"}),
            "channel_not_authorized",
        ),
        (
            json!({"type": "publish", "channel": "room/7", "data": 1, "requestId": "r"}),
            "action_not_permitted",
        ),
        (
            json!({"type": "send", "to": "viewer", "data": 1, "requestId": "r"}),
            "action_not_permitted",
        ),
    ] {
        viewer.send(frame).await;
        viewer.expect_error(code, Some("r")).await;
    }
    let blind = Claims {
        permissions: Some(vec![Action::Subscribe]),
        ..Claims::new("blind", 600)
    };
    let mut blind = Client::with_token(&server, &blind).await;
    blind
        .send(json!({"type": "subscribe", "channel": "room/7", "requestId": "s"}))
        .await;
    blind.expect(json!({"type": "ack", "requestId": "s"})).await;
    blind.expect_silence().await;
    let joined = viewer.next_frame().await;
    assert_eq!(joined["joined"], json!([{"peerId": "blind"}]), "{joined}");
}

#[tokio::test]
async fn a_token_cannot_exceed_its_key() {
    let narrow = SecretKey {
        channels: vec![Pattern::new("room/**")],
        permissions: vec![Action::Subscribe],
        ..secret_key()
    };
    let server = start(Config {
        secret_keys: vec![narrow],
        ..config()
    })
    .await;
    let wide = Claims {
        channels: Some(vec!["**".to_owned()]),
        ..Claims::new("a", 600)
    };
    let mut refused = Client::dial(&server, &format!("token={}", sign(&wide))).await;
    assert_eq!(
        refused.closed().await,
        (4003, "channel_not_authorized".to_owned())
    );
    let mut client = Client::named(&server, "a").await;
    client
        .send(json!({"type": "subscribe", "channel": "lobby", "requestId": "1"}))
        .await;
    client.expect_error("channel_not_authorized", Some("1")).await;
    client
        .send(json!({"type": "publish", "channel": "room/1", "data": 1, "requestId": "2"}))
        .await;
    client.expect_error("action_not_permitted", Some("2")).await;
}

#[tokio::test]
async fn a_key_without_send_joins_but_cannot_negotiate() {
    let no_send = PublishableKey {
        permissions: vec![Action::Publish, Action::Subscribe, Action::Presence],
        ..PublishableKey::new("pk_quiet")
    };
    let server = start(Config {
        publishable_keys: vec![no_send],
        ..config()
    })
    .await;
    let mut client = Client::open(&server, "key=pk_quiet").await;
    client.subscribe("lobby").await;
    client
        .send(json!({"type": "send", "to": "x", "data": 1, "requestId": "r"}))
        .await;
    client.expect_error("action_not_permitted", Some("r")).await;
}

#[tokio::test]
async fn suspended_accounts_and_unauthorised_subscribes_can_close() {
    let suspended = PublishableKey {
        suspended: true,
        ..PublishableKey::new("pk_bad")
    };
    let scoped = PublishableKey {
        channels: vec![Pattern::new("a")],
        ..PublishableKey::new("pk_scoped")
    };
    let server = start(Config {
        publishable_keys: vec![suspended, scoped],
        close_on_unauthorized: true,
        ..config()
    })
    .await;
    let closed = Client::dial(&server, "key=pk_bad").await.closed().await;
    assert_eq!(closed, (4012, "account_suspended".to_owned()));
    let mut client = Client::open(&server, "key=pk_scoped").await;
    client
        .send(json!({"type": "subscribe", "channel": "b", "requestId": "r"}))
        .await;
    client.expect_error("channel_not_authorized", Some("r")).await;
    assert_eq!(client.closed().await.0, 4003);
}

#[tokio::test]
async fn origins() {
    let listed = PublishableKey {
        origins: vec!["https://app.example".to_owned()],
        ..PublishableKey::new("pk_listed")
    };
    let open = PublishableKey {
        origins: vec!["*".to_owned()],
        ..PublishableKey::new("pk_open")
    };
    let keys = vec![PublishableKey::new("pk_dev"), listed, open];
    let server = start(Config {
        publishable_keys: keys,
        ..config()
    })
    .await;
    for (key, origin, status) in [
        ("pk_dev", None, 101),
        ("pk_dev", Some("http://localhost:5173"), 101),
        ("pk_dev", Some("https://evil.example"), 401),
        ("pk_dev", Some("null"), 401),
        ("pk_listed", Some("https://app.example"), 101),
        ("pk_listed", Some("http://localhost:5173"), 401),
        ("pk_listed", None, 401),
        ("pk_open", Some("https://evil.example"), 101),
    ] {
        let (got, _, body) = refused(&server, &format!("key={key}"), origin).await;
        assert_eq!(got, status, "{key} {origin:?}: {body}");
        if got == 401 {
            assert_eq!(body["error"], "origin_not_allowed");
        }
    }
}

#[tokio::test]
async fn ice_servers_are_injected_unless_the_token_has_its_own() {
    let injected = json!({"urls": ["turn:127.0.0.1:3478"], "username": "u", "credential": "c"});
    let server = start(Config {
        ice_servers: vec![injected.clone()],
        ..config()
    })
    .await;
    let client = Client::open(&server, "key=pk_dev").await;
    assert_eq!(client.welcome["metadata"], json!({"iceServers": [injected]}));
    let own = |metadata: Value| Claims {
        metadata: metadata.as_object().cloned(),
        ..Claims::new("a", 600)
    };
    let client = Client::with_token(&server, &own(json!({"iceServers": [], "x": 1}))).await;
    assert_eq!(client.welcome["metadata"], json!({"iceServers": [], "x": 1}));
    let client = Client::with_token(&server, &own(json!({"x": 1}))).await;
    assert_eq!(
        client.welcome["metadata"],
        json!({"iceServers": [injected], "x": 1})
    );
}
