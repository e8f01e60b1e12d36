//! Texts that leave a session: nothing in them may name an address, a credential or a path.

/// Longest text that is passed on, in characters.
const MAX_CHARS: usize = 200;

/// Which Debian package has an element.
const PACKAGES: [(&str, &[&str]); 6] = [
    (
        "gstreamer1.0-plugins-base",
        &[
            "appsrc",
            "appsink",
            "opusenc",
            "opusdec",
            "videoconvert",
            "audioconvert",
        ],
    ),
    ("gstreamer1.0-nice", &["nicesrc", "nicesink"]),
    ("gstreamer1.0-plugins-ugly", &["x264enc"]),
    ("gstreamer1.0-libav", &["avenc_", "avdec_"]),
    (
        "gstreamer1.0-plugins-bad",
        &[
            "webrtcbin",
            "dtls",
            "srtp",
            "sctp",
            "h264parse",
            "vp9parse",
            "av1",
            "opusparse",
            "openh264",
        ],
    ),
    (
        "gstreamer1.0-plugins-good",
        &["rtp", "vp8", "vp9", "mulaw", "alaw"],
    ),
];

/// What to tell the user when an element is not installed: its name and the Debian package that has it.
pub fn missing(factory: &str) -> String {
    if factory.starts_with("rtpav1") {
        return format!(
            "the GStreamer element {factory} is not installed; it is in gst-plugin-rtp of gst-plugins-rs"
        );
    }
    match PACKAGES
        .iter()
        .find(|(_, names)| names.iter().any(|name| factory.starts_with(name)))
    {
        Some((package, _)) => {
            format!("the GStreamer element {factory} is not installed (Debian package {package})")
        }
        None => format!("the GStreamer element {factory} is not installed"),
    }
}

/// First line of a foreign text, shortened, with every word masked that could be an address, a URL or a secret.
pub(super) fn scrub(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let words: Vec<&str> = line
        .split(' ')
        .map(|word| if is_private(word) { "***" } else { word })
        .collect();
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CHARS)
        .collect()
}

fn is_private(word: &str) -> bool {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let digits_and_dots = core.contains('.') && core.chars().all(|c| c.is_ascii_digit() || ".:".contains(c));
    let hex_and_colons = core.matches(':').count() >= 2;
    let lower = core.to_ascii_lowercase();
    let named = [
        "ice-pwd",
        "ice-ufrag",
        "fingerprint",
        "candidate:",
        "://",
        "password",
        "@",
    ];
    let long = core.len() > 40;
    digits_and_dots
        || hex_and_colons
        || long
        || named.iter().any(|name| lower.contains(name))
        || core.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages() {
        assert!(missing("nicesrc").contains("gstreamer1.0-nice"));
        assert!(missing("h264parse").contains("plugins-bad"));
        assert!(missing("rtpvp8pay").contains("plugins-good"));
        assert!(missing("x264enc").contains("plugins-ugly"));
        assert!(missing("avdec_h264").contains("libav"));
        assert!(missing("rtpav1pay").contains("gst-plugins-rs"));
        assert!(!missing("nonsense").contains("Debian"));
    }

    #[test]
    fn private_words_go() {
        let text =
            "Could not send to 192.0.2.7:5000 [2001:db8::1]:9 turn://u:p@h a=ice-pwd:abc /usr/x.c now\nline";
        assert_eq!(scrub(text), "Could not send to *** *** *** *** *** now");
        assert_eq!(
            scrub("Internal data stream error."),
            "Internal data stream error."
        );
        assert_eq!(scrub(&"ab ".repeat(300)).chars().count(), MAX_CHARS);
        assert_eq!(scrub(""), "");
    }
}
