//! How connections end: expiry, kick, loss, grace, shutdown.

use std::time::Duration;

use gstmeteredwebrtc::dev_server::{Claims, Config};
use serde_json::json;

use crate::client::{Client, config, http, sign, start, within};

const KEY: &str = "Authorization: Bearer sk_id_test:sk_secret_test\r\n";

#[tokio::test]
async fn an_expiring_token_closes_shortly_before_its_end() {
    let server = start(config()).await;
    let claims = Claims::new("a", 2);
    let mut client = Client::with_token(&server, &claims).await;
    assert_eq!(client.closed().await, (4002, "token_expired".to_owned()));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("clock");
    let end = Duration::from_secs(claims.exp) - Duration::from_millis(250);
    assert!(now >= end, "closed {:?} too early", end.saturating_sub(now));
}

#[tokio::test]
async fn a_kick_ends_every_socket_of_the_peer() {
    let server = start(config()).await;
    let mut one = Client::named(&server, "twin").await;
    let mut two = Client::named(&server, "twin").await;
    let (status, _, body) = http(&server, "DELETE /v1/peers/twin", KEY, "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"closed":2,"peerId":"twin"}"#));
    assert_eq!(one.closed().await, (4020, "kicked".to_owned()));
    assert_eq!(two.closed().await, (4020, "kicked".to_owned()));
    let (status, _, body) = http(&server, "DELETE /v1/peers/twin", KEY, "").await;
    assert_eq!(status, 404, "{body}");
}

#[tokio::test]
async fn a_lost_member_stays_for_the_grace_period() {
    let server = start(Config {
        presence_grace_ms: 1_500,
        ..config()
    })
    .await;
    let mut watcher = Client::named(&server, "watcher").await;
    watcher.subscribe("c").await;
    let mut lost = Client::named(&server, "lost").await;
    lost.subscribe("c").await;
    watcher.next_frame().await;

    // It comes back in time: nobody notices.
    server.close_peer("lost", 1006, "");
    assert_eq!(lost.closed().await.0, 1006);
    let mut back = Client::named(&server, "lost").await;
    back.subscribe("c").await;
    watcher.expect_silence().await;

    // It does not come back: `left` is late, but comes.
    server.close_peer("lost", 1006, "");
    back.closed().await;
    watcher.expect_silence().await;
    assert_eq!(server.members("c"), ["lost", "watcher"]);
    let left = json!({"type": "presence", "channel": "c", "joined": [], "left": [{"peerId": "lost"}]});
    watcher.expect(left.clone()).await;

    // Who says goodbye leaves at once.
    let mut polite = Client::named(&server, "lost").await;
    polite.subscribe("c").await;
    watcher.next_frame().await;
    polite.leave().await;
    // Well before the grace period could have ended.
    watcher.expect(left).await;
}

#[tokio::test]
async fn graceful_shutdown_says_going_away() {
    let server = start(Config {
        retry_after_ms: 1500,
        ..config()
    })
    .await;
    let address = server.local_addr();
    let mut client = Client::named(&server, "a").await;
    client.subscribe("c").await;
    let reading = tokio::spawn(async move {
        client
            .expect(json!({"type": "going_away", "retryAfterMs": 1500}))
            .await;
        client.closed().await
    });
    within("shutdown", server.shutdown()).await;
    assert_eq!(
        within("reading", reading).await.expect("reading"),
        (1001, "going_away".to_owned())
    );
    let again = start(Config {
        bind: address,
        ..config()
    })
    .await;
    assert_eq!(again.local_addr(), address);
    Client::open(&again, "key=pk_dev").await;
}

#[tokio::test]
async fn dropping_the_server_is_a_crash() {
    let server = start(config()).await;
    let mut client = Client::open(&server, "key=pk_dev").await;
    drop(server);
    assert_eq!(client.closed().await.0, 1006);
}

#[tokio::test]
async fn many_servers_in_one_process_do_not_share_anything() {
    let (one, two) = (start(config()).await, start(config()).await);
    assert_ne!(one.local_addr(), two.local_addr());
    let mut a = Client::named(&one, "a").await;
    let mut b = Client::named(&two, "b").await;
    a.subscribe("c").await;
    assert!(b.subscribe("c").await.is_empty());
    let token = sign(&Claims::new("a", 60));
    Client::open(&two, &format!("token={token}")).await;
}
