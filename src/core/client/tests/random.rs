//! Whatever happens in whatever order: no panic, and the promises of the client hold after every step.
//!
//! A failure names its seed; `CLIENT_SEEDS` sets the number of runs and `CLIENT_FIRST` the first seed.

mod promises;

use promises::Promises;

use super::*;

const STEPS: usize = 80;
const CHANNELS: [&str; 6] = ["a", "b", "c", "d", "e", "a channel with a rather long name"];

/// One run: a client, a world that treats it well more often than not, and what must hold.
struct Run {
    rng: fastrand::Rng,
    bench: Bench,
    promises: Promises,
    /// The socket that the world knows to be open.
    opened: Option<SocketId>,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.bench.client.config.seed);
        }
    }
}

fn options(rng: &mut fastrand::Rng) -> ReconnectOptions {
    ReconnectOptions {
        enabled: rng.u8(..10) > 0,
        initial: *rng
            .choice(&[Duration::ZERO, Duration::from_millis(500), secs(30)])
            .unwrap(),
        jitter: *rng.choice(&[0.0, 0.2, 1.0]).unwrap(),
        attempts: *rng.choice(&[None, Some(1), Some(3), Some(100)]).unwrap(),
        ..ReconnectOptions::default()
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let base = if rng.bool() { token_config() } else { key_config() };
        let config = ClientConfig {
            reconnect: options(&mut rng),
            retry_first_connect: rng.bool(),
            auto_resubscribe: rng.u8(..8) > 0,
            inactivity_window: secs(*rng.choice(&[0, 2, 60]).unwrap()),
            seed,
            ..base
        };
        let bench = Bench::new(config);
        Self {
            promises: Promises::new(&bench),
            rng,
            bench,
            opened: None,
        }
    }

    fn observe(&mut self) {
        self.bench.drain();
        self.promises.check(&mut self.bench);
    }

    /// Lets time pass, looking at everything that happens by itself.
    fn advance(&mut self, by: Duration) {
        let end = self.bench.now + by;
        while let Some(at) = self.bench.client.poll_timeout().filter(|at| *at <= end) {
            self.bench.now = self.bench.now.max(at);
            self.wake();
        }
        self.bench.now = end;
    }

    /// Early and repeated wake-ups are harmless, and one that was due leaves nothing due.
    fn wake(&mut self) {
        let now = self.bench.now;
        self.bench.client.handle_timeout(now);
        self.observe();
        let due = self.bench.client.poll_timeout();
        assert!(
            due.is_none_or(|due| due > now),
            "it wants to be woken at once, again"
        );
        self.bench.client.handle_timeout(now);
        assert_eq!(self.bench.client.poll_timeout(), due);
        self.observe();
    }

    fn step(&mut self) {
        match self.rng.u8(..20) {
            0..9 => self.help(),
            9..12 => self.time(),
            12 => self.disturb(),
            13 => self.stale(),
            _ => self.command(),
        }
        self.observe();
        self.wake();
    }

    /// What a good world would do next.
    fn help(&mut self) {
        let (now, socket) = (self.bench.now, self.bench.socket());
        match self.bench.client.attempt.map(|attempt| attempt.phase) {
            None if matches!(self.bench.client.state(), ClientState::Idle | ClientState::Closed) => {
                self.promises.connecting();
                self.bench.client.connect(now).unwrap();
            }
            None => self.time(),
            Some(Phase::Token { .. }) => {
                let answer = *self
                    .rng
                    .choice(&[Ok("t"), Ok("t"), Ok("t"), Ok(""), Err("e")])
                    .unwrap();
                self.bench.token(answer);
            }
            Some(Phase::Opening { .. }) if self.opened != Some(socket) => {
                self.opened = Some(socket);
                self.bench.open();
            }
            Some(Phase::Opening { .. }) => self.welcome(),
            Some(Phase::Live { .. }) => self.answer(),
        }
    }

    fn welcome(&mut self) {
        let cap = *self.rng.choice(&[10, 110, 65_536, 65_536]).unwrap();
        self.promises.welcoming(cap);
        let peer_id = *self.rng.choice(&["me", "other"]).unwrap();
        self.bench
            .frame(json!({"type": "welcome", "peerId": peer_id, "serverTime": 1, "maxMessageSize": cap}));
    }

    /// The server acknowledges or refuses some of what it was asked.
    fn answer(&mut self) {
        for id in self.promises.take_unanswered() {
            match self.rng.u8(..8) {
                0 => self
                    .bench
                    .frame(json!({"type": "error", "requestId": id, "code": "internal_error"})),
                1 => {}
                _ => self.bench.frame(json!({"type": "ack", "requestId": id})),
            }
        }
    }

    fn time(&mut self) {
        let next = self
            .bench
            .client
            .poll_timeout()
            .map(|at| at.saturating_duration_since(self.bench.now));
        let by = match (self.rng.u8(..4), next) {
            (0, _) => Duration::from_millis(self.rng.u64(..100)),
            (1, _) => secs(self.rng.u64(..400)),
            (2, Some(next)) => next.saturating_sub(Duration::from_nanos(1)),
            (_, next) => next.unwrap_or(secs(7)),
        };
        self.advance(by);
    }

    fn disturb(&mut self) {
        let frame = match self.rng.u8(..9) {
            0 => json!({"type": "going_away", "retryAfterMs": self.rng.u32(..400_000)}),
            1 => json!({"type": "error", "code": "over_message_quota"}),
            2 => json!({"type": "nonsense"}),
            3 => json!({"type": "direct", "from": "a", "data": 1}),
            4 if self.rng.u8(..50) == 0 => {
                let text = "x".repeat(1_048_577);
                return self.bench.input(NetInput::Text(self.bench.socket(), text));
            }
            _ => return self.end(),
        };
        if let Some(ms) = frame.get("retryAfterMs").and_then(Value::as_u64) {
            let wait = Duration::from_millis(if ms == 0 { 1000 } else { ms }).min(secs(300));
            self.promises.announcing(&self.bench, wait);
        }
        self.bench.frame(frame);
    }

    fn end(&mut self) {
        let end = match self.rng.u8(..6) {
            0 | 1 => SocketEnd::Closed {
                code: *self
                    .rng
                    .choice(&[1000, 1001, 1006, 4000, 4001, 4002, 4010, 4011, 4020])
                    .unwrap(),
                reason: "r".into(),
            },
            2 | 3 => SocketEnd::Refused {
                status: *self.rng.choice(&[401, 403, 429, 503]).unwrap(),
                retry_after: self.rng.bool().then(|| secs(self.rng.u64(..1000))),
                error: None,
            },
            4 => reset(),
            _ => SocketEnd::Unreachable {
                detail: "d".into(),
                certificate: self.rng.u8(..4) == 0,
            },
        };
        self.promises.ending(&self.bench, &end);
        self.bench.end(end);
    }

    /// Facts about sockets of former times say nothing.
    fn stale(&mut self) {
        let newest = self.bench.client.last_socket;
        let old = SocketId(newest.saturating_sub(self.rng.u64(1..4)));
        let state = self.bench.client.state();
        let due = self.bench.client.poll_timeout();
        let facts = [
            NetInput::SocketOpened(old),
            NetInput::Text(old, welcome_frame().to_string()),
            NetInput::Token(old, Ok(Secret::new("t".into()))),
            NetInput::SocketClosed(old, reset()),
            NetInput::Activity(SocketId(newest)),
        ];
        for fact in facts {
            self.bench.input(fact);
        }
        assert!(self.bench.events.is_empty() && self.bench.net.is_empty());
        assert_eq!(
            (self.bench.client.state(), self.bench.client.poll_timeout()),
            (state, due)
        );
    }

    fn command(&mut self) {
        let name = *self.rng.choice(&CHANNELS).unwrap();
        let flag = self.rng.bool();
        match self.rng.u8(..16) {
            0 => self.bench.close(),
            1 => assert_eq!(
                self.bench.client.connect(self.bench.now).is_ok(),
                self.promises.may_connect()
            ),
            2..6 => {
                let result = self.bench.subscribe_with(name, flag);
                self.promises.subscribed(name, flag, &result);
            }
            6 | 7 => {
                let result = self.bench.unsubscribe(name);
                self.promises.unsubscribed(name, &result);
            }
            8 => {
                self.bench.client.untrack(&channel(name));
                self.promises.untracked(name);
            }
            9 => self.bench.client.forget_peer(&peer("a")),
            _ => self.send(),
        }
    }

    fn send(&mut self) {
        let priorities = [
            Priority::Description,
            Priority::Candidate,
            Priority::Metadata,
            Priority::Data,
        ];
        for n in 0..*self.rng.choice(&[1, 1, 1, 1, 2, 3, 5, 160]).unwrap() {
            let priority = *self.rng.choice(&priorities).unwrap();
            let to = *self.rng.choice(&["a", "b"]).unwrap();
            let result = match self.rng.bool() {
                true => self.bench.send(to, json!(n), priority),
                false => self.bench.publish(json!("x".repeat(n))),
            };
            self.promises.asked(&result);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[test]
fn promises_hold() {
    let first = number("CLIENT_FIRST", 0);
    for seed in first..first + number("CLIENT_SEEDS", 2000) {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        // Whatever has happened, it can be ended.
        run.bench.close();
        run.observe();
        run.wake();
        assert_eq!(run.bench.client.poll_timeout(), None);
    }
}
