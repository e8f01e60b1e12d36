//! The RTP side of each codec: names, caps, payloader, depayloader, parser.

use gst::prelude::*;

use super::text::missing;
use crate::core::io::{Codec, MediaKind};

/// Largest RTP packet: SRTP, DTLS, TURN and tunnel headers must still fit into the smallest usual path.
const MTU: u32 = 1200;

/// What RTP needs to know of one codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtpCodec {
    /// `encoding-name` of the caps.
    pub encoding_name: &'static str,
    /// RTP clock rate.
    pub clock_rate: i32,
    /// Audio or video.
    pub kind: MediaKind,
    /// Further caps fields of our own m-lines.
    parameters: &'static [(&'static str, &'static str)],
    payloader: &'static str,
    /// Properties of the payloader, as text.
    settings: &'static [(&'static str, &'static str)],
    depayloader: &'static str,
    parser: Option<&'static str>,
    /// Caps of what comes out, where the parser would otherwise choose something that a late consumer cannot use.
    output: Option<&'static str>,
}

const VIDEO: i32 = 90_000;

/// The row of a codec.
pub(super) const fn of(codec: Codec) -> RtpCodec {
    match codec {
        Codec::Vp8 => RtpCodec {
            encoding_name: "VP8",
            clock_rate: VIDEO,
            kind: MediaKind::Video,
            parameters: &[],
            payloader: "rtpvp8pay",
            settings: &[("picture-id-mode", "15-bit")],
            depayloader: "rtpvp8depay",
            parser: None,
            output: None,
        },
        Codec::Vp9 => RtpCodec {
            encoding_name: "VP9",
            clock_rate: VIDEO,
            kind: MediaKind::Video,
            parameters: &[("profile-id", "0")],
            payloader: "rtpvp9pay",
            settings: &[("picture-id-mode", "15-bit")],
            depayloader: "rtpvp9depay",
            parser: Some("vp9parse"),
            output: None,
        },
        Codec::H264 => RtpCodec {
            encoding_name: "H264",
            clock_rate: VIDEO,
            kind: MediaKind::Video,
            parameters: &[
                ("packetization-mode", "1"),
                ("profile-level-id", "42e01f"),
                ("level-asymmetry-allowed", "1"),
            ],
            payloader: "rtph264pay",
            settings: &[("config-interval", "-1"), ("aggregate-mode", "zero-latency")],
            depayloader: "rtph264depay",
            parser: Some("h264parse"),
            output: Some("video/x-h264,stream-format=byte-stream,alignment=au"),
        },
        Codec::Av1 => RtpCodec {
            encoding_name: "AV1",
            clock_rate: VIDEO,
            kind: MediaKind::Video,
            parameters: &[],
            payloader: "rtpav1pay",
            settings: &[],
            depayloader: "rtpav1depay",
            parser: Some("av1parse"),
            output: None,
        },
        Codec::Opus => RtpCodec {
            encoding_name: "OPUS",
            clock_rate: 48_000,
            kind: MediaKind::Audio,
            parameters: &[
                ("encoding-params", "2"),
                ("minptime", "10"),
                ("useinbandfec", "1"),
            ],
            payloader: "rtpopuspay",
            settings: &[],
            depayloader: "rtpopusdepay",
            parser: None,
            output: None,
        },
        Codec::Pcmu => g711("PCMU", "rtppcmupay", "rtppcmudepay"),
        Codec::Pcma => g711("PCMA", "rtppcmapay", "rtppcmadepay"),
    }
}

const fn g711(encoding_name: &'static str, payloader: &'static str, depayloader: &'static str) -> RtpCodec {
    RtpCodec {
        encoding_name,
        clock_rate: 8_000,
        kind: MediaKind::Audio,
        parameters: &[],
        payloader,
        settings: &[],
        depayloader,
        parser: None,
        output: None,
    }
}

const ALL: [Codec; 7] = [
    Codec::Vp8,
    Codec::Vp9,
    Codec::H264,
    Codec::Av1,
    Codec::Opus,
    Codec::Pcmu,
    Codec::Pcma,
];

/// The codec of RTP caps, by `encoding-name`.
pub(super) fn from_caps(caps: &gst::CapsRef) -> Option<Codec> {
    let name: &str = caps.structure(0)?.get("encoding-name").ok()?;
    ALL.into_iter()
        .find(|codec| of(*codec).encoding_name.eq_ignore_ascii_case(name))
}

/// Which of a codec's RTP elements is not installed, as a text for the user; `None` when all are there.
pub fn unavailable(codec: Codec) -> Option<String> {
    let row = of(codec);
    [Some(row.payloader), Some(row.depayloader), row.parser]
        .into_iter()
        .flatten()
        .find(|name| gst::ElementFactory::find(name).is_none())
        .map(missing)
}

impl RtpCodec {
    /// Caps of our own m-line: one codec, one payload type, our mid.
    pub fn sender_caps(&self, payload_type: u8, ssrc: u32, mid: &str) -> gst::Caps {
        let mut caps = self.receiver_caps(payload_type, mid);
        caps.make_mut().set("ssrc", ssrc);
        caps
    }

    /// Caps of an m-line on which we only receive.
    pub fn receiver_caps(&self, payload_type: u8, mid: &str) -> gst::Caps {
        let mut caps = gst::Structure::builder("application/x-rtp")
            .field("media", self.kind.as_str())
            .field("encoding-name", self.encoding_name)
            .field("clock-rate", self.clock_rate)
            .field("payload", i32::from(payload_type))
            .field("a-mid", mid);
        for (name, value) in self.parameters {
            caps = caps.field(*name, *value);
        }
        gst::Caps::from_iter([caps.build()])
    }

    /// A payloader, set up.
    pub fn payloader(&self, payload_type: u8, ssrc: u32) -> Result<gst::Element, String> {
        let mut builder = gst::ElementFactory::make(self.payloader)
            .property("mtu", MTU)
            .property("pt", u32::from(payload_type))
            .property("ssrc", ssrc)
            // Timestamps come from running time: "perfect" ones drift after every pause of the feed.
            .property("perfect-rtptime", false);
        for (name, value) in self.settings {
            builder = builder.property_from_str(name, value);
        }
        builder.build().map_err(|_| missing(self.payloader))
    }

    /// Depayloader and, where the codec has one, parser.
    pub fn depayloaders(&self) -> Result<Vec<gst::Element>, String> {
        let depayloader = make(self.depayloader)?;
        if depayloader.has_property("request-keyframe") {
            depayloader.set_property("request-keyframe", true);
        }
        let mut chain = vec![depayloader];
        if let Some(parser) = self.parser {
            let parser = make(parser)?;
            if parser.has_property("config-interval") {
                // Parameter sets with every key frame: consumers come and go.
                parser.set_property("config-interval", -1i32);
            }
            chain.push(parser);
        }
        Ok(chain)
    }

    /// What the appsink accepts; `None` is anything.
    pub fn output_caps(&self) -> Option<gst::Caps> {
        self.output.and_then(|caps| caps.parse().ok())
    }
}

/// An element by its factory's name, or the text that says what to install.
pub(super) fn make(factory: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| missing(factory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_name_their_codec() {
        gst::init().unwrap();
        for codec in ALL {
            let caps = of(codec).sender_caps(97, 7, "m1");
            assert_eq!(from_caps(&caps), Some(codec));
            assert_eq!(caps.structure(0).unwrap().get::<i32>("payload"), Ok(97));
        }
        assert_eq!(from_caps(&gst::Caps::new_empty()), None);
        assert_eq!(
            from_caps(&gst::Caps::builder("x/y").field("encoding-name", 5).build()),
            None
        );
    }

    #[test]
    fn elements_take_their_settings() {
        gst::init().unwrap();
        for codec in ALL.into_iter().filter(|codec| unavailable(*codec).is_none()) {
            let payloader = of(codec).payloader(101, 77).unwrap();
            assert_eq!(payloader.property::<u32>("ssrc"), 77);
            assert_eq!(payloader.property::<u32>("mtu"), MTU);
            assert!(!of(codec).depayloaders().unwrap().is_empty());
        }
    }
}
