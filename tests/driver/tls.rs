//! Trust, and what is said when one side speaks TLS and the other does not. For each kind of TLS.

use std::io::{Read, Write};

use super::certificates::{CaFile, authority, certificate};
use super::server::{Server, accept, close_code, tls, upgrade, welcome};
use super::*;

pub fn trusting(ca: &CaFile) -> DriverOptions {
    DriverOptions {
        ca_file: Some(ca.0.clone()),
        ..DriverOptions::default()
    }
}

#[test]
fn a_certificate_the_ca_file_names_is_accepted() {
    let (pem, tls_config) = certificate("localhost");
    let server = Server::start(move |listener| {
        let mut socket = upgrade(tls(accept(&listener), tls_config).unwrap());
        welcome(&mut socket);
        assert_eq!(close_code(&mut socket), 1000);
    });
    let ca = CaFile::new(&pem);
    let member = Member::connect(config(&format!("wss://localhost:{}", server.port)), trusting(&ca));
    member.connected();
    member.close();
    server.finish();
}

fn refused_certificate(name: &'static str, trusted: bool) -> ConnectFailure {
    let (pem, tls_config) = certificate(name);
    let server = Server::start(move |listener| {
        assert!(tls(accept(&listener), tls_config).is_err());
    });
    let other = if trusted { pem } else { certificate("localhost").0 };
    let ca = CaFile::new(&other);
    let config = ClientConfig {
        retry_first_connect: true,
        ..config(&format!("wss://localhost:{}", server.port))
    };
    let member = Member::connect(config, trusting(&ca));
    let failure = member.failure();
    // Waiting would not help, so it is not done.
    assert!(member.handle.wait_closed(PATIENCE));
    server.finish();
    failure
}

#[test]
fn a_wrong_certificate_is_final_and_says_what_to_do() {
    for failure in [
        refused_certificate("localhost", false),
        refused_certificate("other.example", true),
    ] {
        assert_eq!(failure.fatal_name(), Some("certificate_refused"), "{failure:?}");
        assert!(failure.to_string().contains("ca-file"));
    }
}

#[test]
fn an_authority_of_the_ca_file_is_trusted() {
    let (pem, tls_config) = authority("localhost");
    let server = Server::start(move |listener| {
        let mut socket = upgrade(tls(accept(&listener), tls_config).unwrap());
        welcome(&mut socket);
        assert_eq!(close_code(&mut socket), 1000);
    });
    // A file may have text around its certificates, and several of them.
    let ca = CaFile::new(&format!(
        "# two\n{}\n# of them\n{pem}",
        certificate("x.example").0
    ));
    let member = Member::connect(config(&format!("wss://localhost:{}", server.port)), trusting(&ca));
    member.connected();
    member.close();
    server.finish();
}

#[test]
fn an_address_may_be_what_the_certificate_names() {
    let (pem, tls_config) = authority("127.0.0.1");
    let server = Server::start(move |listener| {
        let mut socket = upgrade(tls(accept(&listener), tls_config).unwrap());
        welcome(&mut socket);
        assert_eq!(close_code(&mut socket), 1000);
    });
    let ca = CaFile::new(&pem);
    let member = Member::connect(config(&format!("wss://127.0.0.1:{}", server.port)), trusting(&ca));
    member.connected();
    member.close();
    server.finish();
}

/// The text of the failure with this ca-file.
fn failure_with(options: DriverOptions) -> String {
    let server = Server::start(|listener| drop(accept(&listener)));
    let member = Member::connect(config(&format!("wss://localhost:{}", server.port)), options);
    let failure = member.failure();
    server.finish();
    assert_eq!(failure.fatal_name(), Some("certificate_refused"), "{failure:?}");
    failure.to_string()
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named_with_the_reason() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, reason) in [
        ("", "contains no certificate"),
        ("not PEM at all", "contains no certificate"),
        (garbage, "must be a PEM file"),
    ] {
        let ca = CaFile::new(content);
        let text = failure_with(trusting(&ca));
        let path = ca.0.display().to_string();
        for part in ["cannot be used", reason, &path] {
            assert!(text.contains(part), "{text}");
        }
    }
    let missing = DriverOptions {
        ca_file: Some("/nonexistent/ca.pem".into()),
        ..DriverOptions::default()
    };
    let text = failure_with(missing);
    assert!(
        text.contains("/nonexistent/ca.pem") && text.contains("No such file"),
        "{text}"
    );
}

fn unreachable_detail(member: &Member) -> String {
    match member.failure() {
        ConnectFailure::Unreachable { detail } | ConnectFailure::Lost { detail } => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ws_to_a_server_with_tls_says_so() {
    let (_, tls_config) = certificate("localhost");
    let server = Server::start(move |listener| {
        assert!(tls(accept(&listener), tls_config).is_err());
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    let detail = unreachable_detail(&member);
    assert!(detail.contains("must start with wss://"), "{detail}");
    server.finish();
}

#[test]
fn wss_to_a_server_without_tls_says_so() {
    let (pem, _) = certificate("localhost");
    let ca = CaFile::new(&pem);
    for (answer, expected) in [
        (
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            "there is no TLS",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "there is no TLS"),
        ("", "check that the port"),
    ] {
        let server = Server::start(move |listener| {
            let mut stream = accept(&listener);
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // Closing with something unread would reset the connection, and the answer be lost.
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let member = Member::connect(config(&format!("wss://localhost:{}", server.port)), trusting(&ca));
        let detail = unreachable_detail(&member);
        assert!(
            detail.contains(expected) && detail.contains("localhost"),
            "{detail}"
        );
        server.finish();
    }
}
