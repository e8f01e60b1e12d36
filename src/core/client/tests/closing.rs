//! The end that the application asks for.

use super::*;

#[test]
fn c023_close_waits_for_nobody() {
    let mut bench = Bench::connected(key_config());
    let id = bench.publish(json!(1)).unwrap();
    bench.close();
    assert_eq!(bench.close_codes(), [1000]);
    assert_eq!(
        bench.events,
        [
            ClientEvent::RequestFailed(id, RequestError::Disconnected),
            ClientEvent::Disconnected {
                code: CloseCode::NORMAL,
                reason: String::new(),
                will_reconnect: false,
                delay: None,
            },
            ClientEvent::StateChanged {
                from: ClientState::Connected,
                to: ClientState::Closed,
            },
        ]
    );
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn c027_close_during_token_resolution_leaves_no_socket() {
    let mut bench = Bench::new(token_config());
    bench.connect();
    assert!(matches!(bench.net[..], [NetOutput::FetchToken(_)]));
    bench.close();
    bench.token(Ok("t"));
    bench.advance(secs(1000));
    assert!(
        matches!(
            bench.net[..],
            [NetOutput::FetchToken(_), NetOutput::ForgetToken(_)]
        ),
        "{:?}",
        bench.net
    );
    assert_eq!(bench.finals(), [CloseCode::NORMAL]);
    // The answer belongs to nobody, also if somebody waits again.
    bench.connect();
    bench.input(NetInput::Token(SocketId(1), Ok(Secret::new("old".into()))));
    assert!(bench.urls().is_empty());
    bench.token(Ok("new"));
    assert_eq!(bench.urls(), ["wss://a.example/v1?token=new"]);
}

#[test]
fn c062_close_while_the_loss_is_told_stops_the_retry() {
    let mut bench = Bench::connected(key_config());
    let reason = String::new();
    let end = SocketEnd::Closed { code: 1006, reason };
    bench
        .client
        .handle_net(bench.now, NetInput::SocketClosed(bench.socket(), end));
    let told = bench.client.poll_event();
    assert!(matches!(
        told,
        Some(ClientEvent::Disconnected {
            will_reconnect: true,
            ..
        })
    ));
    // The handler of that event closes; the rest of the events is still in the queue.
    bench.close();
    bench.advance(secs(1000));
    assert!(bench.net.is_empty());
    assert_eq!(bench.finals(), [CloseCode::NORMAL]);
    assert_eq!(bench.client.state(), ClientState::Closed);
}

#[test]
fn c076_a_connected_client_with_nothing_to_do_can_be_closed() {
    let mut bench = Bench::connected(key_config());
    bench.close();
    assert_eq!(bench.close_codes(), [1000]);
    assert_eq!(bench.finals(), [CloseCode::NORMAL]);
    assert_eq!(bench.client.state(), ClientState::Closed);
    // And one that never was connected needs no last word.
    let mut idle = Bench::new(key_config());
    idle.close();
    let (from, to) = (ClientState::Idle, ClientState::Closed);
    assert_eq!(idle.events, [ClientEvent::StateChanged { from, to }]);
    assert!(idle.net.is_empty());
}

type Step = fn(&mut Bench);

/// The steps of a life with a token, a connection, a loss, and the way back; with whether there is a socket after it.
const LIFE: [(Step, bool); 11] = [
    (|bench| bench.connect(), false),
    (|bench| bench.token(Ok("t")), true),
    (|bench| bench.open(), true),
    (|bench| bench.welcome(), true),
    (|bench| drop(bench.subscribe("c")), true),
    (|bench| bench.closed(1006), false),
    (|bench| assert!(bench.until_attempt() < secs(1)), false),
    (|bench| bench.token(Ok("t")), true),
    (|bench| bench.open(), true),
    (|bench| bench.welcome(), true),
    (|bench| bench.advance(secs(17)), true),
];

#[test]
fn close_in_every_phase_ends_it_with_one_word() {
    for count in 1..=LIFE.len() {
        let mut bench = Bench::new(token_config());
        LIFE[..count].iter().for_each(|(step, _)| step(&mut bench));
        assert!(bench.finals().is_empty());
        let last = bench.socket();
        bench.net.clear();
        bench.close();
        assert_eq!(
            bench.close_codes().len(),
            usize::from(LIFE[count - 1].1),
            "after {count} steps"
        );
        let silent = (bench.net.len(), bench.events.len());
        bench.close();
        bench.token(Ok("late"));
        bench.input(NetInput::SocketOpened(last));
        bench.input(NetInput::Text(last, welcome_frame().to_string()));
        bench.input(NetInput::SocketClosed(last, reset()));
        bench.advance(secs(10_000));
        assert_eq!(
            (bench.net.len(), bench.events.len()),
            silent,
            "after {count} steps"
        );
        assert_eq!(bench.finals(), [CloseCode::NORMAL]);
        assert_eq!(bench.client.poll_timeout(), None);
        // And it can begin again.
        bench.events.clear();
        bench.connect();
        bench.token(Ok("t"));
        bench.open();
        bench.welcome();
        assert!(bench.has(|event| matches!(event, ClientEvent::Connected(c) if !c.is_reconnect)));
    }
}
