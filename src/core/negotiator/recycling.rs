//! m-lines that are used again, in both worlds: a connection may last for days, and tracks come and go.
//!
//! On the wire a line of ours that is not needed any more is offered with port 0, and its place goes to the next
//! track of the same kind under a new mid, as browsers do it after `transceiver.stop()` (JSEP §5.2.2). The old mid
//! would not do: a receiver keeps the id of its first track, by which the vendor's SDK finds the metadata.
//!
//! webrtcbin knows nothing of all that. Its m-line has the same mid and direction for ever (I1, I3), and carries the
//! next track of the same codec, with the same payloader: SRTP allows no second sequence on an SSRC. The peer's lines
//! are treated alike: one that it has given up stands for the next that has the same format. Where all that is not
//! enough, because codecs change again and again, our next offer comes from a new webrtcbin.

use super::Negotiator;
use super::facts::{Line, LineKind, Slot};
use super::media::Sender;
use super::world::World;
use crate::core::io::{SenderSpec, TrackKey};
use crate::sdp::check::{Remote, RemoteSection};
use crate::sdp::model::MAX_SECTIONS;

impl World {
    /// Whether the place of a line of ours may be given up. Not that of the transport, which some stacks lose with it,
    /// and not one on which the peer sends.
    pub(super) fn may_give_up(&self, slot: &Slot) -> bool {
        let tag = self.slots.iter().find(|slot| !slot.rejected);
        self.negotiated && !slot.remote.send && tag.is_some_and(|tag| tag.mid != slot.mid)
    }

    /// A place on the wire that both sides have given up, for a new line of the same kind.
    pub(super) fn vacant(&self, slots: &[Slot], new: &Slot) -> Option<usize> {
        let free = |slot: &Slot| slot.rejected && slot.head.0 == new.head.0;
        let both = self.slots.iter().zip(slots);
        let place = both.enumerate().find(|(_, (old, now))| free(old) && free(now));
        place.map(|(index, _)| index).filter(|_| self.negotiated)
    }

    /// Gives a track the line of one that is gone; returns its internal mid. `in_use` says whether a track still has a
    /// line of this name.
    pub(super) fn reuse(
        &mut self,
        wanted: &SenderSpec,
        in_use: &dyn Fn(TrackKey, &str) -> bool,
    ) -> Option<String> {
        let free = |(index, line): &(usize, &Line)| {
            let taken = line.track().is_none_or(|track| in_use(track, line.wire_mid()));
            let alike = line.codec == wanted.codec && line.pt == wanted.payload_type;
            alike && !taken && line.moved.is_none() && self.slot_of(*index).is_none()
        };
        let found = self.lines.iter().enumerate().find(free).map(|(index, _)| index);
        let line = self.lines.get_mut(found?)?;
        if let LineKind::Own(spec) = &mut line.kind {
            spec.track = wanted.track;
        }
        line.refused = false;
        line.take_over(&wanted.mid);
        Some(line.mid.clone())
    }

    /// A line of the peer that it has given up, and that can stand for this new one.
    pub(super) fn free_peer_line(
        &self,
        new: &Line,
        section: &RemoteSection,
        offer: &Remote,
    ) -> Option<usize> {
        let carries = |line: &Line| section.formats.iter().any(|f| f.codec == Some(line.codec));
        let free = |(index, line): &(usize, &Line)| {
            let alike = match carries(new) {
                true => line.codec == new.codec && line.pt == new.pt,
                // Nothing can flow on either.
                false => line.media() == new.media() && !carries(line),
            };
            let named = offer
                .section(line.wire_mid())
                .is_some_and(|other| !other.rejected);
            let peers = line.kind == LineKind::Peer && new.kind == LineKind::Peer;
            peers && alike && !named && self.slot_of(*index).is_none()
        };
        self.lines.iter().enumerate().find(free).map(|(index, _)| index)
    }

    /// The peer has stopped lines of ours: their tracks are not offered in that form again. But where we have asked for
    /// it, and its consent got lost, it has refused nothing.
    pub(super) fn note_stopped(&mut self, offer: &Remote) {
        for section in offer.sections.iter().filter(|section| section.rejected) {
            let slot = self.slots.iter().find(|slot| slot.mid == section.mid);
            if let Some(line) = slot
                .and_then(|slot| slot.line)
                .and_then(|index| self.lines.get_mut(index))
            {
                line.refused |= line.track().is_some() && !line.offered_up;
            }
        }
    }

    /// A name for an internal line whose own name is taken.
    pub(super) fn unused_mid(&self) -> String {
        let mut number = self.lines.len();
        loop {
            let mid = format!("line{number}");
            if !self.lines.iter().any(|line| line.mid == mid) {
                return mid;
            }
            number += 1;
        }
    }

    /// Whether so many more lines, and a data section, still make a description that can be read.
    pub(super) fn has_space(&self, more: usize) -> bool {
        self.lines.len() + self.waiting.len() + self.receivers.len() + more < MAX_SECTIONS
    }

    /// Whether a new webrtcbin would have fewer lines.
    fn has_ghosts(&self) -> bool {
        let ghost = |index: usize| self.slot_of(index).is_none();
        self.negotiated && (0..self.lines.len()).any(ghost)
    }
}

impl Negotiator {
    /// Whether our next offer needs a webrtcbin without the lines that are not in use any more.
    pub(super) fn is_overgrown(&self) -> bool {
        self.session.as_ref().is_some_and(|session| {
            let wants = |sender: &&Sender| {
                sender.wants_line() && session.world.own(sender.track.key, &sender.mid).is_none()
            };
            let new = self.senders.iter().filter(wants).count();
            session.world.has_ghosts() && !session.world.has_space(new)
        })
    }
}

impl Line {
    /// Another section of the wire, with nothing known of its sources.
    pub(super) fn take_over(&mut self, mid: &str) {
        self.alias = Some(mid.to_owned());
        (self.ssrcs, self.msid, self.offered_up) = (Vec::new(), None, false);
    }
}
