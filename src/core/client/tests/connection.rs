use super::*;

fn welcome_frame(peer_id: &str) -> Value {
    json!({"type": "welcome", "peerId": peer_id, "serverTime": 5, "maxMessageSize": 1000,
           "metadata": {"iceServers": [{"urls": "stun:s.example"}]}})
}

#[test]
fn c005_configuration() {
    let key = CredentialSource::ApiKey(Secret::new(String::new()));
    let error = |config: ClientConfig| Client::new(config, Instant::now()).err();
    assert_eq!(
        error(ClientConfig {
            credential: key,
            ..key_config()
        }),
        Some(ConfigError::EmptyApiKey)
    );
    assert_eq!(
        error(ClientConfig {
            token_timeout: Duration::ZERO,
            ..key_config()
        }),
        Some(ConfigError::TokenTimeout)
    );
    let reconnect = ReconnectOptions {
        multiplier: 0.5,
        ..ReconnectOptions::default()
    };
    assert!(
        error(ClientConfig {
            reconnect,
            ..key_config()
        })
        .is_some()
    );
}

#[test]
fn c006_c010_c011_nothing_before_the_welcome_and_what_it_says() {
    let mut bench = Bench::new(key_config());
    bench.client.connect(bench.now).unwrap();
    bench.drain();
    assert_eq!(bench.urls(), ["wss://a.example/v1?key=pk_live_7Qd2"]);
    assert_eq!(
        bench
            .client
            .subscribe(bench.now, &channel("c"), SubscribeOptions::default()),
        Err(RequestError::NotConnected)
    );
    bench.open();
    bench.frame(json!({"type": "direct", "from": "a", "data": 1}));
    bench.frame(welcome_frame("cam-3"));
    assert!(bench.sent().is_empty());
    assert!(!bench.has(|event| matches!(event, ClientEvent::Direct { .. })));
    let Some(ClientEvent::Connected(connected)) = bench.events.last() else {
        panic!("{:?}", bench.events)
    };
    assert_eq!(connected.peer_id, peer("cam-3"));
    assert!(!connected.is_reconnect);
    assert_eq!(
        (
            connected.server_time,
            connected.expires_at,
            connected.max_message_size
        ),
        (5.0, None, 1000)
    );
    assert_eq!(connected.ice_servers.as_ref().unwrap().len(), 1);
    assert_eq!(bench.client.max_message_size(), 1000);

    bench.closed(1006);
    bench.until_attempt();
    bench.open();
    bench.frame(welcome_frame("other"));
    assert!(bench.has(
        |event| matches!(event, ClientEvent::Connected(c) if c.is_reconnect && c.peer_id == peer("other"))
    ));
    bench.client.close();
    bench.events.clear();
    bench.client.connect(bench.now).unwrap();
    bench.drain();
    bench.open();
    bench.frame(welcome_frame("third"));
    assert!(bench.has(|event| matches!(event, ClientEvent::Connected(c) if !c.is_reconnect)));
}

#[test]
fn c007_c008_no_welcome() {
    let mut bench = Bench::new(key_config());
    bench.client.connect(bench.now).unwrap();
    bench.open();
    bench.advance(secs(10) - Duration::from_millis(1));
    assert!(bench.close_codes().is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.close_codes(), [4000]);
    assert_eq!(bench.failures(), [(&ConnectFailure::WelcomeTimeout, false)]);
    assert_eq!(bench.finals(), [CloseCode(4000)]);
    assert_eq!(bench.client.state(), ClientState::Closed);
    bench.events.clear();
    bench.welcome();
    assert!(bench.events.is_empty());
    assert_eq!(bench.client.state(), ClientState::Closed);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn c009_second_welcome() {
    let mut bench = Bench::connected(key_config());
    bench.frame(welcome_frame("somebody-else"));
    assert_eq!(bench.events, [ClientEvent::FrameDropped("a second welcome")]);
    assert_eq!(bench.client.peer_id(), Some(&peer("me")));
}

#[test]
fn c016_ice_servers_are_kept_or_replaced() {
    let mut bench = Bench::connected(key_config());
    let mut again = |metadata: Value| {
        bench.closed(1006);
        bench.until_attempt();
        bench.open();
        bench.frame(json!({"type": "welcome", "peerId": "me", "serverTime": 5, "maxMessageSize": 9, "metadata": metadata}));
        bench.client.ice_servers().len()
    };
    assert_eq!(again(json!({"iceServers": [{"urls": "stun:a"}]})), 1);
    assert_eq!(again(json!({})), 1);
    assert_eq!(again(json!({"iceServers": [{"urls": "http:a"}]})), 1);
    assert_eq!(again(json!({"iceServers": []})), 0);
}

#[test]
fn c017_silence_pings_once_per_interval() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(20) - Duration::from_millis(1));
    assert!(bench.sent().is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.sent(), [json!({"type": "ping"})]);
    bench.frame(json!({"type": "pong"}));
    bench.advance(secs(19));
    bench.frame(json!({"type": "presence", "channel": "c", "joined": [], "left": []}));
    bench.advance(secs(19));
    assert_eq!(bench.sent().len(), 1);
    bench.advance(secs(1));
    assert_eq!(bench.sent().len(), 2);
}

#[test]
fn c018_silence_of_the_window_reconnects() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(59));
    assert_eq!(bench.sent_types(), ["ping", "ping"]);
    assert!(bench.events.is_empty());
    bench.advance(secs(1));
    assert_eq!(bench.close_codes(), [4000]);
    assert!(bench.has(|event| matches!(
        event,
        ClientEvent::Disconnected {
            code: CloseCode(4000),
            will_reconnect: true,
            ..
        }
    )));
    assert_eq!(bench.client.state(), ClientState::Reconnecting);
    bench.until_attempt();
    assert_eq!(bench.urls().len(), 1);
}

#[test]
fn c019_no_window_no_watchdog() {
    let mut bench = Bench::connected(ClientConfig {
        inactivity_window: Duration::ZERO,
        ..key_config()
    });
    bench.advance(secs(100_000));
    assert!(bench.net.is_empty() && bench.events.is_empty());
    let mut bench = Bench::connected(ClientConfig {
        inactivity_window: Duration::MAX,
        ..key_config()
    });
    bench.advance(secs(1000));
    assert!(bench.net.is_empty());
}

#[test]
fn c020_malformed_text_is_a_sign_of_life_and_binary_is_not() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(15));
    bench.input(NetInput::Text(bench.socket(), "no json".into()));
    bench.advance(secs(15));
    assert!(bench.sent().is_empty());
    bench.input(NetInput::Activity(bench.socket()));
    bench.advance(secs(5));
    assert_eq!(bench.sent_types(), ["ping"]);
}

#[test]
fn c022_oversized_text() {
    let mut bench = Bench::connected(key_config());
    let text = format!(
        r#"{{"type":"direct","from":"a","data":"{}"}}"#,
        "x".repeat(1_048_576)
    );
    bench.input(NetInput::Text(bench.socket(), text));
    assert_eq!(bench.close_codes(), [1009]);
    assert!(matches!(
        bench.events[0],
        ClientEvent::Disconnected {
            code: CloseCode(1009),
            will_reconnect: true,
            ..
        }
    ));
}

#[test]
fn c025_going_away_changes_no_state_but_the_next_delay() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(10));
    bench.frame(json!({"type": "going_away", "retryAfterMs": 20_000}));
    assert_eq!(
        bench.events,
        [ClientEvent::GoingAway {
            retry_after: secs(20)
        }]
    );
    assert_eq!(bench.client.state(), ClientState::Connected);
    bench.closed(1001);
    let delay = bench.until_attempt();
    assert!((secs(20)..=secs(24)).contains(&delay), "{delay:?}");
    bench.end(SocketEnd::Lost {
        detail: String::new(),
    });
    assert!(bench.until_attempt() < secs(2));
}

#[test]
fn an_announcement_that_comes_to_nothing_is_forgotten() {
    let mut bench = Bench::connected(ClientConfig {
        inactivity_window: Duration::ZERO,
        ..key_config()
    });
    bench.frame(json!({"type": "going_away", "retryAfterMs": 20_000}));
    bench.advance(secs(301));
    bench.closed(1006);
    assert!(bench.until_attempt() < secs(1));
}

#[test]
fn c027_close_during_token_resolution() {
    let mut bench = Bench::new(token_config());
    bench.client.connect(bench.now).unwrap();
    bench.drain();
    assert!(matches!(bench.net[..], [NetOutput::FetchToken(_)]));
    bench.client.close();
    bench.token(Ok("t"));
    assert!(bench.urls().is_empty());
    assert_eq!(bench.finals(), [CloseCode::NORMAL]);
    bench.advance(secs(1000));
    assert_eq!(bench.finals().len(), 1);
}

#[test]
fn c067_connect_only_from_idle_and_closed() {
    let mut bench = Bench::new(key_config());
    bench.client.connect(bench.now).unwrap();
    assert_eq!(
        bench.client.connect(bench.now),
        Err(InvalidState(ClientState::Connecting))
    );
    bench.client.close();
    bench.client.close();
    bench.drain();
    assert_eq!(bench.finals().len(), 1);
    assert_eq!(bench.close_codes(), [1000]);
    assert_eq!(bench.client.connect(bench.now), Ok(()));
    let mut idle = Bench::new(key_config());
    idle.client.close();
    idle.drain();
    assert_eq!(
        idle.events,
        [ClientEvent::StateChanged {
            from: ClientState::Idle,
            to: ClientState::Closed
        }]
    );
}

#[test]
fn c069_facts_of_old_sockets() {
    let mut bench = Bench::connected(key_config());
    let old = bench.socket();
    bench.closed(1006);
    bench.until_attempt();
    bench.open();
    bench.welcome();
    bench.events.clear();
    let text = json!({"type": "direct", "from": "a", "data": 1}).to_string();
    bench.input(NetInput::Text(old, text));
    bench.input(NetInput::SocketClosed(
        old,
        SocketEnd::Closed {
            code: 4001,
            reason: String::new(),
        },
    ));
    bench.input(NetInput::SocketOpened(old));
    bench.input(NetInput::Token(old, Ok(Secret::new("x".into()))));
    assert!(bench.events.is_empty());
    assert_eq!(bench.client.state(), ClientState::Connected);
}

#[test]
fn c165_c166_nothing_leaks() {
    let mut bench = Bench::new(key_config());
    bench.client.connect(bench.now).unwrap();
    let shown = format!("{:?}", bench.client);
    assert!(!shown.contains("pk_live"), "{shown}");
    bench.drain();
    assert!(!format!("{:?}", bench.net).contains("pk_live"));
    bench.end(SocketEnd::Unreachable {
        detail: "GET wss://a/v1?key=pk_live_7Qd2 failed".into(),
        certificate: false,
    });
    assert!(!format!("{:?}", bench.events).contains("pk_live"));
    let failure = ConnectFailure::Closed {
        code: CloseCode(4001),
        reason: "server words".into(),
    };
    assert!(!failure.to_string().contains("server words"));
}
