use super::server::{Server, accept, answer_http, close_code, upgrade, welcome};
use super::*;

#[test]
fn c007_no_welcome() {
    let server = Server::start(|listener| {
        let mut socket = upgrade(accept(&listener));
        assert_eq!(close_code(&mut socket), 4000);
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    assert_eq!(member.failure(), ConnectFailure::WelcomeTimeout);
    assert!(member.handle.wait_closed(PATIENCE));
    server.finish();
}

#[test]
fn close_while_the_server_does_not_answer_the_upgrade() {
    let (connected, wait) = channel();
    let server = Server::start(move |listener| {
        let mut stream = accept(&listener);
        connected.send(()).unwrap();
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    });
    let member = Member::connect(config(&server.url()), DriverOptions::default());
    wait.recv_timeout(PATIENCE).unwrap();
    member.close();
    server.finish();
}

#[test]
fn c068_an_http_refusal_is_understood() {
    let server = Server::start(|listener| {
        let body = r#"{"error":"origin_not_allowed"}"#;
        let head = format!(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        answer_http(accept(&listener), &(head + body));
    });
    let member = Member::connect(
        ClientConfig {
            retry_first_connect: true,
            ..config(&server.url())
        },
        DriverOptions::default(),
    );
    let failure = member.failure();
    assert_eq!(failure.fatal_name(), Some("origin_not_allowed"));
    assert!(failure.to_string().contains("origin property"));
    assert!(member.handle.wait_closed(PATIENCE));
    server.finish();
}

#[test]
fn nobody_listens() {
    // Bound, so that no other test gets the port, but not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("ws://{}", socket.local_addr().unwrap());
    let member = Member::connect(config(&url), DriverOptions::default());
    let ConnectFailure::Unreachable { detail } = member.failure() else {
        panic!("something else")
    };
    assert!(detail.contains("check the network"), "{detail}");
    assert!(!detail.contains("pk_live"));
    assert!(member.handle.wait_closed(PATIENCE));
}

#[test]
fn a_server_that_comes_up_later_is_found() {
    let server = Server::start(|listener| {
        drop(accept(&listener));
        answer_http(
            accept(&listener),
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        );
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        close_code(&mut socket);
    });
    let member = Member::connect(
        ClientConfig {
            retry_first_connect: true,
            ..config(&server.url())
        },
        DriverOptions::default(),
    );
    assert!(matches!(
        member.failure(),
        ConnectFailure::Lost { .. } | ConnectFailure::Unreachable { .. }
    ));
    assert_eq!(
        member.failure(),
        ConnectFailure::HttpRefused {
            status: 502,
            error: None
        }
    );
    assert!(!member.connected());
    member.close();
    server.finish();
}
