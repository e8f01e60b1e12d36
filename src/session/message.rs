//! What is queued for the thread of one session.

use std::net::IpAddr;
use std::sync::mpsc;

use super::Timing;
use super::firewall::{Firewall, FirstPacket};
use crate::core::io::{ConnectionState, SessionCommand};

/// Names one src pad of webrtcbin within a session.
pub(super) type PadId = u32;

/// One thing for the session's thread to do. Callbacks of GStreamer do nothing but queue these.
pub(super) enum Message {
    /// From the room.
    Command(SessionCommand),
    /// The element has a new clock or base time.
    Timing(Timing),
    /// A promise was answered; `token` tells which one.
    Reply {
        token: u64,
        reply: Result<Option<String>, String>,
    },
    /// A local candidate.
    Candidate { mline: u32, candidate: String },
    /// Local candidates have come to an end.
    Gathered,
    /// The address of ours that packets leave from.
    Path(IpAddr),
    /// `connection-state` has changed.
    Connection(ConnectionState),
    /// A src pad has come up; its firewall is in place.
    PadAdded {
        id: PadId,
        firewall: Firewall,
        mline: Option<u32>,
    },
    /// The first packet has come through a firewall.
    FirstPacket { id: PadId, packet: FirstPacket },
    /// The stream of a pad is over.
    PadEnded { id: PadId },
    /// An element reported an error.
    Error {
        origin: Origin,
        text: String,
        flow: Option<i32>,
    },
    /// The latency of the pipeline has changed.
    Latency,
}

/// Which part of the pipeline a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The chain behind a firewall.
    Receiver(PadId),
    /// The chain of the sender with this number.
    Sender(u32),
    /// webrtcbin, or the pipeline itself.
    Transport,
}

/// Where callbacks post. Posting never blocks; after the session has ended it does nothing.
#[derive(Clone)]
pub(super) struct Mailbox(mpsc::Sender<Message>);

impl Mailbox {
    /// A mailbox and the end that the session's thread reads.
    pub fn new() -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    /// Queues a message.
    pub fn post(&self, message: Message) {
        let _ = self.0.send(message);
    }
}
