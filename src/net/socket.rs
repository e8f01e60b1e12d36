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
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::connect::{ConnectOptions, WebSocket, connect};
use crate::core::io::{NetInput, SocketEnd, SocketId};
use crate::wire::limits::{CLOSE_FLUSH, SOCKET_QUEUE_BYTES, WELCOME_TIMEOUT};
use crate::wire::{CloseCode, Secret, scrub};

/// What a close frame without a code counts as (RFC 6455 §7.1.5).
const NO_STATUS: u16 = 1005;

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
    // The machine has this time limit too, with the same length from an earlier start; here it is the task's own.
    let opened = tokio::select! {
        opened = timeout(WELCOME_TIMEOUT, connect(&url, &options)) => opened,
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
    let end = tokio::select! {
        end = converse(id, &mut sink, &mut stream, &mut queue, &facts) => end,
        () = overdue(closing) => lost("the closing handshake took too long"),
    };
    let too_big = matches!(&end, SocketEnd::Closed { code, .. } if *code == CloseCode::TOO_BIG.0);
    let closed = matches!(&end, SocketEnd::Closed { .. });
    report(&facts, NetInput::SocketClosed(id, end)).await;
    if closed {
        let _ = timeout(CLOSE_FLUSH, say_goodbye(&mut sink, &mut stream, too_big)).await;
    }
}

/// Nobody listens any more if the driver has ended, and nobody minds.
async fn report(facts: &mpsc::Sender<NetInput>, fact: NetInput) {
    let _ = facts.send(fact).await;
}

fn lost(detail: &str) -> SocketEnd {
    SocketEnd::Lost {
        detail: scrub(detail),
    }
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
) -> SocketEnd {
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

async fn read(
    id: SocketId,
    stream: &mut SplitStream<WebSocket>,
    facts: &mpsc::Sender<NetInput>,
) -> SocketEnd {
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
                return SocketEnd::Closed { code, reason };
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(WsError::Capacity(CapacityError::MessageTooLong { .. }))) => {
                return SocketEnd::Closed {
                    code: CloseCode::TOO_BIG.0,
                    reason: String::new(),
                };
            }
            Some(Err(error)) => return lost(&error.to_string()),
            None => return lost("the server ended the connection"),
        }
    }
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

/// Completes the closing handshake: reading sends the pending answer to the server's close frame.
async fn say_goodbye(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    too_big: bool,
) {
    if too_big {
        let frame = CloseFrame {
            code: CloseCode::TOO_BIG.0.into(),
            reason: "message too big".into(),
        };
        let _ = sink.send(Message::Close(Some(frame))).await;
        return;
    }
    while let Some(Ok(_)) = stream.next().await {}
}
