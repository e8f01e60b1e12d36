//! From a URL to an open WebSocket: proxy, TCP, TLS, upgrade. Every error says what failed and what to do, and
//! none contains the URL, which carries the credential.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, ORIGIN};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::{Host, Url};

use super::dial::{DialError, dial};
use super::head::Gathered;
use super::proxy::{ProxyError, ProxyRules};
use super::retry_after::retry_after;
use super::stream::BoxStream;
use super::tls::{Tls, TlsError};
use crate::core::io::SocketEnd;
use crate::wire::limits::INBOUND_TEXT_MAX;
use crate::wire::{Secret, scrub};

/// Frames are a few KiB; the default of 128 KiB per connection buys nothing.
const READ_BUFFER: usize = 8 * 1024;
/// Holds the largest frame with its header. Ours are far smaller; the default is no limit at all.
const WRITE_BUFFER_MAX: usize = 2 * INBOUND_TEXT_MAX;
/// A symbolic error name in the body of a refusal is not longer.
const ERROR_NAME_MAX: usize = 64;

pub(super) type WebSocket = WebSocketStream<BoxStream>;

/// How sockets are opened.
#[derive(Default)]
pub(super) struct ConnectOptions {
    pub(super) tls: Arc<Tls>,
    pub(super) proxy: ProxyRules,
    /// Sent as `Origin`; API keys can be restricted to origins.
    pub(super) origin: Option<String>,
}

fn unreachable(detail: String) -> SocketEnd {
    SocketEnd::Unreachable {
        detail: scrub(&detail),
        certificate: false,
    }
}

/// Opens a WebSocket. Takes as long as it takes: the caller limits it.
pub(super) async fn connect(url: &Secret<String>, options: &ConnectOptions) -> Result<WebSocket, SocketEnd> {
    let parsed =
        Url::parse(url.expose()).map_err(|e| unreachable(format!("the endpoint is not a URL: {e}")))?;
    let request = request(url.expose(), options)?;
    let host = parsed
        .host()
        .ok_or_else(|| unreachable("the endpoint has no host".to_owned()))?;
    let port = parsed.port_or_known_default().unwrap_or(443);
    let (stream, hint) = match parsed.scheme() {
        "wss" => (secure(&host, port, options).await?, ""),
        // A server that wants TLS does not understand us, nor we its answer.
        _ => (
            direct(&host, port).await?,
            "; if this server uses TLS, the endpoint must start with wss://",
        ),
    };
    let stream: BoxStream = Box::new(Gathered::new(stream));
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(Some(INBOUND_TEXT_MAX))
        .max_frame_size(Some(INBOUND_TEXT_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => Err(refusal(&response)),
        Err(WsError::Io(e)) => Err(SocketEnd::Lost {
            detail: scrub(&format!("{e}{hint}")),
        }),
        Err(e) => Err(unreachable(format!(
            "the server at {host} port {port} does not speak WebSocket as expected: {e}{hint}"
        ))),
    }
}

fn request(url: &str, options: &ConnectOptions) -> Result<Request, SocketEnd> {
    let mut request = url
        .into_client_request()
        .map_err(|e| unreachable(format!("the endpoint cannot be used as a WebSocket URL: {e}")))?;
    if let Some(origin) = &options.origin {
        let value = HeaderValue::from_str(origin)
            .map_err(|_| unreachable("the origin setting cannot be sent as an HTTP header".to_owned()))?;
        request.headers_mut().insert(ORIGIN, value);
    }
    Ok(request)
}

/// TLS to the server, through a proxy if there is to be one.
async fn secure(host: &Host<&str>, port: u16, options: &ConnectOptions) -> Result<BoxStream, SocketEnd> {
    let stream = match options.proxy.proxy_for(host, port).map_err(proxy_failed)? {
        Some(proxy) => proxy
            .tunnel(host, port, &options.tls)
            .await
            .map_err(proxy_failed)?,
        None => direct(host, port).await?,
    };
    options
        .tls
        .connect(host, stream)
        .await
        .map_err(|e| tls_failed(&e, e.to_string()))
}

async fn direct(host: &Host<&str>, port: u16) -> Result<BoxStream, SocketEnd> {
    match dial(host, port).await {
        Ok(tcp) => Ok(Box::new(tcp)),
        Err(e @ DialError::Name { .. }) => Err(unreachable(format!(
            "{e}; check the endpoint, the network and its DNS"
        ))),
        Err(e @ DialError::Connect { .. }) => {
            Err(unreachable(format!("{e}; check the network and any firewall")))
        }
    }
}

fn proxy_failed(error: ProxyError) -> SocketEnd {
    let detail = error.to_string();
    match error {
        ProxyError::Tls { error, .. } => tls_failed(&error, detail),
        _ => unreachable(detail),
    }
}

fn tls_failed(error: &TlsError, detail: String) -> SocketEnd {
    SocketEnd::Unreachable {
        detail: scrub(&detail),
        certificate: error.is_certificate(),
    }
}

/// The server answered with an HTTP status instead of an upgrade.
fn refusal(response: &Response) -> SocketEnd {
    let body = response.body().as_deref().unwrap_or_default();
    let error = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = error
        .as_ref()
        .and_then(|body| body.get("error")?.as_str())
        .filter(|name| is_symbol(name));
    SocketEnd::Refused {
        status: response.status().as_u16(),
        retry_after: retry_after(response.headers(), SystemTime::now()),
        error: error.map(str::to_owned),
    }
}

fn is_symbol(name: &str) -> bool {
    (1..=ERROR_NAME_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests() {
        let options = ConnectOptions {
            origin: Some("https://a.example".into()),
            ..ConnectOptions::default()
        };
        for url in ["ws://[::1]:9/v1?key=a%20b", "wss://rms.metered.ca/v1?token=x"] {
            let request = request(url, &options).unwrap();
            assert_eq!(request.uri().to_string(), url);
            assert_eq!(request.headers()[ORIGIN], "https://a.example");
        }
        let options = ConnectOptions {
            origin: Some("a\nb".into()),
            ..ConnectOptions::default()
        };
        assert!(request("ws://[::1]:9/", &options).is_err());
    }

    #[test]
    fn only_symbols_are_taken_from_a_body() {
        let response = |body: &str| {
            let response = tokio_tungstenite::tungstenite::http::Response::builder();
            response
                .status(401)
                .header("Retry-After", "7")
                .body(Some(body.as_bytes().to_vec()))
                .unwrap()
        };
        for (body, expected) in [
            (r#"{"error":"origin_not_allowed"}"#, Some("origin_not_allowed")),
            (r#"{"error":"Your token eyJ is bad"}"#, None),
            ("<html>", None),
        ] {
            let retry_after = Some(Duration::from_secs(7));
            let error = expected.map(str::to_owned);
            assert_eq!(
                refusal(&response(body)),
                SocketEnd::Refused {
                    status: 401,
                    retry_after,
                    error
                }
            );
        }
    }
}
