//! What a peer's description says, checked against everything webrtcbin errors or aborts on.
//!
//! Total: any text ends in facts or in an [`SdpError`], and facts are bounded in size.

use super::codec::MediaKind;
use super::model::{Media, Sdp};
use super::msid::{self, Msid};
use super::payload::{self, Format};
use super::section::{self, DescriptionId};
use super::transport::{Setup, Transport, is_ice_token, sha256_fingerprint};
use crate::wire::SdpKind;

/// Why a description cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SdpError(pub &'static str);

/// Longest mid we take. RFC 9143 sets no limit; RTP carries at most 255, browsers make 1 to 3.
const MAX_MID: usize = 64;

/// A checked description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Offer or answer.
    pub kind: SdpKind,
    /// Session id of the `o=` line: the same in all descriptions of one `RTCPeerConnection` (JSEP §5.2.2).
    pub origin: String,
    /// The transport of the bundle; none if every section is rejected.
    pub bundle: Option<Bundle>,
    /// The peer keeps its connections while the signalling is away: an element of ours.
    pub keeps: bool,
    /// What its `o=` line calls it, where that is a pair of numbers.
    pub id: Option<DescriptionId>,
    /// The offer that it answers, if it says so.
    pub answers: Option<DescriptionId>,
    /// All sections, in order.
    pub sections: Vec<RemoteSection>,
}

/// The transport that carries all sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Credentials and certificate.
    pub transport: Transport,
    /// What it says about DTLS roles.
    pub setup: Setup,
    /// Mid of the section to which it belongs (RFC 9143 §7.2).
    pub tag: String,
    /// Its index.
    pub index: usize,
    /// Candidates of that section.
    pub candidates: Vec<String>,
    /// There will be no more.
    pub end_of_candidates: bool,
    /// The peer trickles. A stack that does not (aiortc) cannot restart ICE either: it takes new credentials for a
    /// new connection.
    pub trickles: bool,
}

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// RTP that can be bundled.
    Media(MediaKind),
    /// SCTP over DTLS (RFC 8841).
    Data,
    /// Anything else: always rejected.
    Other,
}

/// Direction of a section, from the writer's point of view (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Direction {
    /// The writer sends.
    pub send: bool,
    /// The writer receives.
    pub recv: bool,
}

impl Direction {
    /// From its two halves.
    pub fn new(send: bool, recv: bool) -> Self {
        Self { send, recv }
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match (self.send, self.recv) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        }
    }

    /// Of a section; the default is sendrecv.
    fn of(media: &Media) -> Self {
        let all = [(true, true), (true, false), (false, true), (false, false)].map(|(s, r)| Self::new(s, r));
        all.into_iter()
            .find(|dir| media.has(dir.as_str()))
            .unwrap_or(Self::new(true, true))
    }
}

/// One section of a checked description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSection {
    /// Its name.
    pub mid: String,
    /// What it is.
    pub kind: SectionKind,
    /// `m=` media, protocol and formats as written, to be repeated in an answer.
    pub head: (String, String, Vec<String>),
    /// Port 0 and not bundle-only, or not part of the bundle: nothing can be done with it.
    pub rejected: bool,
    /// What the peer does.
    pub direction: Direction,
    /// Payload types it lists.
    pub formats: Vec<Format>,
    /// Stream and track.
    pub msid: Option<Msid>,
    /// SSRCs it announces.
    pub ssrcs: Vec<u32>,
}

impl Remote {
    /// Checks a description.
    pub fn parse(kind: SdpKind, text: &str) -> Result<Self, SdpError> {
        let sdp = Sdp::parse(text)?;
        if sdp.media.is_empty() {
            return Err(SdpError("it has no media section"));
        }
        let mids = mids(&sdp)?;
        let bundle = bundle(&sdp, &mids)?;
        let live = |index: usize| {
            let media = &sdp.media[index];
            let open = media.port != 0 || (kind == SdpKind::Offer && media.has("bundle-only"));
            open && bundle.contains(&mids[index].as_str())
        };
        let tag = bundle
            .iter()
            .filter_map(|mid| mids.iter().position(|m| m == mid))
            .find(|index| live(*index));
        let mut sections = Vec::with_capacity(mids.len());
        for (index, (media, mid)) in sdp.media.iter().zip(&mids).enumerate() {
            sections.push(read_section(media, mid.clone(), !live(index))?);
        }
        let bundle = tag
            .map(|index| read_bundle(&sdp, index, &mids[index], kind))
            .transpose()?;
        Ok(Self {
            kind,
            origin: origin(&sdp),
            keeps: section::keeps(&sdp),
            id: description_id(&sdp),
            answers: section::answers(&sdp),
            bundle,
            sections,
        })
    }

    /// The section of this name.
    pub fn section(&self, mid: &str) -> Option<&RemoteSection> {
        self.sections.iter().find(|section| section.mid == mid)
    }

    /// Whether there is a section that can be served.
    pub fn is_usable(&self) -> bool {
        self.bundle.is_some()
            && self
                .sections
                .iter()
                .any(|s| !s.rejected && s.kind != SectionKind::Other)
    }

    /// ICE user fragment of the bundle.
    pub fn ufrag(&self) -> Option<&str> {
        self.bundle.as_ref().map(|bundle| bundle.transport.ufrag.as_str())
    }
}

/// An offer of nothing, which some stacks send after a rebuild without tracks (nothing to negotiate, no error).
pub fn is_empty_offer(text: &str) -> bool {
    Sdp::parse(text).is_ok_and(|sdp| sdp.media.is_empty())
}

fn description_id(sdp: &Sdp) -> Option<DescriptionId> {
    let line = sdp.session.iter().find_map(|line| line.strip_prefix("o="))?;
    let mut words = line.split_ascii_whitespace().skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn origin(sdp: &Sdp) -> String {
    let line = sdp.session.iter().find_map(|line| line.strip_prefix("o="));
    let id = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    id.unwrap_or_default().to_owned()
}

fn mids(sdp: &Sdp) -> Result<Vec<String>, SdpError> {
    let mut mids: Vec<String> = Vec::with_capacity(sdp.media.len());
    for media in &sdp.media {
        let Some(mid) = media.attribute("mid").map(str::trim).filter(|mid| is_token(mid)) else {
            return Err(SdpError("a section has no usable a=mid"));
        };
        if mids.iter().any(|other| other == mid) {
            return Err(SdpError("two sections have the same a=mid"));
        }
        mids.push(mid.to_owned());
    }
    Ok(mids)
}

fn is_token(text: &str) -> bool {
    // RFC 8866 §9 token
    (1..=MAX_MID).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !br#""(),/:;<=>?@[\]"#.contains(&b))
}

/// Mids of the bundle. Without a group the first section stands alone.
fn bundle<'a>(sdp: &'a Sdp, mids: &'a [String]) -> Result<Vec<&'a str>, SdpError> {
    let group = sdp.bundle();
    if group.is_empty() {
        if sdp.attributes("group").any(|value| value.trim() == "BUNDLE") {
            // What remains of a group whose sections were all rejected.
            return Ok(mids.iter().map(String::as_str).collect());
        }
        return Ok(mids.first().map(String::as_str).into_iter().collect());
    }
    if group.iter().any(|member| !mids.iter().any(|mid| mid == member)) {
        return Err(SdpError("its BUNDLE group names a section that does not exist"));
    }
    Ok(group)
}

fn read_bundle(sdp: &Sdp, index: usize, mid: &str, kind: SdpKind) -> Result<Bundle, SdpError> {
    let media = &sdp.media[index];
    let inherited = |name| {
        media
            .attribute(name)
            .or_else(|| sdp.attribute(name))
            .map(str::trim)
    };
    let Some(ufrag) = inherited("ice-ufrag").filter(|value| is_ice_token(value, 4)) else {
        return Err(SdpError("it has no usable a=ice-ufrag"));
    };
    let Some(pwd) = inherited("ice-pwd").filter(|value| is_ice_token(value, 22)) else {
        return Err(SdpError("it has no usable a=ice-pwd"));
    };
    // RFC 8122 §5: several hashes of one certificate are one list; media level replaces session level.
    let own: Vec<&str> = media.attributes("fingerprint").collect();
    let fingerprints = if own.is_empty() {
        sdp.attributes("fingerprint").collect()
    } else {
        own
    };
    let Some(fingerprint) = fingerprints.into_iter().find_map(sha256_fingerprint) else {
        return Err(SdpError("it has no sha-256 fingerprint"));
    };
    let setup = match inherited("setup").map(Setup::parse) {
        Some(Some(setup)) => setup,
        _ => return Err(SdpError("it has no usable a=setup")),
    };
    if kind == SdpKind::Answer && setup == Setup::Actpass {
        return Err(SdpError("it answers with a=setup:actpass"));
    }
    let transport = Transport {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
        fingerprint,
    };
    Ok(Bundle {
        transport,
        setup,
        tag: mid.to_owned(),
        index,
        candidates: media
            .attributes("candidate")
            .take(200)
            .map(|c| format!("candidate:{c}"))
            .collect(),
        end_of_candidates: media.has("end-of-candidates") || sdp.attribute("end-of-candidates").is_some(),
        trickles: media
            .attributes("ice-options")
            .chain(sdp.attributes("ice-options"))
            .any(|options| options.split_ascii_whitespace().any(|option| option == "trickle")),
    })
}

fn read_section(media: &Media, mid: String, rejected: bool) -> Result<RemoteSection, SdpError> {
    let rtp = media.proto.ends_with("RTP/SAVPF") || media.proto.ends_with("RTP/SAVP");
    let kind = match media.media.as_str() {
        "audio" if rtp => SectionKind::Media(MediaKind::Audio),
        "video" if rtp => SectionKind::Media(MediaKind::Video),
        "application" if media.proto.ends_with("DTLS/SCTP") && media.formats[0] == "webrtc-datachannel" => {
            SectionKind::Data
        }
        _ => SectionKind::Other,
    };
    let media_kind = matches!(kind, SectionKind::Media(_));
    if media_kind && !rejected && !media.has("rtcp-mux") {
        return Err(SdpError("a section has no a=rtcp-mux"));
    }
    Ok(RemoteSection {
        mid,
        kind,
        head: (media.media.clone(), media.proto.clone(), media.formats.clone()),
        rejected,
        direction: if rejected {
            Direction::default()
        } else {
            Direction::of(media)
        },
        formats: if media_kind {
            payload::read(media)
        } else {
            Vec::new()
        },
        msid: Msid::read(media),
        ssrcs: msid::ssrcs(media),
    })
}
