//! The network driver with a real client machine against small servers on the loopback interface.
#![cfg(feature = "signalling")]

#[path = "../common/certificates.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod certificates;
mod ending;
mod failures;
mod proxy;
mod server;
mod tls;
mod traffic;
mod tunnel;

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gstmeteredwebrtc::core::backoff::ReconnectOptions;
use gstmeteredwebrtc::core::client::{
    Client, ClientConfig, ClientEvent, ClientState, ConnectFailure, CredentialSource,
};
use gstmeteredwebrtc::core::io::{Machine, NetInput, NetOutput};
use gstmeteredwebrtc::net::{DriverOptions, Handle, Runtime, spawn};
use gstmeteredwebrtc::wire::{Endpoint, Secret};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs an ignored test in a process of its own, with these variables in its environment.
fn run_alone(test: &str, variables: &[(&str, &str)]) {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", test])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}\n{complained}"
    );
}

type Command = Box<dyn FnOnce(&mut Client, Instant) + Send>;

/// The client as a machine of its own. Ends when the client is closed.
struct Bare(Client);

impl Machine for Bare {
    type Input = Command;
    type Output = ClientEvent;

    fn handle_net(&mut self, now: Instant, input: NetInput) {
        self.0.handle_net(now, input);
    }

    fn handle_input(&mut self, now: Instant, input: Command) {
        input(&mut self.0, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    fn poll_net(&mut self) -> Option<NetOutput> {
        self.0.poll_net()
    }

    fn poll_output(&mut self) -> Option<ClientEvent> {
        self.0.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn is_finished(&self) -> bool {
        self.0.state() == ClientState::Closed
    }
}

struct Member {
    handle: Handle<Command>,
    events: Receiver<ClientEvent>,
}

fn config(endpoint: &str) -> ClientConfig {
    let key = CredentialSource::ApiKey(Secret::new("pk_live_test".to_owned()));
    ClientConfig {
        endpoint: Endpoint::parse(endpoint).unwrap(),
        reconnect: ReconnectOptions {
            initial: Duration::from_millis(1),
            ..ReconnectOptions::default()
        },
        ..ClientConfig::new(key, 1)
    }
}

impl Member {
    fn connect(config: ClientConfig, options: DriverOptions) -> Self {
        let runtime = Runtime::shared().unwrap();
        let (sender, events) = channel();
        let machine = Bare(Client::new(config, Instant::now()).unwrap());
        let handle = spawn(&runtime, machine, options, move |event| {
            let _ = sender.send(event);
        });
        let member = Self { handle, events };
        member.command(|client, now| client.connect(now).unwrap());
        member
    }

    fn command(&self, command: impl FnOnce(&mut Client, Instant) + Send + 'static) {
        self.handle.send(Box::new(command)).unwrap();
    }

    /// The first event the function is interested in.
    fn wait<T>(&self, wanted: impl Fn(ClientEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).expect("the event has not come");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    /// Waits for a welcome; whether it was a reconnect.
    fn connected(&self) -> bool {
        self.wait(|event| match event {
            ClientEvent::Connected(connected) => Some(connected.is_reconnect),
            _ => None,
        })
    }

    fn failure(&self) -> ConnectFailure {
        self.wait(|event| match event {
            ClientEvent::ConnectFailed { failure, .. } => Some(failure),
            _ => None,
        })
    }

    fn close(&self) {
        self.command(|client, _| client.close());
        assert!(self.handle.wait_closed(PATIENCE));
    }
}
