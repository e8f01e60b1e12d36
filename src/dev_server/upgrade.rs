//! `GET /v1`: who may open a socket. What the service refuses before the upgrade is answered with an HTTP status,
//! everything else is upgraded and then closed with a code.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::{HOST, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use url::{Host, Url};

use super::codes::Close;
use super::config::{Config, PublishableKey};
use super::grant::Grant;
use super::hub::Hub;
use super::limits::ConnectRate;
use super::problem::Problem;
use super::serve::App;
use super::socket;
use super::token::{self, Refusal};

/// The query of a connect URL.
#[derive(Deserialize)]
pub(super) struct Credential {
    key: Option<String>,
    token: Option<String>,
}

/// Connection attempts of all clients.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<ConnectRate>);

/// Handler of `/v1`.
pub(super) async fn connect(
    State(app): State<App>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    Query(credential): Query<Credential>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(refusal) = throttle(&app, source.ip()) {
        return refusal;
    }
    let admission = match admit(&app.hub, &credential, &headers) {
        Ok(admission) => admission,
        Err(problem) => return problem.into_response(),
    };
    upgrade.on_upgrade(move |socket| socket::serve(app.hub, socket, admission))
}

fn throttle(app: &App, source: IpAddr) -> Option<Response> {
    if let Some(status) = app.hooks.refused_upgrades() {
        return Some(Problem::new(status, "refused", "upgrades are refused by a test").into_response());
    }
    let limit = app.hub.config.limits.connects_per_minute?;
    let mut rate = app.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = rate.allow(source, limit, Instant::now()).err()?;
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "too many connection attempts from this address",
    );
    Some(([(RETRY_AFTER, (wait.as_secs() + 1).to_string())], problem).into_response())
}

/// What the upgraded socket is told.
type Admission = Result<Grant, Close>;

fn admit(hub: &Hub, credential: &Credential, headers: &HeaderMap) -> Result<Admission, Problem> {
    let config = &hub.config;
    match (&credential.key, &credential.token) {
        (Some(key), None) => admit_key(config, key, headers),
        (None, Some(token)) => match token::verify(token, &config.secret_keys) {
            Ok((claims, key)) => Ok(Grant::from_claims(claims, key, config)),
            Err(Refusal::Close(close)) => Ok(Err(close)),
            Err(Refusal::Unparsable) => Err(Problem::unauthorized(
                "invalid_token",
                "the token cannot be parsed",
            )),
        },
        _ => Err(Problem::unauthorized(
            "invalid_token",
            "connect with either `key` or `token`",
        )),
    }
}

fn admit_key(config: &Config, key: &str, headers: &HeaderMap) -> Result<Admission, Problem> {
    let Some(key) = config.publishable_keys.iter().find(|known| known.key == key) else {
        return Ok(Err(Close::invalid_token()));
    };
    if !origin_allowed(key, headers) {
        return Err(Problem::unauthorized(
            "origin_not_allowed",
            "this origin may not use this key",
        ));
    }
    Ok(Grant::from_key(key, config))
}

fn origin_allowed(key: &PublishableKey, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text(ORIGIN);
    if key.origins.is_empty() {
        return origin.is_none_or(|origin| is_development_origin(origin, text(HOST).unwrap_or_default()));
    }
    key.origins
        .iter()
        .any(|allowed| allowed == "*" || Some(allowed.as_str()) == origin)
}

/// Any page in any tab can open a socket to loopback, so without a list only pages that come from this machine or
/// from this server are let in. A name that resolves to this address does not count: it could be rebound.
fn is_development_origin(origin: &str, host: &str) -> bool {
    let Ok(origin) = Url::parse(origin) else {
        return false;
    };
    match origin.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback() || is_host_ip(host, IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || is_host_ip(host, IpAddr::V6(ip)),
        None => false,
    }
}

fn is_host_ip(host: &str, ip: IpAddr) -> bool {
    let own = host
        .parse::<SocketAddr>()
        .map(|address| address.ip())
        .or_else(|_| host.parse());
    own.is_ok_and(|own| own == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_pages_are_not_development() {
        let is_ok = |origin: &str| is_development_origin(origin, "192.168.1.5:8787");
        assert!(is_ok("http://localhost:5173"));
        assert!(is_ok("http://127.0.0.1:8787"));
        assert!(is_ok("http://[::1]:8787"));
        assert!(is_ok("http://192.168.1.5:8787"));
        assert!(!is_ok("http://192.168.1.6:8787"));
        assert!(!is_ok("https://example.com"));
        assert!(!is_ok("https://localhost.example.com"));
        assert!(!is_ok("null"));
        assert!(!is_development_origin(
            "http://example.com:8787",
            "example.com:8787"
        ));
    }
}
