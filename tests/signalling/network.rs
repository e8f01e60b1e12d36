//! Connections that break, hang and crawl.

use std::time::Duration;

use gstmeteredwebrtc::signalling::SubscribeOptions;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::run::{Run, options};
use super::server::{CLOSE, Conn, FIN, Server, TEXT, frame, message, welcome};

/// What a client sees that is dropped after its first good connection.
const AFTER_A_FAILURE: [&str; 6] = [
    "connecting",
    "failed lost retry",
    "connected",
    "welcome",
    "disconnected 1000 final",
    "closed",
];
const AFTER_A_LOSS: [&str; 8] = [
    "connecting",
    "connected",
    "welcome",
    "disconnected 1006 retry",
    "reconnecting",
    "connected",
    "welcome again",
    "disconnected 1000 final",
];

/// The connection after the fault is good, and ends with the client.
async fn recovers(server: &Server, mut run: Run, last: &str, expected: &[&str]) {
    let conn = server.welcomed().await;
    run.until(last).await;
    let (_, code) = tokio::join!(run.end(server, expected), conn.close_code());
    assert_eq!(code, 1000);
}

fn and_closed(events: &[&'static str]) -> Vec<&'static str> {
    [events, &["closed"]].concat()
}

#[tokio::test]
async fn reset_at_once() {
    let server = Server::start().await;
    let run = Run::new(options(&server));
    let connecting = run.connecting();
    server.accept().await.reset();
    // The reset may overtake the end of the TCP handshake.
    let mut run = run;
    run.until_any(&["failed lost retry", "failed unreachable retry"])
        .await;
    let failed = run.brief().pop().unwrap();
    let expected = AFTER_A_FAILURE.map(|event| {
        if event.starts_with("failed") {
            &failed
        } else {
            event
        }
    });
    recovers(&server, run, "welcome", &expected).await;
    assert!(connecting.await.unwrap().is_ok());
}

#[tokio::test]
async fn reset_during_the_upgrade() {
    let server = Server::start().await;
    let run = Run::new(options(&server));
    let connecting = run.connecting();
    let mut conn = server.accept().await;
    let answer = conn.switching_protocols().await;
    conn.write(&answer.as_bytes()[..40]).await;
    conn.reset();
    recovers(&server, run, "welcome", &AFTER_A_FAILURE).await;
    assert!(connecting.await.unwrap().is_ok());
}

#[tokio::test]
async fn reset_before_the_welcome() {
    let server = Server::start().await;
    let run = Run::new(options(&server));
    let connecting = run.connecting();
    server.upgraded().await.reset();
    recovers(&server, run, "welcome", &AFTER_A_FAILURE).await;
    assert!(connecting.await.unwrap().is_ok());
}

#[tokio::test]
async fn reset_after_the_welcome() {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let conn = server.welcomed().await;
    run.until("welcome").await;
    conn.reset();
    recovers(&server, run, "welcome again", &and_closed(&AFTER_A_LOSS)).await;
    assert!(connecting.await.unwrap().is_ok());
}

#[tokio::test]
async fn reset_in_the_middle_of_a_frame() {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let mut conn = server.welcomed().await;
    run.until("welcome").await;
    let frame = frame(FIN | TEXT, message("never complete").to_string().as_bytes());
    conn.write(&frame[..frame.len() / 2]).await;
    conn.reset();
    recovers(&server, run, "welcome again", &and_closed(&AFTER_A_LOSS)).await;
    assert!(connecting.await.unwrap().is_ok());
}

#[tokio::test]
async fn an_end_without_words_is_a_loss_too() {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let conn = server.welcomed().await;
    run.until("welcome").await;
    drop(conn);
    recovers(&server, run, "welcome again", &and_closed(&AFTER_A_LOSS)).await;
    assert!(connecting.await.unwrap().is_ok());
}

#[tokio::test]
async fn bytes_that_come_one_at_a_time_are_put_together() {
    let server = Server::start().await;
    let run = Run::new(options(&server));
    let connecting = run.connecting();
    let mut conn = server.accept().await;
    let answer = conn.switching_protocols().await;
    conn.drip(answer.as_bytes()).await;
    conn.drip(&frame(FIN | TEXT, welcome().to_string().as_bytes()))
        .await;
    conn.drip(&frame(FIN | TEXT, message(7).to_string().as_bytes()))
        .await;
    assert!(connecting.await.unwrap().is_ok());
    let mut run = run;
    run.until("message 7").await;
    let expected = [
        "connecting",
        "connected",
        "welcome",
        "message 7",
        "disconnected 1000 final",
        "closed",
    ];
    tokio::join!(run.end(&server, &expected), conn.close_code());
}

/// Two servers that say too little, at the same time, because a welcome has ten seconds.
#[tokio::test]
async fn c007_silence_ends_after_ten_seconds() {
    let silent = async {
        let server = Server::start().await;
        let run = Run::new(options(&server).retry_first_connect(false));
        let connecting = run.connecting();
        let conn = server.accept().await;
        assert!(connecting.await.unwrap().is_err());
        conn.ended().await;
        let expected = [
            "connecting",
            "failed no welcome final",
            "disconnected 4000 final",
            "closed",
        ];
        run.end(&server, &expected).await;
    };
    let unwelcoming = async {
        let server = Server::start().await;
        let run = Run::new(options(&server).retry_first_connect(false));
        let connecting = run.connecting();
        let conn = server.upgraded().await;
        assert!(connecting.await.unwrap().is_err());
        assert_eq!(conn.close_code().await, 4000);
        let expected = [
            "connecting",
            "failed no welcome final",
            "disconnected 4000 final",
            "closed",
        ];
        run.end(&server, &expected).await;
    };
    // Bytes that never become a frame are no sign of life.
    let trickling = async {
        let server = Server::start().await;
        let run = Run::new(options(&server).retry_first_connect(false));
        let connecting = run.connecting();
        let mut conn = server.upgraded().await;
        conn.write(&[FIN | TEXT, 126, 1, 0]).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while !connecting.is_finished() {
            ticks.tick().await;
            conn.write(b" ").await;
        }
        assert!(connecting.await.unwrap().is_err());
        assert_eq!(conn.close_code().await, 4000);
        let expected = [
            "connecting",
            "failed no welcome final",
            "disconnected 4000 final",
            "closed",
        ];
        run.end(&server, &expected).await;
    };
    tokio::join!(silent, unwelcoming, trickling);
}

/// Carries the bytes of one connection until it is told to stop; then nothing moves, and nobody is told. Both ends
/// stay open as long as they are held.
async fn carry(front: &Server, server: &Server, stop: oneshot::Receiver<()>) -> (Conn, TcpStream) {
    let mut client = front.accept().await;
    let mut server = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client.stream, &mut server) => {}
        _ = stop => {}
    }
    (client, server)
}

#[tokio::test]
async fn a_half_open_connection_is_given_up_with_4000_and_replaced() {
    let server = Server::start().await;
    let front = Server::start().await;
    let mut run = Run::new(options(&front).inactivity_window(Duration::from_millis(1500)));
    let connecting = run.connecting();
    let (stop, stopped) = oneshot::channel();
    let talk = async {
        let mut conn = server.welcomed().await;
        let subscribe = async {
            connecting.await.unwrap().unwrap();
            run.client()
                .subscribe("c", SubscribeOptions::default())
                .await
                .unwrap();
        };
        tokio::join!(subscribe, conn.acknowledge("subscribe"));
        // The heartbeat keeps the connection alive until the network stops.
        assert_eq!(conn.receive().await["type"], "ping");
        conn.json(serde_json::json!({"type": "pong"})).await;
        stop.send(()).unwrap();
        conn
    };
    let (held, stuck) = tokio::join!(carry(&front, &server, stopped), talk);
    run.until("disconnected 4000 retry").await;

    let (stop, stopped) = oneshot::channel();
    let again = async {
        let mut conn = server.welcomed().await;
        conn.acknowledge("subscribe").await;
        run.until("resubscribed c").await;
        let expected = [
            "connecting",
            "connected",
            "welcome",
            "disconnected 4000 retry",
            "reconnecting",
            "connected",
            "welcome again",
            "resubscribed c",
            "disconnected 1000 final",
            "closed",
        ];
        let (_, code) = tokio::join!(run.end(&front, &expected), conn.close_code());
        assert_eq!(code, 1000);
        drop(stop);
    };
    tokio::join!(carry(&front, &server, stopped), again);
    // Nobody took it, but it was said: the connection was closed with 4000.
    let (mut old, _) = held;
    let closing = loop {
        let frame = old.next().await.expect("a close frame");
        if frame.opcode == CLOSE {
            break frame;
        }
    };
    assert_eq!(closing.payload[..2], 4000u16.to_be_bytes());
    old.ended().await;
    drop(stuck);
}
