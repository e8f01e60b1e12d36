//! Implementation of `meteredwebrtcsrc`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use glib::subclass::Signal;
use glib::subclass::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::Lazy;

use super::MeteredWebRTCSrcPad;
use super::pad::PadInfo;
use crate::core::events::RoomEvent;
use crate::core::io::{Generation, MediaKind};
use crate::core::negotiator::{ReceivePolicy, RemoteTrack};
use crate::elements::engine::Parts;
use crate::elements::member::{HasMember, Member};
use crate::elements::notices::Notice;
use crate::elements::options::Refusal;
use crate::elements::publisher::Publisher;
use crate::elements::receiver::Receiver;
use crate::elements::{codec_choice, structure, timing};
use crate::media::codecs;
use crate::wire::{Metadata, PeerId};

const DEFAULT_LATENCY: u32 = 200;

#[derive(Debug, Clone)]
struct Settings {
    latency: u32,
    video_codecs: Option<gst::Caps>,
    audio_codecs: Option<gst::Caps>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency: DEFAULT_LATENCY,
            video_codecs: None,
            audio_codecs: None,
        }
    }
}

/// Implementation struct.
#[derive(Default)]
pub struct MeteredWebRTCSrc {
    member: Member,
    /// The one of this run.
    receiver: Mutex<Arc<Receiver>>,
    settings: Mutex<Settings>,
    next_pad: [AtomicU32; 2],
}

impl MeteredWebRTCSrc {
    fn settings(&self) -> Settings {
        self.settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn receiver(&self) -> MutexGuard<'_, Arc<Receiver>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pad name that was not used before: `video_0`, `video_1`, …
    fn pad_name(&self, kind: MediaKind) -> String {
        let counter = &self.next_pad[usize::from(kind == MediaKind::Video)];
        format!("{}_{}", kind.as_str(), counter.fetch_add(1, Ordering::Relaxed))
    }

    fn start(&self) -> Result<(), Refusal> {
        let settings = self.settings();
        let receive = ReceivePolicy {
            audio: codec_choice::receivable(MediaKind::Audio, settings.audio_codecs.as_ref())
                .map_err(|error| Refusal::failed(format!("audio-codecs: {error}")))?,
            video: codec_choice::receivable(MediaKind::Video, settings.video_codecs.as_ref())
                .map_err(|error| Refusal::failed(format!("video-codecs: {error}")))?,
        };
        let obj = self.obj();
        let receiver = Arc::new(Receiver::default());
        *self.receiver() = receiver.clone();
        let sessions = receiver.clone();
        let parts = Parts {
            name: obj.name().to_string(),
            timing: timing::of_starting(obj.upcast_ref()),
            feed: Arc::new(Publisher::default()),
            outlet: Box::new(move |peer: &PeerId| sessions.for_peer(peer)),
            latency: Duration::from_millis(settings.latency.into()),
        };
        let weak = obj.downgrade();
        self.member.start(receive, parts, move |run, event| {
            if let Some(element) = weak.upgrade() {
                element.imp().on_event(&receiver, run, &event);
            }
        })
    }

    fn on_event(&self, receiver: &Receiver, run: u64, event: &RoomEvent) {
        if !self.member.is_current(run) {
            return;
        }
        match event {
            RoomEvent::TrackAdded {
                peer,
                peer_metadata,
                track,
                metadata,
            } => {
                self.track_added(receiver, peer, peer_metadata.as_ref(), track, metadata.as_ref());
            }
            RoomEvent::TrackRemoved {
                peer,
                generation,
                mid,
            } => self.track_removed(receiver, peer, *generation, mid),
            _ => {}
        }
        self.member.on_event(self.obj().upcast_ref(), run, event);
    }

    fn track_added(
        &self,
        receiver: &Receiver,
        peer: &PeerId,
        peer_metadata: Option<&Metadata>,
        track: &RemoteTrack,
        metadata: Option<&Metadata>,
    ) {
        let bag = |object: &Metadata| structure::from_json("metadata", object);
        let pad: MeteredWebRTCSrcPad =
            gst::PadBuilder::<MeteredWebRTCSrcPad>::from_template(&template(track.kind))
                .name(self.pad_name(track.kind))
                .build();
        pad.imp().describe(PadInfo {
            peer_id: peer.as_str().to_owned(),
            peer_metadata: peer_metadata.map(bag),
            stream_id: track.stream_id.clone(),
            track_id: track.track_id.clone(),
            mid: track.mid.clone(),
            metadata: metadata.map(bag),
        });
        let name = (peer.clone(), track.generation, track.mid.clone());
        let bin = self.obj();
        let latency = self.settings().latency;
        match receiver.expose(bin.upcast_ref(), track, name, pad, latency) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                gst::element_warning!(
                    bin,
                    gst::CoreError::Pad,
                    ("cannot receive a track of peer {peer}: {error}")
                );
                return;
            }
        }
        if let Some(stream) = &track.stream_id {
            let key = (track.generation, track.mid.clone());
            if self
                .member
                .with_view(|view| view.stream_track_added(peer.as_str(), stream, key))
            {
                Notice::stream_added(peer.as_str(), stream, metadata).tell(bin.upcast_ref());
            }
        }
    }

    fn track_removed(&self, receiver: &Receiver, peer: &PeerId, generation: Generation, mid: &str) {
        let bin = self.obj();
        receiver.remove(bin.upcast_ref(), &(peer.clone(), generation, mid.to_owned()));
        let key = (generation, mid.to_owned());
        let ended = self
            .member
            .with_view(|view| view.stream_track_removed(peer.as_str(), &key));
        if let Some(stream) = ended {
            Notice::stream_removed(peer.as_str(), &stream).tell(bin.upcast_ref());
        }
    }
}

fn template(kind: MediaKind) -> gst::PadTemplate {
    let name = format!("{}_%u", kind.as_str());
    let caps = codecs::any_output_caps(kind);
    gst::PadTemplate::with_gtype(
        &name,
        gst::PadDirection::Src,
        gst::PadPresence::Sometimes,
        &caps,
        MeteredWebRTCSrcPad::static_type(),
    )
    .expect("a constant name with one %u, a direction and caps are all a template needs")
}

#[glib::object_subclass]
impl ObjectSubclass for MeteredWebRTCSrc {
    const NAME: &'static str = "GstMeteredWebRTCSrc";
    type Type = super::MeteredWebRTCSrc;
    type ParentType = gst::Bin;
}

impl HasMember for MeteredWebRTCSrc {
    fn member(&self) -> &Member {
        &self.member
    }
}

impl ObjectImpl for MeteredWebRTCSrc {
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
                glib::ParamSpecUInt::builder("latency")
                    .blurb("Jitter buffer latency in milliseconds")
                    .default_value(DEFAULT_LATENCY)
                    .flags(glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_READY)
                    .build(),
                caps(
                    "video-codecs",
                    "Video codecs to take, in order of preference; unset takes all that can be decoded",
                ),
                caps(
                    "audio-codecs",
                    "Audio codecs to take, in order of preference; unset takes all that can be decoded",
                ),
            ]);
            all
        });
        &PROPERTIES
    }

    fn signals() -> &'static [Signal] {
        static SIGNALS: Lazy<Vec<Signal>> = Lazy::new(Member::signals::<MeteredWebRTCSrc>);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if self.member.set_property(value, pspec) {
            return;
        }
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        match pspec.name() {
            "latency" => settings.latency = value.get().unwrap_or(DEFAULT_LATENCY),
            "video-codecs" => settings.video_codecs = value.get().unwrap_or_default(),
            "audio-codecs" => settings.audio_codecs = value.get().unwrap_or_default(),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings();
        match pspec.name() {
            "latency" => settings.latency.to_value(),
            "video-codecs" => settings.video_codecs.to_value(),
            "audio-codecs" => settings.audio_codecs.to_value(),
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
        self.obj().set_element_flags(gst::ElementFlags::SOURCE);
    }
}

impl GstObjectImpl for MeteredWebRTCSrc {}

impl ElementImpl for MeteredWebRTCSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: Lazy<gst::subclass::ElementMetadata> = Lazy::new(|| {
            gst::subclass::ElementMetadata::new(
                "Metered WebRTC source",
                "Source/Network/WebRTC",
                "Receives the audio and video of everybody in a Metered Realtime Messaging room",
                "gst-plugin-meteredwebrtc developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: Lazy<Vec<gst::PadTemplate>> =
            Lazy::new(|| vec![template(MediaKind::Video), template(MediaKind::Audio)]);
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => self
                .member
                .check()
                .map_err(|refusal| refusal.post(self.obj().upcast_ref()))?,
            gst::StateChange::PausedToReady => {
                let receiver = self.receiver().clone();
                receiver.set_stopping();
                self.member.stop();
                receiver.close(self.obj().upcast_ref());
            }
            _ => {}
        }
        let success = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::ReadyToPaused => {
                self.start()
                    .map_err(|refusal| refusal.post(self.obj().upcast_ref()))?;
                Ok(gst::StateChangeSuccess::NoPreroll)
            }
            gst::StateChange::PausedToPlaying => {
                self.member
                    .timing_changed(&timing::of_playing(self.obj().upcast_ref()));
                // A chain that is being disposed of has a locked state and answers with its last result, which is
                // this one. In a pipeline that has it in PLAYING, sinks that come later never start to play.
                Ok(match success {
                    gst::StateChangeSuccess::NoPreroll => gst::StateChangeSuccess::Success,
                    other => other,
                })
            }
            gst::StateChange::PlayingToPaused => Ok(gst::StateChangeSuccess::NoPreroll),
            _ => Ok(success),
        }
    }
}

impl BinImpl for MeteredWebRTCSrc {}
