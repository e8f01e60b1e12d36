//! Which package an element comes from, for errors that say what to install.

use gst::prelude::*;

use super::MediaError;

/// Factory name → Debian package. Distributions that split plugins otherwise use the same upstream module names.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "gstreamer1.0-plugins-base",
        &[
            "appsink",
            "appsrc",
            "audioconvert",
            "audioresample",
            "opusdec",
            "opusenc",
            "videoconvert",
            "videoconvertscale",
            "videorate",
            "videoscale",
        ],
    ),
    (
        "gstreamer1.0-plugins-good",
        &[
            "alawdec",
            "alawenc",
            "mulawdec",
            "mulawenc",
            "rtpbin",
            "rtph264pay",
            "rtpopuspay",
            "rtpvp8pay",
            "vp8dec",
            "vp8enc",
            "vp9dec",
            "vp9enc",
            "v4l2h264dec",
            "v4l2h264enc",
        ],
    ),
    (
        "gstreamer1.0-plugins-bad",
        &[
            "av1dec",
            "av1enc",
            "av1parse",
            "dav1ddec",
            "dtlssrtpenc",
            "h264parse",
            "nvh264dec",
            "nvh264enc",
            "openh264dec",
            "openh264enc",
            "opusparse",
            "qsvh264enc",
            "srtpenc",
            "svtav1enc",
            "vah264dec",
            "vah264enc",
            "vah264lpenc",
            "vp9parse",
            "webrtcbin",
        ],
    ),
    ("gstreamer1.0-plugins-ugly", &["x264enc"]),
    (
        "gstreamer1.0-libav",
        &["avdec_h264", "avdec_opus", "avdec_vp8", "avdec_vp9"],
    ),
    ("gstreamer1.0-vaapi", &["vaapih264enc", "vaapih264dec"]),
    ("gstreamer1.0-nice", &["nicesrc", "nicesink"]),
];

/// The Debian package an element is in, as far as we know.
pub fn package_of(factory: &str) -> Option<&'static str> {
    PACKAGES
        .iter()
        .find(|(_, names)| names.contains(&factory))
        .map(|(package, _)| *package)
}

/// The text for an element that is not installed. `purpose` completes "is needed to …".
pub fn missing_plugin(factories: &[&str], purpose: &str) -> String {
    let mut choices = Vec::new();
    for factory in factories {
        match package_of(factory) {
            Some(package) => choices.push(format!("`{factory}` (Debian package {package})")),
            None => choices.push(format!("`{factory}`")),
        }
    }
    format!(
        "a GStreamer element is missing that is needed to {purpose}: install {}. `gst-inspect-1.0 {}` shows whether \
         it is there",
        choices.join(" or "),
        factories.first().copied().unwrap_or_default(),
    )
}

/// Makes an element, with an error that names the package.
pub fn make(factory: &str, name: &str, purpose: &str) -> Result<gst::Element, MediaError> {
    let found = gst::ElementFactory::find(factory)
        .ok_or_else(|| MediaError::MissingPlugin(missing_plugin(&[factory], purpose)))?;
    Ok(found.create().name(name).build()?)
}

/// The installed one of these factories that GStreamer ranks highest. Rank NONE means "never by itself".
pub(crate) fn best_of(factories: impl IntoIterator<Item = &'static str>) -> Vec<gst::ElementFactory> {
    let mut found: Vec<_> = factories
        .into_iter()
        .filter_map(gst::ElementFactory::find)
        .filter(|factory| factory.rank() > gst::Rank::NONE)
        .collect();
    // Stable: with equal ranks the order of the table decides.
    found.sort_by_key(|factory| std::cmp::Reverse(factory.rank()));
    found
}
