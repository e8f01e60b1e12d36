//! The backend's interface under `/v1`: tokens, rosters, publishing, kicking.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::codes::{Close, ErrorCode};
use super::config::{Action, SecretKey};
use super::dispatch::{self, Sender};
use super::grant;
use super::hub::Hub;
use super::names;
use super::pattern::Pattern;
use super::problem::Problem;
use super::serve::App;
use super::token::Claims;

const BODY_BYTES: usize = 32 * 1024;
const DEFAULT_LIFETIME: u64 = 3_600;
const LONGEST_LIFETIME: u64 = 86_400;
/// `from` of a publish that names none.
const DEFAULT_SENDER: &str = "server";

/// Routes of the REST interface, relative to the root.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/tokens", post(create_token))
        .route("/v1/channels/{id}/peers", get(list_peers))
        .route("/v1/channels/{id}/publish", post(publish))
        .route("/v1/peers/{id}", delete(kick))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
}

type Answer = Result<Response, Problem>;

/// The secret key whose `id:secret` the request bears.
fn authorize<'h>(hub: &'h Hub, headers: &HeaderMap) -> Result<&'h SecretKey, Problem> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let pair = bearer
        .and_then(|text| text.strip_prefix("Bearer "))
        .and_then(|text| text.split_once(':'));
    let key = pair.and_then(|(id, secret)| {
        hub.config
            .secret_keys
            .iter()
            .find(|key| key.id == id && is_same(&key.secret, secret))
    });
    key.ok_or(Problem::unauthorized(
        "unauthorized",
        "send `Authorization: Bearer <id>:<secret>`",
    ))
}

/// Compares without telling by its duration where the difference is.
fn is_same(secret: &str, guess: &str) -> bool {
    let difference = secret
        .bytes()
        .zip(guess.bytes())
        .fold(0, |seen, (a, b)| seen | (a ^ b));
    secret.len() == guess.len() && difference == 0
}

fn parse_body<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, "payload_too_large", "a body may have 32 KB")
        }
        _ => Problem::bad_request("the body cannot be read"),
    })?;
    serde_json::from_slice(&body).map_err(|err| Problem::bad_request(err.to_string()))
}

fn check_channel(key: &SecretKey, channel: &str) -> Result<(), ErrorCode> {
    names::check_channel(channel)?;
    let covered = key.channels.iter().any(|pattern| pattern.matches(channel));
    if covered {
        Ok(())
    } else {
        Err(ErrorCode::ChannelNotAuthorized)
    }
}

fn check_action(key: &SecretKey, action: Action) -> Result<(), ErrorCode> {
    if key.permissions.contains(&action) {
        Ok(())
    } else {
        Err(ErrorCode::ActionNotPermitted)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    peer_id: String,
    channels: Option<Vec<String>>,
    permissions: Option<Vec<Action>>,
    expires_in_sec: Option<u64>,
    metadata: Option<Map<String, Value>>,
    peer_metadata: Option<Map<String, Value>>,
}

async fn create_token(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let key = authorize(&app.hub, &headers)?;
    let request: TokenRequest = parse_body(body)?;
    let lifetime = request.expires_in_sec.unwrap_or(DEFAULT_LIFETIME);
    if !(1..=LONGEST_LIFETIME).contains(&lifetime) {
        return Err(Problem::bad_request("expiresInSec must be 1 to 86400"));
    }
    let claims = Claims {
        channels: request.channels,
        permissions: request.permissions,
        metadata: request.metadata,
        peer_metadata: request.peer_metadata,
        ..Claims::new(&request.peer_id, lifetime)
    };
    if !claims.is_valid() {
        return Err(Problem::bad_request(
            "peerId, channels, metadata or peerMetadata is beyond the limits",
        ));
    }
    let scope: Vec<Pattern> = claims
        .channels
        .iter()
        .flatten()
        .map(|text| Pattern::new(text))
        .collect();
    if !grant::is_within(&scope, &key.channels) {
        return Err(ErrorCode::ChannelNotAuthorized.into());
    }
    for action in claims.permissions.iter().flatten() {
        check_action(key, *action)?;
    }
    let token = claims.sign(key).map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "signing failed",
        )
    })?;
    Ok(Json(json!({ "token": token, "expiresAt": claims.exp })).into_response())
}

async fn list_peers(State(app): State<App>, Path(channel): Path<String>, headers: HeaderMap) -> Answer {
    let key = authorize(&app.hub, &headers)?;
    check_channel(key, &channel).and_then(|()| check_action(key, Action::Presence))?;
    let state = app.hub.lock();
    let peers = state.rooms.members(&channel, None);
    Ok(Json(json!({ "channel": channel, "peers": peers })).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublishRequest {
    data: Box<RawValue>,
    from: Option<String>,
    peer_metadata: Option<Map<String, Value>>,
}

async fn publish(
    State(app): State<App>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let key = authorize(&app.hub, &headers)?;
    check_channel(key, &channel).and_then(|()| check_action(key, Action::Publish))?;
    let request: PublishRequest = parse_body(body)?;
    let metadata = request
        .peer_metadata
        .and_then(|map| serde_json::value::to_raw_value(&map).ok());
    let from = request.from.as_deref().unwrap_or(DEFAULT_SENDER);
    let mut state = app.hub.lock();
    state.spend_quota()?;
    let sender = Sender {
        from,
        metadata: metadata.as_deref(),
    };
    dispatch::broadcast(&state, &channel, &sender, &request.data, None);
    Ok(Json(json!({ "channel": channel })).into_response())
}

async fn kick(State(app): State<App>, Path(peer_id): Path<String>, headers: HeaderMap) -> Answer {
    authorize(&app.hub, &headers)?;
    match app.hub.close_peer(&peer_id, &Close::kicked()) {
        0 => Err(ErrorCode::PeerNotFound.into()),
        closed => Ok(Json(json!({ "peerId": peer_id, "closed": closed })).into_response()),
    }
}
