//! Faults on demand, for tests of clients: methods of [`Running`] in process, requests under `/dev/` from outside
//! (only with [`Config::test_hooks`](super::Config::test_hooks)). The service has nothing like them.

use std::sync::atomic::{AtomicU16, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::codes::{Close, ErrorCode};
use super::hub::Hub;
use super::problem::Problem;
use super::serve::{App, Running};

/// Faults that concern no particular connection.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// HTTP status for upgrades; 0 lets them through.
    upgrade_status: AtomicU16,
}

impl Hooks {
    pub(super) fn refused_upgrades(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.upgrade_status.load(Ordering::Relaxed)).ok()
    }

    fn refuse_upgrades(&self, status: Option<u16>) {
        self.upgrade_status
            .store(status.unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Closes a peer's sockets; 1006 drops them without a close frame.
fn close_peer(hub: &Hub, peer_id: &str, code: u16, reason: &str) -> usize {
    let close = if code == 1006 {
        Close::abort()
    } else {
        Close::new(code, reason)
    };
    hub.close_peer(peer_id, &close)
}

fn freeze_peer(hub: &Hub, peer_id: &str, frozen: bool) -> usize {
    hub.lock()
        .each_of_peer(peer_id, |connection| connection.freeze(frozen))
}

fn inject(hub: &Hub, peer_id: &str, text: &str) -> usize {
    hub.lock()
        .each_of_peer(peer_id, |connection| connection.deliver(text.to_owned().into()))
}

impl Running {
    /// Ends every socket of a peer with any code; 1006 drops them without a close frame. Says how many there
    /// were.
    pub fn close_peer(&self, peer_id: &str, code: u16, reason: &str) -> usize {
        close_peer(&self.app().hub, peer_id, code, reason)
    }

    /// Stops reading from and writing to a peer's sockets while TCP stays up, as behind a dead path; `false`
    /// lets them go on. The peer stays in its rosters.
    pub fn freeze_peer(&self, peer_id: &str, frozen: bool) -> usize {
        freeze_peer(&self.app().hub, peer_id, frozen)
    }

    /// Sends a peer any text as a frame.
    pub fn inject(&self, peer_id: &str, text: &str) -> usize {
        inject(&self.app().hub, peer_id, text)
    }

    /// Answers the next request of any connection with this error code and does not carry it out.
    pub fn fail_next(&self, code: &str) {
        self.app().hub.lock().forced_errors.push_back(code.to_owned());
    }

    /// Answers upgrades with this HTTP status until called with `None`.
    pub fn refuse_upgrades(&self, status: Option<u16>) {
        self.app().hooks.refuse_upgrades(status);
    }

    /// Upgrades connections from now on without ever welcoming them, until called with `false`.
    pub fn hold_welcome(&self, held: bool) {
        self.app().hub.lock().welcome_held = held;
    }

    /// Allows so many more publishes and sends, or any number.
    pub fn set_message_quota(&self, left: Option<u64>) {
        self.app().hub.lock().quota = left;
    }

    /// Sends `going_away` and closes with 1001 as at a deploy, but keeps listening.
    pub fn send_away(&self, retry_after_ms: u64) {
        self.app().hub.send_away(retry_after_ms);
    }

    /// Peer ids of a channel's members.
    pub fn members(&self, channel: &str) -> Vec<String> {
        let state = self.app().hub.lock();
        state
            .rooms
            .members(channel, None)
            .iter()
            .map(|entry| entry.peer_id.to_owned())
            .collect()
    }
}

/// Routes under `/dev/`.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/dev/close", post(close))
        .route("/dev/freeze", post(freeze))
        .route("/dev/inject", post(send_text))
        .route("/dev/fail-next", post(fail_next))
        .route("/dev/refuse-upgrades", post(refuse_upgrades))
        .route("/dev/hold-welcome", post(hold_welcome))
        .route("/dev/quota", post(quota))
        .route("/dev/going-away", post(going_away))
        .route("/dev/peers", get(peers))
}

fn touched(count: usize) -> Response {
    if count == 0 {
        return Problem::from(ErrorCode::PeerNotFound).into_response();
    }
    Json(json!({ "sockets": count })).into_response()
}

fn done() -> Response {
    Json(json!({})).into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CloseRequest {
    peer_id: String,
    code: u16,
    #[serde(default)]
    reason: String,
}

async fn close(State(app): State<App>, Json(request): Json<CloseRequest>) -> Response {
    touched(close_peer(
        &app.hub,
        &request.peer_id,
        request.code,
        &request.reason,
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FreezeRequest {
    peer_id: String,
    frozen: bool,
}

async fn freeze(State(app): State<App>, Json(request): Json<FreezeRequest>) -> Response {
    touched(freeze_peer(&app.hub, &request.peer_id, request.frozen))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InjectRequest {
    peer_id: String,
    text: String,
}

async fn send_text(State(app): State<App>, Json(request): Json<InjectRequest>) -> Response {
    touched(inject(&app.hub, &request.peer_id, &request.text))
}

#[derive(Deserialize)]
struct FailRequest {
    code: String,
}

async fn fail_next(State(app): State<App>, Json(request): Json<FailRequest>) -> Response {
    app.hub.lock().forced_errors.push_back(request.code);
    done()
}

#[derive(Deserialize)]
struct RefuseRequest {
    status: Option<u16>,
}

async fn refuse_upgrades(State(app): State<App>, Json(request): Json<RefuseRequest>) -> Response {
    app.hooks.refuse_upgrades(request.status);
    done()
}

#[derive(Deserialize)]
struct HoldRequest {
    held: bool,
}

async fn hold_welcome(State(app): State<App>, Json(request): Json<HoldRequest>) -> Response {
    app.hub.lock().welcome_held = request.held;
    done()
}

#[derive(Deserialize)]
struct QuotaRequest {
    left: Option<u64>,
}

async fn quota(State(app): State<App>, Json(request): Json<QuotaRequest>) -> Response {
    app.hub.lock().quota = request.left;
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwayRequest {
    retry_after_ms: u64,
}

async fn going_away(State(app): State<App>, Json(request): Json<AwayRequest>) -> Response {
    app.hub.send_away(request.retry_after_ms);
    done()
}

async fn peers(State(app): State<App>) -> Json<Value> {
    let state = app.hub.lock();
    let peers: Vec<&str> = state
        .connections
        .values()
        .map(|c| c.grant.peer_id.as_str())
        .collect();
    Json(json!({ "peers": peers }))
}
