//! Whatever happens in whatever order: no panic, and the promises of the client hold.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Advance(u64),
    Close,
    Connect,
    End(SocketEnd),
    Frame(Value),
    Opened,
    Send(usize),
    /// A fact about a socket that many attempts old.
    Stale(u64),
    Subscribe(bool),
    Token(Result<&'static str, &'static str>),
    Welcome,
}

fn end() -> impl Strategy<Value = SocketEnd> {
    let code = prop_oneof![Just(1000u16), Just(1001), Just(1006), 4000u16..4025, any::<u16>()];
    prop_oneof![
        code.prop_map(|code| SocketEnd::Closed {
            code,
            reason: "r".into()
        }),
        Just(SocketEnd::Lost { detail: "d".into() }),
        (
            prop_oneof![Just(401u16), Just(403), Just(429), Just(503)],
            any::<Option<u32>>()
        )
            .prop_map(|(status, wait)| SocketEnd::Refused {
                status,
                retry_after: wait.map(|wait| secs(wait.into())),
                error: None
            }),
        any::<bool>().prop_map(|certificate| SocketEnd::Unreachable {
            detail: "d".into(),
            certificate
        }),
    ]
}

fn frame() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "pong"})),
        Just(json!({"type": "nonsense"})),
        Just(json!({"type": "error", "code": "x"})),
        Just(json!({"type": "direct", "from": "a", "data": 1})),
        any::<u32>().prop_map(|ms| json!({"type": "going_away", "retryAfterMs": ms})),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..100_000).prop_map(Step::Advance),
        1 => Just(Step::Close),
        3 => Just(Step::Connect),
        3 => end().prop_map(Step::End),
        2 => frame().prop_map(Step::Frame),
        6 => Just(Step::Opened),
        2 => (0usize..400).prop_map(Step::Send),
        1 => (1u64..4).prop_map(Step::Stale),
        2 => any::<bool>().prop_map(Step::Subscribe),
        4 => prop_oneof![Just(Ok("t")), Just(Ok("")), Just(Err("e"))].prop_map(Step::Token),
        8 => Just(Step::Welcome),
    ]
}

/// What must be true of the whole history.
#[derive(Default)]
struct Promises {
    running: bool,
    current: Option<SocketId>,
}

impl Promises {
    fn check(&mut self, bench: &mut Bench) {
        for event in bench.events.drain(..) {
            match event {
                ClientEvent::Connected(_) => assert!(self.running),
                ClientEvent::Disconnected {
                    will_reconnect,
                    delay,
                    ..
                } => {
                    assert!(self.running, "a word after the final one");
                    assert_eq!(will_reconnect, delay.is_some());
                    self.running = will_reconnect;
                }
                ClientEvent::StateChanged { from, to } => assert_ne!(from, to),
                _ => {}
            }
        }
        for output in bench.net.drain(..) {
            match output {
                NetOutput::OpenSocket { id, .. } => {
                    assert!(self.current.is_none_or(|current| current < id));
                    self.current = Some(id);
                }
                NetOutput::SendText(id, _) => assert_eq!(self.current, Some(id)),
                _ => {}
            }
        }
        let closed = matches!(bench.client.state(), ClientState::Closed | ClientState::Idle);
        assert_eq!(self.running, !closed);
        assert!(
            !closed || bench.client.poll_timeout().is_none(),
            "a closed client wants to be woken"
        );
        assert!(
            closed
                || bench.client.poll_timeout().is_some()
                || bench.client.config.inactivity_window.is_zero()
        );
    }
}

fn run(config: ClientConfig, steps: Vec<Step>) {
    let mut bench = Bench::new(config);
    let mut promises = Promises::default();
    for step in steps {
        let now = bench.now;
        match step {
            Step::Advance(ms) => bench.advance(Duration::from_millis(ms)),
            Step::Close => bench.client.close(),
            Step::Connect => promises.running |= bench.client.connect(now).is_ok(),
            Step::End(end) => bench.end(end),
            Step::Frame(frame) => bench.frame(frame),
            Step::Opened => bench.open(),
            Step::Send(count) => {
                for n in 0..count {
                    let _ = bench.client.send(now, &peer("a"), &json!(n), Priority::Candidate);
                }
            }
            Step::Stale(age) => {
                let id = SocketId(bench.client.last_socket.wrapping_sub(age));
                bench.input(NetInput::SocketClosed(
                    id,
                    SocketEnd::Lost {
                        detail: String::new(),
                    },
                ));
            }
            Step::Subscribe(on) => {
                let channel = channel("c");
                let _ = match on {
                    true => bench.client.subscribe(now, &channel, SubscribeOptions::default()),
                    false => bench.client.unsubscribe(now, &channel),
                };
            }
            Step::Token(token) => bench.token(token),
            Step::Welcome => bench.welcome(),
        }
        bench.drain();
        promises.check(&mut bench);
        // Early and repeated wake-ups are harmless.
        bench.client.handle_timeout(bench.now);
        bench.client.handle_timeout(bench.now);
        bench.drain();
        promises.check(&mut bench);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn promises_hold(
        steps in proptest::collection::vec(step(), 1..60),
        with_token in any::<bool>(),
        retry_first_connect in any::<bool>(),
        attempts in prop_oneof![Just(None), (1u32..6).prop_map(Some)],
        window in prop_oneof![Just(0u64), Just(60)],
    ) {
        let base = if with_token { token_config() } else { key_config() };
        let reconnect = ReconnectOptions { attempts, ..ReconnectOptions::default() };
        run(ClientConfig { reconnect, retry_first_connect, inactivity_window: secs(window), ..base }, steps);
    }
}
