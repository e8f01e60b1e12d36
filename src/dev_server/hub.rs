//! What the connections share: who is connected, who is in which channel, and how frames get from one to another.
//!
//! One mutex guards it all, held only for short synchronous steps. Frames leave through bounded queues and are
//! never awaited here, so a socket that does not drain can only fill its own queue.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::watch;

use super::codes::Close;
use super::config::{Config, DEV_KEY};
use super::frames::Frame;
use super::grant::Grant;
use super::rooms::{ConnId, Departure};
use super::state::{Connection, Link, State};
use super::token::unix_seconds;

/// Shared by all connections of one server.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: Config,
    state: Mutex<State>,
    sockets: watch::Sender<usize>,
}

/// Counts a socket until its last frame is out, which is later than its removal from the registry.
#[derive(Debug)]
pub(super) struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Hub {
    pub(super) fn new(config: Config) -> Self {
        let state = State {
            quota: config.limits.message_quota,
            ..State::default()
        };
        Self {
            config,
            state: Mutex::new(state),
            sockets: watch::Sender::new(0),
        }
    }

    /// The state is consistent between statements, so a panic elsewhere does not make it unusable.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something on stderr if wanted. Control characters of peer ids do not exist: tokens with them are
    /// refused.
    pub(super) fn note(&self, what: fmt::Arguments<'_>) {
        if self.config.verbose {
            // Unlike `eprintln!`, this survives a closed stderr.
            let _ = writeln!(io::stderr(), "{what}");
        }
    }

    /// Key that pages are given.
    pub(super) fn page_key(&self) -> &str {
        self.config
            .publishable_keys
            .first()
            .map_or(DEV_KEY, |key| key.key.as_str())
    }

    /// Registers a connection and queues its welcome.
    pub(super) fn register(&self, grant: Grant) -> Result<Link, Close> {
        let mut state = self.lock();
        if state.stopping {
            return Err(Close::going_away());
        }
        if self
            .config
            .limits
            .connections
            .is_some_and(|limit| state.connections.len() >= limit)
        {
            return Err(Close::over_concurrent_limit());
        }
        state.next_id += 1;
        let id = state.next_id;
        let (connection, link) = Connection::open(id, grant, self.config.limits.outbound_queue);
        if !state.welcome_held {
            connection.deliver(self.welcome(&connection.grant));
        }
        state.connections.insert(id, connection);
        Ok(link)
    }

    fn welcome(&self, grant: &Grant) -> Utf8Bytes {
        Frame::Welcome {
            peer_id: &grant.peer_id,
            expires_at: grant.expires_at,
            server_time: unix_seconds(),
            max_message_size: self.config.limits.max_message_size,
            metadata: grant.metadata.as_ref(),
        }
        .encode()
    }

    /// Removes a connection from the registry and its channels. A loss is announced after the grace period, a
    /// deliberate end at once.
    pub(super) fn unregister(self: &Arc<Self>, id: ConnId, lost: bool) {
        let grace = Duration::from_millis(self.config.presence_grace_ms);
        let mut state = self.lock();
        let Some(connection) = state.connections.remove(&id) else {
            return;
        };
        let peer_id = connection.grant.peer_id.clone();
        for channel in connection.channels {
            match state
                .rooms
                .leave(&channel, &peer_id, id, lost && !grace.is_zero())
            {
                Departure::Nothing => {}
                Departure::Left => state.announce_left(&channel, &peer_id),
                Departure::Grace(departure) => {
                    let (hub, peer_id) = (Arc::clone(self), peer_id.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(grace).await;
                        hub.expire(&channel, &peer_id, departure);
                    });
                }
            }
        }
    }

    fn expire(&self, channel: &str, peer_id: &str, departure: u64) {
        let mut state = self.lock();
        if state.rooms.expire(channel, peer_id, departure) {
            state.announce_left(channel, peer_id);
        }
    }

    /// Ends every socket of a peer and says how many there were.
    pub(super) fn close_peer(&self, peer_id: &str, close: &Close) -> usize {
        self.lock()
            .each_of_peer(peer_id, |connection| connection.request_close(close.clone()))
    }

    /// Announces the end to every connection and closes it with 1001.
    pub(super) fn send_away(&self, retry_after_ms: u64) {
        let text = Frame::GoingAway { retry_after_ms }.encode();
        for connection in self.lock().connections.values() {
            connection.deliver(text.clone());
            connection.request_close(Close::going_away());
        }
    }

    /// Refuses whoever comes from now on.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
    }

    /// Drops every socket without a word.
    pub(super) fn abort_all(&self) {
        for connection in self.lock().connections.values() {
            connection.request_close(Close::abort());
        }
    }

    /// Counts a socket for as long as the result lives.
    pub(super) fn count_socket(&self) -> Counted {
        self.sockets.send_modify(|count| *count += 1);
        Counted(self.sockets.clone())
    }

    /// Waits until every socket has ended.
    pub(super) async fn sockets_gone(&self) {
        // The sender lives as long as the hub, so waiting cannot fail.
        let _ = self.sockets.subscribe().wait_for(|count| *count == 0).await;
    }
}
