//! Implementation of `meteredwebrtcsink`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use glib::subclass::Signal;
use glib::subclass::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::Lazy;

use super::MeteredWebRTCSinkPad;
use crate::core::events::RoomInput;
use crate::core::io::{MediaKind, TrackKey};
use crate::core::negotiator::{LocalTrack, ReceivePolicy};
use crate::elements::engine::Parts;
use crate::elements::member::{HasMember, Member};
use crate::elements::options::Refusal;
use crate::elements::publisher::Publisher;
use crate::elements::receiver::Receiver;
use crate::elements::{CAT, codec_choice, structure, timing};
use crate::media::codecs;
use crate::media::{Ingest, IngestSettings};
use crate::wire::PeerId;

const DEFAULT_BITRATE: u32 = 2_048_000;

#[derive(Debug, Clone)]
struct Settings {
    video_caps: Option<gst::Caps>,
    audio_caps: Option<gst::Caps>,
    start_bitrate: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            video_caps: None,
            audio_caps: None,
            start_bitrate: DEFAULT_BITRATE,
        }
    }
}

/// Implementation struct.
pub struct MeteredWebRTCSink {
    member: Member,
    publisher: Arc<Publisher>,
    settings: Mutex<Settings>,
    /// Makes the ids of this element's streams and tracks differ from every other element's.
    nonce: String,
    next_track: AtomicU32,
    /// Names of pads that are being added.
    names: Mutex<BTreeSet<String>>,
}

impl Default for MeteredWebRTCSink {
    fn default() -> Self {
        Self {
            member: Member::default(),
            publisher: Arc::default(),
            settings: Mutex::default(),
            nonce: format!("{:08x}", fastrand::u32(..)),
            next_track: AtomicU32::new(0),
            names: Mutex::default(),
        }
    }
}

impl MeteredWebRTCSink {
    fn settings(&self) -> Settings {
        self.settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn kind_of(template: &gst::PadTemplate) -> MediaKind {
        if template.name_template().starts_with("audio") {
            MediaKind::Audio
        } else {
            MediaKind::Video
        }
    }

    fn wanted_caps(&self, kind: MediaKind) -> Option<gst::Caps> {
        let settings = self.settings();
        match kind {
            MediaKind::Audio => settings.audio_caps,
            MediaKind::Video => settings.video_caps,
        }
    }

    fn start(&self) -> Result<(), Refusal> {
        let obj = self.obj();
        let nothing = Arc::new(Receiver::default());
        let weak = obj.downgrade();
        let parts = Parts {
            name: obj.name().to_string(),
            timing: timing::of_starting(obj.upcast_ref()),
            feed: self.publisher.clone(),
            outlet: Box::new(move |peer: &PeerId| nothing.for_peer(peer)),
            latency: Duration::ZERO,
        };
        let bitrate = self.settings().start_bitrate;
        for (_, ingest) in self.publisher.all() {
            if ingest.kind() == MediaKind::Video {
                ingest.set_bitrates(bitrate);
            }
        }
        self.member
            .start(ReceivePolicy::default(), parts, move |run, event| {
                if let Some(element) = weak.upgrade() {
                    element.imp().member.on_event(element.upcast_ref(), run, &event);
                }
            })?;
        for pad in obj.sink_pads() {
            if let Ok(pad) = pad.downcast::<MeteredWebRTCSinkPad>() {
                self.announce(&pad);
            }
        }
        Ok(())
    }

    /// Has the room publish a pad, once its caps are known.
    fn announce(&self, pad: &MeteredWebRTCSinkPad) {
        let Some(key) = pad.imp().track() else { return };
        let Some(ingest) = self.publisher.get(key) else {
            return;
        };
        if pad.current_caps().is_none() {
            return;
        }
        let kind = ingest.kind();
        let codecs = match ingest.encoded_input() {
            Some(codec) => Ok(vec![codec]),
            None => codec_choice::sendable(kind, self.wanted_caps(kind).as_ref()),
        };
        let codecs = match codecs {
            Ok(codecs) => codecs,
            Err(error) => {
                gst::element_imp_error!(self, gst::StreamError::Encode, ("{}: {error}", pad.name()));
                return;
            }
        };
        let settings = pad.imp().settings();
        let metadata = settings.metadata.map(|metadata| structure::to_json(&metadata));
        let track = LocalTrack {
            key,
            kind,
            stream_id: settings.stream_id,
            track_id: settings.track_id,
            codecs,
        };
        gst::info!(CAT, imp = self, "publishing {} as {track:?}", pad.name());
        self.member.tell(RoomInput::AddTrack(track, metadata));
    }

    fn add_track_pad(&self, template: &gst::PadTemplate, name: Option<&str>) -> Result<gst::Pad, String> {
        let kind = Self::kind_of(template);
        let name = self.reserve_name(kind, name)?;
        let pad = self.add_named_pad(template, kind, &name);
        self.names().remove(&name);
        pad
    }

    fn add_named_pad(
        &self,
        template: &gst::PadTemplate,
        kind: MediaKind,
        name: &str,
    ) -> Result<gst::Pad, String> {
        let key = TrackKey(self.next_track.fetch_add(1, Ordering::Relaxed));
        let ingest =
            Ingest::new(name, kind, self.ingest_settings(kind)).map_err(|error| error.to_string())?;
        if self.obj().current_state() == gst::State::Playing {
            let timing = timing::of_playing(self.obj().upcast_ref());
            ingest.set_timing(&timing.clock, timing.base_time);
        }
        let bin = ingest.sink_bin().clone();
        self.obj().add(&bin).map_err(|error| error.to_string())?;
        let added = self.show_pad(template, name, key, ingest);
        if added.is_err() {
            drop(self.publisher.remove(key));
            self.drop_bin(&bin);
        }
        added
    }

    fn show_pad(
        &self,
        template: &gst::PadTemplate,
        name: &str,
        key: TrackKey,
        ingest: Ingest,
    ) -> Result<gst::Pad, String> {
        let number = name.rsplit('_').next().unwrap_or_default();
        let bin = ingest.sink_bin().clone();
        let target = bin.static_pad("sink").ok_or("the ingest has no pad")?;
        let pad: MeteredWebRTCSinkPad = gst::PadBuilder::<MeteredWebRTCSinkPad>::from_template(template)
            .name(name)
            .build();
        pad.set_target(Some(&target)).map_err(|error| error.to_string())?;
        pad.imp().set_names(
            format!("gst-{}-{number}", self.nonce),
            format!("{}-{name}", self.nonce),
        );
        pad.imp().set_track(key);
        self.publisher.insert(key, Arc::new(ingest));
        self.watch_caps(&pad);
        bin.sync_state_with_parent().map_err(|error| error.to_string())?;
        pad.set_active(true).map_err(|error| error.to_string())?;
        self.obj().add_pad(&pad).map_err(|error| error.to_string())?;
        Ok(pad.upcast())
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wanted name, or the first free one. Pads may be requested from several threads at once.
    fn reserve_name(&self, kind: MediaKind, wanted: Option<&str>) -> Result<String, String> {
        let mut names = self.names();
        let obj = self.obj();
        let free = |name: &String| {
            !names.contains(name) && obj.static_pad(name).is_none() && obj.by_name(name).is_none()
        };
        let numbered = |number: u32| format!("{}_{number}", kind.as_str());
        let name = match wanted {
            Some(wanted) => {
                // It becomes a part of the stream's id.
                let number = wanted.rsplit('_').next().and_then(|number| number.parse().ok());
                if number.is_none_or(|number| numbered(number) != wanted) {
                    return Err(format!("{wanted} is no name such as {}", numbered(0)));
                }
                Some(wanted.to_owned()).filter(free)
            }
            None => (0..).map(numbered).find(free),
        };
        let name = name.ok_or_else(|| format!("{} exists already", wanted.unwrap_or_default()))?;
        names.insert(name.clone());
        Ok(name)
    }

    /// Ends what is behind a pad. In PAUSED a thread may be waiting in there with its first frame, so this comes before
    /// anything that waits for that thread.
    fn drop_bin(&self, bin: &gst::Bin) {
        bin.set_locked_state(true);
        let _ = bin.set_state(gst::State::Null);
        // While the element is disposed of, its children go before its pads.
        if bin.parent().as_ref() == Some(self.obj().upcast_ref()) {
            let _ = self.obj().remove(bin);
        }
    }

    fn ingest_settings(&self, kind: MediaKind) -> IngestSettings {
        let mut settings = IngestSettings::new(kind);
        if kind == MediaKind::Video {
            settings.bitrate = self.settings().start_bitrate;
        }
        let weak = self.obj().downgrade();
        settings.on_fault = Some(Arc::new(move |fault| {
            if let Some(element) = weak.upgrade() {
                // From any thread, so not here: a bus handler may do anything.
                element.call_async(move |element| {
                    gst::element_warning!(
                        element,
                        gst::StreamError::Encode,
                        ("{}: {}", fault.ingest, fault.text)
                    );
                });
            }
        }));
        settings
    }

    /// A track is published when its caps are known: they say which codecs it can be sent with. The pad has them
    /// after everything behind it has accepted them.
    fn watch_caps(&self, pad: &MeteredWebRTCSinkPad) {
        let weak = self.obj().downgrade();
        pad.connect_notify(Some("caps"), move |pad, _| {
            if let (Some(element), true) = (weak.upgrade(), pad.current_caps().is_some()) {
                element.imp().announce(pad);
            }
        });
    }

    fn stats(&self) -> gst::Structure {
        let ingests = self.publisher.all();
        let encodings: usize = ingests.iter().map(|(_, ingest)| ingest.encodings().len()).sum();
        let pads = ingests
            .iter()
            .map(|(_, ingest)| pad_stats(ingest).to_send_value());
        self.member
            .stats()
            .field("encodings", u32::try_from(encodings).unwrap_or(u32::MAX))
            .field("pads", gst::Array::new(pads))
            .build()
    }

    fn timing_changed(&self) {
        let timing = timing::of_playing(self.obj().upcast_ref());
        for (_, ingest) in self.publisher.all() {
            ingest.set_timing(&timing.clock, timing.base_time);
        }
        self.member.timing_changed(&timing);
    }
}

fn pad_stats(ingest: &Ingest) -> gst::Structure {
    let stats = ingest.stats();
    let encodings = stats.encodings.iter().map(|encoding| {
        gst::Structure::builder("encoding")
            .field("codec", codecs::info(encoding.codec).name)
            .field("active", encoding.active)
            .field("encoder", encoding.encoder.as_deref())
            .field(
                "subscribers",
                u32::try_from(encoding.subscribers).unwrap_or(u32::MAX),
            )
            .field("bitrate", encoding.bitrate)
            .field("frames-encoded", encoding.buffers)
            .field("key-frames-encoded", encoding.key_frames)
            .field("key-frames-requested", encoding.key_frames_requested)
            .build()
            .to_send_value()
    });
    gst::Structure::builder("pad")
        .field("kind", ingest.kind().as_str())
        .field("buffers-in", stats.buffers_in)
        .field("encodings", gst::Array::new(encodings))
        .build()
}

#[glib::object_subclass]
impl ObjectSubclass for MeteredWebRTCSink {
    const NAME: &'static str = "GstMeteredWebRTCSink";
    type Type = super::MeteredWebRTCSink;
    type ParentType = gst::Bin;
    type Interfaces = (gst::ChildProxy,);
}

impl HasMember for MeteredWebRTCSink {
    fn member(&self) -> &Member {
        &self.member
    }
}

impl ObjectImpl for MeteredWebRTCSink {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(|| {
            let mut all = Member::properties();
            let caps = |name: &'static str, blurb: &'static str| {
                glib::ParamSpecBoxed::builder::<gst::Caps>(name)
                    .blurb(blurb)
                    .flags(glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_READY)
                    .build()
            };
            all.extend([
                caps(
                    "video-caps",
                    "Video codecs to send, in order of preference, such as video/x-vp8;video/x-h264",
                ),
                caps(
                    "audio-caps",
                    "Audio codecs to send, in order of preference, such as audio/x-opus",
                ),
                glib::ParamSpecUInt::builder("start-bitrate")
                    .blurb("Bitrate of each video encoder, in bits per second")
                    .minimum(10_000)
                    .default_value(DEFAULT_BITRATE)
                    .flags(glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_READY)
                    .build(),
            ]);
            all
        });
        &PROPERTIES
    }

    fn signals() -> &'static [Signal] {
        static SIGNALS: Lazy<Vec<Signal>> = Lazy::new(Member::signals::<MeteredWebRTCSink>);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if self.member.set_property(value, pspec) {
            return;
        }
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        match pspec.name() {
            "video-caps" => settings.video_caps = value.get().unwrap_or_default(),
            "audio-caps" => settings.audio_caps = value.get().unwrap_or_default(),
            "start-bitrate" => settings.start_bitrate = value.get().unwrap_or(DEFAULT_BITRATE),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings();
        match pspec.name() {
            "video-caps" => settings.video_caps.to_value(),
            "audio-caps" => settings.audio_caps.to_value(),
            "start-bitrate" => settings.start_bitrate.to_value(),
            "stats" => self.stats().to_value(),
            _ => self
                .member
                .property(pspec)
                .unwrap_or_else(|| pspec.default_value().clone()),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj()
            .set_suppressed_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        self.obj().set_element_flags(gst::ElementFlags::SINK);
    }
}

impl GstObjectImpl for MeteredWebRTCSink {}

impl ElementImpl for MeteredWebRTCSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: Lazy<gst::subclass::ElementMetadata> = Lazy::new(|| {
            gst::subclass::ElementMetadata::new(
                "Metered WebRTC sink",
                "Sink/Network/WebRTC",
                "Publishes audio and video to everybody in a Metered Realtime Messaging room",
                "gst-plugin-meteredwebrtc developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: Lazy<Vec<gst::PadTemplate>> = Lazy::new(|| {
            [MediaKind::Video, MediaKind::Audio]
                .into_iter()
                .map(|kind| {
                    gst::PadTemplate::with_gtype(
                        &format!("{}_%u", kind.as_str()),
                        gst::PadDirection::Sink,
                        gst::PadPresence::Request,
                        &codecs::input_caps(kind),
                        MeteredWebRTCSinkPad::static_type(),
                    )
                    .expect("a constant name with one %u, a direction and caps are all a template needs")
                })
                .collect()
        });
        &TEMPLATES
    }

    fn request_new_pad(
        &self,
        templ: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        match self.add_track_pad(templ, name) {
            Ok(pad) => {
                self.obj()
                    .child_added(pad.upcast_ref::<glib::Object>(), &pad.name());
                Some(pad)
            }
            Err(error) => {
                gst::element_imp_error!(self, gst::CoreError::Pad, ("cannot add a pad: {error}"));
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let Some(pad) = pad.downcast_ref::<MeteredWebRTCSinkPad>() else {
            return;
        };
        if let Some(key) = pad.imp().track() {
            self.member.tell(RoomInput::RemoveTrack(key));
            if let Some(ingest) = self.publisher.remove(key) {
                self.drop_bin(ingest.sink_bin());
                let _ = pad.set_active(false);
                let _ = pad.set_target(None::<&gst::Pad>);
                self.obj()
                    .child_removed(pad.upcast_ref::<glib::Object>(), &pad.name());
                let _ = self.obj().remove_pad(pad);
            }
        }
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => {
                self.member
                    .check()
                    .map_err(|refusal| refusal.post(self.obj().upcast_ref()))?;
            }
            gst::StateChange::ReadyToPaused => {
                self.start()
                    .map_err(|refusal| refusal.post(self.obj().upcast_ref()))?;
            }
            gst::StateChange::PausedToPlaying => self.timing_changed(),
            gst::StateChange::PausedToReady => self.member.stop(),
            _ => {}
        }
        let changed = self.parent_change_state(transition);
        if changed.is_err() && transition == gst::StateChange::ReadyToPaused {
            self.member.stop();
        }
        if transition == gst::StateChange::PausedToReady {
            for (_, ingest) in self.publisher.all() {
                ingest.reset();
            }
        }
        changed
    }
}

impl BinImpl for MeteredWebRTCSink {}

/// The pads are children, so that gst-launch can set their properties: `video_0::stream-id=camera`.
impl ChildProxyImpl for MeteredWebRTCSink {
    fn children_count(&self) -> u32 {
        u32::from(self.obj().num_pads())
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        self.obj().static_pad(name).map(|pad| pad.upcast())
    }

    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        self.obj()
            .pads()
            .into_iter()
            .nth(index as usize)
            .map(|pad| pad.upcast())
    }
}
