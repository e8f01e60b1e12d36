//! Local tracks on their way to one peer: appsrc → payloader → sink pad of webrtcbin.
//!
//! The chain of a sender exists from its `AddSender` to the end of the session, and its payloader with it: RTP of one
//! SSRC may never start a second sequence, because SRTP takes that for a replay and ends the whole bundle.
//!
//! There is no queue behind the payloader: the appsrc is one, with a thread of its own, and drops whole frames where
//! a queue of packets would tear them.

use std::any::Any;
use std::time::Instant;

use gst::prelude::*;

use super::traffic::Sent;
use super::webrtcbin::WebrtcBin;
use super::{CAT, Feed, rtp};
use crate::core::io::{SenderSpec, TrackKey};

/// What waits in the appsrc at most, until the feed sets its own limit.
const MAX_QUEUED: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// Start of the names of the senders' bins; the number follows.
pub(super) const PREFIX: &str = "out-";

struct Sender {
    spec: SenderSpec,
    appsrc: gst_app::AppSrc,
    /// End of the chain.
    source: gst::Pad,
    pad: gst::Pad,
    caps: gst::Caps,
    /// Present while media flows; dropping it stops the feed.
    feed: Option<Box<dyn Any + Send>>,
    /// Its chain has reported an error and can take nothing more.
    broken: bool,
}

impl Sender {
    /// Links the chain to webrtcbin, once, when media is about to flow. Not before: webrtcbin asks what is linked for
    /// its caps while it answers, and [`Senders::hide`] could not hide the sender.
    fn link(&self) -> bool {
        let linked = self.pad.is_linked() || self.source.link(&self.pad).is_ok();
        if !linked {
            gst::error!(CAT, obj = self.appsrc, "a sender cannot be linked");
        }
        linked
    }
}

/// All senders of a session, in the order of their numbers.
#[derive(Default)]
pub(super) struct Senders {
    list: Vec<Sender>,
    sent: Sent,
}

impl Senders {
    /// Makes a sender. Nothing flows yet.
    pub fn add(
        &mut self,
        pipeline: &gst::Pipeline,
        webrtcbin: &WebrtcBin,
        spec: SenderSpec,
    ) -> Result<(), String> {
        if self.list.iter().any(|sender| sender.spec.mid == spec.mid) {
            return Err("there is a sender with this mid already".into());
        }
        if spec.mid.is_empty() || !spec.mid.chars().all(|c| c.is_ascii_graphic()) {
            return Err("a mid must be a token".into());
        }
        let row = rtp::of(spec.codec);
        let appsrc = appsrc();
        let payloader = row.payloader(spec.payload_type, spec.ssrc)?;
        let bin = gst::Bin::with_name(&format!("{PREFIX}{}", self.list.len()));
        bin.add_many([appsrc.upcast_ref(), &payloader])
            .map_err(|error| error.to_string())?;
        appsrc.link(&payloader).map_err(|error| error.to_string())?;
        let source = payloader.static_pad("src").ok_or("a payloader has no src pad")?;
        let ghost = gst::GhostPad::with_target(&source).map_err(|error| error.to_string())?;
        bin.add_pad(&ghost).map_err(|error| error.to_string())?;

        let caps = row.sender_caps(spec.payload_type, spec.ssrc, &spec.mid);
        hide_profile(&source, &caps);
        self.sent.watch(&source);
        let pad = webrtcbin.request_sender(&caps)?;
        pipeline.add(&bin).map_err(|error| error.to_string())?;
        bin.sync_state_with_parent().map_err(|error| error.to_string())?;
        self.list.push(Sender {
            spec,
            appsrc,
            source: ghost.upcast(),
            pad,
            caps,
            feed: None,
            broken: false,
        });
        Ok(())
    }

    /// Another track flows here from now on, once it is routed.
    pub fn reuse(&mut self, mid: &str, track: TrackKey) -> Result<(), String> {
        let sender = self.list.iter_mut().find(|sender| sender.spec.mid == mid);
        let sender = sender.ok_or("there is no sender with this mid")?;
        if sender.broken {
            return Err("the sender has failed before".into());
        }
        (sender.spec.track, sender.feed) = (track, None);
        Ok(())
    }

    /// While a remote offer is being answered, senders that it has no m-line for are hidden from it. The others are
    /// not: a ghost of an m-line that we have offered and dropped must find its transceiver again, or the next
    /// `create-offer` counts its m-lines wrong and aborts the process (1.22).
    pub fn hide(&self, webrtcbin: &WebrtcBin, offer: &str) {
        let offered: Vec<&str> = offer
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("a=mid:"))
            .collect();
        for sender in self
            .list
            .iter()
            .filter(|sender| !offered.contains(&sender.spec.mid.as_str()))
        {
            webrtcbin.hide_sender(&sender.pad, &sender.caps, true);
        }
    }

    /// Ends what [`Senders::hide`] has begun.
    pub fn show(&self, webrtcbin: &WebrtcBin) {
        for sender in &self.list {
            webrtcbin.hide_sender(&sender.pad, &sender.caps, false);
        }
    }

    /// Whether media has gone out lately.
    pub fn sending(&mut self, now: Instant) -> bool {
        self.sent.recent(now)
    }

    /// Lets flow what is named, and nothing else.
    pub fn route(&mut self, mids: &[String], feed: &dyn Feed) {
        for sender in &mut self.list {
            let wanted = !sender.broken && mids.contains(&sender.spec.mid);
            if !wanted {
                sender.feed = None;
            } else if sender.feed.is_none() && sender.link() {
                match feed.attach(sender.spec.track, sender.spec.codec, &sender.appsrc) {
                    Ok(guard) => sender.feed = Some(guard),
                    Err(error) => {
                        gst::error!(CAT, obj = sender.appsrc, "a track is not sent: {error}");
                    }
                }
            }
        }
    }

    /// A sender's chain has stopped on an error of its own.
    pub fn fail(&mut self, number: u32) {
        let sender = usize::try_from(number)
            .ok()
            .and_then(|number| self.list.get_mut(number));
        if let Some(sender) = sender {
            sender.broken = true;
            sender.feed = None;
        }
    }

    /// First step of the teardown. Before 1.23.1 webrtcbin keeps upstream threads blocked on pads that have never been
    /// negotiated, and stopping them would hang; inactive pads let them go.
    pub fn release(&mut self) {
        for sender in self.list.drain(..) {
            drop(sender.feed);
            let _ = sender.pad.set_active(false);
        }
    }
}

fn appsrc() -> gst_app::AppSrc {
    gst_app::AppSrc::builder()
        .is_live(true)
        .format(gst::Format::Time)
        .handle_segment_change(true)
        .leaky_type(gst_app::AppLeakyType::Downstream)
        .automatic_eos(false)
        .max_buffers(0)
        .max_bytes(0)
        .max_time(MAX_QUEUED)
        .build()
}

/// Keeps the profile and level of the stream from webrtcbin, and those of the m-line from the payloader.
///
/// The m-line promises what every receiver has (for H.264 constrained baseline, level 3.1, with asymmetry allowed);
/// taken literally by the payloader this would forbid 1080p and every camera that encodes main profile, which
/// receivers do decode. webrtcbin for its part ends a negotiation if the caps of a pad differ from its m-line.
fn hide_profile(source: &gst::Pad, promised: &gst::Caps) {
    let Some(promised) = promised.structure(0).map(|structure| structure.to_owned()) else {
        return;
    };
    let mut open = promised.clone();
    open.remove_field("profile-level-id");
    let open = gst::Caps::from_iter([open]);
    source.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, move |_, info| {
        let Some(gst::QueryViewMut::Caps(query)) = info.query_mut().map(gst::QueryRef::view_mut) else {
            return gst::PadProbeReturn::Ok;
        };
        let caps = query
            .filter()
            .map_or_else(|| open.clone(), |filter| open.intersect(filter));
        query.set_result(&caps);
        gst::PadProbeReturn::Handled
    });
    source.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(gst::EventView::Caps(event)) = info.event().map(|event| event.view()) else {
            return gst::PadProbeReturn::Ok;
        };
        let mut caps = event.caps_owned();
        if let (Some(structure), Ok(level)) = (
            caps.make_mut().structure_mut(0),
            promised.value("profile-level-id"),
        ) {
            structure.set_value("profile-level-id", level.clone());
        }
        info.data = Some(gst::PadProbeData::Event(gst::event::Caps::new(&caps)));
        gst::PadProbeReturn::Ok
    });
}
