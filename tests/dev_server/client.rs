//! A WebSocket client that knows nothing of the library under test, and an HTTP client of one request.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gstmeteredwebrtc::dev_server::{Claims, Config, DevServer, Running, SecretKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Upper bound of every wait. Generous, because the machine may be busy; nothing waits this long when it works.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn secret_key() -> SecretKey {
    SecretKey::new("sk_id_test", "sk_secret_test")
}

/// A configuration with the development key and one secret key.
pub fn config() -> Config {
    Config {
        secret_keys: vec![secret_key()],
        snapshot_delay_ms: 0,
        ..Config::ephemeral()
    }
}

pub async fn start(config: Config) -> Running {
    DevServer::start(config).await.expect("server starts")
}

/// A claims' token, signed by [`secret_key`].
pub fn sign(claims: &Claims) -> String {
    claims.sign(&secret_key()).expect("token")
}

/// A client's socket and everything it has received, for messages of failed assertions.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    seen: Vec<String>,
    pub welcome: Value,
}

/// How a connection ended: close code and reason, or 1006.
pub type Closed = (u16, String);

impl Client {
    /// Connects with a query such as `key=pk_dev` and reads the welcome.
    pub async fn open(server: &Running, query: &str) -> Self {
        let mut client = Self::dial(server, query).await;
        client.welcome = client.next_frame().await;
        assert_eq!(client.welcome["type"], "welcome", "{}", client.welcome);
        client
    }

    /// Connects without expecting a welcome.
    pub async fn dial(server: &Running, query: &str) -> Self {
        let url = format!("{}/v1?{query}", server.ws_url());
        let socket = upgrade(url, None).await.expect("upgrade");
        Self {
            socket,
            seen: Vec::new(),
            welcome: Value::Null,
        }
    }

    pub async fn with_token(server: &Running, claims: &Claims) -> Self {
        Self::open(server, &format!("token={}", sign(claims))).await
    }

    /// A peer with this id and every right.
    pub async fn named(server: &Running, peer_id: &str) -> Self {
        Self::with_token(server, &Claims::new(peer_id, 600)).await
    }

    pub fn peer_id(&self) -> &str {
        self.welcome["peerId"].as_str().expect("peerId")
    }

    pub async fn send(&mut self, frame: Value) {
        self.send_message(Message::text(frame.to_string())).await;
    }

    pub async fn send_message(&mut self, message: Message) {
        within("send", self.socket.send(message)).await.expect("send");
    }

    async fn next_message(&mut self) -> Option<Result<Message, Error>> {
        let Ok(message) = timeout(DEADLINE, self.socket.next()).await else {
            panic!("nothing arrived in {DEADLINE:?}; before that: {:#?}", self.seen);
        };
        self.seen.push(format!("{message:?}"));
        message
    }

    /// The next text message, as text.
    pub async fn next_text(&mut self) -> String {
        loop {
            match self.next_message().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a frame, got {other:?}; seen: {:#?}", self.seen),
            }
        }
    }

    pub async fn next_frame(&mut self) -> Value {
        let text = self.next_text().await;
        serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"))
    }

    /// Expects exactly this frame next.
    pub async fn expect(&mut self, wanted: Value) {
        let frame = self.next_frame().await;
        assert_eq!(frame, wanted, "seen: {:#?}", self.seen);
    }

    /// Expects an error frame with this code, for this request.
    pub async fn expect_error(&mut self, code: &str, request_id: Option<&str>) {
        let frame = self.next_frame().await;
        assert_eq!(frame["type"], "error", "{frame}");
        assert_eq!(frame["code"], code, "{frame}");
        assert_eq!(
            frame.get("requestId").and_then(Value::as_str),
            request_id,
            "{frame}"
        );
        assert!(frame["message"].is_string(), "{frame}");
    }

    /// Subscribes and returns the snapshot's members.
    pub async fn subscribe(&mut self, channel: &str) -> Vec<Value> {
        self.send(json!({"type": "subscribe", "channel": channel, "requestId": "sub"}))
            .await;
        self.expect(json!({"type": "ack", "requestId": "sub"})).await;
        let frame = self.next_frame().await;
        assert_eq!(frame["type"], "presence", "{frame}");
        assert_eq!(frame["channel"], channel, "{frame}");
        assert_eq!(frame["left"], json!([]), "{frame}");
        frame["joined"].as_array().expect("joined").clone()
    }

    /// Proves that nothing else has arrived: the pong is the next frame.
    pub async fn expect_silence(&mut self) {
        self.send(json!({"type": "ping"})).await;
        self.expect(json!({"type": "pong"})).await;
    }

    /// Waits for a WebSocket ping.
    pub async fn next_ping(&mut self) {
        while !matches!(self.next_message().await, Some(Ok(Message::Ping(_)))) {}
    }

    /// Reads to the end, skipping frames.
    pub async fn closed(&mut self) -> Closed {
        let mut result = (1006, String::new());
        while let Some(Ok(message)) = self.next_message().await {
            if let Message::Close(frame) = message {
                result = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
            }
        }
        result
    }

    /// Leaves as the SDKs do: close code 1000, nothing else.
    pub async fn leave(mut self) {
        use tokio_tungstenite::tungstenite::protocol::CloseFrame;
        let frame = CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        };
        self.send_message(Message::Close(Some(frame))).await;
        self.closed().await;
    }
}

/// Opens a WebSocket at a `ws:` URL.
pub async fn upgrade(url: String, origin: Option<&str>) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = url.into_client_request()?;
    if let Some(origin) = origin {
        request
            .headers_mut()
            .insert("Origin", origin.parse().expect("origin"));
    }
    let address = request.uri().authority().expect("authority").to_string();
    let work = async { client_async(request, TcpStream::connect(address).await?).await };
    within("upgrade", work).await.map(|(socket, _)| socket)
}

/// Tries to connect and returns the HTTP answer that came instead of an upgrade: status, headers, body.
pub async fn refused(server: &Running, query: &str, origin: Option<&str>) -> (u16, String, Value) {
    match upgrade(format!("{}/v1?{query}", server.ws_url()), origin).await {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let retry = response.headers().get("retry-after");
            let retry = retry.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
            (response.status().as_u16(), retry, body)
        }
        Ok(_) => (101, String::new(), Value::Null),
        Err(other) => panic!("expected an HTTP answer, got {other}"),
    }
}

/// One HTTP request; the answer's status, head and body.
pub async fn http(server: &Running, head: &str, headers: &str, body: &str) -> (u16, String, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(server.local_addr()).await?;
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}",
            server.local_addr()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = within(head, exchange).await.expect("HTTP exchange");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} took more than {DEADLINE:?}"))
}
