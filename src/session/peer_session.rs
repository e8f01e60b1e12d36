//! The handle of a session.

use std::sync::Arc;

use super::actor::Actor;
use super::message::{Mailbox, Message};
use super::{CAT, SessionContext, Timing};
use crate::core::io::{SessionCommand, SessionEvent, SessionOp};

/// One generation of one remote peer: one webrtcbin. Dropping it disposes it.
pub struct PeerSession {
    mailbox: Mailbox,
}

impl PeerSession {
    /// Starts the session's thread. Nothing of GStreamer exists before [`SessionCommand::Create`].
    pub fn spawn(context: SessionContext) -> Self {
        let (mailbox, queue) = Mailbox::new();
        let ticket = context.registry.enter();
        // Linux shows 15 characters of it.
        let name = format!("metered-peer-{}", context.peer);
        let context = Arc::new(context);
        let (own, inner) = (mailbox.clone(), context.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let alarm = Alarm(inner.clone());
            Actor::new(inner, own).run(&queue, &ticket);
            drop((alarm, ticket));
        });
        if let Err(error) = thread {
            gst::error!(CAT, "no thread for a session: {error}");
            (context.events)(SessionEvent::Failed {
                op: SessionOp::Create,
                reason: "the system has no thread left".into(),
            });
        }
        Self { mailbox }
    }

    /// The element has gone to PLAYING: running times count from here. Never blocks.
    pub fn set_timing(&self, timing: Timing) {
        self.mailbox.post(Message::Timing(timing));
    }

    /// Queues a command; never blocks. What comes after [`SessionCommand::Dispose`] is ignored.
    pub fn send(&self, command: SessionCommand) {
        self.mailbox.post(Message::Command(command));
    }
}

impl Drop for PeerSession {
    fn drop(&mut self) {
        self.send(SessionCommand::Dispose);
    }
}

/// Tells the room of a panic, so that the peer is rebuilt rather than stuck.
struct Alarm(Arc<SessionContext>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "the session's thread has panicked; please report this".into();
            (self.0.events)(SessionEvent::Failed {
                op: SessionOp::Pipeline,
                reason,
            });
        }
    }
}
