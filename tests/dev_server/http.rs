//! The page, its settings, the addresses, and TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use gstmeteredwebrtc::dev_server::{Config, DevServer, PublishableKey, Tls};
use serde_json::{Value, json};

use crate::client::{config, http, start};

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("metered-dev-server-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("scratch directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_page_directory_is_served_and_told_where_it_is() {
    let scratch = Scratch::new("page");
    std::fs::write(scratch.0.join("index.html"), "<title>hello</title>").expect("index.html");
    let config = Config {
        page: Some(scratch.0.clone()),
        channel: "studio".to_owned(),
        publishable_keys: vec![PublishableKey::new("pk_page")],
        ..config()
    };
    let server = start(config).await;
    let (status, head, body) = http(&server, "GET /", "", "").await;
    assert_eq!((status, body.as_str()), (200, "<title>hello</title>"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/html"), "{head}");
    assert_eq!(http(&server, "GET /missing.js", "", "").await.0, 404);
    assert_eq!(http(&server, "GET /../Cargo.toml", "", "").await.0, 404);
    let (_, _, body) = http(&server, "GET /config.json", "", "").await;
    let told: Value = serde_json::from_str(&body).expect("config.json");
    assert_eq!(
        told,
        json!({"url": server.ws_url(), "apiKey": "pk_page", "channel": "studio"})
    );
}

#[tokio::test]
async fn without_a_page_the_root_says_what_this_is() {
    let server = start(config()).await;
    let (status, _, body) = http(&server, "GET /", "", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("development"), "{body}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_start_with_a_remedy() {
    let fails = async |config: Config| {
        DevServer::start(config)
            .await
            .expect_err("must not start")
            .to_string()
    };
    let public = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let message = fails(Config {
        bind: public,
        ..config()
    })
    .await;
    assert!(message.contains("--allow-public"), "{message}");
    start(Config {
        bind: public,
        allow_public: true,
        ..config()
    })
    .await;

    let message = fails(Config {
        page: Some("/does/not/exist".into()),
        ..config()
    })
    .await;
    assert!(message.contains("--page"), "{message}");
    let tls = Tls {
        certificate: "/does/not/exist".into(),
        key: "/does/not/exist".into(),
    };
    let message = fails(Config {
        tls: Some(tls),
        ..config()
    })
    .await;
    assert!(message.contains("certificate"), "{message}");
    let taken = start(config()).await;
    let message = fails(Config {
        bind: taken.local_addr(),
        ..config()
    })
    .await;
    assert!(message.contains("cannot listen"), "{message}");
}

#[test]
fn configuration_files() {
    let scratch = Scratch::new("config");
    let path = scratch.0.join("server.toml");
    std::fs::write(
        &path,
        r#"
        bind = "127.0.0.1:0"
        channel = "studio"
        presence_grace_ms = 15000
        ice_servers = [{ urls = ["stun:127.0.0.1:3478"] }]
        [limits]
        connects_per_minute = 60
        [[publishable_keys]]
        key = "pk_file"
        permissions = ["publish", "subscribe", "presence"]
        channels = ["room/*"]
        [[secret_keys]]
        id = "sk_id_file"
        secret = "very-secret"
        "#,
    )
    .expect("write");
    let config = Config::from_file(&path).expect("config");
    assert_eq!(config.presence_grace_ms, 15_000);
    assert_eq!(config.limits.connects_per_minute, Some(60));
    assert_eq!(config.limits.max_message_size, 65_536);
    assert_eq!(config.ice_servers, [json!({"urls": ["stun:127.0.0.1:3478"]})]);
    assert!(!format!("{config:?}").contains("very-secret"), "{config:?}");

    std::fs::write(
        &path,
        "[[secret_keys]]\nid = \"a\"\nsecret = \"very-secret\"\nsercet = 1\n",
    )
    .expect("write");
    let message = Config::from_file(&path).expect_err("unknown field").to_string();
    assert!(
        message.contains("sercet") && !message.contains("very-secret"),
        "{message}"
    );
    std::fs::write(&path, "channel = \"a\"\nsecret_keys = \"very-secret\"\n").expect("write");
    let message = Config::from_file(&path).expect_err("wrong type").to_string();
    assert!(
        message.contains("line 2") && !message.contains("very-secret"),
        "{message}"
    );
    assert!(Config::from_file(&scratch.0.join("none")).is_err());
}
