//! Signs of life: what comes in is counted, and what goes out says something often enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;

/// Between two RTCP reports of ours, on average; each time it is 0.5 to 1.5 times as long. With GStreamer's five seconds
/// a peer to which we send nothing else would not know for a quarter of a minute whether we are still there. Browsers
/// have the same for pictures (RFC 4585 §3.4 leaves it to the profile's user).
const REPORT_INTERVAL: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Media that goes out has gone out within this time: a slide show is media, too.
const RECENT: Duration = Duration::from_secs(5);

/// Counts the packets that come out of the ICE agent, RTP, RTCP, DTLS and SCTP, but no STUN; and the media that is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic(Arc<AtomicU64>);

/// Counts the packets of media that is sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    count: Arc<AtomicU64>,
    seen: u64,
    at: Option<Instant>,
}

fn count_on(pad: &gst::Pad, count: &Arc<AtomicU64>) {
    let count = count.clone();
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(kinds, move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
}

impl Sent {
    /// Before anything flows.
    pub fn watch(&self, pad: &gst::Pad) {
        count_on(pad, &self.count);
    }

    /// Whether something has gone out lately. Knows as much as it is asked.
    pub fn recent(&mut self, now: Instant) -> bool {
        let count = self.count.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.seen, count) != count {
            self.at = Some(now);
        }
        self.at.is_some_and(|at| now < at + RECENT)
    }
}

impl Traffic {
    /// Before webrtcbin makes its transports.
    pub fn watch(&self, webrtcbin: &gst::Element) {
        let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else {
            return;
        };
        let count = self.0.clone();
        bin.connect_deep_element_added(move |_, _, element| {
            let factory = element.factory().map(|factory| factory.name());
            match factory.as_deref() {
                Some("nicesrc") => {
                    let Some(pad) = element.static_pad("src") else {
                        return;
                    };
                    let count = count.clone();
                    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
                    pad.add_probe(kinds, move |_, _| {
                        count.fetch_add(1, Ordering::Relaxed);
                        gst::PadProbeReturn::Ok
                    });
                }
                Some("rtpsession") => element.set_property("rtcp-min-interval", REPORT_INTERVAL.nseconds()),
                _ => (),
            }
        });
    }

    /// So far.
    pub fn received(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
