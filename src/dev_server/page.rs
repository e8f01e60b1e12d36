//! The demo page: its files, and what it should connect to.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HOST};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tower_http::services::ServeDir;

use super::config::Config;
use super::serve::App;

const GREETING: &str =
    "metered-dev-server: a signalling server for development. Start it with --page to serve a page.\n";

/// Routes that browsers open.
pub(super) fn routes(config: &Config) -> Router<App> {
    let router = Router::new().route("/config.json", get(describe));
    match &config.page {
        Some(directory) => router.fallback_service(ServeDir::new(directory)),
        None => router.route("/", get(|| async { GREETING })),
    }
}

/// Tells a page its server, key and channel. The server is named as the page reached it, so that it also works
/// through a forwarded port.
async fn describe(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    let own = app.address.to_string();
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or(&own);
    let scheme = if app.hub.config.tls.is_some() { "wss" } else { "ws" };
    let config = json!({
        "url": format!("{scheme}://{host}"),
        "apiKey": app.hub.page_key(),
        "channel": app.hub.config.channel,
    });
    (
        [(CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Json(config),
    )
}
