//! Payload formats: which codec a format is, what we answer, what we offer.

use std::collections::{HashMap, HashSet};

use super::codec::{Codec, MediaKind};
use super::model::Media;

/// One payload type of a remote section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// RTP payload type.
    pub pt: u8,
    /// Encoding name as written, `VP8` or `rtx`.
    pub name: String,
    /// The codec, if it is one we can handle in the variant that is offered.
    pub codec: Option<Codec>,
    /// The whole `a=rtpmap` value, if there was one.
    pub rtpmap: Option<String>,
    /// The parameters of `a=fmtp`.
    pub fmtp: Option<String>,
    /// The peer takes picture loss indications.
    pub pli: bool,
    /// The peer takes full intra requests.
    pub fir: bool,
}

/// Formats of an RTP section, in the peer's order, each once. Reads the lines once, however many formats there are: a
/// description may have thousands of both.
pub fn read(media: &Media) -> Vec<Format> {
    let lines = Lines::of(media);
    let mut seen = [false; 128];
    media
        .formats
        .iter()
        .filter_map(|text| text.parse::<u8>().ok())
        .filter(|pt| {
            seen.get_mut(usize::from(*pt))
                .is_some_and(|seen| !std::mem::replace(seen, true))
        })
        .map(|pt| read_one(media, pt, &lines))
        .collect()
}

/// What the lines of a section say about its formats; the first map and the first parameters of a format count.
#[derive(Default)]
struct Lines<'a> {
    maps: HashMap<&'a str, &'a str>,
    parameters: HashMap<&'a str, &'a str>,
    pli: HashSet<&'a str>,
    fir: HashSet<&'a str>,
}

impl<'a> Lines<'a> {
    fn of(media: &'a Media) -> Self {
        let mut lines = Self::default();
        let split = |value: &'a str| value.split_once(' ').map(|(pt, rest)| (pt, rest.trim()));
        for (pt, rest) in media.attributes("rtpmap").filter_map(split) {
            lines.maps.entry(pt).or_insert(rest);
        }
        for (pt, rest) in media.attributes("fmtp").filter_map(split) {
            lines.parameters.entry(pt).or_insert(rest);
        }
        for (pt, rest) in media.attributes("rtcp-fb").filter_map(split) {
            match rest {
                "nack pli" => lines.pli.insert(pt),
                "ccm fir" => lines.fir.insert(pt),
                _ => false,
            };
        }
        lines
    }
}

fn read_one(media: &Media, pt: u8, lines: &Lines<'_>) -> Format {
    let number = pt.to_string();
    let of_pt = |map: &HashMap<&str, &str>| map.get(number.as_str()).map(|text| (*text).to_owned());
    let listed = |set: &HashSet<&str>| set.contains(number.as_str()) || set.contains("*");
    let (rtpmap, fmtp) = (of_pt(&lines.maps), of_pt(&lines.parameters));
    let name = rtpmap.as_deref().and_then(|map| map.split('/').next());
    let codec = match &rtpmap {
        Some(map) => codec_of(map, fmtp.as_deref().unwrap_or_default()),
        // RFC 3551 §6: static types need no map.
        None if media.media == "audio" => [(0, Codec::Pcmu), (8, Codec::Pcma)]
            .iter()
            .find(|(n, _)| *n == pt)
            .map(|(_, c)| *c),
        None => None,
    };
    Format {
        pt,
        name: name.unwrap_or_default().to_owned(),
        codec: codec.filter(|codec| kind_of(*codec).as_str() == media.media),
        rtpmap,
        fmtp,
        pli: listed(&lines.pli),
        fir: listed(&lines.fir),
    }
}

/// A parameter of an fmtp value.
pub fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn codec_of(rtpmap: &str, fmtp: &str) -> Option<Codec> {
    let map = rtpmap.to_ascii_lowercase();
    let is_zero = |name: &str| parameter(fmtp, name).is_none_or(|value| value == "0");
    match map.as_str() {
        "vp8/90000" => Some(Codec::Vp8),
        "vp9/90000" if is_zero("profile-id") => Some(Codec::Vp9),
        "av1/90000" if is_zero("profile") => Some(Codec::Av1),
        "h264/90000" if usable_h264(fmtp) => Some(Codec::H264),
        "opus/48000/2" => Some(Codec::Opus),
        "pcmu/8000" | "pcmu/8000/1" => Some(Codec::Pcmu),
        "pcma/8000" | "pcma/8000/1" => Some(Codec::Pcma),
        _ => None,
    }
}

/// Packetization mode 1 of the baseline family: what every peer and every encoder has.
fn usable_h264(fmtp: &str) -> bool {
    parameter(fmtp, "packetization-mode") == Some("1")
        // RFC 6184 §8.1: absent means baseline level 1.
        && parameter(fmtp, "profile-level-id").is_none_or(|id| id.get(..2) == Some("42"))
}

/// Audio or video.
pub fn kind_of(codec: Codec) -> MediaKind {
    match codec {
        Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::Av1 => MediaKind::Video,
        Codec::Opus | Codec::Pcmu | Codec::Pcma => MediaKind::Audio,
    }
}

/// The `a=rtpmap` value without its payload type.
pub fn rtpmap(codec: Codec) -> &'static str {
    match codec {
        Codec::Vp8 => "VP8/90000",
        Codec::Vp9 => "VP9/90000",
        Codec::H264 => "H264/90000",
        Codec::Av1 => "AV1/90000",
        Codec::Opus => "opus/48000/2",
        Codec::Pcmu => "PCMU/8000",
        Codec::Pcma => "PCMA/8000",
    }
}

/// What we say about a codec in our own sections.
pub fn own_fmtp(codec: Codec) -> Option<&'static str> {
    match codec {
        Codec::H264 => Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        Codec::Opus => Some("minptime=10;useinbandfec=1"),
        Codec::Vp9 => Some("profile-id=0"),
        _ => None,
    }
}

/// What webrtcbin is told about a codec. As little as possible: every further field must be equal in the caps it
/// intersects, and optional ones (`sprop-*`, `stereo`) empty the intersection.
pub fn internal_fmtp(codec: Codec) -> Option<&'static str> {
    (codec == Codec::H264).then_some("packetization-mode=1")
}

/// The payload type we give a codec unless the peer uses it for something else. Opus, VP8 and H264 (constrained
/// baseline) have aiortc's numbers, because aiortc returns to them: whatever our offer called a codec, its own next
/// offer calls it so, and which of the two its decoder then knows depends on when the connection came up. Browsers
/// keep the numbers of the first offer. aiortc has neither VP9 nor AV1; theirs lie above where others begin to count.
pub fn default_pt(codec: Codec) -> u8 {
    match codec {
        Codec::Opus => 96,
        Codec::Vp8 => 97,
        Codec::Vp9 => 121,
        Codec::H264 => 101,
        Codec::Av1 => 119,
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
    }
}

/// Codecs that stand for all of a kind when a section must be shown to webrtcbin although nothing will flow on it.
pub fn any_codec(kind: MediaKind) -> &'static [Codec] {
    match kind {
        MediaKind::Audio => &[Codec::Opus, Codec::Pcmu, Codec::Pcma],
        MediaKind::Video => &[Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1],
    }
}

/// The format to use among those of a section: first by our preference, then by the peer's order; constrained
/// baseline before plain baseline.
pub fn choose<'a>(formats: &'a [Format], preference: &[Codec]) -> Option<&'a Format> {
    preference.iter().find_map(|codec| {
        let mut fitting = formats.iter().filter(|format| format.codec == Some(*codec));
        let first = fitting.next()?;
        let constrained = |format: &&Format| {
            format
                .fmtp
                .as_deref()
                .and_then(|f| parameter(f, "profile-level-id"))
                .is_some_and(|id| id.get(2..4) == Some("e0"))
        };
        let best = formats
            .iter()
            .filter(|format| format.codec == Some(*codec))
            .find(constrained);
        Some(if *codec == Codec::H264 {
            best.unwrap_or(first)
        } else {
            first
        })
    })
}

/// The lines that describe one format on the wire.
pub fn lines(pt: u8, map: &str, fmtp: Option<&str>, pli: bool, fir: bool) -> Vec<String> {
    let mut lines = vec![format!("a=rtpmap:{pt} {map}")];
    if pli {
        lines.push(format!("a=rtcp-fb:{pt} nack pli"));
    }
    if fir {
        lines.push(format!("a=rtcp-fb:{pt} ccm fir"));
    }
    lines.extend(fmtp.map(|fmtp| format!("a=fmtp:{pt} {fmtp}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(lines: &str) -> Vec<Format> {
        let sdp = super::super::Sdp::parse(&format!("v=0\nm=video 9 X 96 97 98 200 x\n{lines}")).unwrap();
        read(&sdp.media[0])
    }

    #[test]
    fn h264_needs_mode_1_and_baseline() {
        let formats = video(
            "a=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=0;profile-level-id=42e01f\n\
             a=rtpmap:97 H264/90000\na=fmtp:97 profile-level-id=42001f;packetization-mode=1\n\
             a=rtpmap:98 H264/90000\na=fmtp:98 packetization-mode=1;profile-level-id=42e01f\n",
        );
        assert_eq!(
            formats.iter().map(|f| f.codec).collect::<Vec<_>>(),
            [None, Some(Codec::H264), Some(Codec::H264)]
        );
        assert_eq!(choose(&formats, &[Codec::Vp8, Codec::H264]).unwrap().pt, 98);
    }

    #[test]
    fn feedback_and_wildcards() {
        let formats = video("a=rtpmap:96 VP8/90000\na=rtcp-fb:* nack pli\na=rtcp-fb:96 ccm fir\n");
        assert!(formats[0].pli && formats[0].fir && formats[1].pli && !formats[1].fir);
    }

    #[test]
    fn formats_count_once_and_their_first_lines_count() {
        let repeated = ["96 0096 200 x"; 60].join(" ");
        let lines = "a=rtpmap:96 VP8/90000\na=rtpmap:96 VP9/90000\na=fmtp:96 x=1\na=fmtp:96 x=2\n".repeat(50);
        let sdp = super::super::Sdp::parse(&format!("v=0\nm=video 9 X {repeated}\n{lines}")).unwrap();
        let formats = read(&sdp.media[0]);
        assert_eq!(formats.len(), 1);
        assert_eq!(
            (formats[0].codec, formats[0].fmtp.as_deref()),
            (Some(Codec::Vp8), Some("x=1"))
        );
    }

    #[test]
    fn audio_is_not_video() {
        assert_eq!(video("a=rtpmap:96 opus/48000/2\n")[0].codec, None);
    }
}
