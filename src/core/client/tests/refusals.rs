//! Answers that are no connection: HTTP statuses, certificates.

use super::*;

fn refused(status: u16) -> SocketEnd {
    refused_for(status, None)
}

fn refused_for(status: u16, retry_after: Option<u64>) -> SocketEnd {
    SocketEnd::Refused {
        status,
        retry_after: retry_after.map(secs),
        error: None,
    }
}

fn named(status: u16, error: &str) -> SocketEnd {
    SocketEnd::Refused {
        status,
        retry_after: None,
        error: Some(error.into()),
    }
}

/// A client whose next attempt is under way, with its token if it needs one.
fn trying(config: ClientConfig) -> Bench {
    let mut bench = Bench::connected(config);
    bench.closed(1006);
    again(&mut bench);
    bench
}

fn again(bench: &mut Bench) -> Duration {
    let waited = bench.until_attempt();
    bench.token(Ok("t"));
    waited
}

#[test]
fn c068_a_refused_api_key_is_terminal() {
    for status in [401, 403] {
        let mut bench = trying(key_config());
        bench.end(refused(status));
        assert_eq!(bench.finals(), [CloseCode::ABNORMAL]);
        assert_eq!(bench.failures()[0].0.fatal_name(), Some("unauthorized"));
        assert_eq!(bench.client.poll_timeout(), None);
    }
    let mut bench = trying(key_config());
    bench.end(named(401, "invalid_token"));
    assert_eq!(
        bench.failures(),
        [(
            &ConnectFailure::HttpRefused {
                status: 401,
                error: Some("invalid_token".into())
            },
            false
        )]
    );
    assert_eq!(bench.failures()[0].0.fatal_name(), Some("invalid_token"));
}

#[test]
fn c068_a_refused_token_is_replaced_twice() {
    let mut bench = trying(token_config());
    for n in 1..=3 {
        let fetched = |output: &&NetOutput| matches!(output, NetOutput::FetchToken(_));
        assert_eq!(
            bench.net.iter().filter(fetched).count(),
            n,
            "a fresh one each time"
        );
        bench.end(named(401, "invalid_token"));
        assert_eq!(bench.finals().len(), usize::from(n == 3));
        if n < 3 {
            assert!(again(&mut bench) < secs(5));
        }
    }
    assert_eq!(bench.client.state(), ClientState::Closed);
}

#[test]
fn c068_other_failures_in_between_do_not_excuse_a_token_but_a_welcome_does() {
    let mut bench = trying(token_config());
    bench.end(refused(401));
    again(&mut bench);
    bench.end(reset());
    again(&mut bench);
    bench.end(refused(403));
    again(&mut bench);
    bench.open();
    bench.welcome();
    bench.closed(1006);
    for _ in 0..2 {
        again(&mut bench);
        bench.end(refused(401));
        assert!(bench.finals().is_empty());
    }
    again(&mut bench);
    bench.end(refused(401));
    assert_eq!(bench.finals().len(), 1);
}

#[test]
fn c068_too_many_connections_wait_at_least_thirty_seconds() {
    let mut bench = trying(key_config());
    bench.end(refused(429));
    assert!((secs(30)..=secs(36)).contains(&bench.until_attempt()));
    // A wish for less does not shorten it, one for more does lengthen it, within bounds.
    bench.end(refused_for(429, Some(1)));
    assert!((secs(30)..=secs(36)).contains(&bench.until_attempt()));
    bench.end(refused_for(429, Some(90)));
    assert!((secs(90)..=secs(108)).contains(&bench.until_attempt()));
    bench.end(refused_for(429, Some(u64::MAX)));
    assert!((secs(300)..=secs(360)).contains(&bench.until_attempt()));
    // Used up.
    bench.end(reset());
    assert!(bench.until_attempt() <= secs(20));
}

#[test]
fn a_server_in_trouble_is_asked_again_as_usual() {
    for status in [500, 502, 503, 504, 404, 301, 200] {
        let mut bench = trying(key_config());
        bench.end(refused(status));
        assert!(bench.until_attempt() <= Duration::from_millis(1200), "{status}");
    }
    let mut bench = trying(key_config());
    bench.end(refused_for(503, Some(60)));
    assert!((secs(60)..=secs(72)).contains(&bench.until_attempt()));
}

#[test]
fn what_waiting_does_not_mend_ends_a_first_connect() {
    let certificate = SocketEnd::Unreachable {
        detail: "unknown issuer".into(),
        certificate: true,
    };
    let closed = |code| SocketEnd::Closed {
        code,
        reason: String::new(),
    };
    for (end, name) in [
        (certificate.clone(), "certificate_refused"),
        (refused(401), "unauthorized"),
        (refused(403), "unauthorized"),
        (named(401, "invalid_token"), "invalid_token"),
        (named(403, "origin_not_allowed"), "origin_not_allowed"),
        (closed(4001), "invalid_token"),
        (closed(4003), "channel_not_authorized"),
    ] {
        let mut bench = Bench::new(ClientConfig {
            retry_first_connect: true,
            ..key_config()
        });
        bench.connect();
        bench.end(end);
        assert_eq!(bench.finals().len(), 1);
        assert_eq!(bench.failures()[0].0.fatal_name(), Some(name));
        bench.advance(secs(1000));
        assert_eq!(bench.urls().len(), 1);
    }
    // A server that once had a good certificate will have one again.
    let mut bench = trying(key_config());
    bench.end(certificate);
    bench.until_attempt();
}

#[test]
fn a_new_connect_does_not_remember_what_was_refused() {
    let mut bench = Bench::new(ClientConfig {
        retry_first_connect: true,
        ..token_config()
    });
    for _ in 0..2 {
        bench.connect();
        bench.token(Ok("t"));
        for n in 1..=3 {
            // The wish that comes with the last word is for nobody.
            bench.end(refused_for(401, Some(if n == 3 { 200 } else { 0 })));
            assert_eq!(bench.finals().len(), usize::from(n == 3));
            if n < 3 {
                assert!(again(&mut bench) < secs(5));
            }
        }
        bench.events.clear();
    }
}
