//! `wss:` with a certificate of a private authority.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use gstmeteredwebrtc::dev_server::{Config, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;

use crate::client::{config, start, within};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_welcomed() {
    let tls = Tls {
        certificate: fixture("server.pem"),
        key: fixture("server.key"),
    };
    let server = start(Config {
        tls: Some(tls),
        ..config()
    })
    .await;
    assert!(
        server.ws_url().starts_with("wss://127.0.0.1:"),
        "{}",
        server.ws_url()
    );
    assert!(
        server.http_url().starts_with("https://127.0.0.1:"),
        "{}",
        server.http_url()
    );

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(fixture("ca.pem")).expect("authority"))
        .expect("root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = async {
        let stream = TcpStream::connect(server.local_addr()).await.expect("connect");
        let name = ServerName::try_from("127.0.0.1").expect("name");
        let stream = TlsConnector::from(Arc::new(client))
            .connect(name, stream)
            .await
            .expect("handshake");
        let url = format!("{}/v1?key=pk_dev", server.ws_url());
        let (mut socket, _) = client_async(url, stream).await.expect("upgrade");
        socket
            .next()
            .await
            .expect("a frame")
            .expect("a message")
            .into_text()
            .expect("text")
            .to_string()
    };
    let welcome = within("welcome", connection).await;
    assert!(welcome.contains("\"type\":\"welcome\""), "{welcome}");
}
