//! HTTP answers instead of an upgrade, and certificates that cannot be trusted.

use std::sync::Arc;

use gstmeteredwebrtc::signalling::{ConnectError, Event};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::certificates::{CaFile, certificate, certificate_with};
use super::run::{Run, options};
use super::server::{Conn, Server, patiently};

/// The server answers the first request with this and welcomes the second.
async fn answered(answer: &str, failure: &str) {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let mut conn = server.accept().await;
    conn.request().await;
    // Of an answer that is too long the client takes only the beginning.
    let _ = conn.stream.write_all(answer.as_bytes()).await;
    conn.ended().await;
    let conn = server.welcomed().await;
    run.until("welcome").await;
    assert!(connecting.await.unwrap().is_ok());
    let failed = format!("failed {failure} retry");
    let expected = [
        "connecting",
        &failed,
        "connected",
        "welcome",
        "disconnected 1000 final",
        "closed",
    ];
    tokio::join!(run.end(&server, &expected), conn.close_code());
}

#[tokio::test]
async fn answers_that_waiting_may_mend() {
    answered("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "500").await;
    answered(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "302",
    )
    .await;
    answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200").await;
    answered("HTTP/1.1 404 No\r\n\r\n<html>", "404").await;
    answered("HTTP/1.0 404 No\r\n\r\n<html>", "unreachable").await;
    answered(
        "HTTP/1.1 503 x\r\nContent-Length: 31\r\n\r\n{\"error\":\"service_unavailable\"}",
        "503 service_unavailable",
    )
    .await;
    let unknown_words = "HTTP/1.1 503 x\r\nContent-Length: 30\r\n\r\n{\"error\":\"Words to the people\"}";
    answered(unknown_words, "503").await;
    // An upgrade for somebody else, and what is no HTTP at all.
    let other =
        "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
    answered(other, "unreachable").await;
    answered("SSH-2.0-OpenSSH_9.2\r\n\r\n", "unreachable").await;
}

#[tokio::test]
async fn answers_of_two_megabytes() {
    let body = "x".repeat(2_000_000);
    answered(
        &format!("HTTP/1.1 500 x\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        "500",
    )
    .await;
    answered(
        &format!("HTTP/1.1 500 x\r\nX-Long: {body}\r\n\r\n"),
        "unreachable",
    )
    .await;
    answered(&body, "unreachable").await;
}

/// The name of the error decides, so a body that comes later than its head must not be lost.
#[tokio::test]
async fn c068_a_refused_credential_is_final() {
    for (status, body, failure) in [
        (401, "", "401"),
        (403, "", "403"),
        (401, r#"{"error":"origin_not_allowed"}"#, "401 origin_not_allowed"),
        (401, r#"{"error":"invalid_token"}"#, "401 invalid_token"),
    ] {
        let server = Server::start().await;
        let run = Run::new(options(&server));
        let connecting = run.connecting();
        let mut conn = server.accept().await;
        conn.request().await;
        let head = format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n", body.len());
        conn.drip(head.as_bytes()).await;
        conn.drip(body.as_bytes()).await;
        conn.ended().await;
        assert!(matches!(connecting.await.unwrap(), Err(ConnectError::Failed(_))));
        let failed = format!("failed {failure} final");
        run.end(
            &server,
            &["connecting", &failed, "disconnected 1006 final", "closed"],
        )
        .await;
    }
}

#[tokio::test]
async fn c051_too_many_connections_are_waited_out() {
    for (header, least) in [
        ("", 30),
        ("Retry-After: 2\r\n", 30),
        ("Retry-After: 45\r\n", 45),
        ("Retry-After: 9999\r\n", 300),
    ] {
        let server = Server::start().await;
        let mut run = Run::new(options(&server));
        let connecting = run.connecting();
        let mut conn = server.accept().await;
        conn.request().await;
        conn.write(format!("HTTP/1.1 429 Slow\r\n{header}Content-Length: 0\r\n\r\n").as_bytes())
            .await;
        conn.ended().await;
        let Event::ConnectFailed(failed) = run.until("failed 429 retry").await else {
            unreachable!();
        };
        let seconds = failed.retry_in.unwrap().as_secs_f64();
        assert!(
            (f64::from(least)..=1.2 * f64::from(least)).contains(&seconds),
            "{seconds} {header}"
        );
        run.client().close().await;
        assert_eq!(connecting.await.unwrap(), Err(ConnectError::Closed));
        run.end(
            &server,
            &[
                "connecting",
                "failed 429 retry",
                "disconnected 1000 final",
                "closed",
            ],
        )
        .await;
    }
}

fn expired(name: &str) -> (String, Arc<rustls::ServerConfig>) {
    certificate_with(name, |params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    })
}

#[tokio::test]
async fn certificates_that_cannot_be_trusted_are_final() {
    let (_, own) = certificate("localhost");
    let (other_pem, other) = certificate("other.example");
    let (expired_pem, expired) = expired("localhost");
    for (config, trusted, word) in [
        (own.clone(), None, ""),
        (other.clone(), None, ""),
        (expired.clone(), None, ""),
        (own, Some(&other_pem), ""),
        (other, Some(&other_pem), "other.example"),
        (expired, Some(&expired_pem), "expired"),
    ] {
        let server = Server::start().await;
        let ca = trusted.map(|pem| CaFile::new(pem));
        let mut options = options(&server).endpoint(format!("wss://localhost:{}", server.port));
        if let Some(ca) = &ca {
            options = options.ca_file(&ca.0);
        }
        let run = Run::new(options);
        let refuse = async {
            let conn = server.accept().await;
            let accepted = TlsAcceptor::from(config).accept(conn.stream);
            assert!(patiently("the end of the TLS handshake", accepted).await.is_err());
        };
        let (result, ()) = tokio::join!(run.client().connect(), refuse);
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("certificate") && error.contains("ca-file"),
            "{error}"
        );
        assert!(error.to_lowercase().contains(word), "{error}");
        let expected = [
            "connecting",
            "failed certificate final",
            "disconnected 1006 final",
            "closed",
        ];
        run.end(&server, &expected).await;
    }
}

#[tokio::test]
async fn a_certificate_that_the_ca_file_names_is_good_from_then_on() {
    let server = Server::start().await;
    let (pem, config) = certificate("localhost");
    let ca = CaFile::new(&pem);
    let url = format!("wss://localhost:{}", server.port);
    let mut run = Run::new(options(&server).endpoint(url).ca_file(&ca.0));
    let connecting = run.connecting();
    let (_, replaced) = certificate("localhost");
    let accept = async |config: &Arc<rustls::ServerConfig>| {
        let conn = server.accept().await;
        let accepted = TlsAcceptor::from(config.clone()).accept(conn.stream);
        patiently("the TLS handshake", accepted).await
    };
    let mut conn = Conn {
        stream: accept(&config).await.unwrap(),
    };
    conn.upgrade().await;
    conn.welcome().await;
    assert!(connecting.await.unwrap().is_ok());
    drop(conn);
    // A certificate that is replaced by mistake may be mended, so a client that was connected tries again.
    assert!(accept(&replaced).await.is_err());
    let mut conn = Conn {
        stream: accept(&config).await.unwrap(),
    };
    conn.upgrade().await;
    conn.welcome().await;
    run.until("welcome again").await;
    let expected = [
        "connecting",
        "connected",
        "welcome",
        "disconnected 1006 retry",
        "reconnecting",
        "failed certificate retry",
        "connected",
        "welcome again",
        "disconnected 1000 final",
        "closed",
    ];
    let (_, code) = tokio::join!(run.end(&server, &expected), conn.close_code());
    assert_eq!(code, 1000);
}
