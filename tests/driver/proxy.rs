//! Servers behind an HTTP proxy. Their names exist only there, so nothing can reach them another way.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use gstmeteredwebrtc::net::ProxyPolicy;

use super::certificates::{CaFile, authority};
use super::server::{Server, accept, answer_http, close_code, tls, upgrade, welcome};
use super::tls::trusting;
use super::*;

const TUNNEL: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

fn through(url: &str, except: &str) -> ProxyPolicy {
    ProxyPolicy::Url {
        url: Secret::new(url.to_owned()),
        except: except.to_owned(),
    }
}

fn options(ca: &CaFile, proxy: ProxyPolicy) -> DriverOptions {
    DriverOptions {
        proxy,
        ..trusting(ca)
    }
}

/// Carries bytes both ways until both sides have ended.
fn carry(client: TcpStream, server: TcpStream) {
    let pump = |mut from: TcpStream, mut to: TcpStream| {
        move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        }
    };
    let up = pump(client.try_clone().unwrap(), server.try_clone().unwrap());
    let mut down = pump(server, client);
    let up = thread::spawn(up);
    down();
    up.join().unwrap();
}

#[test]
fn tls_goes_end_to_end_through_a_tunnel() {
    let (pem, tls_config) = authority("rms.test");
    let server = Server::start(move |listener| {
        let mut socket = upgrade(tls(accept(&listener), tls_config).unwrap());
        welcome(&mut socket);
        assert_eq!(close_code(&mut socket), 1000);
    });
    let port = server.port;
    let proxy = Server::start(move |listener| {
        let client = accept(&listener);
        let request = answer_http(&client, TUNNEL);
        assert!(
            request.starts_with(&format!(
                "CONNECT rms.test:{port} HTTP/1.1\r\nHost: rms.test:{port}\r\n"
            )),
            "{request}"
        );
        // "Aladdin:open sesame"
        let credential = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
        assert!(request.contains(credential), "{request}");
        assert!(!request.contains("pk_live"), "{request}");
        carry(client, TcpStream::connect(("127.0.0.1", port)).unwrap());
    });
    let ca = CaFile::new(&pem);
    let policy = through(
        &format!("http://Aladdin:open%20sesame@127.0.0.1:{}", proxy.port),
        "other.test",
    );
    let member = Member::connect(config(&format!("wss://rms.test:{port}")), options(&ca, policy));
    member.connected();
    member.close();
    server.finish();
    proxy.finish();
}

#[test]
fn a_proxy_may_want_tls_itself() {
    let (outer_pem, outer) = authority("localhost");
    let (inner_pem, inner) = authority("rms.test");
    // Proxy and server in one: TLS in TLS.
    let proxy = Server::start(move |listener| {
        let mut stream = tls(accept(&listener), outer).unwrap();
        let request = answer_http(&mut stream, TUNNEL);
        assert!(
            request.starts_with("CONNECT rms.test:443 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(!request.contains("Authorization"), "{request}");
        let mut socket = upgrade(tls(stream, inner).unwrap());
        welcome(&mut socket);
        assert_eq!(close_code(&mut socket), 1000);
    });
    let ca = CaFile::new(&(outer_pem + &inner_pem));
    let policy = through(&format!("https://localhost:{}", proxy.port), "");
    let member = Member::connect(config("wss://rms.test"), options(&ca, policy));
    member.connected();
    member.close();
    proxy.finish();
}

#[test]
fn the_servers_name_is_checked_behind_a_proxy_too() {
    let (pem, tls_config) = authority("other.test");
    let proxy = Server::start(move |listener| {
        let client = accept(&listener);
        answer_http(&client, TUNNEL);
        assert!(tls(client, tls_config).is_err());
    });
    let ca = CaFile::new(&pem);
    let policy = through(&format!("http://127.0.0.1:{}", proxy.port), "");
    let member = Member::connect(config("wss://rms.test"), options(&ca, policy));
    assert_eq!(member.failure().fatal_name(), Some("certificate_refused"));
    proxy.finish();
}

/// What is said when the proxy answers so.
fn detail(user: &str, answer: &'static str) -> String {
    let proxy = Server::start(move |listener| {
        answer_http(accept(&listener), answer);
    });
    let options = DriverOptions {
        proxy: through(&format!("http://{user}127.0.0.1:{}", proxy.port), ""),
        ..DriverOptions::default()
    };
    let member = Member::connect(config("wss://rms.test:8443"), options);
    let failure = member.failure();
    proxy.finish();
    assert_eq!(failure.fatal_name(), None, "{failure:?}");
    match failure {
        ConnectFailure::Unreachable { detail } => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_of_a_proxy_say_what_to_do() {
    let denied = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n";
    for (user, answer, expected) in [
        ("", denied, "wants a user name and a password (HTTP 407)"),
        ("me:pass1@", denied, "refused the user name or the password"),
        (
            "",
            "HTTP/1.1 403 Forbidden\r\n\r\n<html>",
            "tunnel to rms.test:8443 (HTTP 403)",
        ),
        (
            "",
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "could not reach rms.test:8443 (HTTP 502)",
        ),
        ("", "220 mail.test ESMTP\r\n\r\n", "is no HTTP"),
        ("me:pass1@", "", "ended the connection"),
    ] {
        let detail = detail(user, answer);
        assert!(detail.contains(expected), "{detail}");
        assert!(
            detail.contains("127.0.0.1") && detail.contains("the proxy"),
            "{detail}"
        );
        assert!(!detail.contains("pass1") && !detail.contains("me:"), "{detail}");
    }
}

/// The environment belongs to the whole process, so this one is not that of the other tests.
#[test]
fn the_environment_names_the_proxy() {
    let proxy = Server::start(|listener| {
        let request = answer_http(accept(&listener), "HTTP/1.1 403 Forbidden\r\n\r\n");
        assert!(request.starts_with("CONNECT rms.test:443 "), "{request}");
    });
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let variables = [("https_proxy", url.as_str()), ("no_proxy", "other.test")];
    run_alone("proxy::with_a_proxy_in_the_environment", &variables);
    proxy.finish();
}

#[test]
#[ignore = "the_environment_names_the_proxy runs it with such an environment"]
fn with_a_proxy_in_the_environment() {
    let member = Member::connect(config("wss://rms.test"), DriverOptions::default());
    let text = member.failure().to_string();
    assert!(text.contains("tunnel to rms.test:443 (HTTP 403)"), "{text}");
}

/// An address at which nobody listens, and nobody else will.
fn nobody() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[test]
fn a_proxy_that_cannot_be_reached_is_named() {
    let (_held, address) = nobody();
    let options = DriverOptions {
        proxy: through(&format!("http://me:pass1@{address}"), ""),
        ..DriverOptions::default()
    };
    let member = Member::connect(config("wss://rms.test"), options);
    let text = member.failure().to_string();
    let port = address.rsplit(':').next().unwrap();
    assert!(
        text.contains("the proxy cannot be reached") && text.contains(port),
        "{text}"
    );
    assert!(!text.contains("pass1"), "{text}");
}

/// Linux takes the unspecified address for this machine, the rules for proxies do not.
#[cfg(target_os = "linux")]
#[test]
fn exceptions_are_reached_directly() {
    let (_held, nobody) = nobody();
    let (pem, tls_config) = authority("0.0.0.0");
    let ca = CaFile::new(&pem);
    let server = Server::start(move |listener| {
        for _ in 0..2 {
            let mut socket = upgrade(tls(accept(&listener), tls_config.clone()).unwrap());
            welcome(&mut socket);
            assert_eq!(close_code(&mut socket), 1000);
        }
    });
    let connect = |policy| {
        let url = format!("wss://0.0.0.0:{}", server.port);
        Member::connect(config(&url), options(&ca, policy))
    };
    let proxy = format!("http://{nobody}");
    for policy in [through(&proxy, "a.test, 0.0.0.0/32"), ProxyPolicy::Off] {
        let member = connect(policy);
        member.connected();
        member.close();
    }
    let text = connect(through(&proxy, "0.0.0.1")).failure().to_string();
    assert!(text.contains("the proxy cannot be reached"), "{text}");
    server.finish();
}

#[test]
fn this_machine_is_never_reached_through_a_proxy() {
    let (_held, nobody) = nobody();
    let (pem, tls_config) = authority("localhost");
    let ca = CaFile::new(&pem);
    let serve = |listener: TcpListener| {
        let mut socket = upgrade(tls(accept(&listener), tls_config).unwrap());
        welcome(&mut socket);
        close_code(&mut socket);
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        close_code(&mut socket);
    };
    let server = Server::start(serve);
    for scheme in ["wss", "ws"] {
        let policy = through(&format!("http://{nobody}"), "");
        let url = format!("{scheme}://localhost:{}", server.port);
        let member = Member::connect(config(&url), options(&ca, policy));
        member.connected();
        member.close();
    }
    server.finish();
}
