//! One socket is one task: nothing it waits for can hold up the machine.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::connect::{ConnectOptions, WebSocket, connect};
use crate::core::io::{NetInput, SocketEnd, SocketId};
use crate::wire::limits::{CLOSE_FLUSH, SOCKET_QUEUE_BYTES, WELCOME_TIMEOUT};
use crate::wire::{CloseCode, Secret, scrub};

/// What a close frame without a code counts as (RFC 6455 §7.1.5).
const NO_STATUS: u16 = 1005;
/// RFC 6455 §7.4.1, for servers that send what is not WebSocket.
const PROTOCOL_ERROR: u16 = 1002;
/// The same, for text that is not UTF-8.
const INVALID_DATA: u16 = 1007;

enum Outbound {
    Text(String),
    Close(CloseFrame),
}

/// The task's end of what is to be sent.
struct Queue {
    frames: mpsc::UnboundedReceiver<Outbound>,
    queued: Arc<AtomicUsize>,
}

/// The driver's end of a socket. Dropping it closes the socket as [`Socket::close`] does, with 1000.
pub(super) struct Socket {
    outbound: mpsc::UnboundedSender<Outbound>,
    /// Bytes of text in `outbound`.
    queued: Arc<AtomicUsize>,
    closing: Option<oneshot::Sender<()>>,
}

impl Socket {
    /// Starts to connect. Facts are reported as [`NetInput`]s of this id.
    pub(super) fn open(
        tasks: &mut JoinSet<()>,
        id: SocketId,
        url: Secret<String>,
        options: Arc<ConnectOptions>,
        facts: mpsc::Sender<NetInput>,
    ) -> Self {
        let (outbound, frames) = mpsc::unbounded_channel();
        let (closing, closed) = oneshot::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let queue = Queue {
            frames,
            queued: queued.clone(),
        };
        tasks.spawn(run(id, url, options, queue, closed, facts));
        Self {
            outbound,
            queued,
            closing: Some(closing),
        }
    }

    /// Queues a text. False if the queue is full: the network has not taken anything for a long time.
    pub(super) fn send(&self, text: String) -> bool {
        // A count only: nothing is ordered by it.
        let queued = self.queued.fetch_add(text.len(), Ordering::Relaxed) + text.len();
        // A socket that has ended takes no text and says so itself.
        let _ = self.outbound.send(Outbound::Text(text));
        queued <= SOCKET_QUEUE_BYTES
    }

    /// Sends what is queued and a close frame, waits for the server's, and drops the connection after a second
    /// whatever has happened. A connection that is still being made is dropped at once.
    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        let _ = self.outbound.send(Outbound::Close(frame));
        if let Some(closing) = self.closing.take() {
            let _ = closing.send(());
        }
    }
}

async fn run(
    id: SocketId,
    url: Secret<String>,
    options: Arc<ConnectOptions>,
    mut queue: Queue,
    mut closing: oneshot::Receiver<()>,
    facts: mpsc::Sender<NetInput>,
) {
    // The time limit is the machine's, which knows what to call it; this one only keeps the task from staying for ever.
    let opened = tokio::select! {
        opened = timeout(WELCOME_TIMEOUT + CLOSE_FLUSH, connect(&url, &options)) => opened,
        _ = &mut closing => return,
    };
    let socket = match opened {
        Ok(Ok(socket)) => socket,
        Ok(Err(end)) => return report(&facts, NetInput::SocketClosed(id, end)).await,
        Err(_) => {
            let detail =
                "the server did not answer in time; check the network and any proxy or firewall".to_owned();
            let end = SocketEnd::Unreachable {
                detail,
                certificate: false,
            };
            return report(&facts, NetInput::SocketClosed(id, end)).await;
        }
    };
    drop(url);
    report(&facts, NetInput::SocketOpened(id)).await;
    let (mut sink, mut stream) = socket.split();
    let (end, goodbye) = tokio::select! {
        ended = converse(id, &mut sink, &mut stream, &mut queue, &facts) => ended,
        () = overdue(closing) => lost("the closing handshake took too long"),
    };
    report(&facts, NetInput::SocketClosed(id, end)).await;
    let _ = timeout(CLOSE_FLUSH, say_goodbye(sink, stream, goodbye)).await;
}

/// What is left to do for a connection that has ended.
enum Goodbye {
    /// There is nobody any more.
    None,
    /// The server has closed: its close frame has to be answered.
    Answer,
    /// The server has broken a rule: it has to be told which.
    Refuse(CloseCode, &'static str),
}

type Ended = (SocketEnd, Goodbye);

/// Nobody listens any more if the driver has ended, and nobody minds.
async fn report(facts: &mpsc::Sender<NetInput>, fact: NetInput) {
    let _ = facts.send(fact).await;
}

fn lost(detail: &str) -> Ended {
    let detail = scrub(detail);
    (SocketEnd::Lost { detail }, Goodbye::None)
}

/// Ends a second after the driver has asked to close, or has gone.
async fn overdue(closing: oneshot::Receiver<()>) {
    let _ = closing.await;
    sleep(CLOSE_FLUSH).await;
}

/// Reads and writes at the same time until the connection ends. Either side may be stuck without harm to the other.
async fn converse(
    id: SocketId,
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    queue: &mut Queue,
    facts: &mpsc::Sender<NetInput>,
) -> Ended {
    let mut reading = pin!(read(id, stream, facts));
    let written = tokio::select! {
        end = &mut reading => return end,
        written = write(sink, queue) => written,
    };
    // The server's last word may still be on its way: its close frame says more than our broken pipe.
    let patience = if written.is_ok() {
        Duration::MAX
    } else {
        CLOSE_FLUSH
    };
    match (timeout(patience, reading).await, written) {
        (Ok(end), _) => end,
        (Err(_), Err(error)) => lost(&error.to_string()),
        (Err(_), Ok(())) => lost("the connection was closed"),
    }
}

async fn read(id: SocketId, stream: &mut SplitStream<WebSocket>, facts: &mpsc::Sender<NetInput>) -> Ended {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                report(facts, NetInput::Text(id, text.as_str().to_owned())).await
            }
            Some(Ok(Message::Ping(_) | Message::Binary(_))) => report(facts, NetInput::Activity(id)).await,
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame.map_or((NO_STATUS, String::new()), |f| {
                    (f.code.into(), f.reason.as_str().to_owned())
                });
                return (SocketEnd::Closed { code, reason }, Goodbye::Answer);
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(WsError::Capacity(CapacityError::MessageTooLong { .. }))) => {
                let end = SocketEnd::Closed {
                    code: CloseCode::TOO_BIG.0,
                    reason: String::new(),
                };
                return (end, Goodbye::Refuse(CloseCode::TOO_BIG, "message too big"));
            }
            Some(Err(error)) => return failed(&error),
            None => return lost("the server ended the connection"),
        }
    }
}

/// The connection cannot go on; for the application that is a loss (1006), as in browsers.
fn failed(error: &WsError) -> Ended {
    let (end, nobody) = lost(&error.to_string());
    let goodbye = match error {
        WsError::Utf8(_) => Goodbye::Refuse(CloseCode(INVALID_DATA), "text that is not UTF-8"),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => nobody,
        WsError::Protocol(_) => Goodbye::Refuse(CloseCode(PROTOCOL_ERROR), "protocol error"),
        _ => nobody,
    };
    (end, goodbye)
}

/// Writes until a close frame has been written or the driver has gone.
async fn write(sink: &mut SplitSink<WebSocket, Message>, queue: &mut Queue) -> Result<(), WsError> {
    while let Some(outbound) = queue.frames.recv().await {
        match outbound {
            Outbound::Text(text) => {
                queue.queued.fetch_sub(text.len(), Ordering::Relaxed);
                sink.send(Message::Text(text.into())).await?;
            }
            Outbound::Close(frame) => return sink.send(Message::Close(Some(frame))).await,
        }
    }
    let frame = CloseFrame {
        code: CloseCode::NORMAL.0.into(),
        reason: "".into(),
    };
    sink.send(Message::Close(Some(frame))).await
}

/// Completes the closing handshake.
async fn say_goodbye(
    mut sink: SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
    goodbye: Goodbye,
) {
    match goodbye {
        Goodbye::None => {}
        // Reading sends the pending answer to the server's close frame.
        Goodbye::Answer => while let Some(Ok(_)) = stream.next().await {},
        Goodbye::Refuse(code, reason) => {
            let frame = CloseFrame {
                code: code.0.into(),
                reason: reason.into(),
            };
            let sent = sink.send(Message::Close(Some(frame))).await;
            if let (Ok(()), Ok(mut socket)) = (sent, sink.reunite(stream)) {
                // Closing with bytes unread would reset the connection, and the server would not see the reason.
                let _ = tokio::io::copy(socket.get_mut(), &mut tokio::io::sink()).await;
            }
        }
    }
}
