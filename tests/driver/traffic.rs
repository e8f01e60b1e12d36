use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use gstmeteredwebrtc::core::client::{Priority, SubscribeOptions};
use gstmeteredwebrtc::net::TokenSource;
use gstmeteredwebrtc::wire::{ChannelName, CloseCode, PeerId};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::server::{Server, accept, answer_http, close_code, receive, send, upgrade, welcome};
use super::*;

#[test]
fn welcome_subscribe_presence_close() {
    let server = Server::start(|listener| {
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        let subscribe = receive(&mut socket);
        assert_eq!(
            (&subscribe["type"], &subscribe["channel"]),
            (&json!("subscribe"), &json!("studio/7"))
        );
        send(
            &mut socket,
            json!({"type": "ack", "requestId": subscribe["requestId"]}),
        );
        let joined = json!([{"peerId": "host"}]);
        send(
            &mut socket,
            json!({"type": "presence", "channel": "studio/7", "joined": joined, "left": []}),
        );
        let direct = receive(&mut socket);
        assert_eq!((&direct["to"], &direct["data"]), (&json!("host"), &json!("bye")));
        assert_eq!(close_code(&mut socket), 1000);
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    assert!(!member.connected());
    member.command(|client, now| {
        let channel = ChannelName::new("studio/7").unwrap();
        client
            .subscribe(now, &channel, SubscribeOptions::default())
            .unwrap();
    });
    member.wait(|event| matches!(event, ClientEvent::Acked(_)).then_some(()));
    member.wait(|event| {
        matches!(event, ClientEvent::Presence { joined, .. } if joined.len() == 1).then_some(())
    });
    // What was sent before the close arrives before it.
    member.command(|client, now| {
        client
            .send(now, &PeerId::new("host").unwrap(), &json!("bye"), Priority::Data)
            .unwrap();
        client.close();
    });
    assert!(member.handle.wait_closed(PATIENCE));
    assert!(member.handle.send(Box::new(|_, _| {})).is_err());
    server.finish();
}

#[test]
fn a_reset_connection_is_restored() {
    let server = Server::start(|listener| {
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        // A frame shows that the client has read the welcome; closing with the frame unread resets the connection.
        socket.get_ref().peek(&mut [0]).unwrap();
        drop(socket);
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        close_code(&mut socket);
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    assert!(!member.connected());
    member.command(|client, now| {
        client
            .publish(now, &ChannelName::new("c").unwrap(), &json!(1))
            .unwrap();
    });
    let lost = |event| match event {
        ClientEvent::Disconnected {
            code, will_reconnect, ..
        } => Some((code, will_reconnect)),
        _ => None,
    };
    assert_eq!(member.wait(lost), (CloseCode::ABNORMAL, true));
    assert!(member.connected());
    member.close();
    server.finish();
}

#[test]
fn c023_close_does_not_wait_for_a_server_that_says_nothing() {
    let (done, wait) = channel::<()>();
    let server = Server::start(move |listener| {
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        let _ = wait.recv();
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    member.connected();
    // The server reads nothing: some of this is stuck in the socket when the close comes.
    member.command(|client, now| {
        for _ in 0..150 {
            let data = json!("x".repeat(60_000));
            client
                .send(now, &PeerId::new("a").unwrap(), &data, Priority::Data)
                .unwrap();
        }
    });
    let start = Instant::now();
    member.close();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    done.send(()).unwrap();
    server.finish();
}

#[test]
fn c024_pings_are_answered_while_idle() {
    let server = Server::start(|listener| {
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        socket.send(Message::Ping(vec![7].into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(vec![7].into()));
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    server.finish();
    drop(member);
}

#[test]
fn c022_an_oversized_message_is_refused() {
    let server = Server::start(|listener| {
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        // The client stops reading in the middle of it.
        let _ = socket.send(Message::text("x".repeat(1_048_577)));
        assert_eq!(close_code(&mut socket), 1009);
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    let lost = |event| match event {
        ClientEvent::Disconnected { code, .. } => Some(code),
        _ => None,
    };
    assert_eq!(member.wait(lost), CloseCode::TOO_BIG);
    server.finish();
}

#[test]
fn a_dropped_handle_ends_the_connection() {
    let server = Server::start(|listener| {
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        assert_eq!(close_code(&mut socket), 1000);
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    member.connected();
    let Member { handle, events } = member;
    drop(handle);
    server.finish();
    // The driver has dropped its side of the channel.
    while events.recv_timeout(PATIENCE).is_ok() {}
}

#[test]
fn tokens_and_origin_reach_the_server() {
    let server = Server::start(|listener| {
        for n in 1..=2 {
            let request = answer_http(
                accept(&listener),
                "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            );
            assert!(
                request.starts_with(&format!("GET /v1?token=t%20{n} HTTP/1.1\r\n")),
                "{request}"
            );
            assert!(
                request.to_lowercase().contains("origin: https://app.example\r\n"),
                "{request}"
            );
        }
    });
    let count = std::sync::atomic::AtomicU32::new(0);
    let source = TokenSource::Callback(Arc::new(move |reply| {
        let n = 1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        reply.reply(Ok(Secret::new(format!("t {n}"))));
    }));
    let config = ClientConfig {
        credential: CredentialSource::TokenProvider,
        retry_first_connect: true,
        ..config(&server.url())
    };
    let origin = Some("https://app.example".to_owned());
    let member = Member::connect(
        config,
        DriverOptions {
            token: Some(source),
            origin,
            ..DriverOptions::default()
        },
    );
    server.finish();
    member.close();
}
