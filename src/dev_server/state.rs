//! What the hub guards: connections with their queues, rooms, and counters.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::codes::{Close, ErrorCode};
use super::frames::{Entry, Frame};
use super::grant::Grant;
use super::rooms::{ConnId, Rooms};

/// A frame on its way to a socket.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) text: Utf8Bytes,
    /// It waits for this, and so does what is behind it.
    pub(super) not_before: Option<Instant>,
}

/// The socket's end of a registered connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnId,
    pub(super) peer_id: String,
    pub(super) frames: mpsc::Receiver<Outbound>,
    /// Taken from `frames`, not yet written.
    pub(super) next: Option<Outbound>,
    pub(super) close: watch::Receiver<Option<Close>>,
    pub(super) frozen: watch::Receiver<bool>,
}

/// The hub's end of a registered connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) grant: Arc<Grant>,
    pub(super) channels: HashSet<String>,
    frames: mpsc::Sender<Outbound>,
    close: watch::Sender<Option<Close>>,
    frozen: watch::Sender<bool>,
}

impl Connection {
    /// Both ends of a connection whose queue holds `queue` frames.
    pub(super) fn open(id: ConnId, grant: Grant, queue: usize) -> (Self, Link) {
        let (frames, frames_rx) = mpsc::channel(queue.max(1));
        let (close, close_rx) = watch::channel(None);
        let (frozen, frozen_rx) = watch::channel(false);
        let link = Link {
            id,
            peer_id: grant.peer_id.clone(),
            frames: frames_rx,
            next: None,
            close: close_rx,
            frozen: frozen_rx,
        };
        let connection = Self {
            grant: Arc::new(grant),
            channels: HashSet::new(),
            frames,
            close,
            frozen,
        };
        (connection, link)
    }

    /// Queues a frame.
    pub(super) fn deliver(&self, text: Utf8Bytes) {
        self.queue(Outbound {
            text,
            not_before: None,
        });
    }

    /// Queues a frame that is not written at once.
    pub(super) fn deliver_after(&self, text: Utf8Bytes, delay: Duration) {
        let not_before = Some(Instant::now() + delay).filter(|_| !delay.is_zero());
        self.queue(Outbound { text, not_before });
    }

    /// A full queue ends the connection instead of blocking anybody.
    fn queue(&self, frame: Outbound) {
        if let Err(TrySendError::Full(_)) = self.frames.try_send(frame) {
            self.request_close(Close::slow_consumer());
        }
    }

    /// Asks the socket to end; the first request wins.
    pub(super) fn request_close(&self, close: Close) {
        self.close.send_if_modified(|requested| {
            let first = requested.is_none();
            requested.get_or_insert(close);
            first
        });
    }

    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

/// Everything under the mutex.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) connections: HashMap<ConnId, Connection>,
    pub(super) rooms: Rooms,
    pub(super) quota: Option<u64>,
    pub(super) forced_errors: VecDeque<String>,
    pub(super) welcome_held: bool,
    pub(super) stopping: bool,
    pub(super) next_id: ConnId,
}

impl State {
    pub(super) fn deliver(&self, id: ConnId, text: Utf8Bytes) {
        if let Some(connection) = self.connections.get(&id) {
            connection.deliver(text);
        }
    }

    /// Whether a peer has a connection.
    pub(super) fn is_online(&self, peer_id: &str) -> bool {
        self.connections
            .values()
            .any(|connection| connection.grant.peer_id == peer_id)
    }

    /// Does something to every connection of one peer and says how many there were.
    pub(super) fn each_of_peer(&self, peer_id: &str, act: impl Fn(&Connection)) -> usize {
        let mut count = 0;
        for connection in self.connections.values().filter(|c| c.grant.peer_id == peer_id) {
            act(connection);
            count += 1;
        }
        count
    }

    /// Takes one message out of the period's quota.
    pub(super) fn spend_quota(&mut self) -> Result<(), ErrorCode> {
        match &mut self.quota {
            Some(0) => Err(ErrorCode::OverMessageQuota),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Tells a channel's watchers that a member came.
    pub(super) fn announce_joined(&self, channel: &str, grant: &Grant) {
        let joined = vec![Entry {
            peer_id: &grant.peer_id,
            metadata: grant.peer_metadata.as_deref(),
        }];
        let text = Frame::Presence {
            channel,
            joined,
            left: Vec::new(),
        }
        .encode();
        for id in self.rooms.watchers(channel, &grant.peer_id) {
            self.deliver(id, text.clone());
        }
    }

    /// Tells a channel's watchers that a member is gone.
    pub(super) fn announce_left(&self, channel: &str, peer_id: &str) {
        let left = vec![Entry {
            peer_id,
            metadata: None,
        }];
        let text = Frame::Presence {
            channel,
            joined: Vec::new(),
            left,
        }
        .encode();
        for id in self.rooms.watchers(channel, peer_id) {
            self.deliver(id, text.clone());
        }
    }
}
