//! Text to lines and back. Keeps order and everything it does not understand (RFC 8866 §5).

use super::check::SdpError;

/// Largest description we look at, in bytes. A frame of the service is smaller still.
pub const MAX_SDP: usize = 256 * 1024;

/// Most m-lines we look at; a browser with a dozen tracks has two dozen.
pub const MAX_SECTIONS: usize = 64;

/// A session description, cut into lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sdp {
    /// Lines before the first `m=`, without line ends.
    pub session: Vec<String>,
    /// The sections.
    pub media: Vec<Media>,
}

/// One `m=` line with what follows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// `audio`, `video`, `application` or something else.
    pub media: String,
    /// Port; 0 rejects the section, unless it is bundle-only in an offer (RFC 9143 §6).
    pub port: u16,
    /// `UDP/TLS/RTP/SAVPF` and its kind.
    pub proto: String,
    /// Payload types, or `webrtc-datachannel`.
    pub formats: Vec<String>,
    /// The lines that follow, without line ends.
    pub lines: Vec<String>,
}

impl Sdp {
    /// Cuts a text. Fails on anything that is no list of `x=…` lines starting with `v=0`.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_SDP {
            return Err(SdpError("it is larger than 256 KiB"));
        }
        let mut sdp = Self::default();
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            check_line(line)?;
            if let Some(value) = line.strip_prefix("m=") {
                if sdp.media.len() == MAX_SECTIONS {
                    return Err(SdpError("it has more than 64 media sections"));
                }
                sdp.media.push(Media::parse(value)?);
            } else {
                match sdp.media.last_mut() {
                    Some(media) => media.lines.push(line.to_owned()),
                    None => sdp.session.push(line.to_owned()),
                }
            }
        }
        if sdp.session.first().map(String::as_str) != Some("v=0") {
            return Err(SdpError("it does not start with v=0"));
        }
        Ok(sdp)
    }

    /// The text, with CRLF line ends.
    pub fn write(&self) -> String {
        let mut out = String::new();
        let mut put = |line: &str| {
            out.push_str(line);
            out.push_str("\r\n");
        };
        self.session.iter().for_each(|line| put(line));
        for media in &self.media {
            put(&format!(
                "m={} {} {} {}",
                media.media,
                media.port,
                media.proto,
                media.formats.join(" ")
            ));
            media.lines.iter().for_each(|line| put(line));
        }
        out
    }

    /// The first session-level attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.session, name)
    }

    /// All session-level attributes of this name.
    pub fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        find_all(&self.session, name)
    }

    /// Members of the first BUNDLE group (RFC 9143 §7.1), in order.
    pub fn bundle(&self) -> Vec<&str> {
        self.attributes("group")
            .find_map(|value| {
                let mut words = value.split_ascii_whitespace();
                (words.next() == Some("BUNDLE")).then(|| words.collect())
            })
            .unwrap_or_default()
    }

    /// Replaces every group line by one BUNDLE group; none for an empty list.
    pub fn set_bundle(&mut self, mids: &[String]) {
        self.session.retain(|line| !line.starts_with("a=group:"));
        if !mids.is_empty() {
            self.session.push(format!("a=group:BUNDLE {}", mids.join(" ")));
        }
    }
}

impl Media {
    fn parse(value: &str) -> Result<Self, SdpError> {
        let mut words = value.split_ascii_whitespace();
        let (Some(media), Some(port), Some(proto)) = (words.next(), words.next(), words.next()) else {
            return Err(SdpError("an m= line is incomplete"));
        };
        // RFC 8866 allows `port/count`; nobody bundles such a section.
        let port = port.split('/').next().and_then(|text| text.parse().ok());
        let Some(port) = port else {
            return Err(SdpError("an m= line has no port"));
        };
        let formats: Vec<String> = words.map(str::to_owned).collect();
        if formats.is_empty() || formats.len() > 256 {
            return Err(SdpError("an m= line has no formats, or too many"));
        }
        Ok(Self {
            media: media.to_owned(),
            port,
            proto: proto.to_owned(),
            formats,
            lines: Vec::new(),
        })
    }

    /// The first attribute of this name: the text behind the colon, empty for a property attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.lines, name)
    }

    /// All attributes of this name.
    pub fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        find_all(&self.lines, name)
    }

    /// Whether there is such an attribute.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// Replaces the attribute, or adds it.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.lines.push(format!("a={name}:{value}"));
    }

    /// Removes all attributes of this name.
    pub fn remove(&mut self, name: &str) {
        self.lines.retain(|line| attribute_of(line, name).is_none());
    }
}

fn find<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| attribute_of(line, name))
}

fn find_all<'a>(lines: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    lines.iter().filter_map(move |line| attribute_of(line, name))
}

fn attribute_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("a=")?.strip_prefix(name)?;
    if rest.is_empty() {
        Some("")
    } else {
        rest.strip_prefix(':')
    }
}

/// `x=…`, nothing that could end a line or confuse a C string.
fn check_line(line: &str) -> Result<(), SdpError> {
    let mut bytes = line.bytes();
    let shape = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase()) && bytes.next() == Some(b'=');
    if !shape {
        return Err(SdpError("a line is not of the form x=…"));
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(SdpError("a line has a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_are_found_by_whole_name() {
        let sdp = Sdp::parse("v=0\r\nm=audio 9 X 0\r\na=midi:1\r\na=mid:a\r\na=rtcp-mux\r\n").unwrap();
        assert_eq!(sdp.media[0].attribute("mid"), Some("a"));
        assert!(sdp.media[0].has("rtcp-mux"));
        assert!(!sdp.media[0].has("rtcp"));
    }

    #[test]
    fn refuses_what_is_no_sdp() {
        for text in [
            "",
            "hello",
            "v=0\r\nm=audio",
            "v=0\r\nm=audio x y 0",
            "v=0\r\na=\u{1}",
            "s=-\r\nv=0",
            "v=0\r\nm=a 9 p",
        ] {
            assert!(Sdp::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(v=0\n)?([a-z]=[ -~\u{0}-\u{ff}]{0,20}\r?\n){0,20}") {
            if let Ok(sdp) = Sdp::parse(&text) {
                let once = sdp.write();
                prop_assert_eq!(&Sdp::parse(&once).unwrap(), &sdp);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Sdp::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
