//! SDP text on its way into webrtcbin.

use std::collections::HashSet;

use gst_webrtc::{WebRTCSDPType, WebRTCSessionDescription};

use crate::wire::SdpKind;

/// Longest description that is parsed.
const MAX_SDP: usize = 256 * 1024;

/// Last look before webrtcbin, whose assertions end the process: the SDP layer above has written or checked all of
/// this, so what fails here is its bug or none of its making.
pub(super) fn parse(kind: SdpKind, sdp: &str) -> Result<WebRTCSessionDescription, String> {
    if sdp.len() > MAX_SDP || !sdp.starts_with("v=0") || sdp.contains('\0') {
        return Err("this is no SDP".into());
    }
    let message = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes())
        .map_err(|_| "the SDP cannot be parsed".to_owned())?;
    let mut mids = HashSet::new();
    for media in message.medias() {
        let mid = media.attribute_val("mid").ok_or("a section has no mid")?;
        if !mids.insert(mid) {
            return Err("two sections have one mid".into());
        }
    }
    if mids.is_empty() {
        return Err("the SDP has no section".into());
    }
    let data = message
        .medias()
        .filter(|media| media.media() == Some("application"))
        .count();
    if data > 1 {
        return Err("the SDP has two data sections".into());
    }
    let kind = match kind {
        SdpKind::Offer => WebRTCSDPType::Offer,
        SdpKind::Answer => WebRTCSDPType::Answer,
    };
    Ok(WebRTCSessionDescription::new(kind, message))
}
