//! One WebSocket from upgrade to end.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Error;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, sleep, sleep_until, timeout};

use super::codes::{CLOSE_DEADLINE, Close, Manner};
use super::dispatch;
use super::grant::Grant;
use super::hub::Hub;
use super::limits::MessageRate;
use super::state::{Link, Outbound};

/// The service ends a connection this long before its token expires.
const EXPIRY_LEAD: Duration = Duration::from_millis(250);

type Writer = SplitSink<WebSocket, Message>;
type Reader = SplitStream<WebSocket>;

/// Why a connection is over.
enum End {
    /// The client closed it, or its path is gone.
    Peer { code: Option<u16> },
    /// This server ends it.
    Server(Close),
}

/// Serves a socket whose credential gave `admission`; a refusal is told by a close code.
pub(super) async fn serve(hub: Arc<Hub>, socket: WebSocket, admission: Result<Grant, Close>) {
    let _counted = hub.count_socket();
    let (mut writer, mut reader) = socket.split();
    let expires_at = admission.as_ref().ok().and_then(|grant| grant.expires_at);
    let mut link = match admission.and_then(|grant| hub.register(grant)) {
        Ok(link) => link,
        Err(close) => {
            hub.note(format_args!("refused: {} {}", close.code, close.reason));
            return say_goodbye(&mut writer, &mut reader, &close).await;
        }
    };
    hub.note(format_args!("{}: connected", link.peer_id));
    let (mut closed, frozen) = (link.close.clone(), link.frozen.clone());
    let end = tokio::select! {
        biased;
        close = requested(&mut closed) => End::Server(close),
        () = expiry(expires_at) => End::Server(Close::token_expired()),
        end = read(&hub, link.id, &mut reader, frozen) => end,
        () = write(&hub, &mut link, &mut writer) => End::Peer { code: None },
    };
    finish(&hub, link, &mut writer, &mut reader, end).await;
}

/// Reads until the client is done. Everything it asks for is applied at once; answers go through the queue.
async fn read(hub: &Hub, id: u64, reader: &mut Reader, mut frozen: watch::Receiver<bool>) -> End {
    let limits = &hub.config.limits;
    let patience = hub
        .config
        .ping_interval_ms
        .saturating_add(hub.config.pong_timeout_ms);
    let patience = Duration::from_millis(patience);
    let mut rate = MessageRate::new(limits.messages_per_second, limits.message_burst, Instant::now());
    loop {
        let message = tokio::select! {
            biased;
            () = until_frozen(&mut frozen) => {
                until_thawed(&mut frozen).await;
                continue;
            }
            message = next_message(reader, patience) => message,
        };
        let message = match message {
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(message) => message,
            Err(end) => return end,
        };
        if !rate.allow(Instant::now()) {
            return End::Server(Close::over_message_rate());
        }
        match message {
            Message::Text(text) if text.len() > limits.max_message_size => {
                return End::Server(Close::frame_too_large());
            }
            Message::Binary(data) if data.len() > limits.max_message_size => {
                return End::Server(Close::frame_too_large());
            }
            Message::Text(text) => dispatch::handle(hub, id, text.as_str()),
            _ => dispatch::refuse_binary(hub, id),
        }
    }
}

async fn next_message(reader: &mut Reader, patience: Duration) -> Result<Message, End> {
    match timeout(patience, reader.next()).await {
        Ok(Some(Ok(Message::Close(frame)))) => Err(End::Peer {
            code: Some(frame.map_or(1005, |frame| frame.code)),
        }),
        Ok(Some(Ok(message))) => Ok(message),
        Ok(Some(Err(_)) | None) | Err(_) => Err(End::Peer { code: None }),
    }
}

/// Writes queued frames and pings until the socket fails. May be dropped at any await: what was taken from the queue
/// and not yet handed to the socket is left in `link`.
async fn write(hub: &Hub, link: &mut Link, writer: &mut Writer) {
    let period = Duration::from_millis(hub.config.ping_interval_ms.max(1));
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            biased;
            () = until_frozen(&mut link.frozen) => {
                until_thawed(&mut link.frozen).await;
                continue;
            }
            // Before the frames, or a busy room would starve it and the silent client would be dropped.
            _ = pings.tick() => writer.send(Message::Ping(Bytes::new())).await,
            sent = write_next(&mut link.frames, &mut link.next, writer) => sent,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn write_next(
    frames: &mut mpsc::Receiver<Outbound>,
    next: &mut Option<Outbound>,
    writer: &mut Writer,
) -> Result<(), Error> {
    let not_before = match next {
        Some(frame) => frame.not_before,
        None => match frames.recv().await {
            Some(frame) => next.insert(frame).not_before,
            None => return pending().await,
        },
    };
    if let Some(time) = not_before {
        sleep_until(time).await;
    }
    poll_fn(|context| writer.poll_ready_unpin(context)).await?;
    if let Some(frame) = next.take() {
        writer.start_send_unpin(Message::Text(frame.text))?;
    }
    writer.flush().await
}

/// Takes the connection out of the hub, then ends the socket in the manner asked for.
async fn finish(hub: &Arc<Hub>, mut link: Link, writer: &mut Writer, reader: &mut Reader, end: End) {
    match end {
        End::Peer { code } => {
            hub.note(format_args!(
                "{}: closed by the peer: {}",
                link.peer_id,
                code.unwrap_or(1006)
            ));
            // 1001 is a page that is being left.
            hub.unregister(link.id, !matches!(code, Some(1000 | 1001)));
            // Reading on flushes the answer to the client's close frame.
            let _ = timeout(CLOSE_DEADLINE, read_out(reader)).await;
        }
        End::Server(close) => {
            hub.note(format_args!(
                "{}: closed: {} {}",
                link.peer_id, close.code, close.reason
            ));
            hub.unregister(link.id, !close.is_final());
            if close.manner == Manner::Drain {
                let _ = timeout(CLOSE_DEADLINE, drain(&mut link, writer)).await;
            }
            say_goodbye(writer, reader, &close).await;
        }
    }
}

async fn drain(link: &mut Link, writer: &mut Writer) -> Result<(), Error> {
    link.frames.close();
    if let Some(frame) = link.next.take() {
        writer.send(Message::Text(frame.text)).await?;
    }
    while let Some(frame) = link.frames.recv().await {
        writer.send(Message::Text(frame.text)).await?;
    }
    Ok(())
}

/// Sends the close frame and waits for the client's, both for a bounded time.
async fn say_goodbye(writer: &mut Writer, reader: &mut Reader, close: &Close) {
    if close.manner == Manner::Abort {
        return;
    }
    let frame = CloseFrame {
        code: close.code,
        reason: close.reason.as_str().into(),
    };
    let sent = timeout(CLOSE_DEADLINE, writer.send(Message::Close(Some(frame)))).await;
    if matches!(sent, Ok(Ok(()))) {
        // Dropping a socket with unread data resets it, and the reset can overtake the close frame.
        let _ = timeout(CLOSE_DEADLINE, read_out(reader)).await;
    }
}

async fn read_out(reader: &mut Reader) {
    while let Some(Ok(_)) = reader.next().await {}
}

async fn requested(close: &mut watch::Receiver<Option<Close>>) -> Close {
    let requested = close
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|close| close.clone());
    match requested {
        Some(close) => close,
        // The hub keeps the sender until this task unregisters, so this is never reached.
        None => pending().await,
    }
}

async fn until_frozen(frozen: &mut watch::Receiver<bool>) {
    if frozen.wait_for(|frozen| *frozen).await.is_err() {
        pending::<()>().await;
    }
}

async fn until_thawed(frozen: &mut watch::Receiver<bool>) {
    // An error means that the hub let go of the connection, which ends this task by itself.
    let _ = frozen.wait_for(|frozen| !*frozen).await;
}

async fn expiry(expires_at: Option<u64>) {
    let end = expires_at.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    // A token that outlives the calendar does not expire.
    let Some(end) = end else { return pending().await };
    let rest = end.duration_since(SystemTime::now()).unwrap_or_default();
    sleep(rest.saturating_sub(EXPIRY_LEAD)).await;
}
