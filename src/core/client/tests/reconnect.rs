//! Loss, delays, and the end of all attempts.

use super::*;

#[test]
fn c047_delays_double_to_thirty_seconds() {
    for seed in 0..20 {
        let mut bench = Bench::connected(ClientConfig { seed, ..key_config() });
        bench.closed(1006);
        for base in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
            let delay = bench.until_attempt().as_secs_f64();
            assert!(
                (base * 0.8..=base * 1.2).contains(&delay),
                "{delay} for {base}, seed {seed}"
            );
            bench.end(reset());
        }
    }
}

#[test]
fn the_delay_that_is_told_is_the_one_that_is_waited() {
    let mut bench = Bench::connected(key_config());
    bench.closed(1006);
    let told = bench.events.iter().find_map(|event| match event {
        ClientEvent::Disconnected { delay, .. } => *delay,
        _ => None,
    });
    assert_eq!(Some(bench.until_attempt()), told);
    bench.end(reset());
    let told = bench.events.iter().find_map(|event| match event {
        ClientEvent::ConnectFailed { retry_in, .. } => *retry_in,
        _ => None,
    });
    assert_eq!(Some(bench.until_attempt()), told);
}

#[test]
fn c048_a_stable_connection_starts_the_delays_over() {
    let mut bench = Bench::connected(key_config());
    bench.closed(1006);
    for _ in 0..7 {
        bench.until_attempt();
        bench.end(reset());
    }
    bench.until_attempt();
    bench.open();
    bench.welcome();
    // Welcomed and dropped at once: a server that does so must not be hit every half second.
    bench.advance(secs(5) - Duration::from_millis(1));
    bench.closed(1006);
    assert!(bench.until_attempt() >= secs(24));
    bench.open();
    bench.welcome();
    bench.advance(secs(5));
    bench.closed(1006);
    assert!(bench.until_attempt() <= Duration::from_millis(600));
}

#[test]
fn c048_so_does_a_new_connect() {
    let mut bench = Bench::connected(key_config());
    bench.closed(1006);
    for _ in 0..7 {
        bench.until_attempt();
        bench.end(reset());
    }
    bench.close();
    bench.connect();
    bench.open();
    bench.welcome();
    bench.closed(1006);
    assert!(bench.until_attempt() <= Duration::from_millis(600));
}

#[test]
fn c049_terminal_codes() {
    for (code, name) in [
        (4001, "invalid_token"),
        (4003, "channel_not_authorized"),
        (4012, "account_suspended"),
        (4020, "admin_disconnect"),
    ] {
        let mut bench = Bench::connected(token_config());
        bench.closed(code);
        assert_eq!(bench.finals(), [CloseCode(code)]);
        assert_eq!(CloseCode(code).fatal_name(), Some(name));
        assert_eq!(bench.client.state(), ClientState::Closed);
        assert_eq!(bench.client.poll_timeout(), None);
        assert!(bench.net.is_empty());
        // Also in place of a welcome, on the way back.
        let mut bench = Bench::connected(key_config());
        bench.reopen();
        bench.closed(code);
        assert_eq!(bench.finals(), [CloseCode(code)]);
        assert_eq!(bench.failures()[0].0.fatal_name(), Some(name));
    }
}

#[test]
fn c050_an_expired_token_is_replaced() {
    let mut bench = Bench::connected(token_config());
    bench.closed(4002);
    assert!(bench.finals().is_empty());
    assert!(bench.until_attempt() < secs(1));
    assert!(matches!(bench.net[..], [NetOutput::FetchToken(_)]));
    bench.token(Ok("t 2"));
    assert_eq!(bench.urls(), ["wss://a.example/v1?token=t%202"]);
}

#[test]
fn c051_the_floor_after_4010_is_used_once() {
    let mut bench = Bench::connected(key_config());
    bench.closed(4010);
    assert!((secs(30)..=secs(36)).contains(&bench.until_attempt()));
    bench.end(reset());
    assert!(bench.until_attempt() < secs(2));
    // In place of the welcome too.
    bench.open();
    bench.closed(4010);
    assert!(bench.until_attempt() >= secs(30));
}

#[test]
fn c052_that_delay_is_never_shorter() {
    for seed in 0..200 {
        let mut bench = Bench::connected(ClientConfig { seed, ..key_config() });
        bench.closed(4010);
        let delay = bench.until_attempt();
        assert!((secs(30)..=secs(36)).contains(&delay), "{delay:?}, seed {seed}");
    }
    // However short the application wants its delays, and however long.
    let options = |initial, jitter| ReconnectOptions {
        initial,
        max: initial,
        jitter,
        ..ReconnectOptions::default()
    };
    for (initial, jitter) in [(Duration::ZERO, 0.0), (secs(31), 1.0)] {
        let mut bench = Bench::connected(ClientConfig {
            reconnect: options(initial, jitter),
            ..key_config()
        });
        bench.closed(4010);
        assert!(bench.until_attempt() >= secs(30));
    }
}

#[test]
fn c053_other_codes_reconnect_normally() {
    for code in [1000, 1001, 1005, 1006, 1008, 1009, 1011, 4000, 4011, 4999, 17] {
        let mut bench = Bench::connected(key_config());
        bench.closed(code);
        assert!(
            matches!(&bench.events[0], ClientEvent::Disconnected { code: told, will_reconnect: true, .. } if told.0 == code)
        );
        assert!(bench.until_attempt() < secs(1), "{code}");
    }
    // Without a close frame it is 1006.
    let mut bench = Bench::connected(key_config());
    bench.end(reset());
    assert!(matches!(
        &bench.events[0],
        ClientEvent::Disconnected {
            code: CloseCode(1006),
            ..
        }
    ));
}

#[test]
fn c054_a_failing_first_connect_is_reported_and_not_retried() {
    for code in [1006, 1008, 1011, 4000, 4002, 4010] {
        let mut bench = Bench::new(key_config());
        bench.connect();
        bench.open();
        bench.closed(code);
        let failure = ConnectFailure::Closed {
            code: CloseCode(code),
            reason: "server words".into(),
        };
        assert_eq!(bench.failures(), [(&failure, false)]);
        assert_eq!(failure.code(), CloseCode(code));
        assert_eq!(bench.finals(), [CloseCode(code)]);
        assert_eq!(bench.client.state(), ClientState::Closed);
        bench.advance(secs(1000));
        assert_eq!(bench.urls().len(), 1);
    }
}

#[test]
fn a_failing_first_connect_can_be_retried() {
    let mut bench = Bench::new(ClientConfig {
        retry_first_connect: true,
        ..key_config()
    });
    bench.connect();
    for _ in 0..3 {
        bench.end(SocketEnd::Unreachable {
            detail: "no route".into(),
            certificate: false,
        });
        assert_eq!(bench.client.state(), ClientState::Connecting);
        bench.until_attempt();
    }
    assert_eq!(bench.failures().len(), 3);
    assert!(bench.finals().is_empty());
    bench.open();
    bench.welcome();
    assert!(bench.has(|event| matches!(event, ClientEvent::Connected(c) if !c.is_reconnect)));
}

#[test]
fn c055_after_the_last_attempt_it_is_over() {
    for attempts in [1, 2, 7] {
        let mut bench = Bench::connected(with_attempts(attempts, key_config()));
        bench.closed(1006);
        for _ in 0..attempts {
            bench.until_attempt();
            bench.open();
            assert!(bench.finals().is_empty());
            bench.closed(1011);
        }
        assert_eq!(bench.finals(), [CloseCode(1011)]);
        assert_eq!(bench.client.state(), ClientState::Closed);
        bench.advance(secs(1000));
        assert_eq!((bench.finals().len(), bench.urls().len()), (1, attempts as usize));
    }
}

#[test]
fn c055_welcomes_that_do_not_last_use_attempts_up() {
    let mut bench = Bench::connected(with_attempts(3, key_config()));
    for _ in 0..3 {
        bench.reconnect();
        assert!(bench.finals().is_empty());
    }
    bench.closed(1006);
    assert_eq!(bench.finals(), [CloseCode(1006)]);
}

#[test]
fn c057_sockets_that_never_open_end_with_a_word_too() {
    let unreachable = || SocketEnd::Unreachable {
        detail: "no route".into(),
        certificate: false,
    };
    let mut bench = Bench::connected(with_attempts(3, key_config()));
    bench.closed(1006);
    for _ in 0..3 {
        bench.until_attempt();
        assert!(bench.finals().is_empty());
        bench.end(unreachable());
    }
    assert_eq!(bench.finals(), [CloseCode::ABNORMAL]);
    assert_eq!(bench.client.state(), ClientState::Closed);
    let retried: Vec<bool> = bench.failures().iter().map(|(_, retried)| *retried).collect();
    assert_eq!(retried, [true, true, false]);
    bench.advance(secs(1000));
    assert_eq!(bench.finals().len(), 1);
}

#[test]
fn without_a_limit_it_never_gives_up() {
    let reconnect = ReconnectOptions {
        attempts: None,
        ..ReconnectOptions::default()
    };
    let mut bench = Bench::connected(ClientConfig {
        reconnect,
        ..key_config()
    });
    bench.closed(1006);
    for _ in 0..2000 {
        assert!(bench.until_attempt() <= secs(36));
        bench.end(reset());
    }
    assert!(bench.finals().is_empty());
}

#[test]
fn c070_reconnect_disabled() {
    let reconnect = ReconnectOptions {
        enabled: false,
        ..ReconnectOptions::default()
    };
    for code in [1001, 1006, 4002, 4010] {
        let mut bench = Bench::connected(ClientConfig {
            reconnect: reconnect.clone(),
            ..key_config()
        });
        bench.closed(code);
        assert_eq!(bench.finals(), [CloseCode(code)]);
        assert_eq!(bench.client.state(), ClientState::Closed);
        bench.advance(secs(1000));
        assert!(bench.net.is_empty());
    }
}
