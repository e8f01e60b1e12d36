use std::str::FromStr;

use gst::prelude::*;

use super::init;
use crate::core::io::{Codec, MediaKind};
use crate::media::{MediaError, codecs, encoders, missing_plugin};

const ALL: [Codec; 7] = [
    Codec::Vp8,
    Codec::Vp9,
    Codec::H264,
    Codec::Av1,
    Codec::Opus,
    Codec::Pcmu,
    Codec::Pcma,
];

fn caps(text: &str) -> gst::Caps {
    gst::Caps::from_str(text).unwrap()
}

#[test]
fn table_is_complete_and_its_caps_parse() {
    init();
    for codec in ALL {
        let info = codecs::info(codec);
        assert_eq!(info.codec, codec);
        for caps in [
            info.caps(),
            info.encoder_caps(),
            info.raw_caps(),
            info.plain_caps(),
        ] {
            assert!(!caps.is_empty() && !caps.is_any(), "{codec:?}");
        }
        assert_eq!(codecs::codec_of_caps(&info.caps()), Some(codec));
        assert!(info.caps().can_intersect(&codecs::input_caps(info.kind)));
    }
}

#[test]
fn property_keeps_the_order_of_preference() {
    init();
    let read = |text| codecs::codecs_of_property(MediaKind::Video, &caps(text));
    assert_eq!(
        read("video/x-h264;video/x-vp8;video/x-h264,profile=high"),
        Ok(vec![Codec::H264, Codec::Vp8])
    );
    assert_eq!(read("ANY").unwrap()[0], Codec::Vp8);
    assert_eq!(
        codecs::caps_of(&[Codec::Opus, Codec::Pcma]),
        caps("audio/x-opus;audio/x-alaw")
    );
}

#[test]
fn unknown_codec_is_told_what_is_known() {
    init();
    for text in ["video/x-h265", "audio/x-opus", "EMPTY"] {
        let error = codecs::codecs_of_property(MediaKind::Video, &caps(text)).unwrap_err();
        let MediaError::UnknownCodec(text) = error else {
            panic!("{error:?}")
        };
        assert!(
            text.contains("video-caps") && text.contains("video/x-h264"),
            "{text}"
        );
    }
}

#[test]
fn missing_elements_name_their_package() {
    let cases = [
        ("vp8enc", "gstreamer1.0-plugins-good"),
        ("x264enc", "gstreamer1.0-plugins-ugly"),
        ("h264parse", "gstreamer1.0-plugins-bad"),
        ("avdec_h264", "gstreamer1.0-libav"),
        ("opusenc", "gstreamer1.0-plugins-base"),
    ];
    for (factory, package) in cases {
        let text = missing_plugin(&[factory], "do it");
        assert!(text.contains(package) && text.contains(factory), "{text}");
    }
}

/// Every setting of the table is one that the installed element has: a typing error would go unnoticed otherwise.
#[test]
fn encoders_take_their_settings() {
    init();
    for kind in [MediaKind::Audio, MediaKind::Video] {
        for (codec, names) in encoders::available_encoders(kind) {
            for name in names {
                assert_eq!(
                    encoders::refused_settings(&name),
                    Vec::<String>::new(),
                    "{codec:?} {name}"
                );
            }
        }
    }
}

#[test]
fn bitrate_reaches_the_encoder_in_its_unit() {
    init();
    for (codec, property, expected) in [
        (Codec::Vp8, "target-bitrate", "777000"),
        (Codec::H264, "bitrate", "777"),
        (Codec::Opus, "bitrate", "96000"),
    ] {
        let bits = if codec == Codec::Opus { 96_000 } else { 777_000 };
        let encoder = encoders::make(codec, bits).unwrap();
        let value = encoder.property_value(property).serialize().unwrap();
        if codec != Codec::H264 || encoder.factory().unwrap().name() == "x264enc" {
            assert_eq!(value, expected, "{codec:?}");
        }
        assert!(encoders::set_bitrate(&encoder, 1));
        assert!(encoders::set_bitrate(&encoder, u32::MAX));
        encoder.set_state(gst::State::Null).unwrap();
    }
}
