//! `GstMeteredWebRTCSinkPad`: one published track, with the names its receivers see.

use std::sync::{Mutex, OnceLock, PoisonError};

use glib::subclass::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::Lazy;

use crate::core::io::TrackKey;

/// User values of a pad.
#[derive(Debug, Clone, Default)]
pub struct PadSettings {
    /// `stream-id`; the element fills in a default when the pad is requested.
    pub stream_id: String,
    /// `track-id`; likewise.
    pub track_id: String,
    /// `metadata`
    pub metadata: Option<gst::Structure>,
}

/// Implementation struct.
#[derive(Default)]
pub struct MeteredWebRTCSinkPad {
    settings: Mutex<PadSettings>,
    track: OnceLock<TrackKey>,
}

impl MeteredWebRTCSinkPad {
    fn with<T>(&self, f: impl FnOnce(&mut PadSettings) -> T) -> T {
        f(&mut self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy of the user values.
    pub fn settings(&self) -> PadSettings {
        self.with(|settings| settings.clone())
    }

    /// The track this pad feeds.
    pub fn track(&self) -> Option<TrackKey> {
        self.track.get().copied()
    }

    /// Says which track this pad feeds; the first call counts.
    pub fn set_track(&self, key: TrackKey) {
        let _ = self.track.set(key);
    }

    /// Sets the defaults of a pad that has just been requested.
    pub fn set_names(&self, stream_id: String, track_id: String) {
        self.with(|settings| {
            settings.stream_id = stream_id;
            settings.track_id = track_id;
        });
    }
}

/// An `a=msid` part is a token of at most 64 characters (RFC 8830); others would break the SDP line.
fn token(value: &glib::Value) -> Option<String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`{|}~".contains(c);
    value
        .get::<Option<String>>()
        .ok()
        .flatten()
        .filter(|text| !text.is_empty() && text.len() <= 64 && text.chars().all(valid))
}

#[glib::object_subclass]
impl ObjectSubclass for MeteredWebRTCSinkPad {
    const NAME: &'static str = "GstMeteredWebRTCSinkPad";
    type Type = super::MeteredWebRTCSinkPad;
    type ParentType = gst::GhostPad;
}

impl ObjectImpl for MeteredWebRTCSinkPad {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(|| {
            let id = |name: &'static str, blurb: &'static str| {
                glib::ParamSpecString::builder(name)
                    .blurb(blurb)
                    .flags(glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_READY)
                    .build()
            };
            vec![
                id(
                    "stream-id",
                    "Id of the MediaStream at the receivers, a token of at most 64 characters; pads with one \
                     stream-id are one stream. Default: one stream for each pad number",
                ),
                id("track-id", "Id of the track, a token of at most 64 characters. Default: made from the pad's name"),
                glib::ParamSpecBoxed::builder::<gst::Structure>("metadata")
                    .blurb("What receivers are told about the track, such as meta,role=camera,label=(string)Front")
                    .flags(glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_READY)
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        match pspec.name() {
            "metadata" => self.with(|settings| settings.metadata = value.get().unwrap_or_default()),
            name => match token(value) {
                Some(id) if name == "stream-id" => self.with(|settings| settings.stream_id = id),
                Some(id) => self.with(|settings| settings.track_id = id),
                None => gst::warning!(
                    super::super::CAT,
                    obj = self.obj(),
                    "{name} must be a token of 1 to 64 characters without spaces; keeping the old one"
                ),
            },
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings();
        match pspec.name() {
            "stream-id" => settings.stream_id.to_value(),
            "track-id" => settings.track_id.to_value(),
            _ => settings.metadata.to_value(),
        }
    }
}

impl GstObjectImpl for MeteredWebRTCSinkPad {}
impl PadImpl for MeteredWebRTCSinkPad {}
impl ProxyPadImpl for MeteredWebRTCSinkPad {}
impl GhostPadImpl for MeteredWebRTCSinkPad {}
