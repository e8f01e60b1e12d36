//! Servers that do exactly one thing. Each runs on a thread of its own with a blocking WebSocket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::PATIENCE;

pub struct Server {
    pub port: u16,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves with this function, which gets the listener.
    pub fn start(serve: impl FnOnce(TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self {
            port,
            thread: std::thread::spawn(move || serve(listener)),
        }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The server has done what it was made for, without a panic.
    pub fn finish(self) {
        self.thread.join().expect("the server is not content");
    }
}

pub fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn upgrade<S: Read + Write>(stream: S) -> WebSocket<S> {
    tungstenite::accept(stream).unwrap_or_else(|error| panic!("{error}"))
}

/// Reads an HTTP request and answers it with these bytes.
pub fn answer_http(mut stream: impl Read + Write, answer: &str) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    stream.write_all(answer.as_bytes()).unwrap();
    String::from_utf8(request).unwrap()
}

pub fn send<S: Read + Write>(socket: &mut WebSocket<S>, frame: Value) {
    socket.send(Message::text(frame.to_string())).unwrap();
}

pub fn welcome<S: Read + Write>(socket: &mut WebSocket<S>) {
    send(
        socket,
        json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": 65536}),
    );
}

/// The next frame of the client.
pub fn receive<S: Read + Write>(socket: &mut WebSocket<S>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Reads until the client closes; its close code.
pub fn close_code<S: Read + Write>(socket: &mut WebSocket<S>) -> u16 {
    loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            // Sends the answer.
            while socket.read().is_ok() {}
            return frame.map_or(0, |frame| frame.code.into());
        }
    }
}

/// The server's side of TLS, or the reason why the client would not have it.
pub fn tls<S: Read + Write>(
    stream: S,
    config: Arc<ServerConfig>,
) -> Result<StreamOwned<ServerConnection, S>, std::io::Error> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
