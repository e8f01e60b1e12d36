//! Answers and events under virtual time. What the client itself does is tested in `core::client`.

use serde_json::json;

use super::*;
use crate::core::client::{ClientConfig, CredentialSource};
use crate::core::io::SocketEnd;
use crate::signalling::{ClientState, Presence};
use crate::wire::Secret;

struct Bench {
    machine: ClientMachine,
    now: Instant,
    net: Vec<NetOutput>,
    /// What came out, answers by their name.
    told: Vec<String>,
    presence: Vec<Presence>,
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn closed(code: u16) -> SocketEnd {
    SocketEnd::Closed {
        code,
        reason: "words of the server".to_owned(),
    }
}

impl Bench {
    fn new() -> Self {
        let key = CredentialSource::ApiKey(Secret::new("pk_live_x".to_owned()));
        let now = Instant::now();
        let client = Client::new(ClientConfig::new(key, 1), now).unwrap();
        Self {
            machine: ClientMachine::new(client),
            now,
            net: Vec::new(),
            told: Vec::new(),
            presence: Vec::new(),
        }
    }

    fn connected() -> (Self, oneshot::Receiver<ConnectResult>) {
        let mut bench = Self::new();
        let connecting = bench.connect();
        bench.open(1);
        bench.welcome(1);
        (bench, connecting)
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_net() {
            self.net.push(output);
        }
        while let Some(output) = self.machine.poll_output() {
            self.told.push(match output {
                Output::Event(Event::Presence(presence), _) => {
                    self.presence.push(presence);
                    "presence".to_owned()
                }
                Output::Event(event, _) => {
                    let text = format!("{event:?}");
                    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
                }
                Output::Connected(reply, result) => {
                    let _ = reply.send(result);
                    "connect answered".to_owned()
                }
                Output::Requested(reply, result) => {
                    let _ = reply.send(result);
                    "request answered".to_owned()
                }
                Output::Closed(reply) => {
                    let _ = reply.send(());
                    "close answered".to_owned()
                }
            });
        }
    }

    fn net(&mut self, input: NetInput) {
        self.machine.handle_net(self.now, input);
        self.drain();
    }

    fn command(&mut self, command: Command) {
        self.machine.handle_input(self.now, command);
        self.drain();
    }

    fn connect(&mut self) -> oneshot::Receiver<ConnectResult> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Connect(reply));
        answer
    }

    fn close(&mut self) -> oneshot::Receiver<()> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Close(reply));
        answer
    }

    fn subscribe(&mut self, name: &str) -> oneshot::Receiver<RequestResult> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Subscribe(
            channel(name),
            SubscribeOptions::default(),
            reply,
        ));
        answer
    }

    fn open(&mut self, socket: u64) {
        self.net(NetInput::SocketOpened(SocketId(socket)));
    }

    fn frame(&mut self, socket: u64, frame: Value) {
        self.net(NetInput::Text(SocketId(socket), frame.to_string()));
    }

    fn welcome(&mut self, socket: u64) {
        self.frame(
            socket,
            json!({"type": "welcome", "peerId": "me", "serverTime": 1, "expiresAt": null, "maxMessageSize": 65536}),
        );
    }

    /// Acknowledges the newest request.
    fn ack(&mut self, socket: u64) {
        let sent = self.net.iter().rev().find_map(|output| match output {
            NetOutput::SendText(_, text) => serde_json::from_str::<Value>(text).ok(),
            _ => None,
        });
        let id = sent.unwrap()["requestId"].clone();
        self.frame(socket, json!({"type": "ack", "requestId": id}));
    }

    fn members(&mut self, socket: u64, name: &str, ids: &[&str]) -> bool {
        let joined: Vec<Value> = ids.iter().map(|id| json!({"peerId": id})).collect();
        self.frame(
            socket,
            json!({"type": "presence", "channel": name, "joined": joined, "left": []}),
        );
        self.presence.last().unwrap().snapshot
    }

    /// Lets time pass up to the next deadline.
    fn wait(&mut self) {
        self.now = self.machine.poll_timeout().unwrap();
        self.machine.handle_timeout(self.now);
        self.drain();
    }
}

#[test]
fn who_sees_the_answer_knows_the_state() {
    let (bench, mut connecting) = Bench::connected();
    let connected = connecting.try_recv().unwrap().unwrap();
    assert_eq!(connected.peer_id.as_str(), "me");
    assert_eq!(
        bench.told,
        ["StateChanged", "StateChanged", "Connected", "connect answered"]
    );
}

#[test]
fn c054_c166_a_first_connect_that_fails_says_why_without_the_servers_words() {
    let mut bench = Bench::new();
    let mut connecting = bench.connect();
    bench.open(1);
    bench.net(NetInput::SocketClosed(SocketId(1), closed(4010)));
    let error = connecting.try_recv().unwrap().unwrap_err();
    assert!(matches!(&error, ConnectError::Failed(ConnectFailure::Closed { code, .. }) if code.0 == 4010));
    assert!(!error.to_string().contains("words of the server"), "{error}");
    assert_eq!(bench.told.last().unwrap(), "connect answered");
    assert_eq!(bench.told[bench.told.len() - 2], "StateChanged");
    assert_eq!(bench.machine.client.state(), ClientState::Closed);
}

#[test]
fn c067_connecting_twice_is_refused_and_does_no_harm() {
    let mut bench = Bench::new();
    let mut first = bench.connect();
    let mut second = bench.connect();
    assert_eq!(
        second.try_recv().unwrap(),
        Err(ConnectError::InvalidState(ClientState::Connecting))
    );
    bench.open(1);
    bench.welcome(1);
    assert!(first.try_recv().unwrap().is_ok());
}

#[test]
fn closing_ends_a_connect_that_is_under_way() {
    let mut bench = Bench::new();
    let mut connecting = bench.connect();
    let mut closing = bench.close();
    assert_eq!(connecting.try_recv().unwrap(), Err(ConnectError::Closed));
    // There is no handshake to wait for.
    assert!(closing.try_recv().is_ok());
}

#[test]
fn c023_close_waits_for_the_handshake_but_not_long() {
    let (mut bench, _connecting) = Bench::connected();
    let mut closing = bench.close();
    let mut again = bench.close();
    assert!(closing.try_recv().is_err());
    bench.net(NetInput::SocketClosed(SocketId(1), closed(1000)));
    assert!(closing.try_recv().is_ok() && again.try_recv().is_ok());

    let mut connecting = bench.connect();
    bench.open(2);
    bench.welcome(2);
    assert!(connecting.try_recv().unwrap().is_ok());
    let start = bench.now;
    let mut closing = bench.close();
    bench.wait();
    assert!(closing.try_recv().is_ok());
    assert_eq!(bench.now - start, CLOSE_FLUSH + CLOSE_GRACE);
}

#[test]
fn each_close_waits_for_its_own_handshake() {
    let (mut bench, _connecting) = Bench::connected();
    let mut first = bench.close();
    let _connecting = bench.connect();
    bench.open(2);
    let mut second = bench.close();
    bench.net(NetInput::SocketClosed(SocketId(1), closed(1000)));
    assert!(first.try_recv().is_ok());
    assert!(second.try_recv().is_err());
    bench.net(NetInput::SocketClosed(SocketId(2), closed(1000)));
    assert!(second.try_recv().is_ok());
}

#[test]
fn c061_requests_fail_before_their_connection_is_said_to_be_lost() {
    let (mut bench, _connecting) = Bench::connected();
    let mut request = bench.subscribe("a");
    bench.told.clear();
    bench.net(NetInput::SocketClosed(SocketId(1), closed(1001)));
    assert_eq!(
        request.try_recv().unwrap(),
        Err(RequestError::Request(client::RequestError::Disconnected))
    );
    assert_eq!(bench.told[..2], ["request answered", "Disconnected"]);
}

#[test]
fn c040_requests_without_a_connection_fail_at_once() {
    let mut bench = Bench::new();
    let error = bench.subscribe("a").try_recv().unwrap().unwrap_err();
    assert_eq!(error, RequestError::Request(client::RequestError::NotConnected));
    assert!(error.is_certainly_undone());
}

#[test]
fn an_answer_nobody_waits_for_is_no_trouble() {
    let (mut bench, _connecting) = Bench::connected();
    drop(bench.subscribe("a"));
    bench.ack(1);
    assert!(bench.members(1, "a", &["me"]));
    assert!(bench.machine.waiting.is_empty());
}

#[test]
fn requests_that_were_dropped_are_forgotten_with_their_answer() {
    let (mut bench, _connecting) = Bench::connected();
    for _ in 0..3 {
        drop(bench.subscribe("a"));
        bench.ack(1);
    }
    drop(bench.subscribe("b"));
    assert_eq!(bench.machine.waiting.len(), 1);
    bench.net(NetInput::SocketClosed(SocketId(1), closed(1006)));
    assert!(bench.machine.waiting.is_empty());
    drop(bench.close());
    drop(bench.connect());
    bench.command(Command::Close(oneshot::channel().0));
    assert!(bench.machine.connecting.is_none() && bench.machine.closing.is_empty());
}

#[test]
fn the_list_after_a_subscription_is_a_snapshot_and_what_follows_is_not() {
    let (mut bench, _connecting) = Bench::connected();
    let _reply = bench.subscribe("a");
    bench.ack(1);
    assert!(bench.members(1, "a", &["me"]));
    assert!(!bench.members(1, "a", &["ana"]));

    // Subscribing again brings a new one; a reconnect does too.
    let _reply = bench.subscribe("a");
    bench.ack(1);
    bench.frame(
        1,
        json!({"type": "presence", "channel": "a", "joined": [], "left": ["zoe"]}),
    );
    assert!(!bench.presence.last().unwrap().snapshot);
    assert!(bench.members(1, "a", &["me", "ana"]));
    bench.net(NetInput::SocketClosed(SocketId(1), closed(1006)));
    bench.wait();
    bench.open(2);
    bench.welcome(2);
    bench.ack(2);
    assert!(bench.members(2, "a", &["me"]));
}
