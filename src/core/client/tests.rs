//! The client under virtual time. Names carry the number of the conformance item they prove.

mod closing;
mod frames;
mod keepalive;
mod pacing;
mod random;
mod reconnect;
mod refusals;
mod replay;
mod requests;
mod secrets;
mod settings;
mod tokens;
mod welcome;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::core::io::SocketEnd;
use crate::wire::{CloseCode, Endpoint, RequestId, Secret};

/// A client, its clock, and everything it has said.
struct Bench {
    client: Client,
    now: Instant,
    net: Vec<NetOutput>,
    events: Vec<ClientEvent>,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key_config() -> ClientConfig {
    let key = CredentialSource::ApiKey(Secret::new("pk_live_7Qd2".to_owned()));
    ClientConfig {
        endpoint: Endpoint::parse("wss://a.example").unwrap(),
        ..ClientConfig::new(key, 7)
    }
}

fn token_config() -> ClientConfig {
    ClientConfig {
        credential: CredentialSource::TokenProvider,
        ..key_config()
    }
}

/// A server that has nothing to say but the welcome.
fn welcome_frame() -> Value {
    json!({"type": "welcome", "peerId": "me", "serverTime": 1, "expiresAt": null, "maxMessageSize": 65536})
}

fn with_attempts(attempts: u32, config: ClientConfig) -> ClientConfig {
    let reconnect = ReconnectOptions {
        attempts: Some(attempts),
        ..config.reconnect
    };
    ClientConfig { reconnect, ..config }
}

/// A connection that breaks.
fn reset() -> SocketEnd {
    SocketEnd::Lost {
        detail: "reset".into(),
    }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

impl Bench {
    fn new(config: ClientConfig) -> Self {
        let now = Instant::now();
        let client = Client::new(config, now).unwrap();
        Self {
            client,
            now,
            net: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Connected and welcomed, with nothing left to read.
    fn connected(config: ClientConfig) -> Self {
        let mut bench = Self::new(config);
        bench.client.connect(bench.now).unwrap();
        bench.drain();
        if matches!(bench.client.config.credential, CredentialSource::TokenProvider) {
            bench.token(Ok("t1"));
        }
        bench.open();
        bench.welcome();
        bench.net.clear();
        bench.events.clear();
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll_net() {
            self.net.push(output);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
    }

    fn socket(&self) -> SocketId {
        SocketId(self.client.last_socket)
    }

    fn input(&mut self, input: NetInput) {
        self.client.handle_net(self.now, input);
        self.drain();
    }

    fn open(&mut self) {
        self.input(NetInput::SocketOpened(self.socket()));
    }

    fn token(&mut self, token: Result<&str, &str>) {
        let token = token
            .map(|token| Secret::new(token.to_owned()))
            .map_err(str::to_owned);
        self.input(NetInput::Token(self.socket(), token));
    }

    fn frame(&mut self, frame: Value) {
        self.input(NetInput::Text(self.socket(), frame.to_string()));
    }

    fn welcome(&mut self) {
        self.frame(welcome_frame());
    }

    fn ack(&mut self, id: RequestId) {
        self.frame(json!({"type": "ack", "requestId": id.to_string()}));
    }

    fn connect(&mut self) {
        self.client.connect(self.now).unwrap();
        self.drain();
    }

    /// The connection breaks, and the next attempt opens a socket that waits for its welcome.
    fn reopen(&mut self) {
        self.closed(1006);
        self.until_attempt();
        self.open();
    }

    /// The connection breaks, and the next one is as good. What is left to read came with its welcome.
    fn reconnect(&mut self) {
        self.reopen();
        self.net.clear();
        self.events.clear();
        self.welcome();
    }

    fn close(&mut self) {
        self.client.close();
        self.drain();
    }

    fn subscribe(&mut self, name: &str) -> Result<RequestId, RequestError> {
        self.subscribe_with(name, false)
    }

    fn subscribe_with(
        &mut self,
        name: &str,
        include_sender_metadata: bool,
    ) -> Result<RequestId, RequestError> {
        let options = SubscribeOptions {
            include_sender_metadata,
        };
        let result = self.client.subscribe(self.now, &channel(name), options);
        self.drain();
        result
    }

    fn unsubscribe(&mut self, name: &str) -> Result<RequestId, RequestError> {
        let result = self.client.unsubscribe(self.now, &channel(name));
        self.drain();
        result
    }

    fn publish(&mut self, data: Value) -> Result<RequestId, RequestError> {
        let result = self.client.publish(self.now, &channel("c"), &data);
        self.drain();
        result
    }

    fn send(&mut self, to: &str, data: Value, priority: Priority) -> Result<RequestId, RequestError> {
        let result = self.client.send(self.now, &peer(to), &data, priority);
        self.drain();
        result
    }

    fn end(&mut self, end: SocketEnd) {
        self.input(NetInput::SocketClosed(self.socket(), end));
    }

    fn closed(&mut self, code: u16) {
        self.end(SocketEnd::Closed {
            code,
            reason: "server words".into(),
        });
    }

    /// Lets time pass, stopping wherever the client wants to be woken.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.client.handle_timeout(self.now);
        self.drain();
    }

    /// Lets time pass until the next attempt begins; how long it took.
    fn until_attempt(&mut self) -> Duration {
        let (start, before) = (self.now, self.client.last_socket);
        for _ in 0..1000 {
            if self.client.last_socket != before {
                break;
            }
            let Some(at) = self.client.poll_timeout() else {
                break;
            };
            self.advance(at - self.now);
        }
        assert_ne!(self.client.last_socket, before, "no attempt follows");
        self.now - start
    }

    fn sent(&self) -> Vec<Value> {
        let text = |output: &NetOutput| match output {
            NetOutput::SendText(_, text) => Some(serde_json::from_str(text).unwrap()),
            _ => None,
        };
        self.net.iter().filter_map(text).collect()
    }

    fn sent_types(&self) -> Vec<String> {
        self.sent()
            .iter()
            .map(|frame| frame["type"].as_str().unwrap().to_owned())
            .collect()
    }

    fn last_request(&self) -> String {
        self.sent().last().unwrap()["requestId"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// One member of every frame that was sent.
    fn sent_members(&self, member: &str) -> Vec<Value> {
        self.sent().iter().map(|frame| frame[member].clone()).collect()
    }

    fn close_codes(&self) -> Vec<u16> {
        let code = |output: &NetOutput| match output {
            NetOutput::CloseSocket { code, .. } => Some(*code),
            _ => None,
        };
        self.net.iter().filter_map(code).collect()
    }

    fn urls(&self) -> Vec<&str> {
        self.net
            .iter()
            .filter_map(|output| match output {
                NetOutput::OpenSocket { url, .. } => Some(url.expose().as_str()),
                _ => None,
            })
            .collect()
    }

    /// The final `Disconnected` events.
    fn finals(&self) -> Vec<CloseCode> {
        let code = |event: &ClientEvent| match event {
            ClientEvent::Disconnected {
                code,
                will_reconnect: false,
                ..
            } => Some(*code),
            _ => None,
        };
        self.events.iter().filter_map(code).collect()
    }

    fn failures(&self) -> Vec<(&ConnectFailure, bool)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                ClientEvent::ConnectFailed { failure, retry_in } => Some((failure, retry_in.is_some())),
                _ => None,
            })
            .collect()
    }

    fn has(&self, wanted: impl Fn(&ClientEvent) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}
