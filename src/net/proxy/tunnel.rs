//! The tunnel through an HTTP proxy (CONNECT, RFC 9110 §9.3.6).

use std::io;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Intercept;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Host;

use crate::net::dial::{DialError, borrowed, dial};
use crate::net::stream::{BoxStream, Stream};
use crate::net::tls::{Tls, TlsError};

/// The head of a proxy's answer is far smaller.
const HEAD_MAX: usize = 16 * 1024;
/// Header fields in it. So is their number.
const FIELDS_MAX: usize = 100;

/// Why a proxy was of no use. The texts name it without its password.
#[derive(Debug, thiserror::Error)]
pub(in crate::net) enum ProxyError {
    #[error(
        "{0} does not name an HTTP proxy; it must look like http://host:port, with user:password@ before the host if \
         needed, special characters percent-encoded"
    )]
    Url(&'static str),
    #[error("{0} names a SOCKS proxy; only HTTP proxies can be used, and no_proxy exempts servers from it")]
    Socks(&'static str),
    #[error("the proxy cannot be reached: {error}; check {setting} and the network")]
    Dial { setting: &'static str, error: DialError },
    #[error("the proxy of {setting}: {error}")]
    Tls { setting: &'static str, error: TlsError },
    #[error("the proxy {proxy} ended the connection: {error}; check {setting}")]
    Broken {
        proxy: String,
        setting: &'static str,
        error: io::Error,
    },
    #[error("what {proxy} answers is no HTTP; check that {setting} names an HTTP proxy")]
    NoHttp { proxy: String, setting: &'static str },
    #[error(
        "the proxy {proxy} wants a user name and a password (HTTP 407); put user:password@ before its host in {setting}"
    )]
    NoCredential { proxy: String, setting: &'static str },
    #[error(
        "the proxy {proxy} refused the user name or the password of {setting} (HTTP 407); only Basic authentication \
         can be used"
    )]
    Credential { proxy: String, setting: &'static str },
    #[error("the proxy {proxy} could not reach {server} (HTTP {status}); check the endpoint and the proxy")]
    Gateway {
        proxy: String,
        server: String,
        status: u16,
    },
    #[error(
        "the proxy {proxy} refused a tunnel to {server} (HTTP {status}); it must allow CONNECT to this server and port"
    )]
    Refused {
        proxy: String,
        server: String,
        status: u16,
    },
}

/// A proxy that is to be used.
#[derive(Debug)]
pub(in crate::net) struct Proxy<'a> {
    pub(super) setting: &'static str,
    pub(super) at: &'a Intercept,
}

impl Proxy<'_> {
    /// Connects to the proxy and has it connect to the server. Takes as long as it takes: the caller limits it.
    pub(in crate::net) async fn tunnel(
        &self,
        host: &Host<&str>,
        port: u16,
        tls: &Arc<Tls>,
    ) -> Result<BoxStream, ProxyError> {
        let setting = self.setting;
        let uri = self.at.uri();
        let proxy = Host::parse(uri.host().unwrap_or_default()).map_err(|_| ProxyError::Url(setting))?;
        let proxy = borrowed(&proxy);
        let secure = uri.scheme_str() == Some("https");
        let proxy_port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = dial(&proxy, proxy_port)
            .await
            .map_err(|error| ProxyError::Dial { setting, error })?;
        let mut stream: BoxStream = Box::new(tcp);
        if secure {
            stream = tls
                .connect(&proxy, stream)
                .await
                .map_err(|error| ProxyError::Tls { setting, error })?;
        }
        let proxy = format!("{proxy}:{proxy_port}");
        let server = format!("{host}:{port}");
        let answer = self.ask(&mut stream, &server).await;
        match answer {
            Ok(Some(200..=299)) => Ok(stream),
            Ok(Some(407)) => Err(match self.at.basic_auth() {
                Some(_) => ProxyError::Credential { proxy, setting },
                None => ProxyError::NoCredential { proxy, setting },
            }),
            Ok(Some(status @ (502..=504))) => Err(ProxyError::Gateway {
                proxy,
                server,
                status,
            }),
            Ok(Some(status)) => Err(ProxyError::Refused {
                proxy,
                server,
                status,
            }),
            Ok(None) => Err(ProxyError::NoHttp { proxy, setting }),
            Err(error) => Err(ProxyError::Broken {
                proxy,
                setting,
                error,
            }),
        }
    }

    /// The proxy's status, or none if it does not speak HTTP.
    async fn ask(&self, stream: &mut impl Stream, server: &str) -> io::Result<Option<u16>> {
        let mut request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n").into_bytes();
        if let Some(credential) = self.at.basic_auth() {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(credential.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        stream.flush().await?;
        read_status(stream).await
    }
}

async fn read_status(stream: &mut impl Stream) -> io::Result<Option<u16>> {
    let mut head = Vec::new();
    while head.len() < HEAD_MAX {
        if stream.read_buf(&mut head).await? == 0 {
            return match head.is_empty() {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => Ok(None),
            };
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&head) {
            // In a tunnel the server speaks second (TLS), so more than the head cannot be its words.
            Ok(httparse::Status::Complete(end)) => {
                let extra = end < head.len() && matches!(response.code, Some(200..=299));
                return Ok(response.code.filter(|_| !extra));
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers() {
        for (answer, status) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Some(200)),
            ("HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n", Some(200)),
            ("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", Some(403)),
            ("HTTP/1.1 200 OK\r\n\r\nmore", None),
            ("SSH-2.0-x\r\n", None),
            ("HTTP/1.1 20", None),
        ] {
            let mut stream = tokio_test_stream(answer);
            assert_eq!(read_status(&mut stream).await.unwrap(), status, "{answer}");
        }
        assert!(read_status(&mut tokio_test_stream("")).await.is_err());
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_MAX));
        assert_eq!(read_status(&mut tokio_test_stream(&long)).await.unwrap(), None);
    }

    /// A peer that has said this and gone.
    fn tokio_test_stream(text: &str) -> impl Stream + use<> {
        tokio::io::join(io::Cursor::new(text.as_bytes().to_vec()), tokio::io::sink())
    }
}
