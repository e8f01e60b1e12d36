//! A model of webrtcbin that panics where the real one aborts, errors or goes wrong in some version.

use crate::core::io::{
    Codec, ConnectionState, IceCredentials, ReceiverSpec, Routing, SenderSpec, SessionCommand, SessionEvent,
};
use crate::sdp::check::Direction;
use crate::sdp::model::{Media, Sdp};
use crate::sdp::payload;
use crate::sdp::transport::Setup;
use crate::wire::SdpKind;

#[derive(Debug)]
struct Transceiver {
    sender: Option<SenderSpec>,
    /// `a-mid`
    wanted: Option<String>,
    mid: Option<String>,
    pending_mid: Option<String>,
    kind: String,
    format: String,
    direction: Direction,
    current: Option<Direction>,
}

#[derive(Debug, Default)]
pub struct Bin {
    transceivers: Vec<Transceiver>,
    channel: bool,
    last: Option<Sdp>,
    pending_local: Option<(SdpKind, Sdp)>,
    pending_remote: Option<(SdpKind, Sdp)>,
    pub local: Option<Sdp>,
    pub remote: Option<Sdp>,
    gathered: bool,
    /// The credentials webrtcbin has made, and writes for ever.
    written: String,
    /// Those that ICE works with.
    pub ufrag: String,
    /// What the session has given to a description.
    given: Option<String>,
    made: usize,
    /// How often ICE was started anew.
    pub restarts: usize,
    /// How often its checks were repeated.
    pub repeats: usize,
    /// How often relays were gathered anew.
    relays: u32,
    /// It was started anew, and not both sides have new credentials.
    open: bool,
    pub routing: Routing,
    pub disposed: bool,
    /// An operation has failed: nothing works any more.
    pub broken: bool,
}

fn mid(media: &Media) -> String {
    media.attribute("mid").expect("I7: mid").to_owned()
}

fn direction(media: &Media) -> Direction {
    for (send, recv) in [(true, true), (true, false), (false, true), (false, false)] {
        if media.has(Direction::new(send, recv).as_str()) {
            return Direction::new(send, recv);
        }
    }
    Direction::new(true, true)
}

impl Bin {
    pub fn new(seed: u64) -> Self {
        Self {
            written: format!("ufrag{seed}"),
            ufrag: format!("ufrag{seed}"),
            ..Self::default()
        }
    }

    /// Executes a command; returns what the session reports, in order.
    pub fn run(&mut self, command: SessionCommand) -> Vec<SessionEvent> {
        assert!(!self.disposed, "a command after Dispose: {command:?}");
        if self.broken && command != SessionCommand::Dispose {
            return Vec::new();
        }
        match command {
            SessionCommand::Create(_) => Vec::new(),
            SessionCommand::AddSender(spec) => {
                self.add_sender(spec);
                Vec::new()
            }
            SessionCommand::ReuseSender { mid, track } => {
                assert!(
                    !self.routing.sending.contains(&mid),
                    "it still carries another track"
                );
                let mut senders = self.transceivers.iter_mut().filter_map(|t| t.sender.as_mut());
                senders
                    .find(|spec| spec.mid == mid)
                    .expect("no such sender")
                    .track = track;
                Vec::new()
            }
            SessionCommand::AddReceiver(spec) => {
                self.add_receiver(spec);
                Vec::new()
            }
            SessionCommand::HoldData => {
                assert!(!self.channel, "HoldData twice");
                self.channel = true;
                Vec::new()
            }
            SessionCommand::CreateOffer(ice) => {
                let offer = self.create_offer();
                vec![SessionEvent::OfferCreated(self.credentials(ice, offer))]
            }
            SessionCommand::CreateAnswer(ice) => {
                let answer = self.create_answer();
                assert_eq!(ice == IceCredentials::New, self.open, "half a restart");
                vec![SessionEvent::AnswerCreated(self.credentials(ice, answer))]
            }
            SessionCommand::RepeatChecks => {
                assert!(self.restarts > 0 && !self.open, "half a restart");
                self.repeats += 1;
                vec![]
            }
            SessionCommand::RestartIce { .. } => {
                assert!(self.pending_local.is_none() && self.pending_remote.is_none());
                assert!(self.local.is_some() && self.remote.is_some());
                assert!(!self.open, "restarted twice in one round");
                self.open = true;
                self.restarts += 1;
                self.relays += 1;
                let candidate = format!("candidate:9 1 UDP 1 198.51.100.1 {} typ relay", self.relays);
                vec![
                    SessionEvent::Connection(ConnectionState::Connecting),
                    SessionEvent::Candidate { mline: 0, candidate },
                    SessionEvent::GatheringComplete,
                ]
            }
            SessionCommand::SetLocal(kind, sdp) => self.set_local(kind, &sdp),
            SessionCommand::SetRemote(kind, sdp) => {
                self.set_remote(kind, &sdp);
                vec![SessionEvent::RemoteSet]
            }
            SessionCommand::AddCandidate { mline, candidate } => {
                assert_eq!(mline, 0, "a candidate for another section than the tag");
                assert!(candidate.is_empty() || candidate.starts_with("candidate:"));
                assert!(
                    self.remote.is_some() || self.pending_remote.is_some(),
                    "a candidate before the description"
                );
                Vec::new()
            }
            SessionCommand::Route(routing) => {
                self.routing = routing;
                Vec::new()
            }
            SessionCommand::Dispose => {
                self.disposed = true;
                Vec::new()
            }
        }
    }

    /// What the session puts into a description.
    fn credentials(&mut self, ice: IceCredentials, sdp: String) -> String {
        if ice == IceCredentials::Kept {
            return sdp;
        }
        self.made += 1;
        let made = format!("{}x{}", self.written, self.made);
        self.given = Some(made.clone());
        sdp.replace(
            &format!("a=ice-ufrag:{}", self.written),
            &format!("a=ice-ufrag:{made}"),
        )
        .replace("a=ice-pwd:", &format!("a=ice-pwd:{made}"))
    }

    fn add_sender(&mut self, spec: SenderSpec) {
        self.transceivers.push(Transceiver {
            kind: spec.kind.as_str().to_owned(),
            format: format!("{} {}", spec.payload_type, payload::rtpmap(spec.codec)),
            wanted: Some(spec.mid.clone()),
            sender: Some(spec),
            mid: None,
            pending_mid: None,
            direction: Direction::new(true, true),
            current: None,
        });
    }

    fn add_receiver(&mut self, spec: ReceiverSpec) {
        assert!(
            self.last.is_none(),
            "a receiver for a webrtcbin that has negotiated"
        );
        self.transceivers.push(Transceiver {
            kind: spec.kind.as_str().to_owned(),
            format: format!("{} {}", spec.payload_type, payload::rtpmap(spec.codec)),
            wanted: Some(spec.mid),
            sender: None,
            mid: None,
            pending_mid: None,
            direction: Direction::new(false, true),
            current: None,
        });
    }

    fn section(&self, kind: &str, mid: &str, format: &str, lines: &[String]) -> Media {
        let mut all = vec![
            format!("a=mid:{mid}"),
            "a=setup:actpass".to_owned(),
            format!("a=ice-ufrag:{}", self.written),
            "a=ice-pwd:passwordpasswordpassword".to_owned(),
            format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":")),
            "a=rtcp-mux".to_owned(),
        ];
        all.extend_from_slice(lines);
        let proto = if kind == "application" {
            "UDP/DTLS/SCTP"
        } else {
            "UDP/TLS/RTP/SAVPF"
        };
        Media {
            media: kind.into(),
            port: 9,
            proto: proto.into(),
            formats: vec![format.into()],
            lines: all,
        }
    }

    fn data_section(&self, mid: &str) -> Media {
        self.section(
            "application",
            mid,
            "webrtc-datachannel",
            &["a=sctp-port:5000".to_owned()],
        )
    }

    fn rtp_section(&self, index: usize, mid: &str, dir: Direction) -> Media {
        let trans = &self.transceivers[index];
        let format = trans.format.split(' ').next().unwrap();
        self.section(
            &trans.kind,
            mid,
            format,
            &[
                format!("a={}", dir.as_str()),
                format!("a=rtpmap:{}", trans.format),
            ],
        )
    }

    fn create_offer(&mut self) -> String {
        let mut seen = Vec::new();
        let mut media = Vec::new();
        for last in self.last.clone().map(|sdp| sdp.media).unwrap_or_default() {
            let name = mid(&last);
            if last.media == "application" {
                if self.channel {
                    media.push(self.data_section(&name));
                }
                continue;
            }
            let found = self
                .transceivers
                .iter()
                .position(|t| t.mid.as_ref().or(t.pending_mid.as_ref()) == Some(&name))
                .expect("a section of the last SDP has lost its transceiver");
            assert!(!seen.contains(&found));
            seen.push(found);
            media.push(self.rtp_section(found, &name, self.transceivers[found].direction));
        }
        for index in 0..self.transceivers.len() {
            if seen.contains(&index) {
                continue;
            }
            let wanted = self.transceivers[index].wanted.clone();
            let name = wanted.expect("a receiver that no SDP names");
            self.transceivers[index].pending_mid = Some(name.clone());
            media.push(self.rtp_section(index, &name, self.transceivers[index].direction));
        }
        if self.channel && !media.iter().any(|m| m.media == "application") {
            let name = format!("application{}", media.len());
            media.push(self.data_section(&name));
        }
        assert!(!media.is_empty(), "an offer of nothing");
        self.generated(media)
    }

    fn generated(&mut self, media: Vec<Media>) -> String {
        let mut sdp = Sdp {
            session: vec!["v=0".into(), "s=-".into()],
            media,
        };
        let mids: Vec<String> = sdp.media.iter().map(mid).collect();
        sdp.set_bundle(&mids);
        self.last = Some(sdp.clone());
        sdp.write()
    }

    fn create_answer(&mut self) -> String {
        let (_, offer) = self
            .pending_remote
            .clone()
            .expect("create-answer without an offer");
        let mut seen = Vec::new();
        let mut media = Vec::new();
        for (index, section) in offer.media.iter().enumerate() {
            let name = mid(section);
            if let Some(last) = self.last.as_ref().and_then(|last| last.media.get(index)) {
                assert_eq!(mid(last), name, "I8: g_assert (g_strcmp0 (mid, last_mid) == 0)");
            }
            if section.media == "application" {
                media.push(self.data_section(&name));
                continue;
            }
            let by_mid = self
                .transceivers
                .iter()
                .position(|t| t.mid.as_ref() == Some(&name));
            let map = section
                .attribute("rtpmap")
                .expect("a section without rtpmap")
                .to_owned();
            let by_caps = || {
                (0..self.transceivers.len())
                    .find(|i| !seen.contains(i) && self.transceivers[*i].format.eq_ignore_ascii_case(&map))
            };
            let found = by_mid.or_else(by_caps).unwrap_or_else(|| {
                self.transceivers.push(Transceiver {
                    sender: None,
                    wanted: None,
                    mid: None,
                    pending_mid: Some(name.clone()),
                    kind: section.media.clone(),
                    format: map.clone(),
                    direction: Direction::new(false, true),
                    current: None,
                });
                self.transceivers.len() - 1
            });
            seen.push(found);
            let trans = &self.transceivers[found];
            if let Some(sender) = &trans.sender {
                assert_eq!(
                    sender.mid, name,
                    "a sender of ours has been put on the peer's line"
                );
            }
            assert_eq!(trans.kind, section.media);
            assert!(
                trans.format.eq_ignore_ascii_case(&map),
                "the caps do not intersect: {} {map}",
                trans.format
            );
            let offered = direction(section);
            let dir = Direction::new(
                trans.direction.send && offered.recv,
                trans.direction.recv && offered.send,
            );
            media.push(self.rtp_section(found, &name, dir));
        }
        for media in &mut media {
            media.set("setup", "active");
        }
        self.generated(media)
    }

    fn check(&self, kind: SdpKind, sdp: &Sdp, before: Option<&Sdp>) {
        let mids: Vec<String> = sdp.media.iter().map(mid).collect();
        let bundle: Vec<String> = sdp.bundle().iter().map(|mid| (*mid).to_owned()).collect();
        assert_eq!(bundle.first(), mids.first(), "I2: the tag is section 0");
        assert!(
            sdp.media[0].port != 0 || sdp.media[0].has("bundle-only"),
            "I2: the tag is rejected"
        );
        assert!(
            sdp.media.iter().filter(|m| m.media == "application").count() <= 1,
            "I4"
        );
        let mut unique = mids.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), mids.len(), "duplicate mids");
        for section in &sdp.media {
            assert_eq!(
                section.attribute("ice-ufrag"),
                sdp.media[0].attribute("ice-ufrag"),
                "I6"
            );
            assert_eq!(
                section.attribute("ice-pwd"),
                sdp.media[0].attribute("ice-pwd"),
                "I6"
            );
            let print = section.attribute("fingerprint").expect("I7: fingerprint");
            assert!(
                !print
                    .trim_start_matches("sha-256")
                    .contains(|c: char| c.is_ascii_lowercase()),
                "I7: case"
            );
            let setup = section
                .attribute("setup")
                .and_then(Setup::parse)
                .expect("I7: setup");
            assert_eq!(
                setup == Setup::Actpass,
                kind == SdpKind::Offer,
                "I5: {setup:?} in {kind:?}"
            );
        }
        if let Some(before) = before {
            let old: Vec<String> = before.media.iter().map(mid).collect();
            assert!(mids.starts_with(&old), "I1: {old:?} then {mids:?}");
            for (new, old) in sdp.media.iter().zip(&before.media) {
                assert_eq!(new.media, old.media, "kind changed");
                for name in ["ice-ufrag", "ice-pwd"] {
                    let changed = new.attribute(name) != old.attribute(name);
                    assert_eq!(
                        changed, self.open,
                        "{name}: a change means a restart, and both sides"
                    );
                }
                assert_eq!(new.attribute("fingerprint"), old.attribute("fingerprint"));
            }
        }
    }

    fn set_local(&mut self, kind: SdpKind, text: &str) -> Vec<SessionEvent> {
        let sdp = Sdp::parse(text).expect("internal SDP");
        self.check(kind, &sdp, self.local.as_ref());
        let ufrag = if self.open {
            self.given.take()
        } else {
            Some(self.ufrag.clone())
        };
        assert_eq!(sdp.media[0].attribute("ice-ufrag"), ufrag.as_deref());
        self.ufrag = ufrag.unwrap();
        match kind {
            SdpKind::Offer => {
                assert!(
                    self.pending_remote.is_none(),
                    "set-local(offer) in have-remote-offer"
                );
                let last = self.last.as_ref().expect("nothing generated");
                assert_eq!(last.media.len(), sdp.media.len());
                self.pending_local = Some((kind, sdp));
            }
            SdpKind::Answer => {
                let (_, remote) = self
                    .pending_remote
                    .take()
                    .expect("set-local(answer) in the wrong state");
                self.stable(sdp, remote);
            }
        }
        let mut events = vec![SessionEvent::LocalSet];
        if !std::mem::replace(&mut self.gathered, true) {
            for n in 0..3 {
                let candidate = format!("candidate:{n} 1 UDP 1 10.0.0.{n} 5000 typ host");
                events.push(SessionEvent::Candidate { mline: 0, candidate });
            }
            events.push(SessionEvent::GatheringComplete);
        }
        events
    }

    fn set_remote(&mut self, kind: SdpKind, text: &str) {
        let sdp = Sdp::parse(text).expect("internal SDP");
        self.check(kind, &sdp, self.remote.as_ref());
        match kind {
            SdpKind::Offer => {
                assert!(self.pending_local.is_none(), "remote offer in have-local-offer");
                self.pending_remote = Some((kind, sdp));
            }
            SdpKind::Answer => {
                let (_, local) = self
                    .pending_local
                    .take()
                    .expect("set-remote(answer) in the wrong state");
                self.stable(local, sdp);
            }
        }
    }

    /// Both descriptions are in place: `_update_transceiver_from_sdp_media`.
    fn stable(&mut self, local: Sdp, remote: Sdp) {
        assert_eq!(local.media.len(), remote.media.len(), "m-line count");
        let mut role: Option<Setup> = None;
        for (ours, theirs) in local.media.iter().zip(&remote.media) {
            assert_eq!(mid(ours), mid(theirs));
            let dead = |m: &Media| m.port == 0 && !m.has("bundle-only");
            let name = mid(ours);
            let known = self
                .transceivers
                .iter()
                .position(|t| t.mid.as_ref() == Some(&name));
            if dead(ours) || dead(theirs) {
                assert!(known.is_none(), "I3: an established section is rejected");
                continue;
            }
            let (a, b) = (ours.attribute("setup"), theirs.attribute("setup"));
            let us = match (a.and_then(Setup::parse), b.and_then(Setup::parse)) {
                (Some(Setup::Actpass), Some(theirs)) => theirs.answer(),
                (Some(ours), _) => ours,
                _ => unreachable!(),
            };
            assert!(role.is_none_or(|role| role == us), "I5: roles differ");
            role = Some(us);
            if ours.media == "application" {
                continue;
            }
            let (o, t) = (direction(ours), direction(theirs));
            let now = Direction::new(o.send && t.recv, o.recv && t.send);
            let found = known.or_else(|| {
                self.transceivers
                    .iter()
                    .position(|tr| tr.pending_mid.as_ref() == Some(&name))
            });
            let trans = &mut self.transceivers[found.expect("a section without transceiver")];
            assert!(
                trans.current.is_none_or(|before| before == now),
                "I3: transceiver direction changes"
            );
            assert_ne!(now, Direction::default(), "I3: inactive");
            trans.current = Some(now);
            trans.mid = Some(name);
        }
        self.local = Some(local);
        self.remote = Some(remote);
        self.open = false;
    }

    /// The sources that flow.
    pub fn sources(&self) -> Vec<u32> {
        let senders = self.transceivers.iter().filter_map(|t| t.sender.as_ref());
        let flows = senders.filter(|spec| self.routing.sending.contains(&spec.mid));
        flows.map(|spec| spec.ssrc).collect()
    }

    /// How many m-lines it has.
    pub fn lines(&self) -> usize {
        self.last.as_ref().map_or(0, |sdp| sdp.media.len())
    }

    /// Codec of an internal section.
    pub fn codec(&self, name: &str) -> Option<Codec> {
        let media = self.remote.as_ref()?.media.iter().find(|m| mid(m) == name)?;
        payload::read(media).first()?.codec
    }

    /// ICE generation of the peer it is set to.
    pub fn remote_ufrag(&self) -> Option<String> {
        Some(
            self.remote
                .as_ref()?
                .media
                .first()?
                .attribute("ice-ufrag")?
                .to_owned(),
        )
    }
}
