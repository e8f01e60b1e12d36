use super::*;

/// The next attempt fails without a welcome.
fn fail(bench: &mut Bench) {
    bench.end(SocketEnd::Lost {
        detail: "reset".into(),
    });
}

#[test]
fn c047_c048_delays_grow_and_start_over_after_a_stable_connection() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(10));
    bench.closed(1006);
    for base in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        let delay = bench.until_attempt().as_secs_f64();
        assert!((base * 0.8..=base * 1.2).contains(&delay), "{delay} for {base}");
        fail(&mut bench);
    }
    bench.until_attempt();
    bench.open();
    bench.welcome();
    // Welcomed and dropped at once: not a success.
    bench.closed(1006);
    assert!(bench.until_attempt() >= secs(24));
    bench.open();
    bench.welcome();
    bench.advance(secs(5));
    bench.closed(1006);
    assert!(bench.until_attempt() <= Duration::from_millis(600));
}

#[test]
fn c049_terminal_codes() {
    for code in [4001, 4003, 4012, 4020] {
        let mut bench = Bench::connected(key_config());
        bench.closed(code);
        assert_eq!(bench.finals(), [CloseCode(code)]);
        assert_eq!(bench.client.state(), ClientState::Closed);
        assert_eq!(bench.client.poll_timeout(), None);
    }
}

#[test]
fn c050_c058_a_token_for_every_attempt() {
    let mut bench = Bench::connected(token_config());
    bench.closed(4002);
    bench.until_attempt();
    assert!(matches!(bench.net.last(), Some(NetOutput::FetchToken(_))));
    bench.token(Ok("t 2"));
    assert_eq!(bench.urls(), ["wss://a.example/v1?token=t%202"]);
}

#[test]
fn c051_c052_over_the_concurrent_limit() {
    let mut bench = Bench::connected(key_config());
    bench.closed(4010);
    assert!((secs(30)..=secs(36)).contains(&bench.until_attempt()));
    fail(&mut bench);
    assert!(bench.until_attempt() < secs(2));
}

#[test]
fn c053_other_codes_reconnect() {
    for code in [1000, 1001, 1006, 1008, 1009, 4000, 4011, 4999, 17] {
        let mut bench = Bench::connected(key_config());
        bench.closed(code);
        assert!(bench.finals().is_empty());
        assert!(bench.until_attempt() < secs(1));
    }
}

#[test]
fn c054_a_failing_first_connect_is_reported() {
    let mut bench = Bench::new(key_config());
    bench.client.connect(bench.now).unwrap();
    bench.closed(1008);
    let failure = ConnectFailure::Closed {
        code: CloseCode(1008),
        reason: "server words".into(),
    };
    assert_eq!(bench.failures(), [(&failure, false)]);
    assert_eq!(bench.finals(), [CloseCode(1008)]);
    bench.advance(secs(100));
    assert_eq!(bench.urls().len(), 1);
}

#[test]
fn a_failing_first_connect_can_be_retried() {
    let mut bench = Bench::new(ClientConfig {
        retry_first_connect: true,
        ..key_config()
    });
    bench.client.connect(bench.now).unwrap();
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
fn what_waiting_does_not_mend_ends_a_first_connect() {
    let certificate = SocketEnd::Unreachable {
        detail: "unknown issuer".into(),
        certificate: true,
    };
    let refused = |status| SocketEnd::Refused {
        status,
        retry_after: None,
        error: None,
    };
    let closed = |code| SocketEnd::Closed {
        code,
        reason: String::new(),
    };
    for (end, name) in [
        (certificate.clone(), "certificate_refused"),
        (refused(401), "unauthorized"),
        (refused(403), "unauthorized"),
        (closed(4001), "invalid_token"),
        (closed(4003), "channel_not_authorized"),
    ] {
        let mut bench = Bench::new(ClientConfig {
            retry_first_connect: true,
            ..key_config()
        });
        bench.client.connect(bench.now).unwrap();
        bench.end(end);
        assert_eq!(bench.finals().len(), 1);
        assert_eq!(bench.failures()[0].0.fatal_name(), Some(name));
        assert!(!bench.failures()[0].0.to_string().is_empty());
    }
    // A server that once had a good certificate will have one again.
    let mut bench = Bench::connected(key_config());
    bench.closed(1006);
    bench.until_attempt();
    bench.end(certificate);
    bench.until_attempt();
}

#[test]
fn c055_c057_giving_up_is_said_once() {
    let reconnect = ReconnectOptions {
        attempts: Some(3),
        ..ReconnectOptions::default()
    };
    let mut bench = Bench::connected(ClientConfig {
        reconnect,
        ..key_config()
    });
    bench.closed(1006);
    for _ in 0..3 {
        bench.until_attempt();
        assert!(bench.finals().is_empty());
        fail(&mut bench);
    }
    assert_eq!(bench.finals(), [CloseCode::ABNORMAL]);
    assert_eq!(bench.client.state(), ClientState::Closed);
    bench.advance(secs(1000));
    assert_eq!(bench.finals().len(), 1);
}

#[test]
fn c056_giving_up_on_tokens_too() {
    let reconnect = ReconnectOptions {
        attempts: Some(2),
        ..ReconnectOptions::default()
    };
    let mut bench = Bench::connected(ClientConfig {
        reconnect,
        ..token_config()
    });
    bench.closed(1006);
    for _ in 0..2 {
        bench.until_attempt();
        bench.token(Err("no"));
    }
    assert_eq!(bench.finals(), [CloseCode::ABNORMAL]);
}

#[test]
fn c058_c059_c060_token_failures() {
    let mut bench = Bench::connected(token_config());
    bench.closed(1006);
    bench.until_attempt();
    bench.token(Err("GET https://b/?token=abc failed"));
    bench.until_attempt();
    bench.token(Ok(""));
    let told = |bench: &Bench| {
        let told = |event: &ClientEvent| match event {
            ClientEvent::TokenProviderError {
                consecutive_failures, ..
            } => Some(*consecutive_failures),
            _ => None,
        };
        bench.events.iter().filter_map(told).collect::<Vec<_>>()
    };
    assert!(told(&bench).is_empty());
    bench.until_attempt();
    bench.advance(secs(10));
    assert_eq!(told(&bench), [3]);
    bench.until_attempt();
    bench.token(Err("again"));
    assert_eq!(told(&bench), [3, 4]);
    assert!(!format!("{:?}", bench.events).contains("abc"));
    bench.until_attempt();
    bench.token(Ok("good"));
    fail(&mut bench);
    bench.until_attempt();
    bench.token(Err("again"));
    assert_eq!(told(&bench), [3, 4]);
}

#[test]
fn c061_requests_fail_before_the_loss_is_told() {
    let mut bench = Bench::connected(key_config());
    let id = bench.client.publish(bench.now, &channel("c"), &json!(1)).unwrap();
    bench.closed(1006);
    assert_eq!(
        bench.events[0],
        ClientEvent::RequestFailed(id, RequestError::Disconnected)
    );
    assert!(matches!(
        bench.events[1],
        ClientEvent::Disconnected {
            will_reconnect: true,
            ..
        }
    ));
    let to = ClientState::Reconnecting;
    assert_eq!(
        bench.events[2],
        ClientEvent::StateChanged {
            from: ClientState::Connected,
            to
        }
    );
}

#[test]
fn c062_close_stops_the_retry() {
    let mut bench = Bench::connected(key_config());
    bench.closed(1006);
    bench.client.close();
    bench.advance(secs(100));
    assert!(bench.urls().is_empty());
    assert_eq!(bench.finals(), [CloseCode::NORMAL]);
}

#[test]
fn c063_c102_subscriptions_are_restored_with_their_options() {
    let mut bench = Bench::connected(key_config());
    let options = SubscribeOptions {
        include_sender_metadata: true,
    };
    bench.client.subscribe(bench.now, &channel("a"), options).unwrap();
    bench
        .client
        .subscribe(bench.now, &channel("b"), SubscribeOptions::default())
        .unwrap();
    bench
        .client
        .subscribe(bench.now, &channel("c"), SubscribeOptions::default())
        .unwrap();
    bench.client.unsubscribe(bench.now, &channel("c")).unwrap();
    bench.drain();
    bench.closed(1006);
    bench.until_attempt();
    bench.open();
    bench.net.clear();
    bench.welcome();
    let sent = bench.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(
        (&sent[0]["channel"], &sent[0]["includeSenderMetadata"]),
        (&json!("a"), &json!(true))
    );
    assert_eq!(
        (&sent[1]["channel"], sent[1].get("includeSenderMetadata")),
        (&json!("b"), None)
    );
    bench.events.clear();
    bench.frame(json!({"type": "ack", "requestId": bench.last_request()}));
    assert_eq!(bench.events, [ClientEvent::Resubscribed(channel("b"))]);
}

#[test]
fn c064_replay_is_retried_three_times() {
    let mut bench = Bench::connected(key_config());
    bench
        .client
        .subscribe(bench.now, &channel("a"), SubscribeOptions::default())
        .unwrap();
    bench.closed(1006);
    bench.until_attempt();
    bench.open();
    bench.welcome();
    bench.net.clear();
    for n in 0..4 {
        let request = match n {
            0 => {
                // The first one was sent with the welcome and is left without an answer.
                bench.advance(secs(15));
                None
            }
            _ => Some(bench.last_request()),
        };
        if let Some(request) = request {
            bench.frame(json!({"type": "error", "requestId": request, "code": "internal_error"}));
        }
        let before = bench.sent().len();
        bench.advance(secs(2));
        assert_eq!(
            bench.sent().len() - before,
            usize::from(n < 3),
            "after failure {n}"
        );
    }
    let failed = |wanted: bool| move |event: &&ClientEvent| matches!(event, ClientEvent::ResubscribeFailed { will_retry, .. } if *will_retry == wanted);
    assert_eq!(bench.events.iter().filter(failed(true)).count(), 3);
    assert_eq!(bench.events.iter().filter(failed(false)).count(), 1);
    bench.net.clear();
    bench.closed(1006);
    bench.until_attempt();
    bench.open();
    bench.welcome();
    assert_eq!(bench.sent_types(), ["subscribe"]);
}

#[test]
fn c065_c066_what_is_tracked() {
    let mut bench = Bench::connected(key_config());
    bench
        .client
        .subscribe(bench.now, &channel("kept"), SubscribeOptions::default())
        .unwrap();
    bench
        .client
        .subscribe(bench.now, &channel("gone"), SubscribeOptions::default())
        .unwrap();
    bench.closed(1006);
    let error = bench
        .client
        .subscribe(bench.now, &channel("never"), SubscribeOptions::default());
    assert_eq!(error, Err(RequestError::NotConnected));
    assert_eq!(
        bench.client.unsubscribe(bench.now, &channel("gone")),
        Err(RequestError::NotConnected)
    );
    bench.until_attempt();
    bench.open();
    bench.net.clear();
    bench.welcome();
    assert_eq!(
        bench
            .sent()
            .iter()
            .map(|frame| frame["channel"].clone())
            .collect::<Vec<_>>(),
        [json!("kept")]
    );
}

#[test]
fn c068_http_refusals() {
    let refused = |status, retry_after| SocketEnd::Refused {
        status,
        retry_after,
        error: None,
    };
    let mut bench = Bench::connected(key_config());
    bench.closed(1006);
    bench.until_attempt();
    bench.end(refused(429, None));
    assert!(bench.until_attempt() >= secs(30));
    bench.end(refused(429, Some(secs(90))));
    assert!((secs(90)..=secs(108)).contains(&bench.until_attempt()));
    bench.end(refused(503, None));
    assert!(bench.until_attempt() <= secs(5));
    bench.end(refused(401, None));
    assert_eq!(bench.finals(), [CloseCode::ABNORMAL]);

    let mut bench = Bench::connected(token_config());
    bench.closed(1006);
    for n in 1..=3 {
        bench.until_attempt();
        bench.token(Ok("t"));
        bench.end(refused(401, None));
        assert_eq!(bench.finals().len(), usize::from(n == 3));
    }
}

#[test]
fn c070_reconnect_disabled() {
    let reconnect = ReconnectOptions {
        enabled: false,
        ..ReconnectOptions::default()
    };
    let mut bench = Bench::connected(ClientConfig {
        reconnect,
        ..key_config()
    });
    bench.closed(1006);
    assert_eq!(bench.finals(), [CloseCode(1006)]);
    assert_eq!(bench.client.state(), ClientState::Closed);
}
