//! Token providers that are down, slow, or broken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstmeteredwebrtc::signalling::{ClientOptions, Credentials, Event};

use super::run::{Run, options_with};
use super::server::{Conn, Server, eventually};

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Good,
    Fails,
    PanicsAtOnce,
    PanicsLater,
    HangsForEver,
    /// Would be there long after the time limit.
    TooLate,
    Empty,
}

use Answer::*;

/// Counts what is alive.
struct Alive(Arc<AtomicU32>);

impl Alive {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A provider that answers in this order, and the number of its answers under way.
fn provider(answers: &[Answer]) -> (Credentials, Arc<AtomicU32>) {
    let answers = Mutex::new(VecDeque::from_iter(answers.iter().copied().enumerate()));
    let alive = Arc::new(AtomicU32::new(0));
    let count = alive.clone();
    let credentials = Credentials::token_provider(move || {
        let (n, answer) = answers
            .lock()
            .unwrap()
            .pop_front()
            .expect("one question too many");
        if answer == PanicsAtOnce {
            // Without the words of the panic hook.
            std::panic::resume_unwind(Box::new("at once"));
        }
        let alive = Alive::new(&count);
        async move {
            let _alive = alive;
            match answer {
                Good => Ok(format!("token-{n}")),
                Fails => Err("the token server is down"),
                PanicsAtOnce | PanicsLater => std::panic::resume_unwind(Box::new("later")),
                HangsForEver => std::future::pending().await,
                TooLate => {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    Ok("late".to_owned())
                }
                Empty => Ok(String::new()),
            }
        }
    });
    (credentials, alive)
}

fn quick(server: &Server, credentials: Credentials) -> ClientOptions {
    options_with(server, credentials).token_timeout(Duration::from_millis(100))
}

async fn welcomed_with(server: &Server, token: &str) -> Conn {
    let mut conn = server.accept().await;
    let answer = conn
        .switching_protocols_for(&format!("GET /v1?token={token} HTTP/1.1"))
        .await;
    conn.write(answer.as_bytes()).await;
    conn.welcome().await;
    conn
}

#[tokio::test]
async fn c059_a_provider_that_fails_is_asked_again_until_it_recovers() {
    let server = Server::start().await;
    let answers = [
        Fails,
        PanicsAtOnce,
        PanicsLater,
        HangsForEver,
        TooLate,
        Empty,
        Fails,
        Good,
        Fails,
        Fails,
        Good,
    ];
    let (credentials, alive) = provider(&answers);
    let mut run = Run::new(quick(&server, credentials));
    let mut errors = run.client().token_provider_errors();
    let connecting = run.connecting();
    let conn = welcomed_with(&server, "token-7").await;
    connecting.await.unwrap().unwrap();
    for failures in 3..=7 {
        assert_eq!(errors.try_next().unwrap().consecutive_failures, failures);
    }
    assert!(errors.try_next().is_none());
    // What is late is dropped, not waited for.
    eventually("the end of all answers", || alive.load(Ordering::Relaxed) == 0).await;
    run.until("welcome").await;
    // A success starts the count over.
    conn.reset();
    let conn = welcomed_with(&server, "token-10").await;
    run.until("welcome again").await;
    let expected = [
        "connecting",
        "failed token retry",
        "failed token retry",
        "token error 3",
        "failed token retry",
        "token error 4",
        "failed token retry",
        "token error 5",
        "failed token retry",
        "token error 6",
        "failed token retry",
        "token error 7",
        "failed token retry",
        "connected",
        "welcome",
        "disconnected 1006 retry",
        "reconnecting",
        "failed token retry",
        "failed token retry",
        "connected",
        "welcome again",
        "disconnected 1000 final",
        "closed",
    ];
    let (events, code) = tokio::join!(run.end(&server, &expected), conn.close_code());
    assert_eq!(code, 1000);
    let words: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::TokenProviderError(error) => Some(error.error.clone()),
            _ => None,
        })
        .collect();
    assert!(words[0].contains("panicked"), "{words:?}");
    assert!(
        words[1].contains("in time") && words[2].contains("in time"),
        "{words:?}"
    );
    assert!(words[3].contains("empty"), "{words:?}");
    assert_eq!(words[4], "the token server is down");
}

#[tokio::test]
async fn without_retries_one_failure_ends_the_connect_and_its_question() {
    for answer in [Fails, PanicsAtOnce, PanicsLater, HangsForEver, TooLate, Empty] {
        let server = Server::start().await;
        let (credentials, alive) = provider(&[answer]);
        let run = Run::new(quick(&server, credentials).retry_first_connect(false));
        run.client().connect().await.unwrap_err();
        eventually("the end of the answer", || alive.load(Ordering::Relaxed) == 0).await;
        let expected = [
            "connecting",
            "failed token final",
            "disconnected 1006 final",
            "closed",
        ];
        run.end(&server, &expected).await;
    }
}
