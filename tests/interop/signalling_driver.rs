//! One `SignallingClient` behind JSON lines, so that programs in other languages can test it: commands come in on
//! standard input, results and events go out on standard output. Ends with its input.
//!
//! `{"id": 1, "call": "publish", "channel": "c", "data": 5}` is answered by `{"id": 1}`, with `error` if it failed.
//! Events are `{"event": "message", ...}`. `{"event": "token-wanted", "count": 1}` asks for
//! `{"id": 2, "call": "token", "token": "..."}`.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstmeteredwebrtc::signalling::{
    ClientOptions, ConnectError, ConnectFailure, Connected, Credentials, Event, ReconnectOptions, Refusal,
    RequestError, SignallingClient, SubscribeOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Mutex, mpsc};

/// What the client is made with: the first line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Start {
    url: String,
    /// Without it tokens are asked for.
    api_key: Option<String>,
    initial_delay_ms: u64,
    inactivity_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Line {
    id: u64,
    #[serde(flatten)]
    call: Call,
}

#[derive(Deserialize)]
#[serde(tag = "call", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Call {
    Connect,
    Close,
    Status,
    Token {
        token: String,
    },
    Subscribe {
        channel: String,
        #[serde(default)]
        include_sender_metadata: bool,
    },
    Unsubscribe {
        channel: String,
    },
    Publish {
        channel: String,
        data: Value,
    },
    Send {
        to: String,
        data: Value,
    },
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the end of the input follows.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn client(start: Start, tokens: mpsc::UnboundedReceiver<String>) -> Result<SignallingClient, Box<dyn Error>> {
    let credentials = match start.api_key {
        Some(key) => Credentials::api_key(key),
        None => {
            let tokens = Arc::new(Mutex::new(tokens));
            let asked = AtomicU64::new(0);
            Credentials::token_provider(move || {
                let tokens = tokens.clone();
                let count = asked.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    let mut tokens = tokens.lock().await;
                    say(&json!({"event": "token-wanted", "count": count}));
                    tokens.recv().await.ok_or("there are no more tokens")
                }
            })
        }
    };
    let mut options = ClientOptions::new(credentials)
        .endpoint(start.url)
        .reconnect(ReconnectOptions {
            initial: Duration::from_millis(start.initial_delay_ms),
            jitter: 0.0,
            ..ReconnectOptions::default()
        });
    if let Some(window) = start.inactivity_ms {
        options = options.inactivity_window(Duration::from_millis(window));
    }
    Ok(SignallingClient::new(options)?)
}

/// The future is polled in the order of the commands: tasks of a single thread start as they were spawned.
async fn perform(client: SignallingClient, id: u64, call: Call) {
    let result = match call {
        Call::Connect => return say(&with_id(id, connected(client.connect().await))),
        Call::Close => {
            client.close().await;
            Ok(())
        }
        Call::Status => return say(&with_id(id, status(&client))),
        Call::Token { .. } => Ok(()),
        Call::Subscribe {
            channel,
            include_sender_metadata,
        } => {
            let options = SubscribeOptions {
                include_sender_metadata,
            };
            client.subscribe(&channel, options).await
        }
        Call::Unsubscribe { channel } => client.unsubscribe(&channel).await,
        Call::Publish { channel, data } => client.publish(&channel, &data).await,
        Call::Send { to, data } => client.send(&to, &data).await,
    };
    let answer = result.map_or_else(|error| json!({"error": request_error(&error)}), |()| json!({}));
    say(&with_id(id, answer));
}

fn with_id(id: u64, mut answer: Value) -> Value {
    answer["id"] = id.into();
    answer
}

fn connected(result: Result<Connected, ConnectError>) -> Value {
    match result {
        Ok(connected) => json!({"connected": welcome(&connected)}),
        Err(ConnectError::Failed(failure)) => json!({"error": {
            "text": failure.to_string(), "closeCode": failure.code().0, "name": failure.fatal_name(),
            "status": match failure { ConnectFailure::HttpRefused { status, .. } => Some(status), _ => None },
        }}),
        Err(error) => json!({"error": {"text": error.to_string()}}),
    }
}

fn status(client: &SignallingClient) -> Value {
    json!({"status": {
        "state": format!("{:?}", client.state()).to_lowercase(),
        "peerId": client.peer_id().map(|id| id.to_string()),
        "maxMessageSize": client.max_message_size(),
    }})
}

fn request_error(error: &RequestError) -> Value {
    let kind = match error {
        RequestError::Channel(_) => "channel",
        RequestError::Peer(_) => "peer",
        RequestError::Data(_) => "data",
        RequestError::Request(Refusal::Oversized { .. }) => "oversized",
        RequestError::Request(Refusal::NotConnected) => "not-connected",
        RequestError::Request(Refusal::Disconnected) => "disconnected",
        RequestError::Request(Refusal::QueueFull) => "queue-full",
        RequestError::Request(Refusal::Server { .. }) => "server",
        _ => "other",
    };
    let mut answer = json!({
        "kind": kind, "code": error.code(), "text": error.to_string(), "undone": error.is_certainly_undone(),
    });
    if let RequestError::Request(Refusal::Oversized { size, cap }) = error {
        answer["size"] = (*size).into();
        answer["cap"] = (*cap).into();
    }
    answer
}

fn welcome(connected: &Connected) -> Value {
    json!({
        "peerId": connected.peer_id, "serverTime": connected.server_time, "expiresAt": connected.expires_at,
        "isReconnect": connected.is_reconnect, "maxMessageSize": connected.max_message_size,
        "iceServers": connected.ice_servers.as_ref().map(Vec::len), "metadata": connected.metadata,
    })
}

fn event(event: Event) -> Option<Value> {
    Some(match event {
        Event::Connected(connected) => json!({"event": "connected", "welcome": welcome(&connected)}),
        Event::Disconnected(lost) => json!({
            "event": "disconnected", "code": lost.code.0, "reason": lost.reason,
            "willReconnect": lost.will_reconnect, "delayMs": lost.delay.map(|delay| delay.as_millis() as u64),
        }),
        Event::Message(message) => json!({
            "event": "message", "channel": message.channel, "from": message.from,
            "fromMetadata": message.from_metadata, "data": message.data,
        }),
        Event::Direct(direct) => json!({
            "event": "direct", "from": direct.from, "fromMetadata": direct.from_metadata, "data": direct.data,
        }),
        Event::Presence(presence) => json!({
            "event": "presence", "channel": presence.channel, "snapshot": presence.snapshot, "left": presence.left,
            "joined": presence.joined.iter()
                .map(|member| json!({"peerId": member.peer_id, "metadata": member.metadata}))
                .collect::<Vec<_>>(),
        }),
        Event::Resubscribed(channel) => json!({"event": "resubscribed", "channel": channel}),
        Event::ResubscribeFailed(failed) => json!({
            "event": "resubscribe-failed", "channel": failed.channel, "error": failed.error.to_string(),
        }),
        Event::ServerError(error) => {
            json!({"event": "server-error", "code": error.code, "message": error.message})
        }
        Event::GoingAway(going) => {
            json!({"event": "going-away", "retryAfterMs": going.retry_after.as_millis() as u64})
        }
        _ => return None,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let start = lines.next_line().await?.ok_or("no first line")?;
    let (give, tokens) = mpsc::unbounded_channel();
    let client = client(serde_json::from_str(&start)?, tokens)?;
    let mut events = client.events();
    tokio::spawn(async move {
        while let Some(happened) = events.next().await {
            if let Some(line) = event(happened) {
                say(&line);
            }
        }
    });
    while let Some(line) = lines.next_line().await? {
        let Line { id, call } = serde_json::from_str(&line)?;
        if let Call::Token { token } = &call {
            give.send(token.clone())?;
        }
        tokio::spawn(perform(client.clone(), id, call));
    }
    client.close().await;
    Ok(())
}
