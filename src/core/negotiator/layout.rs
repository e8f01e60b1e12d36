//! The m-lines of a connection that is gone, for the one that follows it.
//!
//! A peer may have kept its end: it has not noticed, or was not told. Such a peer takes our new transport (RFC 8842
//! §4) only in an offer that begins with the m-lines it knows, in their order, under their mids and with their payload
//! types; "The order of m-lines in subsequent offer doesn't match" is all that Chromium says to another. So the first
//! offer of a generation has the layout of the one before, and what the peer sent is offered to it again.
//!
//! A peer that makes its connection anew, too, has no use for that, and would only gather m-lines of which nobody
//! knows any more: once it has answered from a new end ([`Negotiator::note_end`]), it gets plain offers.

use super::facts::{LineKind, Round, Slot};
use super::world::World;
use super::{Negotiator, Phase};
use crate::core::io::{Codec, ReceiverSpec, SessionCommand};
use crate::sdp::Remote;
use crate::sdp::check::Direction;

/// m-lines of which nothing is left but their place, before a peer has to take a plain offer or fail: more than any
/// program needs, few enough for a description.
const MAX_QUIET: usize = 16;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    /// Wire m-lines, quiet and without internal lines.
    slots: Vec<Slot>,
    /// Those of the peer on which something can be received.
    receivers: Vec<ReceiverSpec>,
    /// Wire mid of the data section.
    data: Option<String>,
}

impl Layout {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn of(world: &World, slots: &[Slot]) -> Self {
        let mut layout = Self::default();
        for slot in slots {
            let line = slot.line.and_then(|index| world.lines.get(index));
            match line.filter(|_| !slot.rejected) {
                Some(line) if line.kind == LineKind::Data => layout.data = Some(slot.mid.clone()),
                Some(line) if line.kind == LineKind::Peer && slot.usable => {
                    layout.receivers.push(ReceiverSpec {
                        mid: slot.mid.clone(),
                        kind: line.media(),
                        codec: line.codec,
                        payload_type: line.pt,
                    });
                }
                _ => {}
            }
            layout.slots.push(Slot {
                line: None,
                usable: false,
                declined: false,
                local: Direction::default(),
                remote: Direction::default(),
                ..slot.clone()
            });
        }
        layout
    }
}

impl Negotiator {
    /// What the peer knows of the connection that is thrown away, at most: it may have answered an offer of ours whose
    /// answer we do not have.
    pub(super) fn keep_layout(&mut self, world: &World, phase: &Phase) {
        if world.negotiated && !world.remote_trickles {
            // aiortc takes new credentials for a new connection, and puts its own media on the first lines it is
            // offered: on those of ours.
            self.layout = Layout::default();
            return;
        }
        let round: Option<&Round> = match phase {
            Phase::OfferOut(offer) => Some(&offer.round),
            Phase::ApplyingAnswer(round) => Some(round),
            _ => None,
        };
        if let Some(slots) = round
            .map(|round| &round.slots)
            .or(world.negotiated.then_some(&world.slots))
        {
            let quiet = |slot: &&Slot| slot.rejected || slot.local == Direction::default();
            self.layout = match slots.iter().filter(quiet).count() < MAX_QUIET {
                true => Layout::of(world, slots),
                false => Layout::default(),
            };
        }
    }

    /// Begins a new webrtcbin with the m-lines of the last one.
    pub(super) fn restore_layout(&mut self, takes: &dyn Fn(Codec) -> bool) {
        let fresh = |world: &World| !world.touched && world.slots.is_empty();
        let Some(session) = self.session.as_mut().filter(|session| fresh(&session.world)) else {
            return;
        };
        if self.follows {
            return;
        }
        // It stays until a webrtcbin has come further: this one may go before its offer is out.
        let layout = self.layout.clone();
        session.world.slots = layout.slots;
        let receivers: Vec<ReceiverSpec> = layout
            .receivers
            .into_iter()
            .filter(|spec| takes(spec.codec))
            .collect();
        session.world.receivers.clone_from(&receivers);
        session.holds_data = layout.data.is_some();
        session.world.own_data = layout.data;
        let hold = session.holds_data.then_some(SessionCommand::HoldData);
        for command in receivers.into_iter().map(SessionCommand::AddReceiver).chain(hold) {
            self.command(command);
        }
    }

    /// Whether the peer makes its connection anew when we do, by its first description for ours.
    pub(super) fn note_end(&mut self, remote: &Remote) {
        let first = self
            .session
            .as_ref()
            .is_none_or(|session| session.world.remote.is_none());
        let ends = remote.bundle.as_ref().zip(self.dead_remote.as_ref());
        if let Some((bundle, dead)) = ends.filter(|_| first) {
            self.follows = bundle.transport.fingerprint != dead.fingerprint;
        }
    }

    /// A section of the peer that has the name of a line of ours that no webrtcbin has now: a peer that kept its
    /// connection offers what it knows. Our tracks go on under other names.
    pub(super) fn yield_mids(&mut self, remote: &Remote) {
        let world = self.session.as_ref().map(|session| &session.world);
        for sender in &mut self.senders {
            let named = remote.sections.iter().any(|section| section.mid == sender.mid);
            let ours = world.is_some_and(|world| world.own(sender.track.key, &sender.mid).is_some());
            if named && !ours {
                sender.mid = self.peer_formats.next_mid();
            }
        }
    }
}
