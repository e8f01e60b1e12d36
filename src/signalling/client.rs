//! The handle.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::oneshot;

use super::error::{ConnectError, OptionsError, RequestError};
use super::event::{
    ConnectFailed, Direct, Disconnected, Event, GoingAway, Message, Presence, ServerError, StateChanged,
    TokenProviderError,
};
use super::machine::{ClientMachine, Command, Output, RequestResult};
use super::options::ClientOptions;
use super::payload::to_json;
use super::stream::{Events, Listeners};
use crate::core::client::{Client, ClientState, Connected, SubscribeOptions};
use crate::net::{Handle, Runtime, spawn};
use crate::wire::limits::MAX_MESSAGE_SIZE_FALLBACK;
use crate::wire::{ChannelName, IceServer, PeerId};

/// One connection to the service, kept alive and restored, with publish, subscribe and direct messages on it.
///
/// Cloning gives another handle to the same connection. When the last one is dropped, the connection is closed as by
/// [`Self::close`] and everything behind it ends; streams of events do not count, and end after the final event.
///
/// Every future may be awaited on any executor, and dropped at any moment: what was asked for still happens once the
/// future has been polled, only its result is lost.
#[derive(Debug, Clone)]
pub struct SignallingClient {
    owner: Arc<Owner>,
    shared: Arc<Shared>,
}

/// The application's hold on the connection. Its end is a close that nobody waits for, so that listeners get their
/// final word.
#[derive(Debug)]
struct Owner(Handle<Command>);

impl Drop for Owner {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        // An error means that everything has ended already.
        let _ = self.0.send(Command::Close(reply));
    }
}

#[derive(Default)]
struct Shared {
    status: Mutex<Status>,
    listeners: Listeners,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.status, f)
    }
}

/// What can be asked without waiting.
#[derive(Debug, Clone)]
struct Status {
    state: ClientState,
    peer_id: Option<PeerId>,
    max_message_size: usize,
    ice_servers: Vec<IceServer>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: ClientState::Idle,
            peer_id: None,
            max_message_size: MAX_MESSAGE_SIZE_FALLBACK,
            ice_servers: Vec::new(),
        }
    }
}

impl Shared {
    fn status<T>(&self, read: impl FnOnce(&mut Status) -> T) -> T {
        read(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn deliver(&self, output: Output) {
        match output {
            Output::Event(event, weight) => {
                self.note(&event);
                self.listeners.tell(&event, weight);
            }
            // Whoever has stopped waiting does not need the answer.
            Output::Connected(reply, result) => drop(reply.send(result)),
            Output::Requested(reply, result) => drop(reply.send(result)),
            Output::Closed(reply) => drop(reply.send(())),
        }
    }

    fn note(&self, event: &Event) {
        match event {
            Event::StateChanged(changed) => self.status(|status| status.state = changed.to),
            Event::Connected(connected) => self.status(|status| {
                status.peer_id = Some(connected.peer_id.clone());
                status.max_message_size = connected.max_message_size;
                if let Some(servers) = &connected.ice_servers {
                    status.ice_servers = servers.clone();
                }
            }),
            _ => {}
        }
    }
}

/// Ends the streams together with the driver that fills them.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.status(|status| status.state = ClientState::Closed);
        self.0.listeners.end();
    }
}

impl SignallingClient {
    /// An idle client. Listen to what matters before connecting: a stream has what happens after it was made.
    pub fn new(options: ClientOptions) -> Result<Self, OptionsError> {
        let (config, driver) = options.into_parts(fastrand::u64(..))?;
        // The driver's clock: tokio's, so that tests can stop it.
        let client = Client::new(config, tokio::time::Instant::now().into_std())?;
        let runtime = Runtime::shared().map_err(OptionsError::Runtime)?;
        let shared = Arc::new(Shared::default());
        let ending = Ending(shared.clone());
        let machine = ClientMachine::new(client);
        let handle = spawn(&runtime, machine, driver, move |output| ending.0.deliver(output));
        let owner = Arc::new(Owner(handle));
        Ok(Self { owner, shared })
    }

    /// Connects and waits for the welcome, at most ten seconds unless
    /// [`ClientOptions::retry_first_connect`] is set. Legal in idle and closed; subscriptions of an earlier connect
    /// are forgotten. Dropping the future does not stop the attempt, [`Self::close`] does.
    pub async fn connect(&self) -> Result<Connected, ConnectError> {
        let (reply, answer) = oneshot::channel();
        self.owner
            .0
            .send(Command::Connect(reply))
            .map_err(|_| ConnectError::Ended)?;
        answer.await.unwrap_or(Err(ConnectError::Ended))
    }

    /// Ends the connection and all attempts to restore it. Requests under way fail at once. Returns after the closing
    /// handshake, within little more than a second whatever the server does. Connecting again is possible.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.owner.0.send(Command::Close(reply)).is_ok() {
            // An error means that everything has ended, which is what was wanted.
            let _ = answer.await;
        }
    }

    /// Subscribes to a channel and keeps it subscribed over reconnects, until [`Self::unsubscribe`]. A presence
    /// snapshot follows if the credential allows presence. At most 100 channels per connection.
    pub async fn subscribe(&self, channel: &str, options: SubscribeOptions) -> Result<(), RequestError> {
        let channel = channel_name(channel)?;
        self.request(|reply| Command::Subscribe(channel, options, reply))
            .await
    }

    /// Unsubscribes. The channel is not restored any more, whatever becomes of the request.
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), RequestError> {
        let channel = channel_name(channel)?;
        self.request(|reply| Command::Unsubscribe(channel, reply)).await
    }

    /// Sends to everybody who has subscribed to a channel; being subscribed oneself is not needed. The answer means
    /// that the service has taken it. Nothing is queued while there is no connection, and nothing is sent twice.
    ///
    /// The whole frame must be at most [`Self::max_message_size`] bytes. The client keeps below the service's limit
    /// of 100 messages a second by letting them wait.
    pub async fn publish<T: Serialize + ?Sized>(&self, channel: &str, data: &T) -> Result<(), RequestError> {
        let (channel, data) = (channel_name(channel)?, to_json(data)?);
        self.request(|reply| Command::Publish(channel, data, reply)).await
    }

    /// Sends to one peer, under the same rules as [`Self::publish`]. [`RequestError::code`] is `peer_not_found` if it
    /// is not there.
    pub async fn send<T: Serialize + ?Sized>(&self, peer: &str, data: &T) -> Result<(), RequestError> {
        let (peer, data) = (PeerId::new(peer).map_err(RequestError::Peer)?, to_json(data)?);
        self.request(|reply| Command::Send(peer, data, reply)).await
    }

    async fn request(
        &self,
        command: impl FnOnce(oneshot::Sender<RequestResult>) -> Command,
    ) -> Result<(), RequestError> {
        let (reply, answer) = oneshot::channel();
        self.owner
            .0
            .send(command(reply))
            .map_err(|_| RequestError::Ended)?;
        answer.await.unwrap_or(Err(RequestError::Ended))
    }

    /// The state.
    pub fn state(&self) -> ClientState {
        self.shared.status(|status| status.state)
    }

    /// Our id on the newest connection. With a publishable key every connection has a new one.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.shared.status(|status| status.peer_id.clone())
    }

    /// Largest frame the server takes, in bytes.
    pub fn max_message_size(&self) -> usize {
        self.shared.status(|status| status.max_message_size)
    }

    /// The newest list of ICE servers that a welcome has had.
    pub fn ice_servers(&self) -> Vec<IceServer> {
        self.shared.status(|status| status.ice_servers.clone())
    }

    /// Everything that happens, in order.
    pub fn events(&self) -> Events<Event> {
        self.shared.listeners.add(|event| Some(event.clone()))
    }
}

fn channel_name(name: &str) -> Result<ChannelName, RequestError> {
    ChannelName::new(name).map_err(RequestError::Channel)
}

macro_rules! streams {
    ($($(#[$doc:meta])* $name:ident: $variant:ident;)*) => {
        /// Streams of one kind of event each.
        impl SignallingClient {
            $($(#[$doc])*
            pub fn $name(&self) -> Events<$variant> {
                self.shared.listeners.add(|event| match event {
                    Event::$variant(event) => Some(event.clone()),
                    _ => None,
                })
            })*
        }
    };
}

streams! {
    /// Welcomes.
    connections: Connected;
    /// Lost connections, and the end of each connect.
    disconnections: Disconnected;
    /// Attempts that were not welcomed.
    failures: ConnectFailed;
    /// Changes of state.
    state_changes: StateChanged;
    /// Messages of all channels.
    messages: Message;
    /// Messages to us alone.
    directs: Direct;
    /// Arrivals and departures in all channels.
    presence: Presence;
    /// Errors of the server that belong to no request.
    server_errors: ServerError;
    /// Announcements that the server is about to close.
    going_away: GoingAway;
    /// A token provider that fails again and again.
    token_provider_errors: TokenProviderError;
}
