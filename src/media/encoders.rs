//! The encoders: which there are for a codec, and how each is told to work in real time.

use super::{MediaError, codecs, plugins, properties};
use crate::core::io::{Codec, MediaKind};

/// How an encoder takes its bitrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    /// Property in bits per second.
    Bits(&'static str),
    /// Property in kilobits per second.
    Kilobits(&'static str),
    /// `extra-controls` of the V4L2 encoders.
    V4l2,
    /// The codec has one rate only.
    Fixed,
}

/// An encoder and its settings.
#[derive(Debug)]
struct EncoderInfo {
    codec: Codec,
    factory: &'static str,
    rate: Rate,
    /// Applied where the installed version has them; `$threads` is filled in.
    settings: &'static [(&'static str, &'static str)],
}

/// Key frames come on request. The period is only there so that a recording which lost one heals: 100 s at 30/s.
const PERIOD: &str = "3000";

const VPX: &[(&str, &str)] = &[
    ("deadline", "1"),
    ("end-usage", "cbr"),
    ("error-resilient", "default"),
    ("keyframe-max-dist", PERIOD),
    ("lag-in-frames", "0"),
    ("threads", "$threads"),
    ("undershoot", "100"),
    ("overshoot", "15"),
    ("buffer-initial-size", "500"),
    ("buffer-optimal-size", "600"),
    ("buffer-size", "1000"),
    // A key frame may take as much as nine frames: what libwebrtc allows at 30 frames/s.
    ("max-intra-bitrate", "900"),
    ("min-quantizer", "2"),
    ("max-quantizer", "56"),
    ("static-threshold", "1"),
];

const TABLE: &[EncoderInfo] = &[
    EncoderInfo {
        codec: Codec::Vp8,
        factory: "vp8enc",
        rate: Rate::Bits("target-bitrate"),
        settings: &[("cpu-used", "-10"), ("token-partitions", "2")],
    },
    EncoderInfo {
        codec: Codec::Vp9,
        factory: "vp9enc",
        rate: Rate::Bits("target-bitrate"),
        settings: &[
            ("cpu-used", "8"),
            ("row-mt", "true"),
            ("tile-columns", "2"),
            ("aq-mode", "3"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "x264enc",
        rate: Rate::Kilobits("bitrate"),
        settings: &[
            ("tune", "zerolatency"),
            ("speed-preset", "superfast"),
            ("key-int-max", PERIOD),
            ("byte-stream", "true"),
            ("aud", "false"),
            ("bframes", "0"),
            ("threads", "$threads"),
            ("vbv-buf-capacity", "600"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "openh264enc",
        rate: Rate::Bits("bitrate"),
        settings: &[
            ("rate-control", "bitrate"),
            ("usage-type", "camera"),
            ("complexity", "low"),
            ("gop-size", PERIOD),
            ("multi-thread", "$threads"),
            ("slice-mode", "auto"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "vah264enc",
        rate: Rate::Kilobits("bitrate"),
        settings: &[
            ("rate-control", "cbr"),
            ("key-int-max", "1024"),
            ("b-frames", "0"),
            ("target-usage", "6"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "vah264lpenc",
        rate: Rate::Kilobits("bitrate"),
        settings: &[
            ("rate-control", "cbr"),
            ("key-int-max", "1024"),
            ("b-frames", "0"),
            ("target-usage", "6"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "vaapih264enc",
        rate: Rate::Kilobits("bitrate"),
        settings: &[
            ("rate-control", "cbr"),
            ("keyframe-period", PERIOD),
            ("max-bframes", "0"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "nvh264enc",
        rate: Rate::Kilobits("bitrate"),
        settings: &[
            ("rc-mode", "cbr-ld-hq"),
            ("preset", "low-latency-hq"),
            ("gop-size", PERIOD),
            ("zerolatency", "true"),
            ("bframes", "0"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "qsvh264enc",
        rate: Rate::Kilobits("bitrate"),
        settings: &[
            ("rate-control", "cbr"),
            ("gop-size", PERIOD),
            ("low-latency", "true"),
            ("b-frames", "0"),
        ],
    },
    EncoderInfo {
        codec: Codec::H264,
        factory: "v4l2h264enc",
        rate: Rate::V4l2,
        settings: &[],
    },
    EncoderInfo {
        codec: Codec::Av1,
        factory: "av1enc",
        rate: Rate::Kilobits("target-bitrate"),
        settings: &[
            ("usage-profile", "realtime"),
            ("cpu-used", "10"),
            ("end-usage", "cbr"),
            ("lag-in-frames", "0"),
            ("keyframe-max-dist", PERIOD),
            ("row-mt", "true"),
            ("threads", "$threads"),
        ],
    },
    EncoderInfo {
        codec: Codec::Av1,
        factory: "svtav1enc",
        rate: Rate::Kilobits("target-bitrate"),
        settings: &[("preset", "12"), ("intra-period-length", PERIOD)],
    },
    EncoderInfo {
        codec: Codec::Opus,
        factory: "opusenc",
        rate: Rate::Bits("bitrate"),
        settings: &[
            ("audio-type", "generic"),
            ("bitrate-type", "constrained-vbr"),
            ("frame-size", "20"),
            // Costs nothing while the expected loss is zero; 5 % makes the encoder add the redundancy.
            ("inband-fec", "true"),
            ("packet-loss-percentage", "5"),
            ("perfect-timestamp", "false"),
        ],
    },
    EncoderInfo {
        codec: Codec::Pcmu,
        factory: "mulawenc",
        rate: Rate::Fixed,
        settings: &[],
    },
    EncoderInfo {
        codec: Codec::Pcma,
        factory: "alawenc",
        rate: Rate::Fixed,
        settings: &[],
    },
];

/// Installed encoders of each codec of this kind, in the order in which they would be taken.
pub fn available_encoders(kind: MediaKind) -> Vec<(Codec, Vec<String>)> {
    use gst::prelude::*;
    codecs::known(kind)
        .map(|info| {
            let names = candidates(info.codec)
                .iter()
                .map(|found| found.name().to_string())
                .collect();
            (info.codec, names)
        })
        .collect()
}

fn table(codec: Codec) -> impl Iterator<Item = &'static EncoderInfo> {
    TABLE.iter().filter(move |info| info.codec == codec)
}

fn candidates(codec: Codec) -> Vec<gst::ElementFactory> {
    plugins::best_of(table(codec).map(|info| info.factory))
}

/// The encoder that will be taken for a codec, or what to install. The user's `GST_PLUGIN_FEATURE_RANK` counts.
pub fn best(codec: Codec) -> Result<gst::ElementFactory, MediaError> {
    let info = codecs::info(codec);
    if let Some(parser) = info.parser.as_ref().filter(|parser| parser.required)
        && gst::ElementFactory::find(parser.factory).is_none()
    {
        let text = plugins::missing_plugin(&[parser.factory], &format!("send {}", info.name));
        return Err(MediaError::MissingPlugin(text));
    }
    candidates(codec).into_iter().next().ok_or_else(|| {
        // Hardware encoders are not named here: nobody can install a chip.
        let names: Vec<_> = table(codec)
            .map(|info| info.factory)
            .filter(|name| is_software(name))
            .collect();
        MediaError::MissingPlugin(plugins::missing_plugin(&names, &format!("encode {}", info.name)))
    })
}

fn is_software(factory: &str) -> bool {
    !["va", "nv", "qsv", "v4l2"]
        .iter()
        .any(|prefix| factory.starts_with(prefix))
}

/// Makes the first encoder that this machine can really open: hardware encoders are often registered without the
/// hardware.
pub(crate) fn make(codec: Codec, bitrate: u32) -> Result<gst::Element, MediaError> {
    use gst::prelude::*;
    let first = best(codec)?;
    let mut reason = String::new();
    for factory in std::iter::once(first).chain(candidates(codec).into_iter().skip(1)) {
        let element = factory.create().name("encoder").build()?;
        configure(&element, bitrate);
        // Opening a device, as far as there is one, is what READY is for.
        if element.set_state(gst::State::Ready).is_ok() {
            return Ok(element);
        }
        let _ = element.set_state(gst::State::Null);
        reason = format!("encoder `{}` could not be opened", factory.name());
    }
    Err(MediaError::Build(reason))
}

fn configure(element: &gst::Element, bitrate: u32) {
    let Some(info) = info_of(element) else { return };
    for (name, value) in settings_of(info) {
        apply(element, name, value);
    }
    set_bitrate(element, bitrate);
}

fn settings_of(info: &EncoderInfo) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let vpx = matches!(info.factory, "vp8enc" | "vp9enc");
    let common = if vpx { VPX } else { &[] };
    common.iter().chain(info.settings)
}

fn apply(element: &gst::Element, name: &str, value: &str) -> bool {
    if value == "$threads" {
        properties::set(element, name, &threads().to_string())
    } else {
        properties::set(element, name, value)
    }
}

/// Settings of the table that the installed element does not take.
#[cfg(test)]
pub(crate) fn refused_settings(factory: &str) -> Vec<String> {
    let Ok(element) = gst::ElementFactory::make(factory).build() else {
        return vec!["not there".into()];
    };
    let Some(info) = info_of(&element) else {
        return vec!["not in the table".into()];
    };
    settings_of(info)
        .filter(|(name, value)| !apply(&element, name, value))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Half of the processors, four at most. libvpx's threads wait by spinning: with as many threads as processors, and
/// other work on them, a frame costs up to ten times the time.
fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, 4)
}

fn info_of(element: &gst::Element) -> Option<&'static EncoderInfo> {
    use gst::prelude::*;
    let factory = element.factory()?;
    TABLE.iter().find(|info| info.factory == factory.name().as_str())
}

/// Gives an encoder of the table a new bitrate, in bits per second, also while it runs.
pub fn set_bitrate(element: &gst::Element, bits: u32) -> bool {
    use gst::prelude::*;
    match info_of(element).map(|info| info.rate) {
        Some(Rate::Bits(name)) => properties::set_number(element, name, bits.into()),
        Some(Rate::Kilobits(name)) => properties::set_number(element, name, (bits / 1000).max(1).into()),
        Some(Rate::V4l2) if element.has_property("extra-controls") => {
            let controls = gst::Structure::builder("controls")
                .field("video_bitrate", i32::try_from(bits).unwrap_or(i32::MAX))
                .field("video_bitrate_mode", 1i32)
                .field("repeat_sequence_header", 1i32)
                .build();
            element.set_property("extra-controls", controls);
            true
        }
        Some(Rate::V4l2 | Rate::Fixed) | None => false,
    }
}
