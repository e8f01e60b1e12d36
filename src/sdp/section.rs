//! Writes descriptions and sections from facts.

use super::check::Direction;
use super::model::{Media, Sdp};
use super::transport::{Setup, Transport};

/// The protocol of every RTP section (RFC 8840, JSEP §5.1.2).
const RTP: &str = "UDP/TLS/RTP/SAVPF";

/// Session attribute of whoever keeps its connections while the signalling is away, and its value. Nobody else knows
/// it, and unknown attributes are ignored (RFC 8866 §5.13).
const KEEPS: (&str, &str) = ("x-meteredwebrtc", "keep");

/// What stands before the name of an offer in the same attribute of its answer.
const ANSWERS: &str = "to/";

/// Session id and version of the `o=` line: they name a description.
pub type DescriptionId = (u64, u64);

/// Says in a description for the wire that its writer keeps connections while the signalling is away, and in an answer
/// which offer it is for.
pub fn promise_to_keep(sdp: &mut Sdp, answers: Option<DescriptionId>) {
    let (name, value) = KEEPS;
    let to = answers.map_or_else(String::new, |(id, version)| format!(" {ANSWERS}{id}/{version}"));
    sdp.session.push(format!("a={name}:{value}{to}"));
}

/// Which offer an answer is for, if it says so.
pub fn answers(sdp: &Sdp) -> Option<DescriptionId> {
    let words = sdp.attribute(KEEPS.0)?.split_ascii_whitespace();
    let (id, version) = words
        .filter_map(|word| word.strip_prefix(ANSWERS))
        .next()?
        .split_once('/')?;
    Some((id.parse().ok()?, version.parse().ok()?))
}

/// Whether the writer of a description has said so.
pub fn keeps(sdp: &Sdp) -> bool {
    let (name, value) = KEEPS;
    sdp.attribute(name)
        .is_some_and(|words| words.split_ascii_whitespace().any(|word| word == value))
}

/// The id that the `o=` line makes of a random number (JSEP §5.2.1: it fits 63 bits).
pub fn session_id(id: u64) -> u64 {
    id >> 1
}

/// The session part. `id` and `version` make the `o=` line (RFC 3264 §8: the version rises with every description).
pub fn session(id: u64, version: u64, sections: Vec<Media>, bundle: &[String]) -> Sdp {
    let mut session: Vec<String> = vec![
        "v=0".into(),
        format!("o=- {} {version} IN IP4 127.0.0.1", session_id(id)),
        "s=-".into(),
        "t=0 0".into(),
    ];
    if !bundle.is_empty() {
        session.push(format!("a=group:BUNDLE {}", bundle.join(" ")));
    }
    session.push("a=ice-options:trickle".into());
    session.push("a=msid-semantic: WMS *".into());
    Sdp {
        session,
        media: sections,
    }
}

/// What all live sections have in common.
fn open(media: &str, proto: &str, format: String, mid: &str, transport: &Transport, setup: Setup) -> Media {
    let mut lines = vec!["c=IN IP4 0.0.0.0".to_owned(), format!("a=mid:{mid}")];
    lines.extend(transport.lines());
    lines.push(format!("a=setup:{}", setup.as_str()));
    Media {
        media: media.to_owned(),
        port: 9,
        proto: proto.to_owned(),
        formats: vec![format],
        lines,
    }
}

/// An RTP section with one payload type. `payload` are the lines that describe it.
pub fn rtp(
    kind: &str,
    mid: &str,
    (transport, setup): (&Transport, Setup),
    direction: Direction,
    (format, payload): (String, Vec<String>),
) -> Media {
    let mut media = open(kind, RTP, format, mid, transport, setup);
    media.lines.push("a=rtcp-mux".into());
    media.lines.push("a=rtcp-rsize".into());
    media.lines.push(format!("a={}", direction.as_str()));
    media.lines.extend(payload);
    media
}

/// The SCTP section. 64 KiB is what webrtcbin can reassemble.
pub fn data(mid: &str, (transport, setup): (&Transport, Setup)) -> Media {
    let mut media = open(
        "application",
        "UDP/DTLS/SCTP",
        "webrtc-datachannel".into(),
        mid,
        transport,
        setup,
    );
    media.lines.push("a=sctp-port:5000".into());
    media.lines.push("a=max-message-size:65536".into());
    media
}

/// An RTP section that is rejected, but says all the same what a live one would: aiortc takes no description with a
/// section that has no credentials, or no codec that it knows.
pub fn stopped(
    head: &(String, String, Vec<String>),
    mid: &str,
    ends: (&Transport, Setup),
    payload: (String, Vec<String>),
) -> Media {
    Media {
        port: 0,
        proto: head.1.clone(),
        ..rtp(&head.0, mid, ends, Direction::default(), payload)
    }
}

/// A rejected section: enough to keep its place.
pub fn rejected(head: &(String, String, Vec<String>), mid: &str) -> Media {
    let (media, proto, formats) = head.clone();
    let lines = vec![
        "c=IN IP4 0.0.0.0".to_owned(),
        format!("a=mid:{mid}"),
        "a=inactive".to_owned(),
    ];
    Media {
        media,
        port: 0,
        proto,
        formats,
        lines,
    }
}
