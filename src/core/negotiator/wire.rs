//! What the wire sees of a world, and what flows on it.

use super::facts::{Line, LineKind, Round, Slot};
use super::world::{OwnTrack, World};
use crate::core::io::{InboundMedia, Routing, TrackKey};
use crate::sdp::section::DescriptionId;
use crate::sdp::{msid, section};

impl World {
    /// The wire text of a round: our offer, or our answer once `answer_created` has settled the role.
    pub fn write(
        &mut self,
        round: &Round,
        own: &dyn Fn(TrackKey) -> Option<OwnTrack>,
    ) -> Result<String, &'static str> {
        let local = round.local.as_ref().or(self.local.as_ref());
        let local = local.cloned().ok_or("it has no transport")?;
        self.version += 1;
        let mut media = Vec::new();
        let mut bundle = Vec::new();
        for slot in &round.slots {
            let ends = (&local, round.setup);
            if slot.rejected {
                media.push(match slot.payload.1.is_empty() {
                    true => section::rejected(&slot.head, &slot.mid),
                    false => section::stopped(&slot.head, &slot.mid, ends, slot.payload.clone()),
                });
                continue;
            }
            bundle.push(slot.mid.clone());
            let line = slot.line.and_then(|index| self.lines.get(index));
            if line.is_some_and(|line| line.kind == LineKind::Data) {
                media.push(section::data(&slot.mid, ends));
                continue;
            }
            let mut written = section::rtp(&slot.head.0, &slot.mid, ends, slot.local, slot.payload.clone());
            if let Some(Line {
                kind: LineKind::Own(spec),
                ..
            }) = line.filter(|_| slot.local.send)
                && let Some(track) = own(spec.track)
            {
                let ids = msid::write(&track.stream_id, &track.track_id, spec.ssrc, &self.cname);
                written.lines.extend(ids);
            }
            media.push(written);
        }
        let mut sdp = section::session(self.origin, self.version, media, &bundle);
        if self.keeps {
            section::promise_to_keep(&mut sdp, round.answers);
        }
        Ok(sdp.write())
    }

    /// What the `o=` lines of our descriptions name.
    pub fn origin_id(&self) -> String {
        section::session_id(self.origin).to_string()
    }

    /// What the newest of our descriptions is called.
    pub fn newest_id(&self) -> DescriptionId {
        (section::session_id(self.origin), self.version)
    }

    /// What flows.
    pub fn routing(&self) -> Routing {
        let mut routing = Routing::default();
        for slot in self.slots.iter().filter(|slot| !slot.rejected) {
            let Some((index, line)) = slot.line.and_then(|i| Some((i, self.lines.get(i)?))) else {
                continue;
            };
            if line.kind == LineKind::Data {
                continue;
            }
            if slot.local.send && slot.remote.recv {
                routing.sending.push(line.mid.clone());
            }
            if slot.local.recv && slot.remote.send {
                routing.receiving.push(InboundMedia {
                    mid: line.mid.clone(),
                    mline: u32::try_from(index).unwrap_or(u32::MAX),
                    kind: line.media(),
                    ssrcs: line.ssrcs.clone(),
                    payload_types: vec![line.pt],
                });
            }
        }
        routing
    }

    /// Mid and index of the wire section that carries our transport.
    pub fn wire_tag(slots: &[Slot]) -> Option<(String, u32)> {
        let (index, slot) = slots.iter().enumerate().find(|(_, slot)| !slot.rejected)?;
        Some((slot.mid.clone(), u32::try_from(index).ok()?))
    }
}
