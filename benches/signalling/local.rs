//! Just enough of a server, on loopback, to be no bottleneck.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::Result;

/// Written between two flushes.
const BATCH: usize = 64;

type Socket = WebSocketStream<TcpStream>;

pub async fn listen() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("ws://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// Takes the next connection and welcomes it.
pub async fn welcome(listener: &TcpListener) -> Result<Socket> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    let welcome = json!({
        "type": "welcome", "peerId": "bench", "serverTime": 1, "expiresAt": null, "maxMessageSize": 65_536,
    });
    socket.send(Message::text(welcome.to_string())).await?;
    Ok(socket)
}

/// Ends a connection as a server does that is being replaced.
pub async fn close(mut socket: Socket) -> Result {
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: Utf8Bytes::default(),
    };
    socket.close(Some(frame)).await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

/// Serves clients one after the other: each gets `count` messages and the text `end` once it has subscribed.
pub async fn flood(count: usize) -> Result {
    let (listener, url) = listen().await?;
    println!("listening {url}");
    loop {
        let socket = welcome(&listener).await?;
        // A client that goes away while it is served is not our concern.
        if let Err(error) = pour(socket, count).await {
            eprintln!("{error}");
        }
    }
}

async fn pour(mut socket: Socket, count: usize) -> Result {
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let frame: Value = serde_json::from_str(&text)?;
        if frame["type"] != "subscribe" {
            continue;
        }
        let ack = json!({"type": "ack", "requestId": frame["requestId"]});
        socket.send(Message::text(ack.to_string())).await?;
        let message = |data: Value| {
            let frame =
                json!({"type": "message", "channel": frame["channel"], "from": "flood", "data": data});
            Message::text(frame.to_string())
        };
        for n in 0..count {
            socket.feed(message(json!({"n": n, "text": "hello"}))).await?;
            if n % BATCH == 0 {
                socket.flush().await?;
            }
        }
        socket.send(message("end".into())).await?;
    }
    Ok(())
}
