//! What a client promises, told from nothing but what goes in and what comes out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::core::client::tests::*;

/// How far the newest attempt has come, by what the client has asked of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Progress {
    Nothing,
    Token,
    Socket,
    Live { since: Instant },
}

#[derive(Debug)]
pub struct Promises {
    config: ClientConfig,
    state: ClientState,
    /// A connect whose final word has not been said.
    running: bool,
    welcomed: bool,
    progress: Progress,
    newest: SocketId,
    /// The newest socket that was asked for and has not been closed.
    socket: Option<SocketId>,
    cap: usize,
    /// Tokens in the server's bucket, and when there were so many.
    bucket: (f64, Instant),
    /// Requests of the owner that have had no outcome.
    pending: HashSet<RequestId>,
    /// Ids that the server has seen.
    seen: HashSet<String>,
    unanswered: Vec<String>,
    tracked: BTreeMap<String, bool>,
    /// Delays since the last stable connection.
    delays: u32,
    floor: Duration,
    announced: Option<(Instant, Duration)>,
    token_failures: u32,
}

impl Promises {
    pub fn new(bench: &Bench) -> Self {
        Self {
            config: bench.client.config.clone(),
            state: ClientState::Idle,
            running: false,
            welcomed: false,
            progress: Progress::Nothing,
            newest: SocketId(0),
            socket: None,
            cap: 0,
            bucket: (0.0, bench.now),
            pending: HashSet::new(),
            seen: HashSet::new(),
            unanswered: Vec::new(),
            tracked: BTreeMap::new(),
            delays: 0,
            floor: Duration::ZERO,
            announced: None,
            token_failures: 0,
        }
    }

    /// The owner is about to connect, legally.
    pub fn connecting(&mut self) {
        assert!(!self.running && self.pending.is_empty());
        self.running = true;
        self.welcomed = false;
        self.tracked.clear();
        self.delays = 0;
        self.floor = Duration::ZERO;
        self.announced = None;
        self.token_failures = 0;
    }

    /// Notes a connect if it is legal now; whether it is.
    pub fn may_connect(&mut self) -> bool {
        let legal = matches!(self.state, ClientState::Idle | ClientState::Closed);
        if legal {
            self.connecting();
        }
        legal
    }

    pub fn welcoming(&mut self, cap: usize) {
        self.cap = cap;
    }

    pub fn announcing(&mut self, bench: &Bench, wait: Duration) {
        if matches!(self.progress, Progress::Socket | Progress::Live { .. }) {
            self.announced = Some((bench.now, wait));
        }
    }

    /// The newest socket is about to end.
    pub fn ending(&mut self, bench: &Bench, end: &SocketEnd) {
        let live = matches!(self.progress, Progress::Live { .. });
        if bench.socket() != self.newest || !(live || self.progress == Progress::Socket) {
            return;
        }
        self.floor = match end {
            SocketEnd::Closed { code: 4010, .. } => secs(30),
            SocketEnd::Refused {
                status, retry_after, ..
            } if !live => {
                let wanted = retry_after.unwrap_or_default().min(secs(300));
                if *status == 429 {
                    wanted.max(secs(30))
                } else {
                    wanted
                }
            }
            _ => Duration::ZERO,
        };
    }

    pub fn asked(&mut self, result: &Result<RequestId, RequestError>) {
        match result {
            Ok(id) => assert!(self.pending.insert(*id), "a request id is used twice"),
            Err(RequestError::NotConnected) => assert!(!matches!(self.progress, Progress::Live { .. })),
            Err(RequestError::Oversized { size, cap }) => assert!(size > cap && *cap == self.cap),
            Err(error) => assert_eq!(*error, RequestError::QueueFull),
        }
    }

    pub fn subscribed(&mut self, name: &str, flag: bool, result: &Result<RequestId, RequestError>) {
        self.asked(result);
        if result.is_ok() || self.tracked.contains_key(name) {
            self.tracked.insert(name.to_owned(), flag);
        }
    }

    pub fn unsubscribed(&mut self, name: &str, result: &Result<RequestId, RequestError>) {
        self.asked(result);
        self.untracked(name);
    }

    pub fn untracked(&mut self, name: &str) {
        self.tracked.remove(name);
    }

    /// Requests that the server has seen and not answered.
    pub fn take_unanswered(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unanswered)
    }

    /// Takes everything that was said since the last time.
    pub fn check(&mut self, bench: &mut Bench) {
        let events: Vec<ClientEvent> = bench.events.drain(..).collect();
        let now = bench.now;
        let restores = events.iter().any(|event| {
            matches!(event, ClientEvent::Connected(connected) if connected.is_reconnect)
                && self.config.auto_resubscribe
        });
        let impossible: BTreeSet<String> = events.iter().filter_map(impossible_replay).collect();
        for (n, event) in events.iter().enumerate() {
            self.event(now, event, &events[n + 1..]);
        }
        let outputs: Vec<NetOutput> = bench.net.drain(..).collect();
        if restores {
            self.restored(&outputs, &impossible);
        }
        outputs.iter().for_each(|output| self.output(now, output));
        self.standing(bench);
    }

    fn event(&mut self, now: Instant, event: &ClientEvent, rest: &[ClientEvent]) {
        if let ClientEvent::StateChanged { from, to } = event {
            assert_eq!(*from, self.state);
            assert_ne!(from, to);
            self.state = *to;
            return;
        }
        assert!(self.running, "a word after the final one: {event:?}");
        match event {
            ClientEvent::Connected(connected) => {
                assert_eq!(self.state, ClientState::Connected);
                assert_eq!(connected.is_reconnect, self.welcomed);
                self.welcomed = true;
                self.progress = Progress::Live { since: now };
            }
            ClientEvent::Disconnected {
                will_reconnect,
                delay,
                ..
            } => {
                assert!(self.pending.is_empty(), "requests outlive the connection");
                assert_eq!(*will_reconnect, delay.is_some());
                if let Progress::Live { since } = self.progress
                    && now - since >= secs(5)
                {
                    self.delays = 0;
                }
                self.progress = Progress::Nothing;
                self.running = *will_reconnect;
                self.delayed(now, *delay);
            }
            ClientEvent::ConnectFailed { failure, retry_in } => {
                assert!(!matches!(self.progress, Progress::Live { .. }));
                self.progress = Progress::Nothing;
                if let ConnectFailure::Token { .. } = failure {
                    self.token_failures += 1;
                }
                let ends = matches!(
                    rest.first(),
                    Some(ClientEvent::Disconnected {
                        will_reconnect: false,
                        ..
                    })
                );
                assert_eq!(ends, retry_in.is_none());
                self.delayed(now, *retry_in);
            }
            ClientEvent::TokenProviderError {
                consecutive_failures, ..
            } => {
                assert_eq!(*consecutive_failures, self.token_failures + 1);
                assert!(*consecutive_failures >= 3);
            }
            ClientEvent::Acked(id) | ClientEvent::RequestFailed(id, _) => {
                assert!(self.pending.remove(id), "a second outcome: {event:?}");
            }
            ClientEvent::Resubscribed(channel) | ClientEvent::ResubscribeFailed { channel, .. } => {
                assert!(self.tracked.contains_key(channel.as_str()));
            }
            ClientEvent::Message { .. } | ClientEvent::Direct { .. } | ClientEvent::Presence { .. } => {
                assert!(matches!(self.progress, Progress::Live { .. }));
            }
            _ => {}
        }
    }

    fn delayed(&mut self, now: Instant, delay: Option<Duration>) {
        let floor = std::mem::take(&mut self.floor);
        let Some(delay) = delay else { return };
        let announced = self
            .announced
            .take()
            .filter(|(at, _)| now - *at <= secs(300))
            .map_or(Duration::ZERO, |(_, wait)| wait);
        let floor = floor.max(announced);
        assert!(delay >= floor, "{delay:?} is shorter than {floor:?}");
        assert!(
            delay
                <= floor
                    .max(secs(30))
                    .mul_f64(1.0 + self.config.reconnect.jitter + 1e-9)
        );
        self.delays += 1;
        assert!(self.config.reconnect.enabled);
        assert!(
            self.config
                .reconnect
                .attempts
                .is_none_or(|most| self.delays <= most)
        );
        assert!(self.welcomed || self.config.retry_first_connect);
    }

    fn output(&mut self, now: Instant, output: &NetOutput) {
        match output {
            NetOutput::FetchToken(id) => {
                assert!(self.running && self.progress == Progress::Nothing && *id > self.newest);
                assert_eq!(self.config.credential, CredentialSource::TokenProvider);
                self.progress = Progress::Token;
                self.newest = *id;
            }
            NetOutput::OpenSocket { id, .. } => {
                assert!(self.running);
                match self.config.credential {
                    CredentialSource::TokenProvider => {
                        assert_eq!((self.progress, *id), (Progress::Token, self.newest))
                    }
                    CredentialSource::ApiKey(_) => {
                        assert!(self.progress == Progress::Nothing && *id > self.newest)
                    }
                }
                self.token_failures = 0;
                self.progress = Progress::Socket;
                self.socket = Some(*id);
                self.newest = *id;
                self.bucket = (200.0, now);
                self.unanswered.clear();
            }
            NetOutput::SendText(id, text) => {
                assert!(
                    matches!(self.progress, Progress::Live { .. }),
                    "{text} without a welcome"
                );
                assert_eq!(*id, self.newest);
                assert!(text.len() <= self.cap, "{text} is too large");
                self.paced(now);
                let frame: Value = serde_json::from_str(text).unwrap();
                if let Some(id) = frame["requestId"].as_str() {
                    assert!(self.seen.insert(id.to_owned()), "a request is sent twice");
                    self.unanswered.push(id.to_owned());
                }
            }
            NetOutput::CloseSocket { id, .. } => {
                assert_eq!(self.socket.take(), Some(*id), "closed twice, or never opened");
            }
            NetOutput::ForgetToken(id) => {
                assert_eq!(*id, self.newest);
                assert_ne!(self.socket, Some(*id), "there is a socket already");
            }
            NetOutput::Resolve { .. } => panic!("a client resolves nothing"),
        }
    }

    /// The server lets 200 frames pass at once, and 100 per second.
    fn paced(&mut self, now: Instant) {
        let (tokens, at) = self.bucket;
        let tokens = (tokens + 100.0 * (now - at).as_secs_f64()).min(200.0) - 1.0;
        assert!(tokens >= 0.0, "the server would close with 4011");
        self.bucket = (tokens, now);
    }

    /// With a welcome after a loss, all channels are asked for, each once and with its newest options.
    fn restored(&self, outputs: &[NetOutput], impossible: &BTreeSet<String>) {
        let mut wanted = self.tracked.clone();
        wanted.retain(|name, _| !impossible.contains(name));
        let mut sent = BTreeMap::new();
        for output in outputs {
            let NetOutput::SendText(_, text) = output else {
                continue;
            };
            let frame: Value = serde_json::from_str(text).unwrap();
            assert_eq!(frame["type"], "subscribe");
            let flag = frame["includeSenderMetadata"] == true;
            let twice = sent.insert(frame["channel"].as_str().unwrap().to_owned(), flag);
            assert_eq!(twice, None);
        }
        assert_eq!(sent, wanted);
    }

    /// What holds whenever nothing is going on.
    fn standing(&self, bench: &Bench) {
        let client = &bench.client;
        assert_eq!(client.state(), self.state);
        let over = matches!(self.state, ClientState::Closed | ClientState::Idle);
        assert_eq!(self.running, !over);
        let due = client.poll_timeout();
        assert!(!over || (due.is_none() && self.pending.is_empty()));
        // Something is always waited for, but in a connection without a watchdog.
        assert!(over || due.is_some() || self.config.inactivity_window.is_zero());
        assert_eq!(
            self.state == ClientState::Connected,
            matches!(self.progress, Progress::Live { .. })
        );
    }
}

fn impossible_replay(event: &ClientEvent) -> Option<String> {
    match event {
        ClientEvent::ResubscribeFailed {
            channel,
            error: RequestError::Oversized { .. },
            will_retry: false,
        } => Some(channel.as_str().to_owned()),
        _ => None,
    }
}
