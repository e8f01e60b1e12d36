//! The codecs: caps, parsers, decoders, and the `video-caps`/`audio-caps` properties.

use std::str::FromStr;

use super::{MediaError, encoders, plugins};
use crate::core::io::{Codec, MediaKind};

/// What this layer knows about a codec.
#[derive(Debug)]
pub struct CodecInfo {
    /// The codec.
    pub codec: Codec,
    /// Audio or video.
    pub kind: MediaKind,
    /// Name to show, as SDP spells it.
    pub name: &'static str,
    /// Media type of the encoded stream.
    pub media_type: &'static str,
    /// What the encoder is told to make.
    pub encoder_caps: &'static str,
    /// What subscribers and downstream get.
    pub output_caps: &'static str,
    /// What the encoder is fed, beside what its own template says.
    pub raw_caps: &'static str,
    /// Brings the stream into the form of `output_caps`; left out where the plugin does not exist and is not
    /// needed.
    pub parser: Option<Parser>,
    /// Decoders that are named in the error when there is none.
    pub decoders: &'static [&'static str],
}

/// A parser and whether the codec works without it.
#[derive(Debug)]
pub struct Parser {
    /// Factory name.
    pub factory: &'static str,
    /// Without it, nothing goes.
    pub required: bool,
}

// Square pixels, because RTP has no way to say otherwise. NV12 is what hardware takes.
const RAW_420: &str = "video/x-raw,format={I420,NV12,YV12},pixel-aspect-ratio=1/1";
// Chroma subsampling without cropping: H.264 encoders refuse odd sizes.
const RAW_420_EVEN: &str = "video/x-raw,format={I420,NV12,YV12},pixel-aspect-ratio=1/1,width=[2,16382,2],\
                            height=[2,16382,2]";
const RAW_G711: &str = "audio/x-raw,format=S16LE,rate=8000,channels=1,layout=interleaved";

const TABLE: &[CodecInfo] = &[
    CodecInfo {
        codec: Codec::Vp8,
        kind: MediaKind::Video,
        name: "VP8",
        media_type: "video/x-vp8",
        encoder_caps: "video/x-vp8",
        output_caps: "video/x-vp8",
        raw_caps: RAW_420,
        // vp8parse came with 1.24 and adds nothing that we need.
        parser: None,
        decoders: &["vp8dec", "avdec_vp8"],
    },
    CodecInfo {
        codec: Codec::H264,
        kind: MediaKind::Video,
        name: "H264",
        media_type: "video/x-h264",
        encoder_caps: "video/x-h264,profile=constrained-baseline",
        output_caps: "video/x-h264,stream-format=byte-stream,alignment=au",
        raw_caps: RAW_420_EVEN,
        parser: Some(Parser {
            factory: "h264parse",
            required: true,
        }),
        decoders: &["avdec_h264", "openh264dec"],
    },
    CodecInfo {
        codec: Codec::Vp9,
        kind: MediaKind::Video,
        name: "VP9",
        media_type: "video/x-vp9",
        encoder_caps: "video/x-vp9,profile=(string)0",
        output_caps: "video/x-vp9",
        raw_caps: RAW_420,
        parser: Some(Parser {
            factory: "vp9parse",
            required: false,
        }),
        decoders: &["vp9dec", "avdec_vp9"],
    },
    CodecInfo {
        codec: Codec::Av1,
        kind: MediaKind::Video,
        name: "AV1",
        media_type: "video/x-av1",
        encoder_caps: "video/x-av1",
        output_caps: "video/x-av1,stream-format=obu-stream,alignment=tu",
        raw_caps: RAW_420_EVEN,
        parser: Some(Parser {
            factory: "av1parse",
            required: true,
        }),
        decoders: &["dav1ddec", "av1dec"],
    },
    CodecInfo {
        codec: Codec::Opus,
        kind: MediaKind::Audio,
        name: "OPUS",
        media_type: "audio/x-opus",
        encoder_caps: "audio/x-opus",
        output_caps: "audio/x-opus",
        raw_caps: "audio/x-raw,format=S16LE,rate=48000,channels=[1,2],layout=interleaved",
        parser: None,
        decoders: &["opusdec", "avdec_opus"],
    },
    CodecInfo {
        codec: Codec::Pcmu,
        kind: MediaKind::Audio,
        name: "PCMU",
        media_type: "audio/x-mulaw",
        encoder_caps: "audio/x-mulaw,rate=8000,channels=1",
        output_caps: "audio/x-mulaw,rate=8000,channels=1",
        raw_caps: RAW_G711,
        parser: None,
        decoders: &["mulawdec"],
    },
    CodecInfo {
        codec: Codec::Pcma,
        kind: MediaKind::Audio,
        name: "PCMA",
        media_type: "audio/x-alaw",
        encoder_caps: "audio/x-alaw,rate=8000,channels=1",
        output_caps: "audio/x-alaw,rate=8000,channels=1",
        raw_caps: RAW_G711,
        parser: None,
        decoders: &["alawdec"],
    },
];

/// All codecs of one kind, in our order of preference.
pub fn known(kind: MediaKind) -> impl Iterator<Item = &'static CodecInfo> {
    TABLE.iter().filter(move |info| info.kind == kind)
}

/// What we know about a codec.
pub fn info(codec: Codec) -> &'static CodecInfo {
    // `Codec` and the table are ours; a test walks over all of them.
    TABLE.iter().find(|info| info.codec == codec).unwrap_or(&TABLE[0])
}

impl CodecInfo {
    /// Caps of the encoded stream as subscribers and downstream get it.
    pub fn caps(&self) -> gst::Caps {
        parse_static(self.output_caps)
    }

    /// Caps the encoder is told to make.
    pub(crate) fn encoder_caps(&self) -> gst::Caps {
        parse_static(self.encoder_caps)
    }

    /// Caps the encoder is fed.
    pub(crate) fn raw_caps(&self) -> gst::Caps {
        parse_static(self.raw_caps)
    }

    /// Caps that only say which codec it is.
    pub fn plain_caps(&self) -> gst::Caps {
        gst::Caps::new_empty_simple(self.media_type)
    }
}

/// The table is covered by a test, so empty caps cannot come out of here.
fn parse_static(text: &str) -> gst::Caps {
    gst::Caps::from_str(text).unwrap_or_else(|_| gst::Caps::new_empty())
}

/// The codec encoded caps are of, if it is one of ours.
pub fn codec_of_caps(caps: &gst::CapsRef) -> Option<Codec> {
    let media_type = caps.structure(0)?.name();
    TABLE
        .iter()
        .find(|info| info.media_type == media_type.as_str())
        .map(|info| info.codec)
}

/// What a sink pad of this kind takes: raw, or encoded with a codec of ours. For pad templates.
pub fn input_caps(kind: MediaKind) -> gst::Caps {
    // What needs no conversion comes first: a source that can make anything takes the first.
    let mut caps = parse_static(match kind {
        MediaKind::Audio => "audio/x-raw,format=S16LE,rate=48000,layout=interleaved",
        MediaKind::Video => "video/x-raw,format={I420,NV12,YV12}",
    });
    caps.make_mut().append(raw_any(kind));
    for info in known(kind) {
        merge(&mut caps, info.plain_caps());
    }
    caps
}

/// What a source pad of this kind gives. For pad templates.
pub fn any_output_caps(kind: MediaKind) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    for info in known(kind) {
        merge(&mut caps, info.plain_caps());
    }
    merge(&mut caps, raw_any(kind));
    caps
}

pub(crate) fn raw_any(kind: MediaKind) -> gst::Caps {
    gst::Caps::new_empty_simple(match kind {
        MediaKind::Audio => "audio/x-raw",
        MediaKind::Video => "video/x-raw",
    })
}

fn merge(caps: &mut gst::Caps, more: gst::Caps) {
    let mut both = std::mem::replace(caps, gst::Caps::new_empty());
    both.merge(more);
    *caps = both;
}

/// Value of the `video-caps`/`audio-caps` property that offers these codecs.
pub fn caps_of(codecs: &[Codec]) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    for codec in codecs {
        merge(&mut caps, info(*codec).plain_caps());
    }
    caps
}

/// The codecs of a `video-caps` or `audio-caps` property, in its order of preference. ANY stands for all.
///
/// Only the media types count: profiles and formats are those that all WebRTC peers share.
pub fn codecs_of_property(kind: MediaKind, caps: &gst::Caps) -> Result<Vec<Codec>, MediaError> {
    if caps.is_any() {
        return Ok(known(kind).map(|info| info.codec).collect());
    }
    let mut codecs = Vec::new();
    for structure in caps.iter() {
        let found = known(kind).find(|info| info.media_type == structure.name().as_str());
        let info = found.ok_or_else(|| unknown(kind, structure.name()))?;
        if !codecs.contains(&info.codec) {
            codecs.push(info.codec);
        }
    }
    if codecs.is_empty() {
        Err(unknown(kind, "EMPTY"))
    } else {
        Ok(codecs)
    }
}

fn unknown(kind: MediaKind, name: &str) -> MediaError {
    let known: Vec<_> = known(kind)
        .map(|info| format!("{} ({})", info.media_type, info.name))
        .collect();
    MediaError::UnknownCodec(format!(
        "`{name}` in {kind}-caps is no {kind} codec that can be sent; use some of: {}",
        known.join("; "),
        kind = kind.as_str(),
    ))
}

/// The codecs of this kind for which an encoder (and what goes with it) is installed, in our order of preference.
pub fn encodable(kind: MediaKind) -> Vec<Codec> {
    known(kind)
        .map(|info| info.codec)
        .filter(|codec| encoders::best(*codec).is_ok())
        .collect()
}

/// The codecs of this kind that can be decoded here.
pub fn decodable(kind: MediaKind) -> Vec<Codec> {
    known(kind)
        .map(|info| info.codec)
        .filter(|codec| !decoders(*codec).is_empty())
        .collect()
}

/// Installed decoders of a codec, best rank first.
pub(crate) fn decoders(codec: Codec) -> Vec<gst::ElementFactory> {
    use gst::prelude::*;
    let info = info(codec);
    let kind = match info.kind {
        MediaKind::Audio => gst::ElementFactoryType::MEDIA_AUDIO,
        MediaKind::Video => gst::ElementFactoryType::MEDIA_VIDEO,
    };
    let caps = info.caps();
    let mut found: Vec<_> = gst::ElementFactory::factories_with_type(
        gst::ElementFactoryType::DECODER | kind,
        gst::Rank::MARGINAL,
    )
    .into_iter()
    // Those for streams with alpha are bins that take a special flavour only.
    .filter(|factory| factory.can_sink_any_caps(&caps) && !factory.name().contains("alpha"))
    .filter(|factory| factory.can_src_any_caps(&raw_any(info.kind)))
    .collect();
    found.sort_by_key(|factory| std::cmp::Reverse(factory.rank()));
    found
}

/// The error for a codec without decoder.
pub(crate) fn no_decoder(codec: Codec) -> MediaError {
    let info = info(codec);
    MediaError::MissingPlugin(plugins::missing_plugin(
        info.decoders,
        &format!("decode {}", info.name),
    ))
}
