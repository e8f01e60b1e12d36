//! What the process has before the first client and after the last one: no thread and no file descriptor more. Alone
//! in its binary, because other tests have some of their own.
#![cfg(all(feature = "signalling", target_os = "linux"))]

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use gstmeteredwebrtc::signalling::{ClientOptions, ClientState, Credentials, SignallingClient};
use tokio_tungstenite::tungstenite::{self, Message};

const CLIENTS: usize = 200;
/// See where it is used.
const SIGNAL_SOCKETS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(30);

/// Of the library.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "metered-io").count()
}

/// What this process has open, the server's sockets included: they close with the clients'.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn eventually(what: &str, mut found: impl FnMut() -> usize, wanted: usize) {
    let deadline = Instant::now() + PATIENCE;
    while found() != wanted {
        assert!(
            Instant::now() < deadline,
            "{} {what} instead of {wanted}",
            found()
        );
        std::thread::yield_now();
    }
}

/// Welcomes everybody until they go.
fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
                let welcome = r#"{"type":"welcome","peerId":"me","serverTime":1,"maxMessageSize":9000}"#;
                socket.send(Message::text(welcome)).unwrap();
                while socket.read().is_ok() {}
            });
        }
    });
}

/// Clients that come, and go with a close or without.
async fn round(url: &str, count: usize, close: bool) {
    let mut clients = Vec::new();
    for n in 0..count {
        let credentials = match n % 2 {
            0 => Credentials::api_key("pk_live_leaks"),
            _ => Credentials::token_provider(async || Ok::<_, String>("token".to_owned())),
        };
        let client = SignallingClient::new(ClientOptions::new(credentials).endpoint(url)).unwrap();
        let events = client.events();
        client.connect().await.unwrap();
        clients.push((client, events));
    }
    // One thread drives all of them; others would resolve names, and there are none.
    assert_eq!(threads(), 1);
    assert!(descriptors() >= count);
    for (client, mut events) in clients {
        if close {
            client.close().await;
            assert_eq!(client.state(), ClientState::Closed);
        }
        drop(client);
        while events.next().await.is_some() {}
    }
}

#[test]
fn two_hundred_clients_leave_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    serve(listener);
    let application = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(threads(), 0);
    // tokio makes a pair of sockets for signals in its first runtime with IO, and keeps it as long as the process lives.
    let first = descriptors();
    application.block_on(round(&url, 1, true));
    eventually("threads of the library", threads, 0);
    eventually("open descriptors", descriptors, first + SIGNAL_SOCKETS);
    let before = descriptors();
    for close in [true, false] {
        application.block_on(round(&url, CLIENTS, close));
        eventually("threads of the library", threads, 0);
        eventually("open descriptors", descriptors, before);
    }
}
