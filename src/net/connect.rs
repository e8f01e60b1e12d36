//! From a URL to an open WebSocket: addresses, TCP, TLS, upgrade. Every error says what failed and what to do, and
//! none contains the URL, which carries the credential.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, ORIGIN, RETRY_AFTER};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::{Host, Url};

use super::tls::{Tls, is_certificate_error};
use crate::core::io::SocketEnd;
use crate::wire::limits::{CONNECT_STAGGER, INBOUND_TEXT_MAX};
use crate::wire::{Secret, scrub};

/// Frames are a few KiB; the default of 128 KiB per connection buys nothing.
const READ_BUFFER: usize = 8 * 1024;
/// Holds the largest frame with its header. Ours are far smaller; the default is no limit at all.
const WRITE_BUFFER_MAX: usize = 2 * INBOUND_TEXT_MAX;
/// A symbolic error name in the body of a refusal is not longer.
const ERROR_NAME_MAX: usize = 64;

/// A byte stream with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) type WebSocket = WebSocketStream<Box<dyn Stream>>;

/// How sockets are opened.
#[derive(Debug, Default)]
pub(super) struct ConnectOptions {
    pub(super) tls: Tls,
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
pub(super) async fn connect(
    url: &Secret<String>,
    options: &Arc<ConnectOptions>,
) -> Result<WebSocket, SocketEnd> {
    let parsed =
        Url::parse(url.expose()).map_err(|e| unreachable(format!("the endpoint is not a URL: {e}")))?;
    let request = request(url.expose(), options)?;
    let host = parsed
        .host()
        .ok_or_else(|| unreachable("the endpoint has no host".to_owned()))?;
    let port = parsed.port_or_known_default().unwrap_or(443);
    let addresses = addresses(&host, port).await?;
    let tcp = connect_any(addresses).await.map_err(|e| {
        unreachable(format!(
            "no connection to {host} port {port}: {e}; check the network and any firewall"
        ))
    })?;
    // Signalling frames are small and urgent. Failure only costs latency.
    let _ = tcp.set_nodelay(true);
    let stream: Box<dyn Stream> = match parsed.scheme() {
        "wss" => Box::new(handshake(&host, tcp, options).await?),
        _ => Box::new(tcp),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(Some(INBOUND_TEXT_MAX))
        .max_frame_size(Some(INBOUND_TEXT_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => Err(refusal(&response)),
        Err(WsError::Io(e)) => Err(SocketEnd::Lost {
            detail: scrub(&e.to_string()),
        }),
        Err(e) => Err(unreachable(format!(
            "the server at {host} does not speak WebSocket as expected: {e}"
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

async fn addresses(host: &Host<&str>, port: u16) -> Result<Vec<SocketAddr>, SocketEnd> {
    let name = match host {
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::new(IpAddr::V4(*ip), port)]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::new(IpAddr::V6(*ip), port)]),
        Host::Domain(name) => *name,
    };
    let found = tokio::net::lookup_host((name, port)).await.map_err(|e| {
        unreachable(format!(
            "the name {name} cannot be resolved: {e}; check the endpoint, the network and its DNS"
        ))
    })?;
    Ok(alternate(found.collect()))
}

/// Keeps the resolver's preference but alternates the families (RFC 8305 §4): one that is broken costs one stagger.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first);
    let mut other = other.into_iter();
    let mut mixed = Vec::new();
    for address in preferred {
        mixed.push(address);
        mixed.extend(other.next());
    }
    mixed.extend(other);
    mixed
}

/// Tries the next address as soon as one has failed, or does not answer at once.
async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        // The last address is waited for as long as the caller allows.
        let patience = if addresses.len() > 0 {
            CONNECT_STAGGER
        } else {
            Duration::MAX
        };
        match timeout(patience, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(e)))) => error = e,
            Ok(None) => return Err(error),
            // A cancelled attempt, or time for the next one.
            Ok(Some(Err(_))) | Err(_) => {}
        }
    }
}

async fn handshake(
    host: &Host<&str>,
    tcp: TcpStream,
    options: &Arc<ConnectOptions>,
) -> Result<impl Stream + 'static, SocketEnd> {
    let refused = |detail: String| SocketEnd::Unreachable {
        detail: scrub(&detail),
        certificate: true,
    };
    let loader = options.clone();
    let config = tokio::task::spawn_blocking(move || loader.tls.config())
        .await
        .map_err(|_| unreachable("TLS could not be set up; try again".to_owned()))?
        .map_err(|e| refused(e.to_string()))?;
    let name = match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned())
            .map_err(|_| unreachable(format!("{name} cannot be the name of a TLS server")))?,
        Host::Ipv4(ip) => ServerName::IpAddress(IpAddr::V4(*ip).into()),
        Host::Ipv6(ip) => ServerName::IpAddress(IpAddr::V6(*ip).into()),
    };
    TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|e| match is_certificate_error(&e) {
            true => refused(e.to_string()),
            false => unreachable(format!(
                "TLS with {host} failed: {e}; a proxy or firewall may be in the way"
            )),
        })
}

/// The server answered with an HTTP status instead of an upgrade.
fn refusal(response: &Response) -> SocketEnd {
    // Only the number of seconds; the date form needs a clock that may be wrong at this point.
    let seconds = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let body = response.body().as_deref().unwrap_or_default();
    let error = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = error
        .as_ref()
        .and_then(|body| body.get("error")?.as_str())
        .filter(|name| is_symbol(name));
    SocketEnd::Refused {
        status: response.status().as_u16(),
        retry_after: seconds.map(Duration::from_secs),
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
    use super::*;

    #[test]
    fn families_alternate() {
        let list = |text: &str| {
            text.split(' ')
                .map(|a| a.parse().unwrap())
                .collect::<Vec<SocketAddr>>()
        };
        let mixed = alternate(list("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1"));
        assert_eq!(mixed, list("[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"));
        assert!(alternate(Vec::new()).is_empty());
    }

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

    #[tokio::test]
    async fn no_address_is_an_error() {
        assert!(connect_any(Vec::new()).await.is_err());
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
