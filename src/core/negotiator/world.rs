//! The translation between the two SDP worlds of one webrtcbin.
//!
//! webrtcbin (1.22 to 1.28) aborts or breaks when m-lines change their order, mid or direction, when the BUNDLE tag
//! moves, or when an offer it has written is forgotten. So what it sees obeys, for the whole life of a generation:
//!
//! * I1 section *i* keeps its mid; sections are only appended;
//! * I2 section 0 is the BUNDLE tag and is never rejected;
//! * I3 the direction of an established section never changes, its port is never 0: both sides of an own line are
//!   `sendrecv`, a peer's line is `sendonly` on the remote and `recvonly` on the local side;
//! * I4 there is at most one data section;
//! * I5 offers say `a=setup:actpass`, answers the established role;
//! * I6 one ufrag and pwd for all sections;
//! * I7 every section has mid, setup, credentials and an upper-case fingerprint;
//! * I8 the mids of a remote offer start with those of the last SDP that webrtcbin generated, applied or not.
//!
//! It is kept by writing both worlds from [`Line`]s (internal m-lines) and [`Slot`]s (wire m-lines): the first are
//! only ever appended, the second are whatever offer and answer say. A line without a slot is a *ghost*.

use super::facts::{Line, LineKind, Round, Slot};
use crate::core::io::{Codec, MediaKind, ReceiverSpec, SenderSpec, TrackKey};
use crate::sdp::check::{Bundle, Direction, Remote, SectionKind};
use crate::sdp::model::Sdp;
use crate::sdp::section;
use crate::sdp::transport::{Setup, Transport};

/// m-lines of ours that the peer may make useless by new payload types before the connection is made anew: more than
/// any program needs, few enough for a description.
const MAX_MOVED: usize = 16;

/// What is sent and what is applied for one description of ours.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// For webrtcbin.
    pub internal: String,
    /// What it means for the wire.
    pub round: Round,
}

/// Why an answer cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// Its sections are not those of our offer.
    Sections,
    /// It comes from another transport than the one we are connected to.
    Transport,
    /// It rejects everything and there is no transport yet.
    Nothing,
}

/// What a description does to a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It is the same.
    None,
    /// ICE starts anew below the same DTLS association.
    Restart,
    /// It is another one.
    Replacement,
}

/// A track of ours as the wire shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnTrack {
    pub stream_id: String,
    pub track_id: String,
    /// False once removed: its line stays but goes quiet.
    pub alive: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    /// Internal m-lines in order.
    pub lines: Vec<Line>,
    /// Senders webrtcbin has been given since its last SDP.
    pub waiting: Vec<SenderSpec>,
    /// The same for the peer's m-lines that we offer: [`super::layout`].
    pub receivers: Vec<ReceiverSpec>,
    /// Wire m-lines of the last completed round.
    pub slots: Vec<Slot>,
    /// Our end.
    pub local: Option<Transport>,
    /// The peer's end.
    pub remote: Option<Transport>,
    /// Session id of the peer's descriptions.
    pub remote_origin: String,
    /// Whether the peer's stack can restart ICE.
    pub remote_trickles: bool,
    /// Whether ours can.
    pub can_restart: bool,
    /// Our DTLS role once settled.
    pub role: Option<Setup>,
    /// A round has been completed.
    pub negotiated: bool,
    /// What webrtcbin has seen of remote descriptions is more than nothing.
    pub touched: bool,
    /// Mid for a data section of our own, if one is wanted.
    pub own_data: Option<String>,
    pub origin: u64,
    pub version: u64,
    /// `cname` of all our sources.
    pub cname: String,
    /// Our descriptions say that we keep connections.
    pub keeps: bool,
}

impl World {
    pub fn new(origin: u64, cname: String, keeps: bool) -> Self {
        Self {
            lines: Vec::new(),
            waiting: Vec::new(),
            receivers: Vec::new(),
            slots: Vec::new(),
            local: None,
            remote: None,
            remote_origin: String::new(),
            remote_trickles: false,
            can_restart: true,
            role: None,
            negotiated: false,
            touched: false,
            own_data: None,
            origin,
            version: 0,
            cname,
            keeps,
        }
    }

    /// The internal line of an own track. The wire mid says which, for one that had a line before.
    pub fn own(&self, track: TrackKey, mid: &str) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.track() == Some(track) && line.wire_mid() == mid)
    }

    /// The same, to be changed.
    pub fn own_mut(&mut self, track: TrackKey, mid: &str) -> Option<&mut Line> {
        self.lines
            .iter_mut()
            .find(|line| line.track() == Some(track) && line.wire_mid() == mid)
    }

    /// webrtcbin knows of a data section.
    pub fn has_data(&self) -> bool {
        self.lines.iter().any(|line| line.kind == LineKind::Data)
    }

    /// The slot of the line with this internal index.
    pub fn slot_of(&self, line: usize) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.line == Some(line))
    }

    /// webrtcbin has written an offer. `own` knows our tracks, `take` says whether we receive a codec, `restarts`
    /// whether the credentials in it are new.
    pub fn offer_created(
        &mut self,
        text: &str,
        own: &dyn Fn(TrackKey) -> Option<OwnTrack>,
        take: &dyn Fn(Codec) -> bool,
        restarts: bool,
    ) -> Result<Draft, &'static str> {
        let mut sdp = Sdp::parse(text).map_err(|_| "its offer is no SDP")?;
        self.note_generated(&sdp)?;
        let local = self.note_local(&sdp, restarts)?;
        for media in &mut sdp.media {
            self.pin(media, Setup::Actpass, local.as_ref());
        }
        let mut slots: Vec<Slot> = Vec::new();
        let mut offered_up = Vec::new();
        for old in &self.slots {
            let mut slot = self.bound(old);
            if let Some(line) = slot
                .line
                .filter(|_| !slot.rejected)
                .and_then(|index| self.lines.get(index))
            {
                slot.local = match &line.kind {
                    LineKind::Own(spec) => Direction::new(
                        own(spec.track).is_some_and(|track| track.alive) && line.may_send(),
                        old.remote.send && take(line.codec),
                    ),
                    LineKind::Peer => Direction::new(false, slot.usable && take(line.codec)),
                    LineKind::Data => old.local,
                };
                if line.track().is_some() && self.may_give_up(old) && !slot.local.send {
                    offered_up.extend(slot.line);
                    slot = slot.given_up();
                }
            }
            slots.push(slot);
        }
        for index in offered_up {
            if let Some(line) = self.lines.get_mut(index) {
                line.offered_up = true;
            }
        }
        for (index, line) in self.lines.iter().enumerate() {
            if slots.iter().any(|slot| slot.line == Some(index)) {
                continue;
            }
            if line.kind == LineKind::Data && line.alias.is_some() && !self.negotiated {
                slots.push(Slot::data(line, index));
            }
            let LineKind::Own(spec) = &line.kind else { continue };
            let wanted = own(spec.track).is_some_and(|track| track.alive) && line.may_send();
            if wanted {
                let slot = Slot::own(line, index);
                let place = self.vacant(&slots, &slot);
                match place.and_then(|place| slots.get_mut(place)) {
                    Some(place) => *place = slot,
                    None => slots.push(slot),
                }
            }
        }
        Ok(Draft {
            internal: sdp.write(),
            round: Round {
                slots,
                setup: Setup::Actpass,
                restarts,
                local,
                answers: None,
            },
        })
    }

    /// A wire m-line that is only known by name, with the internal line of that name.
    fn bound(&self, slot: &Slot) -> Slot {
        let index = self.lines.iter().position(|line| line.wire_mid() == slot.mid);
        let index = index.filter(|_| slot.line.is_none() && !slot.rejected);
        match index.and_then(|index| Some((index, self.lines.get(index)?))) {
            None => slot.clone(),
            Some((index, line)) => match &line.kind {
                LineKind::Own(_) => Slot::own(line, index),
                LineKind::Data => Slot::data(line, index),
                LineKind::Peer => Slot {
                    line: Some(index),
                    usable: true,
                    ..slot.clone()
                },
            },
        }
    }

    /// Whether a remote offer can be answered by this webrtcbin, or needs a new one. `follow`: also one that restarts
    /// ICE.
    pub fn fits(&self, offer: &Remote, follow: bool) -> bool {
        if !self.touched {
            return true;
        }
        let Some(bundle) = &offer.bundle else {
            return self.negotiated;
        };
        match self.change(offer, bundle) {
            Change::None => {}
            Change::Restart if self.can_restart && follow => {}
            Change::Restart | Change::Replacement => return false,
        }
        let new =
            |section: &&crate::sdp::RemoteSection| !section.rejected && self.find(&section.mid).is_none();
        if !self.has_space(offer.sections.iter().filter(new).count()) {
            return false;
        }
        offer.sections.iter().all(|section| {
            let line = self.find(&section.mid).and_then(|index| self.lines.get(index));
            match line {
                None => true,
                Some(_) if section.rejected => true,
                Some(line) => {
                    let to = line.moves(section).filter(|_| line.moved.is_none());
                    line.fits(section) && to.is_none_or(|pt| self.has_room(line.codec, pt))
                }
            }
        })
    }

    /// What a description does to the transport there is. Whoever keeps its certificate but says that it is another
    /// connection (`o=`) is one: webrtcbin has one certificate for the whole process.
    fn change(&self, remote: &Remote, bundle: &Bundle) -> Change {
        let (Some(known), new) = (&self.remote, &bundle.transport) else {
            return Change::Replacement;
        };
        if known == new {
            return Change::None;
        }
        let credentials = known.ufrag != new.ufrag && known.pwd != new.pwd;
        let same = known.fingerprint == new.fingerprint && self.remote_origin == remote.origin;
        if credentials && same && self.negotiated {
            Change::Restart
        } else {
            Change::Replacement
        }
    }

    /// Whether a track can move to a line with this payload type: one number is one codec, and each move adds an
    /// m-line for ever.
    fn has_room(&self, codec: Codec, pt: u8) -> bool {
        let clash = self.lines.iter().any(|line| line.pt == pt && line.codec != codec);
        let moved = self.lines.iter().filter(|line| line.moved.is_some()).count();
        !clash && moved < MAX_MOVED
    }

    /// Takes a remote offer that fits. `policy` is the preference of codecs per kind; empty declines the kind.
    pub fn remote_offer(
        &mut self,
        offer: &Remote,
        policy: &dyn Fn(MediaKind) -> Vec<Codec>,
        alive: &dyn Fn(TrackKey) -> bool,
    ) -> Draft {
        let bundle = offer.bundle.as_ref();
        let restarts = bundle.is_some_and(|bundle| self.change(offer, bundle) == Change::Restart);
        self.note_remote(offer);
        self.note_stopped(offer);
        // Media first, so that the tag (I2) is never the data section unless there is nothing else.
        for pass in [false, true] {
            for section in offer.sections.iter().filter(|section| !section.rejected) {
                let is_data = section.kind == SectionKind::Data;
                if is_data == pass && section.kind != SectionKind::Other && self.find(&section.mid).is_none()
                {
                    self.append(section, offer, policy);
                }
            }
        }
        let mut slots = Vec::new();
        for section in &offer.sections {
            let index = self.find(&section.mid).filter(|_| !section.rejected);
            let Some((index, line)) = index.and_then(|i| Some((i, self.lines.get_mut(i)?))) else {
                slots.push(Slot::rejected(section));
                continue;
            };
            slots.push(line.answer(index, section, policy, alive));
        }
        self.touched = true;
        let offered = offer
            .bundle
            .as_ref()
            .map_or(Setup::Actpass, |bundle| bundle.setup);
        // Whoever names a role gets its counterpart, even if it contradicts the association there is: a bare
        // webrtcbin forgets its role, and refuses everything else.
        let setup = match offered {
            Setup::Actpass => self.role.unwrap_or(Setup::Active),
            named => named.answer(),
        };
        let internal = self.remote_internal(true, Setup::Actpass);
        Draft {
            internal,
            round: Round {
                slots,
                setup,
                restarts,
                local: None,
                answers: offer.id.filter(|_| offer.keeps),
            },
        }
    }

    /// Index of the line that a wire mid means.
    fn find(&self, mid: &str) -> Option<usize> {
        let by_slot = self
            .slots
            .iter()
            .find(|slot| slot.mid == mid)
            .and_then(|slot| slot.line);
        by_slot.or_else(|| self.lines.iter().position(|line| line.wire_mid() == mid))
    }

    fn append(
        &mut self,
        section: &crate::sdp::RemoteSection,
        offer: &Remote,
        policy: &dyn Fn(MediaKind) -> Vec<Codec>,
    ) {
        if section.kind == SectionKind::Data {
            // I4: a second data section is the first under another name, or is rejected.
            if let Some(line) = self.lines.iter_mut().find(|line| line.kind == LineKind::Data) {
                let taken = self
                    .slots
                    .iter()
                    .any(|slot| slot.mid == line.wire_mid() && !slot.rejected);
                if !taken {
                    line.alias = Some(section.mid.clone());
                }
                return;
            }
        }
        let used: Vec<u8> = self.lines.iter().map(|line| line.pt).collect();
        let mut line = Line::of_peer(section, policy, &used);
        let free = self.free_peer_line(&line, section, offer);
        if let Some(free) = free.and_then(|index| self.lines.get_mut(index)) {
            free.take_over(&section.mid);
            return;
        }
        if self.lines.iter().any(|other| other.mid == line.mid) {
            line.alias = Some(std::mem::take(&mut line.mid));
            line.mid = self.unused_mid();
        }
        self.lines.push(line);
    }

    /// webrtcbin has written its answer to the draft's internal offer.
    pub fn answer_created(&mut self, text: &str, round: &mut Round) -> Result<String, &'static str> {
        let mut sdp = Sdp::parse(text).map_err(|_| "its answer is no SDP")?;
        if sdp.media.len() != self.lines.len() {
            return Err("its answer has another number of sections");
        }
        self.note_generated(&sdp)?;
        round.local = self.note_local(&sdp, round.restarts)?;
        let role = self.role.unwrap_or(round.setup);
        let mut bundle = Vec::new();
        for (media, line) in sdp.media.iter_mut().zip(&self.lines) {
            self.pin(media, role, round.local.as_ref());
            if line.fresh && line.track().is_some() {
                media.port = 0;
            } else if media.port == 0 {
                return Err("it has rejected a section that must live");
            } else {
                bundle.push(line.mid.clone());
            }
        }
        sdp.set_bundle(&bundle);
        self.role = Some(role);
        Ok(sdp.write())
    }

    /// Whether an answer has the sections of an offer.
    pub fn answers(answer: &Remote, round: &Round) -> bool {
        let (sections, slots) = (&answer.sections, &round.slots);
        let mut pairs = sections.iter().zip(slots);
        sections.len() == slots.len() && pairs.all(|(s, slot)| s.mid == slot.mid && s.head.0 == slot.head.0)
    }

    /// Takes the answer to our round; returns the internal answer.
    pub fn remote_answer(&mut self, answer: &Remote, round: &mut Round) -> Result<String, Mismatch> {
        if !Self::answers(answer, round) {
            return Err(Mismatch::Sections);
        }
        match (&answer.bundle, &self.remote) {
            (None, None) => return Err(Mismatch::Nothing),
            (Some(bundle), Some(_)) => {
                let expected = match round.restarts {
                    // A peer that answers with the old credentials has not restarted: nothing would come of it.
                    true => Change::Restart,
                    false => Change::None,
                };
                if self.change(answer, bundle) != expected {
                    return Err(Mismatch::Transport);
                }
            }
            (None, Some(_)) if round.restarts => return Err(Mismatch::Transport),
            _ => {}
        }
        self.note_remote(answer);
        if self.role.is_none() {
            self.role = answer.bundle.as_ref().map(|bundle| bundle.setup.answer());
        }
        for (section, slot) in answer.sections.iter().zip(&mut round.slots) {
            let Some(line) = slot.line.and_then(|index| self.lines.get_mut(index)) else {
                continue;
            };
            line.answered(slot, section);
        }
        let remote_setup = self.role.map_or(Setup::Active, Setup::answer);
        self.touched = true;
        Ok(self.remote_internal(false, remote_setup))
    }

    /// A round is complete: both of webrtcbin's descriptions are in place.
    pub fn commit(&mut self, round: Round, offered: bool) {
        self.slots = round.slots;
        self.local = round.local.or(self.local.take());
        self.negotiated = true;
        for (index, line) in self.lines.iter_mut().enumerate() {
            // A ghost that was offered by us is established by our own internal answer; one in a remote offer
            // was rejected and stays fresh.
            if offered || line.track().is_none() || self.slots.iter().any(|slot| slot.line == Some(index)) {
                line.fresh = false;
            }
        }
    }

    fn note_remote(&mut self, remote: &Remote) {
        if let Some(bundle) = &remote.bundle {
            self.remote = Some(bundle.transport.clone());
            self.remote_origin.clone_from(&remote.origin);
            self.remote_trickles = bundle.trickles;
        }
    }

    /// The remote side as webrtcbin sees it: every line, always alike.
    fn remote_internal(&self, offer: bool, setup: Setup) -> String {
        let Some(remote) = &self.remote else {
            return String::new();
        };
        let mut bundle = Vec::new();
        let mut media = Vec::new();
        for line in &self.lines {
            let ghost = offer && line.fresh && line.track().is_some();
            if !ghost {
                bundle.push(line.mid.clone());
            }
            media.push(line.remote_section((remote, setup), ghost));
        }
        section::session(self.origin, 0, media, &bundle).write()
    }
}

/// A payload type for a section that carries nothing.
pub(super) fn spare_pt(used: &[u8]) -> u8 {
    (96..=127).rev().find(|pt| !used.contains(pt)).unwrap_or(127)
}

/// The codec that stands for a kind.
pub(super) fn stand_in(kind: MediaKind) -> Codec {
    match kind {
        MediaKind::Audio => Codec::Opus,
        MediaKind::Video => Codec::Vp8,
    }
}
