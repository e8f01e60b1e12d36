//! The client as a machine of its own: [`Client`] with the requests of the application tied to their answers. Still
//! without IO and clock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use super::error::{ConnectError, RequestError};
use super::event::Event;
use crate::core::client::{
    self, Client, ClientEvent, ClientState, ConnectFailure, Connected, Priority, SubscribeOptions,
};
use crate::core::io::{Machine, NetInput, NetOutput, SocketId};
use crate::wire::limits::CLOSE_FLUSH;
use crate::wire::{ChannelName, PeerId, RequestId};

#[cfg(test)]
mod tests;

/// The driver needs a moment after the handshake's time limit to say that the socket is gone.
const CLOSE_GRACE: Duration = Duration::from_millis(250);

pub(super) type ConnectResult = Result<Connected, ConnectError>;
pub(super) type RequestResult = Result<(), RequestError>;

/// What the application asks for, with the place where the answer goes. Nobody minds if no one waits there any more.
#[derive(Debug)]
pub(super) enum Command {
    Connect(oneshot::Sender<ConnectResult>),
    Close(oneshot::Sender<()>),
    Subscribe(ChannelName, SubscribeOptions, oneshot::Sender<RequestResult>),
    Unsubscribe(ChannelName, oneshot::Sender<RequestResult>),
    Publish(ChannelName, Value, oneshot::Sender<RequestResult>),
    Send(PeerId, Value, oneshot::Sender<RequestResult>),
}

/// What the application gets, in this order: so who sees an answer sees the state that belongs to it.
#[derive(Debug)]
pub(super) enum Output {
    /// With the bytes of the frame behind it.
    Event(Event, usize),
    Connected(oneshot::Sender<ConnectResult>, ConnectResult),
    Requested(oneshot::Sender<RequestResult>, RequestResult),
    Closed(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<RequestResult>,
    /// The request is a subscription to this channel.
    subscribing: Option<ChannelName>,
}

/// A closing handshake somebody waits for.
#[derive(Debug)]
struct Closing {
    socket: SocketId,
    deadline: Instant,
    replies: Vec<oneshot::Sender<()>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ClientMachine {
    client: Client,
    connecting: Option<oneshot::Sender<ConnectResult>>,
    /// Of the newest attempt.
    last_failure: Option<ConnectFailure>,
    waiting: HashMap<RequestId, Waiting>,
    /// The WebSocket handshake of this socket is done, and it is not known to have ended.
    open: Option<SocketId>,
    closing: Vec<Closing>,
    /// Channels whose next presence is a snapshot.
    snapshots: BTreeSet<ChannelName>,
    outputs: VecDeque<Output>,
}

impl ClientMachine {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            connecting: None,
            last_failure: None,
            waiting: HashMap::new(),
            open: None,
            closing: Vec::new(),
            snapshots: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    fn connect(&mut self, now: Instant, reply: oneshot::Sender<ConnectResult>) {
        match self.client.connect(now) {
            Ok(()) => {
                self.last_failure = None;
                self.connecting = Some(reply);
            }
            Err(client::InvalidState(state)) => {
                let refused = Err(ConnectError::InvalidState(state));
                self.outputs.push_back(Output::Connected(reply, refused));
            }
        }
    }

    fn close(&mut self, now: Instant, reply: oneshot::Sender<()>) {
        self.last_failure = None;
        self.client.close();
        self.collect(0);
        let Some(socket) = self.open else {
            return self.outputs.push_back(Output::Closed(reply));
        };
        match self.closing.iter_mut().find(|closing| closing.socket == socket) {
            Some(closing) => closing.replies.push(reply),
            None => self.closing.push(Closing {
                socket,
                deadline: now + CLOSE_FLUSH + CLOSE_GRACE,
                replies: vec![reply],
            }),
        }
    }

    fn request(
        &mut self,
        started: Result<RequestId, client::RequestError>,
        subscribing: Option<ChannelName>,
        reply: oneshot::Sender<RequestResult>,
    ) {
        match started {
            Ok(id) => {
                self.waiting.insert(id, Waiting { reply, subscribing });
            }
            Err(error) => self
                .outputs
                .push_back(Output::Requested(reply, Err(error.into()))),
        }
    }

    /// Takes what the client has to say about a fact of this many bytes.
    fn collect(&mut self, weight: usize) {
        while let Some(event) = self.client.poll_event() {
            let snapshot = self.is_snapshot(&event);
            // The answer comes after its event: listeners know by the time the caller goes on.
            let answer = self.answer(&event);
            let event = Event::from_client(event, snapshot);
            self.outputs
                .extend(event.map(|event| Output::Event(event, weight)));
            self.outputs.extend(answer);
        }
    }

    /// Somebody who leaves between the ack and the snapshot must not be taken for everybody.
    fn is_snapshot(&mut self, event: &ClientEvent) -> bool {
        match event {
            ClientEvent::Presence { channel, left, .. } if left.is_empty() => self.snapshots.remove(channel),
            _ => false,
        }
    }

    /// Notes what has happened; the answer to somebody who has waited for it.
    fn answer(&mut self, event: &ClientEvent) -> Option<Output> {
        match event {
            ClientEvent::Connected(connected) => self.connected(Ok(connected.clone())),
            ClientEvent::ConnectFailed { failure, .. } => {
                self.last_failure = Some(failure.clone());
                None
            }
            ClientEvent::Disconnected { .. } => {
                self.snapshots.clear();
                None
            }
            // The last event of a connect: who is told that it has failed finds the client closed.
            ClientEvent::StateChanged {
                to: ClientState::Closed,
                ..
            } => {
                let failure = self.last_failure.take();
                let why = failure.map_or(ConnectError::Closed, ConnectError::Failed);
                self.connected(Err(why))
            }
            ClientEvent::Resubscribed(channel) => {
                self.snapshots.insert(channel.clone());
                None
            }
            ClientEvent::Acked(id) => {
                let waiting = self.waiting.remove(id)?;
                self.snapshots.extend(waiting.subscribing);
                Some(Output::Requested(waiting.reply, Ok(())))
            }
            ClientEvent::RequestFailed(id, error) => {
                let waiting = self.waiting.remove(id)?;
                Some(Output::Requested(waiting.reply, Err(error.clone().into())))
            }
            _ => None,
        }
    }

    fn connected(&mut self, result: ConnectResult) -> Option<Output> {
        let reply = self.connecting.take()?;
        Some(Output::Connected(reply, result))
    }

    /// The closing handshakes for which this holds are over.
    fn closed(&mut self, over: impl Fn(&Closing) -> bool) {
        for closing in self.closing.extract_if(.., |closing| over(closing)) {
            self.outputs
                .extend(closing.replies.into_iter().map(Output::Closed));
        }
    }
}

impl Machine for ClientMachine {
    type Input = Command;
    type Output = Output;

    fn handle_net(&mut self, now: Instant, input: NetInput) {
        let mut weight = 0;
        match &input {
            NetInput::Text(_, text) => weight = text.len(),
            NetInput::SocketOpened(id) if self.open.is_none_or(|open| open < *id) => self.open = Some(*id),
            NetInput::SocketClosed(id, _) => {
                if self.open == Some(*id) {
                    self.open = None;
                }
                self.closed(|closing| closing.socket == *id);
            }
            _ => {}
        }
        self.client.handle_net(now, input);
        self.collect(weight);
    }

    fn handle_input(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect(reply) => self.connect(now, reply),
            Command::Close(reply) => self.close(now, reply),
            Command::Subscribe(channel, options, reply) => {
                let started = self.client.subscribe(now, &channel, options);
                self.request(started, Some(channel), reply);
            }
            Command::Unsubscribe(channel, reply) => {
                let started = self.client.unsubscribe(now, &channel);
                self.request(started, None, reply);
            }
            Command::Publish(channel, data, reply) => {
                let started = self.client.publish(now, &channel, &data);
                self.request(started, None, reply);
            }
            Command::Send(to, data, reply) => {
                let started = self.client.send(now, &to, &data, Priority::Data);
                self.request(started, None, reply);
            }
        }
        self.collect(0);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.closed(|closing| closing.deadline <= now);
        self.client.handle_timeout(now);
        self.collect(0);
    }

    fn poll_net(&mut self) -> Option<NetOutput> {
        self.client.poll_net()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let closing = self.closing.iter().map(|closing| closing.deadline);
        closing.chain(self.client.poll_timeout()).min()
    }

    /// The application's handle ends it.
    fn is_finished(&self) -> bool {
        false
    }
}
