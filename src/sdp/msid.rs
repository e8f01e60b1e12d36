//! `a=msid` (RFC 8830), at media level and in its older form inside `a=ssrc` (RFC 5576 §6).

use std::collections::HashSet;

use super::model::Media;

/// Most SSRCs of one section that we look at; simulcast with retransmission has six.
const MAX_SSRCS: usize = 16;

/// Longest id we pass on.
const MAX_ID: usize = 256;

/// Stream and track of a section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Msid {
    /// `None` for `-`: a track without a stream.
    pub stream: Option<String>,
    /// Second field; may be missing.
    pub track: Option<String>,
}

impl Msid {
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let stream = words.next()?;
        let track = words.next();
        if stream.len() > MAX_ID || track.is_some_and(|id| id.len() > MAX_ID) {
            return None;
        }
        Some(Self {
            stream: (stream != "-").then(|| stream.to_owned()),
            track: track.map(str::to_owned),
        })
    }

    /// Reads a section: the media level wins, then the first source that has one.
    pub fn read(media: &Media) -> Option<Self> {
        let from_source = |value: &str| Self::parse(value.split_once(" msid:")?.1);
        media
            .attributes("msid")
            .find_map(Self::parse)
            .or_else(|| media.attributes("ssrc").find_map(from_source))
    }
}

/// SSRCs named in a section, in order, without those of retransmission (second of an FID group). At most 16.
pub fn ssrcs(media: &Media) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().ok();
    let repair: HashSet<u32> = media
        .attributes("ssrc-group")
        .filter_map(|value| value.strip_prefix("FID "))
        .filter_map(|value| value.split_ascii_whitespace().nth(1).and_then(number))
        .collect();
    let mut found = Vec::new();
    for value in media.attributes("ssrc") {
        if found.len() == MAX_SSRCS {
            break;
        }
        let ssrc = value.split_ascii_whitespace().next().and_then(number);
        if let Some(ssrc) = ssrc.filter(|ssrc| !repair.contains(ssrc) && !found.contains(ssrc)) {
            found.push(ssrc);
        }
    }
    found
}

/// The lines of a section of ours. Ids are made tokens: browsers refuse a third field.
pub fn write(stream: &str, track: &str, ssrc: u32, cname: &str) -> Vec<String> {
    let (stream, track) = (token(stream), token(track));
    vec![
        format!("a=msid:{stream} {track}"),
        format!("a=ssrc:{ssrc} cname:{cname}"),
        format!("a=ssrc:{ssrc} msid:{stream} {track}"),
    ]
}

fn token(id: &str) -> String {
    let clean: String = id.chars().filter(|c| c.is_ascii_graphic()).take(MAX_ID).collect();
    if clean.is_empty() { "-".to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(lines: &[&str]) -> Media {
        Media {
            lines: lines.iter().map(|l| (*l).to_owned()).collect(),
            ..Media::default()
        }
    }

    #[test]
    fn media_level_wins() {
        let section = media(&["a=ssrc:5 msid:x y", "a=msid:S T"]);
        assert_eq!(
            Msid::read(&section),
            Some(Msid {
                stream: Some("S".into()),
                track: Some("T".into())
            })
        );
        let old = media(&["a=ssrc:5 cname:c", "a=ssrc:5 msid:x y"]);
        assert_eq!(Msid::read(&old).unwrap().track.as_deref(), Some("y"));
        assert_eq!(Msid::read(&media(&["a=msid:- T"])).unwrap().stream, None);
    }

    #[test]
    fn repair_sources_are_left_out() {
        let section = media(&[
            "a=ssrc-group:FID 1 2",
            "a=ssrc:1 cname:c",
            "a=ssrc:2 cname:c",
            "a=ssrc:x y",
        ]);
        assert_eq!(ssrcs(&section), [1]);
    }

    #[test]
    fn ids_become_tokens() {
        assert_eq!(write("a b", "", 1, "c")[0], "a=msid:ab -");
    }
}
