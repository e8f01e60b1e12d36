//! From `connect` to the welcome, and what it says.

use super::*;

fn welcome_of(peer_id: &str, metadata: Value) -> Value {
    json!({"type": "welcome", "peerId": peer_id, "serverTime": 5, "expiresAt": 9, "maxMessageSize": 1000,
           "metadata": metadata})
}

impl Bench {
    /// What the newest welcome was told as.
    fn last_connected(&self) -> &Connected {
        let mut newest_first = self.events.iter().rev();
        let connected = newest_first.find_map(|event| match event {
            ClientEvent::Connected(connected) => Some(connected),
            _ => None,
        });
        connected.expect("no welcome")
    }
}

#[test]
fn c004_the_url_has_the_credential_encoded() {
    let mut bench = Bench::new(ClientConfig {
        credential: CredentialSource::ApiKey(Secret::new("pk a".to_owned())),
        ..key_config()
    });
    bench.connect();
    assert_eq!(bench.urls(), ["wss://a.example/v1?key=pk%20a"]);
    let mut bench = Bench::new(token_config());
    bench.connect();
    bench.token(Ok("t&1"));
    assert_eq!(bench.urls(), ["wss://a.example/v1?token=t%261"]);
}

#[test]
fn c006_nothing_is_sent_before_the_welcome() {
    // A window so short that heartbeats come before the welcome has to.
    let mut bench = Bench::new(ClientConfig {
        inactivity_window: secs(8),
        ..key_config()
    });
    let refused = |bench: &mut Bench| {
        let error = Err(RequestError::NotConnected);
        assert_eq!(bench.subscribe("c"), error);
        assert_eq!(bench.unsubscribe("c"), error);
        assert_eq!(bench.publish(json!(1)), error);
        assert_eq!(bench.send("a", json!(1), Priority::Description), error);
    };
    bench.connect();
    refused(&mut bench);
    bench.open();
    refused(&mut bench);
    bench.advance(secs(7));
    bench.frame(json!({"type": "direct", "from": "a", "data": 1}));
    bench.frame(json!({"type": "pong"}));
    refused(&mut bench);
    assert!(bench.sent().is_empty());
    assert!(!bench.has(|event| matches!(event, ClientEvent::Direct { .. })));
    bench.welcome();
    assert!(bench.sent().is_empty());
    bench.publish(json!(1)).unwrap();
    assert_eq!(bench.sent_types(), ["publish"]);
}

#[test]
fn c007_no_welcome() {
    let mut bench = Bench::new(key_config());
    bench.connect();
    bench.open();
    // Other frames are no welcome.
    bench.advance(secs(5));
    bench.frame(json!({"type": "pong"}));
    bench.advance(secs(5) - Duration::from_millis(1));
    assert!(bench.close_codes().is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.close_codes(), [4000]);
    assert_eq!(bench.failures(), [(&ConnectFailure::WelcomeTimeout, false)]);
    assert_eq!(bench.finals(), [CloseCode(4000)]);
    assert_eq!(bench.client.state(), ClientState::Closed);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn c007_no_socket_either() {
    let mut bench = Bench::new(key_config());
    bench.connect();
    bench.advance(secs(10));
    assert_eq!(bench.close_codes(), [4000]);
    assert_eq!(bench.client.state(), ClientState::Closed);
}

#[test]
fn c008_a_welcome_after_the_timeout_changes_nothing() {
    let mut bench = Bench::new(key_config());
    bench.connect();
    bench.open();
    bench.advance(secs(10));
    bench.events.clear();
    bench.welcome();
    assert!(bench.events.is_empty());
    assert_eq!(bench.client.state(), ClientState::Closed);

    // While a retry is waited for, and while the next socket opens.
    let mut bench = Bench::connected(key_config());
    bench.reopen();
    let late = bench.socket();
    bench.advance(secs(10));
    assert_eq!(bench.close_codes(), [4000]);
    bench.events.clear();
    let text = welcome_frame().to_string();
    bench.input(NetInput::Text(late, text.clone()));
    bench.until_attempt();
    bench.input(NetInput::Text(late, text));
    assert!(bench.events.is_empty());
    assert_eq!(bench.client.state(), ClientState::Reconnecting);
}

#[test]
fn c008_a_welcome_after_close_changes_nothing() {
    let mut bench = Bench::new(key_config());
    bench.connect();
    bench.open();
    bench.close();
    bench.events.clear();
    bench.welcome();
    assert!(bench.events.is_empty());
    assert_eq!(bench.client.state(), ClientState::Closed);
}

#[test]
fn c009_a_second_welcome_is_ignored() {
    let mut bench = Bench::connected(key_config());
    bench.frame(welcome_of(
        "somebody-else",
        json!({"iceServers": [{"urls": "stun:s"}]}),
    ));
    assert_eq!(bench.events, [ClientEvent::FrameDropped("a second welcome")]);
    assert_eq!(bench.client.peer_id(), Some(&peer("me")));
    assert_eq!(bench.client.max_message_size(), 65_536);
    assert!(bench.client.ice_servers().is_empty());
}

#[test]
fn c010_what_a_welcome_says() {
    let mut bench = Bench::new(key_config());
    bench.connect();
    bench.open();
    bench.frame(welcome_of(
        "cam-3",
        json!({"iceServers": [{"urls": "stun:s.example"}], "x": 1}),
    ));
    let states = ClientEvent::StateChanged {
        from: ClientState::Connecting,
        to: ClientState::Connected,
    };
    assert_eq!(bench.events[bench.events.len() - 2], states);
    let connected = bench.last_connected();
    assert_eq!(connected.peer_id, peer("cam-3"));
    assert_eq!((connected.server_time, connected.expires_at), (5.0, Some(9.0)));
    assert_eq!(
        (connected.is_reconnect, connected.max_message_size),
        (false, 1000)
    );
    assert_eq!(
        connected.ice_servers.as_ref().unwrap()[0].urls,
        ["stun:s.example"]
    );
    assert_eq!(
        connected.metadata.clone().map(Value::Object),
        Some(json!({"x": 1}))
    );
    assert_eq!(bench.client.peer_id(), Some(&peer("cam-3")));
    assert_eq!(bench.client.max_message_size(), 1000);
    // The list is optional, and so is our name the same.
    bench.reopen();
    bench.frame(welcome_of("other", json!({})));
    assert_eq!(bench.last_connected().ice_servers, None);
    assert_eq!(bench.client.peer_id(), Some(&peer("other")));
}

#[test]
fn c011_what_counts_as_a_reconnect() {
    let mut bench = Bench::new(key_config());
    bench.connect();
    bench.open();
    bench.welcome();
    assert!(!bench.last_connected().is_reconnect);
    for _ in 0..2 {
        bench.reconnect();
        assert!(bench.last_connected().is_reconnect);
    }
    bench.close();
    bench.connect();
    bench.open();
    bench.welcome();
    assert!(!bench.last_connected().is_reconnect);
    bench.reconnect();
    assert!(bench.last_connected().is_reconnect);
}

#[test]
fn c016_ice_servers_are_kept_or_replaced() {
    let mut bench = Bench::connected(key_config());
    let mut again = |metadata: Value| {
        bench.reopen();
        bench.frame(welcome_of("me", metadata));
        bench.client.ice_servers().len()
    };
    assert_eq!(again(json!({"iceServers": [{"urls": "stun:a"}]})), 1);
    assert_eq!(again(json!({})), 1);
    assert_eq!(again(json!({"iceServers": [{"urls": "http:a"}]})), 1);
    assert_eq!(again(json!({"iceServers": []})), 0);
}

#[test]
fn c067_connect_only_from_idle_and_closed() {
    let refused = |bench: &mut Bench, state| {
        assert_eq!(bench.client.state(), state);
        assert_eq!(bench.client.connect(bench.now), Err(InvalidState(state)));
        bench.drain();
    };
    let mut bench = Bench::new(key_config());
    bench.connect();
    refused(&mut bench, ClientState::Connecting);
    bench.open();
    refused(&mut bench, ClientState::Connecting);
    bench.welcome();
    refused(&mut bench, ClientState::Connected);
    bench.closed(1006);
    refused(&mut bench, ClientState::Reconnecting);
    bench.until_attempt();
    refused(&mut bench, ClientState::Reconnecting);
    assert_eq!(bench.urls().len(), 2);
    // After a failure and after close it works.
    bench.closed(4001);
    bench.connect();
    bench.open();
    bench.welcome();
    bench.close();
    bench.connect();
    bench.open();
    bench.welcome();
    assert_eq!(bench.client.state(), ClientState::Connected);
}

/// Everything a socket can still say.
fn last_words(bench: &mut Bench, old: SocketId) {
    let direct = json!({"type": "direct", "from": "a", "data": 1}).to_string();
    for text in [
        direct,
        welcome_frame().to_string(),
        "no json".into(),
        "x".repeat(1_048_577),
    ] {
        bench.input(NetInput::Text(old, text));
    }
    bench.input(NetInput::SocketOpened(old));
    bench.input(NetInput::Token(old, Ok(Secret::new("x".into()))));
    for code in [1000, 4001, 4010] {
        let reason = String::new();
        bench.input(NetInput::SocketClosed(old, SocketEnd::Closed { code, reason }));
    }
    bench.input(NetInput::SocketClosed(old, reset()));
}

#[test]
fn c069_a_superseded_socket_has_no_effect() {
    let mut bench = Bench::connected(key_config());
    let lost = bench.socket();
    bench.reconnect();
    let closed = bench.socket();
    bench.close();
    bench.connect();
    // While the new one opens, and when it is connected.
    for _ in 0..2 {
        bench.net.clear();
        bench.events.clear();
        let due = bench.client.poll_timeout();
        last_words(&mut bench, lost);
        last_words(&mut bench, closed);
        assert!(bench.events.is_empty() && bench.net.is_empty());
        assert_eq!(bench.client.poll_timeout(), due);
        bench.open();
        bench.welcome();
    }
    assert_eq!(bench.client.state(), ClientState::Connected);
}
