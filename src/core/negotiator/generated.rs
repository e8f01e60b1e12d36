//! Reading what webrtcbin has written, and keeping it in its bounds.

use super::facts::Line;
use super::world::World;
use crate::sdp::model::{Media, Sdp};
use crate::sdp::transport::{Setup, Transport, sha256_fingerprint};

impl World {
    /// I1: what webrtcbin wrote must begin with what it wrote before.
    pub(super) fn note_generated(&mut self, sdp: &Sdp) -> Result<(), &'static str> {
        for (index, media) in sdp.media.iter().enumerate() {
            let mid = media.attribute("mid").unwrap_or_default();
            match self.lines.get(index) {
                Some(line) if line.mid == mid => {}
                Some(_) => return Err("its sections are not in the order we know"),
                None if media.media == "application" && self.own_data.is_some() => {
                    let alias = self.own_data.take().unwrap_or_default();
                    self.lines.push(Line::of_data(mid, alias));
                }
                None => {
                    if let Some(at) = self.receivers.iter().position(|spec| spec.mid == mid) {
                        let spec = self.receivers.remove(at);
                        self.lines.push(Line::of_receiver(spec, media));
                        continue;
                    }
                    let known = self.waiting.iter().position(|spec| spec.mid == mid);
                    let Some(at) = known else {
                        return Err("it has written a section we do not know");
                    };
                    let spec = self.waiting.remove(at);
                    self.lines.push(Line::of_own(spec, media));
                }
            }
        }
        if sdp.media.len() < self.lines.len() {
            return Err("it has left out a section");
        }
        self.touched = true;
        Ok(())
    }

    /// Our end, from what webrtcbin wrote; it is that of the tag (I2, I6). webrtcbin never changes it: after a restart
    /// it still writes the first credentials. Returns the new end if this round restarts ICE.
    pub(super) fn note_local(
        &mut self,
        sdp: &Sdp,
        restarts: bool,
    ) -> Result<Option<Transport>, &'static str> {
        let first = sdp.media.first().ok_or("it has no section")?;
        let (Some(ufrag), Some(pwd)) = (first.attribute("ice-ufrag"), first.attribute("ice-pwd")) else {
            return Err("it has no ICE credentials");
        };
        let fingerprint = first
            .attribute("fingerprint")
            .and_then(sha256_fingerprint)
            .ok_or("it has no fingerprint")?;
        let written = Transport {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
            fingerprint,
        };
        if restarts {
            return Ok(Some(written));
        }
        self.local.get_or_insert(written);
        Ok(None)
    }

    /// I5 to I7 on a section webrtcbin wrote: it copies roles from its own unchanged last SDP, and the peer's
    /// credentials into what it rejects.
    pub(super) fn pin(&self, media: &mut Media, setup: Setup, new: Option<&Transport>) {
        let Some(local) = new.or(self.local.as_ref()) else {
            return;
        };
        media.set("setup", setup.as_str());
        media.set("ice-ufrag", &local.ufrag);
        media.set("ice-pwd", &local.pwd);
        media.set("fingerprint", &format!("sha-256 {}", local.fingerprint));
    }
}
