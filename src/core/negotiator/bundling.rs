//! Which tracks a first offer has, and in which order: for peers that would lose some of them.
//!
//! aiortc puts the second line of a kind on the transport of the first one, and takes it for bundled ("balanced"). In a
//! first offer the first one then moves to the transport of the BUNDLE tag, and the second stays on one that is
//! stopped: both are lost. Lines of the kind of the tag are safe, and so is whatever a later offer adds. So a first
//! offer begins with the kind of which there is most, and has one line of the other. What is left follows in the next
//! offer, as soon as the first is answered.
//!
//! Nothing says what the peer is before its first description, so this is for all; nobody pays but who has two tracks
//! of both kinds, with one round trip for the second of one of them.

use super::Negotiator;
use super::media::Sender;
use crate::core::io::MediaKind;

impl Negotiator {
    /// The tracks that can have a line in the next offer, by their place in `senders`, in the order of their lines.
    pub(super) fn due_senders(&self) -> Vec<usize> {
        let wanted = self.senders.iter().enumerate();
        let wanted = wanted.filter(|(_, sender)| sender.wants_line());
        let mut due: Vec<(usize, MediaKind)> = wanted
            .map(|(index, sender): (usize, &Sender)| (index, sender.track.kind))
            .collect();
        // A layout is for a peer that trickles, which aiortc does not.
        let first = self
            .session
            .as_ref()
            .is_some_and(|session| !session.world.negotiated && session.world.slots.is_empty());
        if first {
            let (audio, video): (Vec<_>, Vec<_>) = due
                .iter()
                .copied()
                .partition(|(_, kind)| *kind == MediaKind::Audio);
            let audio_leads = match audio.len().cmp(&video.len()) {
                std::cmp::Ordering::Equal => due.first() == audio.first(),
                order => order.is_gt(),
            };
            let (lead, other) = if audio_leads {
                (audio, video)
            } else {
                (video, audio)
            };
            due = lead.into_iter().chain(other.into_iter().take(1)).collect();
        }
        due.into_iter().map(|(index, _)| index).collect()
    }
}
