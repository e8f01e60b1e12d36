//! Closing a client, and dropping it, at every point of its life.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gstmeteredwebrtc::signalling::{ConnectError, Credentials, ReconnectOptions, RequestError};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::run::{Connecting, Run, options, options_with};
use super::server::{Conn, Server, eventually, patiently, sockets};

/// In `/proc/net/tcp`.
const SYN_SENT: &str = "02";

/// A client that has come to a certain point, and what keeps it there.
struct Stage {
    server: Server,
    run: Run,
    connecting: Option<JoinHandle<Connecting>>,
    requests: Vec<JoinHandle<Result<(), RequestError>>>,
    /// The server's end, if there is a connection.
    conn: Option<Conn>,
    /// The client closes an open connection with a close frame.
    opened: bool,
    /// Connections that keep the server busy.
    busy: Vec<TcpStream>,
    /// Tells that the token provider's future was dropped.
    token: Option<mpsc::UnboundedReceiver<()>>,
    seen: &'static [&'static str],
}

impl Stage {
    async fn idle() -> Self {
        let server = Server::start().await;
        let run = Run::new(options(&server));
        Self {
            server,
            run,
            connecting: None,
            requests: Vec::new(),
            conn: None,
            opened: false,
            busy: Vec::new(),
            token: None,
            seen: &[],
        }
    }

    async fn connecting() -> Self {
        let mut stage = Self::idle().await;
        stage.connecting = Some(stage.run.connecting());
        stage.seen = &["connecting"];
        stage
    }

    /// The first token never comes.
    async fn token() -> Self {
        let mut stage = Self::idle().await;
        let (asked, mut question) = mpsc::unbounded_channel();
        let (gone, dropped) = mpsc::unbounded_channel();
        let asked_before = AtomicBool::new(false);
        let credentials = Credentials::token_provider(move || {
            let first = !asked_before.swap(true, Ordering::Relaxed);
            let _ = asked.send(());
            let guard = Told(gone.clone());
            async move {
                let _guard = guard;
                if first {
                    std::future::pending::<()>().await;
                }
                Ok::<_, String>("token".to_owned())
            }
        });
        stage.run = Run::new(options_with(&stage.server, credentials));
        stage.connecting = Some(stage.run.connecting());
        stage.seen = &["connecting"];
        patiently("the question for a token", question.recv())
            .await
            .unwrap();
        stage.token = Some(dropped);
        stage
    }

    /// The server's queue of connections is full, so that it does not answer any more.
    async fn tcp() -> Self {
        let mut stage = Self::idle().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        stage.server = Server::on(socket.listen(0).unwrap());
        stage.busy.push(
            TcpStream::connect(("127.0.0.1", stage.server.port))
                .await
                .unwrap(),
        );
        stage.run = Run::new(options(&stage.server));
        stage.connecting = Some(stage.run.connecting());
        stage.seen = &["connecting"];
        let port = stage.server.port;
        eventually("SYN", || sockets(port).iter().any(|state| state == SYN_SENT)).await;
        stage
    }

    async fn upgrade() -> Self {
        let mut stage = Self::connecting().await;
        let mut conn = stage.server.accept().await;
        conn.request().await;
        stage.conn = Some(conn);
        stage
    }

    async fn welcome() -> Self {
        let mut stage = Self::connecting().await;
        let mut conn = stage.server.upgraded().await;
        // An event from this connection shows that the client has got so far.
        conn.json(serde_json::json!({"type": "error", "code": "wait"}))
            .await;
        stage.run.until("error wait").await;
        stage.conn = Some(conn);
        stage.opened = true;
        stage.seen = &["connecting", "error wait"];
        stage
    }

    async fn requests() -> Self {
        let mut stage = Self::connecting().await;
        let mut conn = stage.server.welcomed().await;
        stage.connecting.take().unwrap().await.unwrap().unwrap();
        for n in 0..3 {
            let client = stage.run.client().clone();
            let publish = async move { client.publish("c", &n).await };
            stage.requests.push(tokio::spawn(publish));
        }
        for _ in 0..3 {
            assert_eq!(conn.receive().await["type"], "publish");
        }
        stage.conn = Some(conn);
        stage.opened = true;
        stage.seen = &["connecting", "connected", "welcome"];
        stage
    }

    async fn retry() -> Self {
        let mut stage = Self::idle().await;
        let late = ReconnectOptions {
            initial: Duration::from_secs(3600),
            max: Duration::from_secs(3600),
            ..super::run::fast()
        };
        stage.run = Run::new(options(&stage.server).reconnect(late));
        stage.connecting = Some(stage.run.connecting());
        let mut conn = stage.server.accept().await;
        conn.request().await;
        conn.reset();
        stage.run.until("failed lost retry").await;
        stage.seen = &["connecting", "failed lost retry"];
        stage
    }

    async fn all() -> Vec<Self> {
        vec![
            Self::idle().await,
            Self::token().await,
            Self::tcp().await,
            Self::upgrade().await,
            Self::welcome().await,
            Self::requests().await,
            Self::retry().await,
        ]
    }

    /// The server sees the end of what the client had with it.
    async fn server_sees_the_end(&mut self) {
        if let Some(conn) = self.conn.take() {
            match self.opened {
                true => assert_eq!(conn.close_code().await, 1000),
                false => conn.ended().await,
            }
        }
        if let Some(mut token) = self.token.take() {
            patiently("the end of the token provider", token.recv())
                .await
                .unwrap();
        }
        let others = self.busy.len();
        let port = self.server.port;
        eventually("no socket", || sockets(port).len() == others).await;
        for _ in self.busy.drain(..) {
            self.server.accept().await;
        }
    }

    fn expected(&self, rest: &[&'static str]) -> Vec<&'static str> {
        let end: &[_] = match self.seen {
            [] => &[],
            _ => &["disconnected 1000 final"],
        };
        [self.seen, end, rest].concat()
    }
}

/// Tells that it is gone.
struct Told(mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Closes, and connects again.
async fn close(mut stage: Stage) {
    let start = Instant::now();
    let client = stage.run.client().clone();
    let closing = async {
        patiently("close", client.close()).await;
        start.elapsed()
    };
    let (took, ()) = tokio::join!(closing, stage.server_sees_the_end());
    assert!(took < Duration::from_secs(2), "{took:?} {:?}", stage.seen);
    drop(client);
    if let Some(connecting) = stage.connecting.take() {
        assert_eq!(connecting.await.unwrap(), Err(ConnectError::Closed));
    }
    for request in stage.requests.drain(..) {
        assert!(!request.await.unwrap().unwrap_err().is_certainly_undone());
    }
    let (connected, conn) = tokio::join!(stage.run.client().connect(), stage.server.welcomed());
    connected.unwrap();
    let again = [
        "closed",
        "connecting",
        "connected",
        "welcome",
        "disconnected 1000 final",
        "closed",
    ];
    let expected = stage.expected(&again);
    tokio::join!(stage.run.end(&stage.server, &expected), conn.close_code());
}

/// Drops the last handle, with the futures that hold it.
async fn abandon(mut stage: Stage) {
    let tasks = stage.requests.drain(..).map(|task| task.abort_handle());
    let connecting = stage.connecting.take().map(|task| task.abort_handle());
    tasks.chain(connecting).for_each(|task| task.abort());
    let expected = stage.expected(&["closed"]);
    let idle = Server::start().await;
    let run = std::mem::replace(&mut stage.run, Run::new(options(&idle)));
    // The server's socket may be held by others.
    tokio::join!(run.end(&idle, &expected), stage.server_sees_the_end());
}

#[tokio::test]
async fn c023_close_ends_whatever_is_under_way() {
    for stage in Stage::all().await {
        close(stage).await;
    }
}

#[tokio::test]
async fn the_last_handle_ends_whatever_is_under_way() {
    for stage in Stage::all().await {
        abandon(stage).await;
    }
}

#[tokio::test]
async fn closing_is_heard_over_a_server_that_does_not_listen() {
    let server = Server::start().await;
    let run = Run::new(options(&server));
    let (connected, conn) = tokio::join!(run.client().connect(), server.welcomed());
    connected.unwrap();
    // More than the kernel keeps for a reader that does not read.
    let data = "x".repeat(60_000);
    let requests: Vec<_> = (0..150)
        .map(|_| {
            let (client, data) = (run.client().clone(), data.clone());
            tokio::spawn(async move { client.publish("c", &data).await })
        })
        .collect();
    let start = Instant::now();
    tokio::task::yield_now().await;
    run.client().close().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for request in requests {
        request.await.unwrap().unwrap_err();
    }
    conn.ended().await;
    let expected = [
        "connecting",
        "connected",
        "welcome",
        "disconnected 1000 final",
        "closed",
    ];
    run.end(&server, &expected).await;
}
