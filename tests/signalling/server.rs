//! A server whose every byte the test decides: WebSocket framing is done here by hand, because most of what is sent
//! no library would send.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::PATIENCE;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
/// In the first byte of a frame.
pub const FIN: u8 = 0x80;

/// Fails the test when something does not happen.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}

/// Asks again and again.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    patiently(what, async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub struct Server {
    listener: TcpListener,
    pub port: u16,
}

impl Server {
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    pub async fn accept(&self) -> Conn {
        patiently("a connection", self.accept_forever()).await
    }

    /// The next connection, however long that takes.
    pub async fn accept_forever(&self) -> Conn {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        Conn { stream }
    }

    /// Accepts and upgrades.
    pub async fn upgraded(&self) -> Conn {
        let mut conn = self.accept().await;
        conn.upgrade().await;
        conn
    }

    /// Accepts, upgrades and welcomes.
    pub async fn welcomed(&self) -> Conn {
        let mut conn = self.upgraded().await;
        conn.welcome().await;
        conn
    }

    /// The client has no socket to this server any more.
    pub async fn deserted(&self) {
        let what = format!(
            "no socket to port {}, but there are {:?}",
            self.port,
            sockets(self.port)
        );
        eventually(&what, || sockets(self.port).is_empty()).await;
    }
}

/// States of this machine's sockets towards a local port, without those that belong to no process any more.
pub fn sockets(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let remote = format!("0100007F:{port:04X}");
    let ours = table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns.get(2)? == &remote && columns.get(9)? != &"0").then(|| columns[3].to_owned())
    });
    ours.collect()
}

#[derive(Debug, PartialEq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// The server's end of one connection.
pub struct Conn<S = TcpStream> {
    pub stream: S,
}

impl Conn {
    /// Ends with RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    pub async fn write(&mut self, bytes: &[u8]) {
        patiently("the client to read", self.stream.write_all(bytes))
            .await
            .unwrap();
    }

    /// One byte at a time, each in a packet of its own.
    pub async fn drip(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write(&[*byte]).await;
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The upgrade request.
    pub async fn request(&mut self) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(patiently("a request", self.stream.read_u8()).await.unwrap());
        }
        String::from_utf8(request).unwrap()
    }

    /// What answers the request.
    pub async fn switching_protocols(&mut self) -> String {
        self.switching_protocols_for("GET /v1?").await
    }

    /// What answers a request that begins like this.
    pub async fn switching_protocols_for(&mut self, begin: &str) -> String {
        let request = self.request().await;
        assert!(request.starts_with(begin), "{request}");
        let key = request
            .lines()
            .find(|line| line.to_lowercase().starts_with("sec-websocket-key:"));
        let key = key.and_then(|line| line.split(' ').nth(1)).expect("a key");
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        )
    }

    pub async fn upgrade(&mut self) {
        let answer = self.switching_protocols().await;
        self.write(answer.as_bytes()).await;
    }

    pub async fn json(&mut self, value: Value) {
        self.frame(FIN | TEXT, value.to_string().as_bytes()).await;
    }

    pub async fn welcome(&mut self) {
        self.json(welcome()).await;
    }

    pub async fn frame(&mut self, first: u8, payload: &[u8]) {
        let frame = frame(first, payload);
        self.write(&frame).await;
    }

    /// The next frame of the client; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        patiently("a frame", self.read_frame()).await.ok()
    }

    async fn read_frame(&mut self) -> std::io::Result<Frame> {
        let stream = &mut self.stream;
        let opcode = stream.read_u8().await? & 0x0f;
        let len = match stream.read_u8().await? {
            254 => u64::from(stream.read_u16().await?),
            255 => stream.read_u64().await?,
            len => u64::from(len & 0x7f),
        };
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; len as usize];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Frame { opcode, payload })
    }

    /// The next text of the client.
    pub async fn receive(&mut self) -> Value {
        loop {
            let frame = self.next().await.expect("a text, not the end");
            match frame.opcode {
                TEXT => return serde_json::from_slice(&frame.payload).unwrap(),
                CLOSE => panic!("closed with {frame:?}"),
                _ => {}
            }
        }
    }

    /// Takes a request of this type and acknowledges it.
    pub async fn acknowledge(&mut self, kind: &str) -> Value {
        let request = self.receive().await;
        assert_eq!(request["type"], kind, "{request}");
        self.json(ack(&request)).await;
        request
    }

    /// The code that the client closes with. Answers it and sees the end of the connection.
    pub async fn close_code(mut self) -> u16 {
        loop {
            let frame = self.next().await.expect("a close frame, not the end");
            if frame.opcode == CLOSE {
                let code = frame
                    .payload
                    .get(..2)
                    .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                // The client may be gone already. Otherwise it waits for the server to end the connection.
                let answer = super::server::frame(FIN | CLOSE, &frame.payload[..frame.payload.len().min(2)]);
                let _ = self.stream.write_all(&answer).await;
                let _ = self.stream.shutdown().await;
                self.ended().await;
                return code;
            }
        }
    }

    /// Reads until the connection has ended, with or without words.
    pub async fn ended(mut self) {
        let mut rest = vec![0; 65_536];
        let end = async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} };
        patiently("the end of the connection", end).await;
    }
}

pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

pub fn welcome() -> Value {
    json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": 65536})
}

pub fn ack(request: &Value) -> Value {
    json!({"type": "ack", "requestId": request["requestId"]})
}

/// A message of a channel with this payload.
pub fn message(data: impl Into<Value>) -> Value {
    json!({"type": "message", "channel": "c", "from": "other", "data": data.into()})
}
