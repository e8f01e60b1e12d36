//! Tracks of both sides: which codec and payload type, what flows, what the room is told.

use std::collections::HashMap;
use std::time::Instant;

use super::world::OwnTrack;
use super::{LocalTrack, Negotiator, NegotiatorOutput, ReceivePolicy, RemoteTrack};
use crate::core::io::{Codec, MediaKind, SenderSpec, SessionCommand, TrackKey};
use crate::sdp::{Remote, SectionKind, payload};

/// A local track towards this peer.
#[derive(Debug)]
pub(super) struct Sender {
    pub track: LocalTrack,
    /// Mid of its m-line: the same in every generation, another for every codec.
    pub mid: String,
    /// False once removed.
    pub alive: bool,
    /// The codec in use, once chosen; it stays until the peer refuses it.
    pub codec: Option<Codec>,
    /// Codecs the peer has refused.
    pub refused: Vec<Codec>,
    /// All codecs are refused, and it has been said.
    pub hopeless: bool,
}

impl Sender {
    /// It needs an m-line that it does not have.
    pub fn wants_line(&self) -> bool {
        self.alive && !self.hopeless
    }
}

/// What the peer's descriptions have told about formats.
#[derive(Debug)]
pub(super) struct PeerFormats {
    /// Makes our mids and our cname unlike those of others.
    token: String,
    made: u32,
    /// Payload types the peer uses, with the codec if it is one of ours.
    by_pt: HashMap<u8, Option<Codec>>,
    /// Codecs it has listed, per kind.
    codecs: HashMap<MediaKind, Vec<Codec>>,
}

impl PeerFormats {
    pub fn new(random: u32) -> Self {
        let letters = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ";
        let mut rest = random as usize;
        let mut token = String::new();
        for _ in 0..5 {
            token.extend(letters.get(rest % letters.len()).copied().map(char::from));
            rest /= letters.len();
        }
        Self {
            token,
            made: 0,
            by_pt: HashMap::new(),
            codecs: HashMap::new(),
        }
    }

    pub fn cname(&self) -> String {
        format!("c{}", self.token)
    }

    /// A mid nobody else makes: browsers count from 0, other elements have another token.
    pub fn next_mid(&mut self) -> String {
        self.made += 1;
        format!("{}{}", self.token, self.made)
    }

    fn note(&mut self, section: &crate::sdp::RemoteSection, kind: MediaKind, offer: bool) {
        for format in &section.formats {
            self.by_pt.insert(format.pt, format.codec);
        }
        // An answer lists what we offered, not what the peer can do.
        if offer && !section.rejected {
            let found: Vec<Codec> = section.formats.iter().filter_map(|format| format.codec).collect();
            let known = self.codecs.entry(kind).or_default();
            known.extend(
                found
                    .into_iter()
                    .filter(|codec| !known.contains(codec))
                    .collect::<Vec<_>>(),
            );
        }
    }
}

/// Looks up our tracks.
pub(super) fn own_tracks(senders: &[Sender]) -> impl Fn(TrackKey) -> Option<OwnTrack> {
    move |key| {
        let sender = senders.iter().find(|sender| sender.track.key == key)?;
        Some(OwnTrack {
            stream_id: sender.track.stream_id.clone(),
            track_id: sender.track.track_id.clone(),
            alive: sender.alive,
        })
    }
}

/// Which of our tracks still exist.
pub(super) fn alive(senders: &[Sender]) -> impl Fn(TrackKey) -> bool {
    move |key| {
        senders
            .iter()
            .any(|sender| sender.track.key == key && sender.alive)
    }
}

/// Whether a track still has the m-line of this name.
fn in_use(senders: &[Sender]) -> impl Fn(TrackKey, &str) -> bool {
    move |key, mid| {
        senders
            .iter()
            .any(|sender| sender.alive && sender.track.key == key && sender.mid == mid)
    }
}

/// Whether we receive a codec.
pub(super) fn takes(policy: &ReceivePolicy) -> impl Fn(Codec) -> bool + use<> {
    let policy = policy.clone();
    move |codec| policy.audio.contains(&codec) || policy.video.contains(&codec)
}

/// Our preference among codecs.
pub(super) fn preference(policy: &ReceivePolicy) -> impl Fn(MediaKind) -> Vec<Codec> {
    move |kind| match kind {
        MediaKind::Audio => policy.audio.clone(),
        MediaKind::Video => policy.video.clone(),
    }
}

impl Negotiator {
    pub(super) fn add_track(&mut self, now: Instant, track: LocalTrack) {
        match self
            .senders
            .iter_mut()
            .find(|sender| sender.track.key == track.key)
        {
            Some(sender) => {
                if sender.track != track {
                    // A receiver keeps what its m-line has said first.
                    let world = self.session.as_mut().map(|session| &mut session.world);
                    if let Some(line) = world.and_then(|world| world.own_mut(track.key, &sender.mid)) {
                        line.refused = true;
                    }
                    (sender.codec, sender.hopeless) = (None, false);
                    sender.refused.clear();
                    sender.mid = self.peer_formats.next_mid();
                }
                (sender.track, sender.alive) = (track, true);
            }
            None => {
                let mid = self.peer_formats.next_mid();
                let (refused, codec) = (Vec::new(), None);
                self.senders.push(Sender {
                    track,
                    mid,
                    alive: true,
                    codec,
                    refused,
                    hopeless: false,
                });
            }
        }
        self.check_need(now);
    }

    pub(super) fn remove_track(&mut self, now: Instant, key: TrackKey) {
        if let Some(sender) = self.senders.iter_mut().find(|sender| sender.track.key == key) {
            sender.alive = false;
        }
        // What is no more must not flow until the peer agrees.
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.world.negotiated)
        {
            self.route();
            self.expect_media(now);
        }
        self.check_need(now);
    }

    pub(super) fn note_formats(&mut self, remote: &Remote) {
        let offer = remote.kind == crate::wire::SdpKind::Offer;
        for section in &remote.sections {
            if let SectionKind::Media(kind) = section.kind {
                self.peer_formats.note(section, kind, offer);
            }
        }
    }

    /// Gives the webrtcbin a sender for every track that is due and has none yet.
    pub(super) fn add_senders(&mut self) {
        for index in self.due_senders() {
            let (Some(sender), Some(session)) = (self.senders.get(index), &self.session) else {
                return;
            };
            let has = session.world.own(sender.track.key, &sender.mid).is_some()
                || session.world.waiting.iter().any(|spec| spec.mid == sender.mid);
            if has || !sender.wants_line() {
                continue;
            }
            let Some(codec) = self.choose_codec(index) else {
                continue;
            };
            let (payload_type, ssrc) = (self.payload_type(codec), self.rng.u32(1..));
            let (Some(sender), Some(session)) = (self.senders.get_mut(index), &mut self.session) else {
                return;
            };
            sender.codec = Some(codec);
            let spec = SenderSpec {
                track: sender.track.key,
                kind: sender.track.kind,
                mid: sender.mid.clone(),
                codec,
                payload_type,
                ssrc,
            };
            let again = session.world.reuse(&spec, &in_use(&self.senders));
            if let Some(mid) = again {
                let track = spec.track;
                self.command(SessionCommand::ReuseSender { mid, track });
                continue;
            }
            if !session.world.has_space(1) {
                if let Some(sender) = self.senders.get_mut(index) {
                    sender.hopeless = true;
                }
                let text = "a connection cannot carry more tracks: one of ours is not sent to this peer";
                self.problem("too_many_tracks", text.into());
                continue;
            }
            session.senders.push(spec.track);
            session.world.waiting.push(spec.clone());
            self.command(SessionCommand::AddSender(spec));
        }
    }

    /// The first codec of the track's preference that the peer is known to take, or just the first.
    fn choose_codec(&mut self, index: usize) -> Option<Codec> {
        let sender = self.senders.get(index)?;
        let kind = sender.track.kind;
        if let Some(codec) = sender.codec {
            return Some(codec);
        }
        let open = || {
            let fits =
                move |codec: &Codec| !sender.refused.contains(codec) && payload::kind_of(*codec) == kind;
            sender.track.codecs.iter().copied().filter(fits)
        };
        let known = self
            .peer_formats
            .codecs
            .get(&kind)
            .filter(|codecs| !codecs.is_empty());
        let by_peer = known.and_then(|codecs| open().find(|codec| codecs.contains(codec)));
        let chosen = by_peer.or_else(|| open().next());
        if chosen.is_none() {
            self.give_up(index);
        }
        chosen
    }

    fn give_up(&mut self, index: usize) {
        let Some(sender) = self.senders.get_mut(index) else {
            return;
        };
        if !std::mem::replace(&mut sender.hopeless, true) {
            let kind = sender.track.kind.as_str();
            let text = format!(
                "the peer takes none of the codecs of our {kind} track {}",
                sender.track.track_id
            );
            self.problem("no_common_codec", text);
        }
    }

    /// The payload type of a codec on our own lines; pinned, since receivers refuse that it changes its meaning.
    fn payload_type(&mut self, codec: Codec) -> u8 {
        if let Some(pt) = self.own_pts.get(&codec) {
            return *pt;
        }
        let theirs = &self.peer_formats.by_pt;
        let free = |pt: &u8| !theirs.contains_key(pt) && !self.own_pts.values().any(|own| own == pt);
        let default = payload::default_pt(codec);
        let same: Vec<u8> = theirs
            .iter()
            .filter(|(_, c)| **c == Some(codec))
            .map(|(pt, _)| *pt)
            .collect();
        let pt = if theirs.get(&default).is_none_or(|c| *c == Some(codec))
            && !self.own_pts.values().any(|p| *p == default)
        {
            default
        } else if let [only] = same[..] {
            only
        } else {
            (96..=127)
                .rev()
                .chain(35..=63)
                .find(|pt| free(pt))
                .unwrap_or(default)
        };
        self.own_pts.insert(codec, pt);
        pt
    }

    /// Every own line of this generation was refused.
    pub(super) fn refuse_all(&mut self) {
        if let Some(session) = &mut self.session {
            for line in session
                .world
                .lines
                .iter_mut()
                .filter(|line| line.track().is_some())
            {
                line.refused = true;
            }
        }
    }

    /// Lines the peer cannot take are tried with the next codec, under another mid; each codec once.
    pub(super) fn report_refused(&mut self) {
        let Some(session) = &self.session else { return };
        let refused: Vec<String> = session
            .world
            .lines
            .iter()
            .filter(|line| line.refused)
            .map(|line| line.wire_mid().to_owned())
            .collect();
        for index in 0..self.senders.len() {
            let Some(sender) = self.senders.get_mut(index) else {
                return;
            };
            let asked = sender.codec.filter(|_| sender.alive);
            let Some(codec) = asked.filter(|_| refused.contains(&sender.mid)) else {
                continue;
            };
            sender.refused.push(codec);
            sender.codec = None;
            sender.mid = self.peer_formats.next_mid();
            let open = |codec: &Codec| !sender.refused.contains(codec);
            if !sender.track.codecs.iter().any(open) {
                self.give_up(index);
            }
        }
    }

    /// Tracks whose codec the peer has given another number go on on new lines, with that number.
    pub(super) fn follow_moved(&mut self) {
        let Some(session) = &self.session else { return };
        for sender in &mut self.senders {
            let line = session.world.own(sender.track.key, &sender.mid);
            if let Some((codec, pt)) = line.and_then(|line| Some((line.codec, line.moved?))) {
                // No line has this number for another codec; a pin may, from an earlier connection.
                self.own_pts.retain(|_, taken| *taken != pt);
                self.own_pts.insert(codec, pt);
                sender.mid = self.peer_formats.next_mid();
            }
        }
    }

    /// Forgets tracks that are gone, and gives those that came back after their m-line was given up another.
    pub(super) fn forget_senders(&mut self) {
        let Some(session) = &self.session else {
            self.senders.retain(|sender| sender.alive);
            return;
        };
        let slots = &session.world.slots;
        let live = |sender: &Sender| slots.iter().any(|slot| slot.mid == sender.mid && !slot.rejected);
        self.senders.retain(|sender| sender.alive || live(sender));
        let lines = &session.world.lines;
        for sender in &mut self.senders {
            let offered_up = lines
                .iter()
                .any(|line| line.offered_up && line.track().is_some() && line.wire_mid() == sender.mid);
            // Its receiver may have been told that it has ended: the same mid again would not be understood.
            let lost = sender.alive && offered_up;
            if lost || slots.iter().any(|slot| slot.mid == sender.mid && slot.rejected) {
                sender.mid = self.peer_formats.next_mid();
            }
        }
    }

    /// Says what flows now.
    pub(super) fn route(&mut self) {
        let Some(session) = &mut self.session else { return };
        let mut routing = session.world.routing();
        // A line that comes back has its first packet still to come.
        session
            .arrived
            .retain(|mid, _| routing.receiving.iter().any(|inbound| inbound.mid == *mid));
        let gone = |mid: &String| {
            let line = session.world.lines.iter().find(|line| line.mid == *mid);
            line.and_then(|line| line.track())
                .is_some_and(|key| !alive(&self.senders)(key))
        };
        routing.sending.retain(|mid| !gone(mid));
        self.command(SessionCommand::Route(routing));
        self.announce();
    }

    pub(super) fn on_media(&mut self, mid: String, codec: Codec) {
        if let Some(session) = &mut self.session {
            session.arrived.insert(mid, codec);
        }
        self.liveness.media();
        self.announce();
    }

    /// Tells the room of tracks that have come or gone.
    fn announce(&mut self) {
        let Some(session) = &mut self.session else { return };
        let mut current = Vec::new();
        let lines = session.world.lines.iter();
        let signalled: Vec<String> = lines
            .filter_map(|line| line.msid.as_ref().and_then(|msid| msid.track.clone()))
            .collect();
        for inbound in session.world.routing().receiving {
            let Some(codec) = session.arrived.get(&inbound.mid) else {
                continue;
            };
            let line = session.world.lines.get(inbound.mline as usize);
            let msid = line.and_then(|line| line.msid.clone()).unwrap_or_default();
            current.push(RemoteTrack {
                generation: self.generation,
                mid: inbound.mid,
                kind: inbound.kind,
                stream_id: msid.stream,
                track_id: msid.track,
                codec: *codec,
                signalled: signalled.clone(),
            });
        }
        let before = std::mem::replace(&mut session.announced, current.clone());
        let same = |a: &RemoteTrack, b: &RemoteTrack| {
            RemoteTrack {
                signalled: b.signalled.clone(),
                ..a.clone()
            } == *b
        };
        for gone in before
            .iter()
            .filter(|track| !current.iter().any(|now| same(now, track)))
        {
            self.out
                .push_back(NegotiatorOutput::TrackRemoved(gone.generation, gone.mid.clone()));
        }
        for new in current
            .into_iter()
            .filter(|track| !before.iter().any(|then| same(then, track)))
        {
            self.out.push_back(NegotiatorOutput::TrackAdded(new));
        }
    }
}
