//! `GstMeteredWebRTCSrcPad`: one remote track, with what is known about it. All of it is set before the pad shows.

use std::sync::OnceLock;

use glib::subclass::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::Lazy;

/// What a pad says about its track.
#[derive(Debug, Clone, Default)]
pub struct PadInfo {
    /// Whose track it is.
    pub peer_id: String,
    /// What the service says about the peer.
    pub peer_metadata: Option<gst::Structure>,
    /// The stream it belongs to.
    pub stream_id: Option<String>,
    /// The sender's id of the track.
    pub track_id: Option<String>,
    /// The mid of its m-line.
    pub mid: String,
    /// What the peer says about the track.
    pub metadata: Option<gst::Structure>,
}

/// Implementation struct.
#[derive(Default)]
pub struct MeteredWebRTCSrcPad {
    info: OnceLock<PadInfo>,
}

impl MeteredWebRTCSrcPad {
    /// Sets what the pad says; the first call counts.
    pub fn describe(&self, info: PadInfo) {
        let _ = self.info.set(info);
    }

    /// What the pad says, once it was described.
    pub fn info(&self) -> Option<&PadInfo> {
        self.info.get()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for MeteredWebRTCSrcPad {
    const NAME: &'static str = "GstMeteredWebRTCSrcPad";
    type Type = super::MeteredWebRTCSrcPad;
    type ParentType = gst::GhostPad;
}

impl ObjectImpl for MeteredWebRTCSrcPad {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(|| {
            let text = |name: &'static str, blurb: &'static str| {
                glib::ParamSpecString::builder(name)
                    .blurb(blurb)
                    .read_only()
                    .build()
            };
            let bag = |name: &'static str, blurb: &'static str| {
                glib::ParamSpecBoxed::builder::<gst::Structure>(name)
                    .blurb(blurb)
                    .read_only()
                    .build()
            };
            vec![
                text("peer-id", "Id of the peer that sends the track"),
                bag(
                    "peer-metadata",
                    "What the service says about that peer, if anything",
                ),
                text("stream-id", "Id of the MediaStream the track belongs to, if any"),
                text("track-id", "The sender's id of the track"),
                text(
                    "mid",
                    "Media id of the track's section in the session description",
                ),
                bag("metadata", "What the peer says about the track, if anything"),
            ]
        });
        &PROPERTIES
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let nothing = PadInfo::default();
        let info = self.info().unwrap_or(&nothing);
        match pspec.name() {
            "peer-id" => info.peer_id.to_value(),
            "peer-metadata" => info.peer_metadata.to_value(),
            "stream-id" => info.stream_id.to_value(),
            "track-id" => info.track_id.to_value(),
            "mid" => info.mid.to_value(),
            _ => info.metadata.to_value(),
        }
    }
}

impl GstObjectImpl for MeteredWebRTCSrcPad {}
impl PadImpl for MeteredWebRTCSrcPad {}
impl ProxyPadImpl for MeteredWebRTCSrcPad {}
impl GhostPadImpl for MeteredWebRTCSrcPad {}
