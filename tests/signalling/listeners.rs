//! Applications that do not listen, and executors that do not run.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use super::PATIENCE;
use super::run::{Run, options};
use super::server::{Server, ack, message, patiently};

/// Events that wait for a listener.
const WAITING_MAX: u64 = 4096;

#[tokio::test]
async fn a_listener_that_never_reads_holds_up_nothing_and_is_told_what_it_missed() {
    const MESSAGES: u64 = 6000;
    let server = Server::start().await;
    let run = Run::new(options(&server));
    let mut lazy = run.client().messages();
    let mut eager = run.client().messages();
    let (connected, mut conn) = tokio::join!(run.client().connect(), server.welcomed());
    connected.unwrap();
    let send = async {
        for n in 0..MESSAGES {
            conn.json(message(n)).await;
        }
        // Requests are answered meanwhile.
        conn.acknowledge("publish").await;
    };
    let read = async {
        for n in 0..MESSAGES {
            assert_eq!(patiently("a message", eager.next()).await.unwrap().data, n);
        }
    };
    let (result, (), ()) = tokio::join!(run.client().publish("c", &0), send, read);
    result.unwrap();
    assert_eq!((eager.missed(), lazy.missed()), (0, MESSAGES - WAITING_MAX));
    assert_eq!(lazy.try_next().unwrap().data, MESSAGES - WAITING_MAX);
    // Dropping one that is full is no trouble either.
    drop(lazy);
    let (seen, code) = tokio::join!(run.end_missing(&server), conn.close_code());
    assert_eq!(code, 1000);
    // The end may come while the first are being taken.
    assert!(
        (WAITING_MAX..=WAITING_MAX + 2).contains(&(seen.len() as u64)),
        "{}",
        seen.len()
    );
    assert_eq!(
        seen[seen.len() - 3..],
        ["message 5999", "disconnected 1000 final", "closed"]
    );
    assert_eq!(patiently("the end", eager.next()).await, None);
}

/// The application's only thread is stuck, with a request under way and a listener.
#[test]
fn a_blocked_executor_does_not_stop_the_heartbeat() {
    let (told, wait) = mpsc::channel();
    let (ready, server) = mpsc::channel();
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = Server::start().await;
            ready
                .send(options(&server).inactivity_window(Duration::from_millis(1800)))
                .unwrap();
            let mut conn = server.welcomed().await;
            let publish = conn.receive().await;
            conn.json(ack(&publish)).await;
            for _ in 0..2 {
                assert_eq!(conn.receive().await["type"], "ping");
                told.send(()).unwrap();
                conn.json(json!({"type": "pong"})).await;
            }
            finished.await.unwrap();
            assert_eq!(conn.close_code().await, 1000);
            server
        })
    });
    let application = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let run = Run::new(server.recv_timeout(PATIENCE).unwrap());
    let run = application.block_on(async {
        run.client().connect().await.unwrap();
        let client = run.client().clone();
        let publish = tokio::spawn(async move { client.publish("c", &1).await });
        tokio::task::yield_now().await;
        // Nothing runs here now. Without a heartbeat the connection would be given up after 1.8 seconds.
        for _ in 0..2 {
            wait.recv_timeout(PATIENCE).expect("a heartbeat");
        }
        publish.await.unwrap().unwrap();
        run
    });
    finish.send(()).unwrap();
    let expected = [
        "connecting",
        "connected",
        "welcome",
        "disconnected 1000 final",
        "closed",
    ];
    application.block_on(async {
        // The server's part is over when its thread is.
        let mut run = run;
        run.abandon();
        let server = tokio::task::spawn_blocking(move || serving.join().unwrap())
            .await
            .unwrap();
        run.end(&server, &expected).await;
    });
}
