//! m-lines of the two worlds, and how they depend on each other.

use super::world::{spare_pt, stand_in};
use crate::core::io::{Codec, MediaKind, ReceiverSpec, SenderSpec, TrackKey};
use crate::sdp::check::{Direction, RemoteSection, SectionKind};
use crate::sdp::model::Media;
use crate::sdp::msid::Msid;
use crate::sdp::payload::{self, Format};
use crate::sdp::section::{self, DescriptionId};
use crate::sdp::transport::{Setup, Transport};

/// Whose m-line it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LineKind {
    /// Made by a sink pad of ours.
    Own(SenderSpec),
    /// Made by a remote offer.
    Peer,
    /// SCTP.
    Data,
}

/// An m-line as webrtcbin sees it. Only what the peer announces about its sources may ever change.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Internal mid.
    pub mid: String,
    /// Wire mid, where it is another: of a data section, and of a line that is used again.
    pub alias: Option<String>,
    pub kind: LineKind,
    /// The one codec.
    pub codec: Codec,
    pub pt: u8,
    /// Encoding as webrtcbin wrote it, or as we write it for a peer's line.
    rtpmap: String,
    /// Never negotiated: an offer of ours that named it was dropped, or is not answered yet.
    pub fresh: bool,
    /// The peer cannot take the codec.
    pub refused: bool,
    /// We have offered to give its place up; whether the peer has agreed may not be known.
    pub offered_up: bool,
    /// An own line whose codec the peer now calls by this payload type: its track goes on on another line.
    pub moved: Option<u8>,
    /// The peer's sources.
    pub ssrcs: Vec<u32>,
    pub msid: Option<Msid>,
}

/// An m-line as the wire sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Wire mid.
    pub mid: String,
    /// Internal line; none for what webrtcbin is not told of.
    pub line: Option<usize>,
    /// `m=` media, protocol, formats.
    pub head: (String, String, Vec<String>),
    pub rejected: bool,
    /// The peer's section has the format we use.
    pub usable: bool,
    /// The track is there, but the peer's offer leaves it no room.
    pub declined: bool,
    /// What we say.
    pub local: Direction,
    /// What the peer says.
    pub remote: Direction,
    /// Format and the lines that describe it.
    pub payload: (String, Vec<String>),
}

/// One exchange of offer and answer, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    pub slots: Vec<Slot>,
    /// The `a=setup` of our description.
    pub setup: Setup,
    /// It starts ICE anew.
    pub restarts: bool,
    /// Our end from now on, if it does, once webrtcbin has written it.
    pub local: Option<Transport>,
    /// The offer of an element of ours that it answers.
    pub answers: Option<DescriptionId>,
}

impl Line {
    /// A line that webrtcbin has just written for a sender of ours.
    pub fn of_own(spec: SenderSpec, media: &Media) -> Self {
        let prefix = format!("{} ", spec.payload_type);
        let written = media
            .attributes("rtpmap")
            .find_map(|value| value.strip_prefix(&prefix));
        Self {
            mid: spec.mid.clone(),
            alias: None,
            codec: spec.codec,
            pt: spec.payload_type,
            rtpmap: written.unwrap_or(payload::rtpmap(spec.codec)).to_owned(),
            kind: LineKind::Own(spec),
            fresh: true,
            refused: false,
            offered_up: false,
            moved: None,
            ssrcs: Vec::new(),
            msid: None,
        }
    }

    /// A line that webrtcbin has just written for a section of the peer that we offer.
    pub fn of_receiver(spec: ReceiverSpec, media: &Media) -> Self {
        let prefix = format!("{} ", spec.payload_type);
        let written = media
            .attributes("rtpmap")
            .find_map(|value| value.strip_prefix(&prefix));
        Self {
            mid: spec.mid,
            alias: None,
            kind: LineKind::Peer,
            codec: spec.codec,
            pt: spec.payload_type,
            rtpmap: written.unwrap_or(payload::rtpmap(spec.codec)).to_owned(),
            fresh: false,
            refused: false,
            offered_up: false,
            moved: None,
            ssrcs: Vec::new(),
            msid: None,
        }
    }

    /// A line for a new section of the peer.
    pub fn of_peer(section: &RemoteSection, policy: &dyn Fn(MediaKind) -> Vec<Codec>, used: &[u8]) -> Self {
        let (kind, codec, pt) = match section.kind {
            SectionKind::Media(kind) => {
                let (codec, pt) = match usable_format(section, kind, policy) {
                    Some((codec, format)) => (codec, format.pt),
                    None => (stand_in(kind), spare_pt(used)),
                };
                (LineKind::Peer, codec, pt)
            }
            _ => (LineKind::Data, Codec::Opus, 0),
        };
        Self {
            mid: section.mid.clone(),
            alias: None,
            kind,
            codec,
            pt,
            rtpmap: payload::rtpmap(codec).to_owned(),
            fresh: false,
            refused: false,
            offered_up: false,
            moved: None,
            ssrcs: Vec::new(),
            msid: None,
        }
    }

    /// The data section webrtcbin has made for us; on the wire it has a name of our own.
    pub fn of_data(mid: &str, alias: String) -> Self {
        let (mid, alias) = (mid.to_owned(), Some(alias));
        Self {
            mid,
            alias,
            kind: LineKind::Data,
            codec: Codec::Opus,
            pt: 0,
            rtpmap: String::new(),
            fresh: false,
            refused: false,
            offered_up: false,
            moved: None,
            ssrcs: Vec::new(),
            msid: None,
        }
    }

    /// The track of an own line.
    pub fn track(&self) -> Option<TrackKey> {
        match &self.kind {
            LineKind::Own(spec) => Some(spec.track),
            _ => None,
        }
    }

    /// Audio or video.
    pub fn media(&self) -> MediaKind {
        payload::kind_of(self.codec)
    }

    /// The mid on the wire.
    pub fn wire_mid(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.mid)
    }

    /// Whether a track of ours may flow here.
    pub fn may_send(&self) -> bool {
        !self.refused && !self.offered_up && self.moved.is_none()
    }

    /// Whether a live section of a later offer can still be this line.
    pub fn fits(&self, section: &RemoteSection) -> bool {
        match (&self.kind, section.kind) {
            (LineKind::Data, SectionKind::Data) => true,
            (LineKind::Own(_) | LineKind::Peer, SectionKind::Media(kind)) => {
                let other = || choose_any(section, kind).is_some();
                // A codec may go (then nothing flows). It cannot move to another payload type, but its track can
                // move to another line.
                let stays = self.format(section).is_some() || self.moves(section).is_some();
                kind == self.media() && (stays || !other())
            }
            _ => false,
        }
    }

    fn format<'a>(&self, section: &'a RemoteSection) -> Option<&'a Format> {
        section
            .formats
            .iter()
            .find(|format| format.pt == self.pt && format.codec == Some(self.codec))
    }

    /// The payload type to which a later offer moves the codec of an own line.
    pub fn moves(&self, section: &RemoteSection) -> Option<u8> {
        if self.track().is_none() || self.format(section).is_some() {
            return None;
        }
        payload::choose(&section.formats, &[self.codec]).map(|format| format.pt)
    }

    /// The slot that answers a section of a remote offer.
    pub fn answer(
        &mut self,
        index: usize,
        section: &RemoteSection,
        policy: &dyn Fn(MediaKind) -> Vec<Codec>,
        alive: &dyn Fn(TrackKey) -> bool,
    ) -> Slot {
        if self.kind == LineKind::Data {
            if self.wire_mid() != section.mid {
                return Slot::rejected(section);
            }
            return Slot {
                line: Some(index),
                usable: true,
                ..Slot::open(section)
            };
        }
        self.moved = self.moved.or(self.moves(section));
        let format = self.format(section);
        let take = policy(self.media()).contains(&self.codec);
        let sends = self.track().is_some_and(alive) && self.may_send();
        let offered = section.direction;
        let local = match format {
            Some(_) => Direction::new(sends && offered.recv, take && offered.send),
            None => Direction::default(),
        };
        self.ssrcs.clone_from(&section.ssrcs);
        self.msid.clone_from(&section.msid);
        let payload = match format {
            Some(format) => (self.pt.to_string(), format_lines(self, format)),
            None => echo(section),
        };
        Slot {
            line: Some(index),
            usable: format.is_some(),
            declined: sends && !local.send,
            local,
            remote: offered,
            payload,
            ..Slot::open(section)
        }
    }

    /// Takes what an answer says about this line into the slot that offered it.
    pub fn answered(&mut self, slot: &mut Slot, section: &RemoteSection) {
        if section.rejected {
            slot.rejected = true;
            slot.remote = Direction::default();
            if self.track().is_some() {
                // Its place is free for another.
                (self.refused, slot.line) = (true, None);
            }
            return;
        }
        slot.remote = section.direction;
        if self.kind == LineKind::Data {
            return;
        }
        slot.usable = self.format(section).is_some();
        if !slot.usable {
            self.refused |= self.track().is_some();
            slot.remote = Direction::default();
        }
        // An answer may only narrow what was offered (RFC 3264 §6.1).
        slot.remote.send &= slot.local.recv;
        slot.remote.recv &= slot.local.send;
        self.ssrcs.clone_from(&section.ssrcs);
        self.msid.clone_from(&section.msid);
    }

    /// The remote section webrtcbin is shown: alike for ever, whatever the wire says (I3).
    pub fn remote_section(&self, (remote, setup): (&Transport, Setup), ghost: bool) -> Media {
        let ends = (remote, setup);
        let direction = match self.kind {
            LineKind::Data => return section::data(&self.mid, ends),
            LineKind::Own(_) if ghost => Direction::default(),
            LineKind::Own(_) => Direction::new(true, true),
            LineKind::Peer => Direction::new(true, false),
        };
        let video = self.media() == MediaKind::Video;
        // Own lines are intersected with the caps of the sink pad: no parameters, nothing to disagree about.
        let fmtp = if self.track().is_some() {
            None
        } else {
            payload::internal_fmtp(self.codec)
        };
        let lines = payload::lines(self.pt, &self.rtpmap, fmtp, video, video);
        let mut media = section::rtp(
            self.media().as_str(),
            &self.mid,
            ends,
            direction,
            (self.pt.to_string(), lines),
        );
        if ghost {
            media.port = 0;
        } else {
            let source = |ssrc: &u32| format!("a=ssrc:{ssrc} cname:remote");
            media.lines.extend(self.ssrcs.iter().map(source));
        }
        media
    }
}

impl Slot {
    /// What the wire says about our sending. Nothing, where an answer was narrowed by the peer's offer.
    pub fn says_send(&self, wanted: bool) -> Option<bool> {
        if wanted && self.declined {
            None
        } else {
            Some(self.local.send)
        }
    }

    /// A line of ours that the wire has not seen yet.
    pub fn own(line: &Line, index: usize) -> Self {
        let video = line.media() == MediaKind::Video;
        let format = line.pt.to_string();
        let map = payload::rtpmap(line.codec);
        let lines = payload::lines(line.pt, map, payload::own_fmtp(line.codec), video, video);
        Self {
            mid: line.wire_mid().to_owned(),
            line: Some(index),
            head: (
                line.media().as_str().into(),
                "UDP/TLS/RTP/SAVPF".into(),
                vec![format.clone()],
            ),
            rejected: false,
            usable: true,
            declined: false,
            local: Direction::new(true, false),
            remote: Direction::default(),
            payload: (format, lines),
        }
    }

    /// A data section of ours.
    pub fn data(line: &Line, index: usize) -> Self {
        let format = "webrtc-datachannel".to_owned();
        Self {
            head: ("application".into(), "UDP/DTLS/SCTP".into(), vec![format.clone()]),
            local: Direction::default(),
            payload: (format, Vec::new()),
            ..Self::own(line, index)
        }
    }

    fn open(section: &RemoteSection) -> Self {
        Self {
            mid: section.mid.clone(),
            line: None,
            head: section.head.clone(),
            rejected: false,
            usable: false,
            declined: false,
            local: Direction::default(),
            remote: Direction::default(),
            payload: (String::new(), Vec::new()),
        }
    }

    /// A section we do not take, or that the peer has stopped.
    pub fn rejected(section: &RemoteSection) -> Self {
        let media = matches!(section.kind, SectionKind::Media(_));
        Self {
            rejected: true,
            payload: if media { echo(section) } else { Default::default() },
            ..Self::open(section)
        }
    }

    /// The place of a line of ours that is not needed any more.
    pub fn given_up(self) -> Self {
        Self {
            line: None,
            rejected: true,
            usable: false,
            declined: false,
            local: Direction::default(),
            remote: Direction::default(),
            ..self
        }
    }
}

/// The format we take of a section: by policy, or, if the kind is declined, any that webrtcbin understands.
fn usable_format<'a>(
    section: &'a RemoteSection,
    kind: MediaKind,
    policy: &dyn Fn(MediaKind) -> Vec<Codec>,
) -> Option<(Codec, &'a Format)> {
    let by_policy = payload::choose(&section.formats, &policy(kind));
    let format = by_policy.or_else(|| choose_any(section, kind))?;
    Some((format.codec?, format))
}

fn choose_any(section: &RemoteSection, kind: MediaKind) -> Option<&Format> {
    payload::choose(&section.formats, payload::any_codec(kind))
}

/// What our answer says about the format we take.
fn format_lines(line: &Line, format: &Format) -> Vec<String> {
    let map = format
        .rtpmap
        .clone()
        .unwrap_or_else(|| payload::rtpmap(line.codec).to_owned());
    let fmtp = match line.codec {
        Codec::Opus => payload::own_fmtp(Codec::Opus),
        _ => format.fmtp.as_deref(),
    };
    payload::lines(line.pt, &map, fmtp, format.pli, format.fir)
}

/// Repeats the first format of a section of which we understand none: a valid inactive answer.
fn echo(section: &RemoteSection) -> (String, Vec<String>) {
    match section.formats.first() {
        Some(Format {
            pt,
            rtpmap: Some(map),
            fmtp,
            ..
        }) => (
            pt.to_string(),
            payload::lines(*pt, map, fmtp.as_deref(), false, false),
        ),
        _ => (
            section.head.2.first().cloned().unwrap_or_else(|| "0".to_owned()),
            Vec::new(),
        ),
    }
}
