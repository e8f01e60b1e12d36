//! A server that goes down with many clients and comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstmeteredwebrtc::signalling::{Event, ReconnectOptions, SubscribeOptions};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::run::{Run, options};
use super::server::{Conn, Server, TEXT, ack, patiently, welcome};

const CLIENTS: usize = 50;
/// The second attempt comes after 1.6 to 2.4 seconds: time enough for everybody's first to fail.
const DELAY: Duration = Duration::from_millis(100);
const GROWTH: f64 = 20.0;
const JITTER: f64 = 0.2;

/// What a server has been asked, connection by connection.
type Asked = Arc<Mutex<Vec<Vec<String>>>>;

/// Welcomes everybody and acknowledges everything, until the task is aborted: then all sockets close at once.
async fn serve(server: Server, asked: Asked) {
    let mut conns = JoinSet::new();
    loop {
        let conn = server.accept_forever().await;
        conns.spawn(converse(conn, asked.clone()));
    }
}

async fn converse(mut conn: Conn, asked: Asked) {
    conn.upgrade().await;
    let index = {
        let mut asked = asked.lock().unwrap();
        asked.push(Vec::new());
        asked.len() - 1
    };
    conn.json(welcome()).await;
    while let Some(frame) = conn.next().await {
        if frame.opcode != TEXT {
            break;
        }
        let request: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
        asked.lock().unwrap()[index].push(format!("{} {}", request["type"], request["channel"]));
        conn.json(ack(&request)).await;
    }
}

async fn rebind(port: u16) -> Server {
    patiently("the port", async {
        loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => return Server::on(listener),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn c047_everybody_comes_back_with_everything_and_not_at_the_same_time() {
    let server = Server::start().await;
    let port = server.port;
    let reconnect = ReconnectOptions {
        initial: DELAY,
        multiplier: GROWTH,
        jitter: JITTER,
        ..ReconnectOptions::default()
    };
    let mut runs: Vec<Run> = (0..CLIENTS)
        .map(|_| Run::new(options(&server).reconnect(reconnect.clone())))
        .collect();
    let before = Asked::default();
    let serving = tokio::spawn(serve(server, before.clone()));
    for run in &runs {
        let client = run.client();
        client.connect().await.unwrap();
        for channel in ["a", "b", "dropped"] {
            client
                .subscribe(channel, SubscribeOptions::default())
                .await
                .unwrap();
        }
        client.unsubscribe("dropped").await.unwrap();
    }
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    for run in &mut runs {
        run.until("failed unreachable retry").await;
    }
    let after = Asked::default();
    let server = rebind(port).await;
    let serving = tokio::spawn(serve(server, after.clone()));
    for run in &mut runs {
        run.until("resubscribed b").await;
    }
    let asked = after.lock().unwrap().clone();
    let replay = [r#""subscribe" "a""#, r#""subscribe" "b""#];
    assert_eq!(asked, vec![replay; CLIENTS]);

    let mut delays = Vec::new();
    let expected = [
        "connecting",
        "connected",
        "welcome",
        "disconnected 1006 retry",
        "reconnecting",
        "failed unreachable retry",
        "connected",
        "welcome again",
        "resubscribed a",
        "resubscribed b",
        "disconnected 1000 final",
        "closed",
    ];
    for run in &mut runs {
        run.abandon();
    }
    for run in runs {
        let events = run.end_with(&expected).await;
        delays.extend(events.iter().filter_map(|event| match event {
            Event::ConnectFailed(failed) => Some(failed.retry_in.unwrap().as_secs_f64()),
            _ => None,
        }));
    }
    serving.abort();
    let _ = serving.await;
    super::server::eventually("no socket", || super::server::sockets(port).is_empty()).await;

    let middle = DELAY.as_secs_f64() * GROWTH;
    let (least, most) = (middle * (1.0 - JITTER), middle * (1.0 + JITTER));
    assert!(
        delays.iter().all(|delay| (least..=most).contains(delay)),
        "{delays:?}"
    );
    // Fifty delays lie in at least half of the tenths of the range; by chance they hardly ever would not.
    let tenth = (most - least) / 10.0;
    let mut tenths: Vec<usize> = delays
        .iter()
        .map(|delay| ((delay - least) / tenth) as usize)
        .collect();
    tenths.sort_unstable();
    tenths.dedup();
    assert!(tenths.len() >= 5, "{delays:?}");
}
