//! The client, told arbitrary facts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::clock::{Woken, pass};
use super::{lines, number};
use crate::core::client::{
    Client, ClientConfig, ClientEvent, ClientState, CredentialSource, Priority, ReconnectOptions,
    SubscribeOptions,
};
use crate::core::io::{NetInput, NetOutput, SocketEnd, SocketId};
use crate::wire::limits::{PACE_BURST, PACE_DATA_MAX, PACE_RATE, PACE_SIGNALS_MAX};
use crate::wire::{ChannelName, PeerId, RequestId, Secret};

const KEY: &str = "7Qd2wXyZ";

/// A script: the first line has the options, each further line is a fact or a command (`step`).
pub fn client(data: &[u8]) {
    if data.windows(KEY.len()).any(|part| part == KEY.as_bytes()) {
        // libFuzzer learns the key from the comparisons below, and has the server say it.
        return;
    }
    let lines = lines(data);
    let options = lines.first().map(String::as_str).unwrap_or_default();
    let mut bench = Bench::new(config(options));
    for line in lines.iter().skip(1) {
        bench.step(line);
        bench.settle();
    }
    bench.client.close();
    bench.settle();
    assert!(bench.waiting.is_empty(), "requests without an outcome");
}

fn config(options: &str) -> ClientConfig {
    let credential = match options.contains('t') {
        true => CredentialSource::TokenProvider,
        false => CredentialSource::ApiKey(Secret::new(format!("pk_live_{KEY}"))),
    };
    let attempts = u32::try_from(number(options.trim_start_matches(char::is_alphabetic), 99)).ok();
    let mut config = ClientConfig::new(credential, 7);
    config.retry_first_connect = options.contains('r');
    config.auto_resubscribe = !options.contains('n');
    if options.contains('w') {
        config.inactivity_window = Duration::ZERO;
    }
    config.reconnect = ReconnectOptions {
        enabled: !options.contains('d'),
        attempts: attempts.filter(|attempts| *attempts > 0),
        ..ReconnectOptions::default()
    };
    config
}

struct Bench {
    client: Client,
    now: Instant,
    /// Between `connect` and the final word.
    running: bool,
    finals: u64,
    connects: u64,
    current: Option<SocketId>,
    /// Requests of ours without an outcome, and those that were sent, in order.
    waiting: BTreeSet<RequestId>,
    sent: Vec<String>,
    /// When this connection's frames were sent.
    pace: Vec<Instant>,
    /// Names given to sockets, for stale facts.
    sockets: BTreeMap<SocketId, ()>,
}

impl Bench {
    fn new(config: ClientConfig) -> Self {
        let now = Instant::now();
        Self {
            client: Client::new(config, now).expect("a good configuration"),
            now,
            running: false,
            finals: 0,
            connects: 0,
            current: None,
            waiting: BTreeSet::new(),
            sent: Vec::new(),
            pace: Vec::new(),
            sockets: BTreeMap::new(),
        }
    }

    fn socket(&self) -> SocketId {
        self.current.unwrap_or(SocketId(0))
    }

    fn input(&mut self, input: NetInput) {
        self.client.handle_net(self.now, input);
    }

    fn end(&mut self, end: SocketEnd) {
        self.input(NetInput::SocketClosed(self.socket(), end));
    }

    fn text(&mut self, text: String) {
        self.input(NetInput::Text(self.socket(), text));
    }

    fn step(&mut self, line: &str) {
        let mut rest = line.chars();
        let first = rest.next().unwrap_or(' ');
        let rest = rest.as_str();
        let id = self.socket();
        let detail = rest.to_owned();
        match first {
            '+' => {
                let by = Duration::from_millis(number(rest, 200_000));
                let mut now = self.now;
                pass(self, &mut now, by);
                self.now = now;
            }
            'o' => self.input(NetInput::SocketOpened(id)),
            'b' => self.input(NetInput::Activity(id)),
            'x' => self.end(SocketEnd::Closed {
                code: number(rest, u16::MAX.into()) as u16,
                reason: detail,
            }),
            'l' => self.end(SocketEnd::Lost { detail }),
            'u' | 'U' => self.end(SocketEnd::Unreachable {
                detail,
                certificate: first == 'U',
            }),
            'r' => {
                let wait = rest.split_once(' ').map(|(_, wait)| number(wait, u64::MAX));
                self.end(SocketEnd::Refused {
                    status: number(rest, 999) as u16,
                    retry_after: wait.map(Duration::from_secs),
                    error: Some(detail),
                });
            }
            't' => self.input(NetInput::Token(id, Ok(Secret::new(detail)))),
            'T' => self.input(NetInput::Token(id, Err(detail))),
            'z' => {
                let stale = SocketId(id.0.wrapping_sub(number(rest, 9)));
                self.input(NetInput::SocketClosed(
                    stale,
                    SocketEnd::Lost {
                        detail: String::new(),
                    },
                ));
            }
            'c' => {
                let legal = matches!(self.client.state(), ClientState::Idle | ClientState::Closed);
                let done = self.client.connect(self.now).is_ok();
                assert_eq!(done, legal);
                self.connects += u64::from(done);
                self.running |= done;
            }
            'q' => self.client.close(),
            'w' => self.text(welcome(rest)),
            'a' | 'e' => self.answer(first == 'a', rest),
            _ => self.ask(first, rest, line),
        }
    }

    /// Requests of the owner; anything else is a text of the server.
    fn ask(&mut self, first: char, rest: &str, line: &str) {
        let now = self.now;
        let channel = ChannelName::new(rest).unwrap_or_else(|_| ChannelName::new("c").expect("a name"));
        let peer = PeerId::new(rest.trim_start_matches(|c: char| c.is_ascii_digit()))
            .unwrap_or_else(|_| PeerId::new("a").expect("a name"));
        let asked = match first {
            's' => {
                for n in 0..number(rest, 300) {
                    let priority = match n % 3 {
                        0 => Priority::Data,
                        1 => Priority::Candidate,
                        _ => Priority::Description,
                    };
                    let asked = self.client.send(now, &peer, &json!(n), priority);
                    self.waiting.extend(asked.ok());
                }
                return;
            }
            'p' => self.client.publish(now, &channel, &json!(line)),
            'S' => {
                let include_sender_metadata = rest.len().is_multiple_of(2);
                self.client.subscribe(
                    now,
                    &channel,
                    SubscribeOptions {
                        include_sender_metadata,
                    },
                )
            }
            'V' => self.client.unsubscribe(now, &channel),
            'k' => return self.client.untrack(&channel),
            'f' => return self.client.forget_peer(&peer),
            _ => return self.text(line.to_owned()),
        };
        self.waiting.extend(asked.ok());
    }

    /// The server answers the oldest request that it has been sent.
    fn answer(&mut self, good: bool, code: &str) {
        if self.sent.is_empty() {
            return;
        }
        let id = self.sent.remove(0);
        let frame = match good {
            true => json!({"type": "ack", "requestId": id}),
            false => json!({"type": "error", "requestId": id, "code": code}),
        };
        self.text(frame.to_string());
    }

    /// Reads everything, and lets the machine have all wake-ups that are due.
    fn settle(&mut self) {
        self.drain();
        // Early wake-ups are harmless.
        self.client.handle_timeout(self.now);
        self.drain();
        let mut now = self.now;
        pass(self, &mut now, Duration::ZERO);
        let closed = matches!(self.client.state(), ClientState::Closed | ClientState::Idle);
        assert_eq!(self.running, !closed);
        assert_eq!(self.finals + u64::from(self.running), self.connects);
        let wanted = self.client.poll_timeout();
        assert!(!closed || wanted.is_none(), "a closed client wants to be woken");
        assert!(
            wanted.is_none_or(|at| at > self.now),
            "it wants to be woken in the past"
        );
        let idle = self.client.config().inactivity_window.is_zero();
        assert!(closed || wanted.is_some() || idle, "nothing would ever wake it");
        assert!(!closed || self.waiting.is_empty(), "requests without an outcome");
        // 15 s of acknowledgements at the full rate, besides what waits for its turn.
        let most = PACE_SIGNALS_MAX + PACE_DATA_MAX + super::MAX_LINES + 15 * 80 + 300;
        assert!(self.waiting.len() <= most);
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll_net() {
            assert!(!format!("{output:?}").contains(KEY));
            match output {
                NetOutput::OpenSocket { id, .. } | NetOutput::FetchToken(id) => {
                    assert!(self.current.is_none_or(|current| current <= id));
                    self.sockets.insert(id, ());
                    self.current = Some(id);
                    self.sent.clear();
                    self.pace.clear();
                }
                NetOutput::SendText(id, text) => self.on_text(id, &text),
                NetOutput::CloseSocket { id, .. } | NetOutput::ForgetToken(id) => {
                    assert!(self.sockets.contains_key(&id));
                }
                NetOutput::Resolve { .. } => panic!("a client resolves nothing"),
            }
        }
        while let Some(event) = self.client.poll_event() {
            assert!(!format!("{event:?}").contains(KEY));
            self.on_event(event);
        }
    }

    fn on_text(&mut self, id: SocketId, text: &str) {
        assert_eq!(self.current, Some(id));
        let frame: Value = serde_json::from_str(text).expect("JSON");
        if matches!(frame["type"].as_str(), Some("publish" | "send")) {
            assert!(text.len() <= self.client.max_message_size());
        }
        self.sent.extend(frame["requestId"].as_str().map(str::to_owned));
        self.pace.push(self.now);
        let since = self
            .pace
            .first()
            .map_or(Duration::ZERO, |first| self.now - *first);
        let most = PACE_BURST + PACE_RATE * since.as_secs_f64() + 1.0;
        assert!(self.pace.len() as f64 <= most, "too fast for the service");
    }

    fn on_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected(_) => assert!(self.running),
            ClientEvent::Disconnected {
                will_reconnect,
                delay,
                ..
            } => {
                assert!(self.running, "a word after the final one");
                assert_eq!(will_reconnect, delay.is_some());
                assert!(
                    self.waiting.is_empty(),
                    "a connection has ended, its requests have not"
                );
                self.running = will_reconnect;
                self.finals += u64::from(!will_reconnect);
            }
            ClientEvent::StateChanged { from, to } => assert_ne!(from, to),
            ClientEvent::Acked(id) => assert!(self.waiting.remove(&id), "an outcome twice"),
            ClientEvent::RequestFailed(id, _) => assert!(self.waiting.remove(&id), "an outcome twice"),
            _ => {}
        }
    }
}

impl Woken for Bench {
    fn wanted(&self) -> Option<Instant> {
        self.client.poll_timeout()
    }

    fn wake(&mut self, now: Instant) {
        self.now = now;
        self.client.handle_timeout(now);
        self.drain();
    }
}

fn welcome(size: &str) -> String {
    let size = number(size, 2_000_000).max(1);
    let size = if size == 1 { 65_536 } else { size };
    json!({"type": "welcome", "peerId": "me", "serverTime": 1, "expiresAt": null, "maxMessageSize": size})
        .to_string()
}
