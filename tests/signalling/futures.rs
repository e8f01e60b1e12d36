//! Futures that nobody waits for any more, and sockets that were replaced.

use std::time::Duration;

use gstmeteredwebrtc::signalling::{ClientState, SubscribeOptions};
use serde_json::json;
use tokio::time::timeout;

use super::run::{Run, options};
use super::server::{CLOSE, Conn, Server, ack, message, patiently};

/// Shorter than any answer takes that the server holds back.
const MOMENT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_connect_that_is_dropped_goes_on_and_does_not_disturb_the_next() {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    timeout(MOMENT, run.client().connect()).await.unwrap_err();
    let conn = server.welcomed().await;
    run.until("welcome").await;
    assert_eq!(run.client().state(), ClientState::Connected);
    tokio::join!(run.client().close(), conn.close_code());
    let (connected, conn) = tokio::join!(run.client().connect(), server.welcomed());
    connected.unwrap();
    let once = [
        "connecting",
        "connected",
        "welcome",
        "disconnected 1000 final",
        "closed",
    ];
    let twice = [once, once].concat();
    tokio::join!(run.end(&server, &twice), conn.close_code());
}

/// A future that was never polled has asked for nothing.
#[tokio::test]
async fn futures_that_were_never_polled_do_nothing() {
    let server = Server::start().await;
    let run = Run::new(options(&server));
    drop(run.client().connect());
    drop(run.client().publish("c", &1));
    drop(run.client().close());
    assert_eq!(run.client().state(), ClientState::Idle);
    run.end(&server, &["closed"]).await;
}

async fn next_publication(conn: &mut Conn) -> serde_json::Value {
    let request = conn.receive().await;
    assert_eq!(request["type"], "publish", "{request}");
    request
}

#[tokio::test]
async fn answers_to_requests_that_were_dropped_go_to_nobody_else() {
    let server = Server::start().await;
    let run = Run::new(options(&server));
    let (connected, mut conn) = tokio::join!(run.client().connect(), server.welcomed());
    connected.unwrap();
    let client = run.client();
    let mut dropped = Vec::new();
    for n in 0..50 {
        timeout(Duration::from_millis(1), client.publish("c", &n))
            .await
            .unwrap_err();
        dropped.push(next_publication(&mut conn).await);
    }
    timeout(MOMENT, client.subscribe("c", SubscribeOptions::default()))
        .await
        .unwrap_err();
    let subscribe = conn.receive().await;
    let serve = async {
        let request = next_publication(&mut conn).await;
        assert_eq!(request["data"], "waited for");
        // All the others first, some of them twice, some refused.
        for (n, old) in dropped.iter().enumerate() {
            conn.json(ack(old)).await;
            if n % 2 == 0 {
                conn.json(json!({"type": "error", "requestId": old["requestId"], "code": "late"}))
                    .await;
            }
        }
        conn.json(ack(&subscribe)).await;
        let code = json!({"type": "error", "requestId": request["requestId"], "code": "quota"});
        conn.json(code).await;
    };
    let (result, ()) = tokio::join!(patiently("an answer", client.publish("c", "waited for")), serve);
    assert_eq!(result.unwrap_err().code(), Some("quota"));
    // The subscription was made although nobody waited for it: it comes back.
    conn.reset();
    let mut conn = server.welcomed().await;
    assert_eq!(conn.acknowledge("subscribe").await["channel"], "c");
    let mut run = run;
    run.until("resubscribed c").await;
    timeout(MOMENT, run.client().close()).await.unwrap_err();
    assert_eq!(conn.close_code().await, 1000);
    let briefs = run.brief();
    let late = briefs.iter().filter(|event| *event == "error late").count();
    assert_eq!(late, 25, "{briefs:?}");
    let expected = [
        &["connecting", "connected", "welcome"][..],
        &["error late"; 25],
        &[
            "disconnected 1006 retry",
            "reconnecting",
            "connected",
            "welcome again",
            "resubscribed c",
        ],
        &["disconnected 1000 final", "closed"],
    ];
    run.end(&server, &expected.concat()).await;
}

#[tokio::test]
async fn a_socket_that_was_replaced_has_no_say() {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let mut old = server.upgraded().await;
    old.json(json!({"type": "error", "code": "wait"})).await;
    run.until("error wait").await;
    // Without waiting for the closing handshake, which the old server does not complete.
    timeout(MOMENT, run.client().close()).await.unwrap_err();
    assert!(connecting.await.unwrap().is_err());
    let connecting = run.connecting();
    let mut new = server.upgraded().await;
    while old.next().await.expect("a close frame").opcode != CLOSE {}
    old.json(json!({"type": "welcome", "peerId": "old", "serverTime": 1, "maxMessageSize": 1}))
        .await;
    old.json(message("old")).await;
    old.json(json!({"type": "error", "code": "old"})).await;
    old.json(json!({"type": "going_away", "retryAfterMs": 9999}))
        .await;
    drop(old);
    // By the time that this has come, the old socket's words would have, too: the client has noticed its end.
    new.json(json!({"type": "error", "code": "new"})).await;
    run.until("error new").await;
    let port = server.port;
    super::server::eventually("one socket", || super::server::sockets(port).len() == 1).await;
    assert_eq!(run.client().state(), ClientState::Connecting);
    new.welcome().await;
    let connected = connecting.await.unwrap().unwrap();
    assert_eq!(
        (connected.peer_id.as_str(), connected.is_reconnect),
        ("me", false)
    );
    assert_eq!(run.client().peer_id().unwrap().as_str(), "me");
    let expected = [
        "connecting",
        "error wait",
        "disconnected 1000 final",
        "closed",
        "connecting",
        "error new",
        "connected",
        "welcome",
        "disconnected 1000 final",
        "closed",
    ];
    tokio::join!(run.end(&server, &expected), new.close_code());
}
