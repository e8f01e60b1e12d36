//! Session descriptions of a peer.

use std::collections::BTreeSet;

use crate::sdp::codec::Codec;
use crate::sdp::model::{MAX_SDP, MAX_SECTIONS};
use crate::sdp::{Remote, Sdp, SectionKind, check, payload, section, transport};
use crate::wire::SdpKind;

const ALL: [Codec; 7] = [
    Codec::Vp8,
    Codec::Vp9,
    Codec::H264,
    Codec::Av1,
    Codec::Opus,
    Codec::Pcmu,
    Codec::Pcma,
];

/// One description, as offer and as answer.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parsed = Sdp::parse(&text);
    assert_eq!(
        check::is_empty_offer(&text),
        parsed.as_ref().is_ok_and(|sdp| sdp.media.is_empty())
    );
    if let Ok(sdp) = &parsed {
        let written = sdp.write();
        // Bare line feeds become longer.
        if written.len() <= MAX_SDP {
            assert_eq!(Sdp::parse(&written).as_ref(), Ok(sdp));
        }
    }
    for kind in [SdpKind::Offer, SdpKind::Answer] {
        if let Ok(remote) = Remote::parse(kind, &text) {
            assert!(parsed.is_ok());
            facts(&remote);
        }
    }
}

/// The facts are bounded and can be repeated.
fn facts(remote: &Remote) {
    assert!((1..=MAX_SECTIONS).contains(&remote.sections.len()));
    let mids: BTreeSet<&str> = remote
        .sections
        .iter()
        .map(|section| section.mid.as_str())
        .collect();
    assert_eq!(mids.len(), remote.sections.len());
    if let Some(bundle) = &remote.bundle {
        assert_eq!(remote.sections[bundle.index].mid, bundle.tag);
        assert!(!remote.sections[bundle.index].rejected && bundle.candidates.len() <= 200);
        let ends = &bundle.transport;
        assert!(transport::is_ice_token(&ends.ufrag, 4) && transport::is_ice_token(&ends.pwd, 22));
        assert_eq!(ends.fingerprint.len(), 95);
        assert!(remote.kind == SdpKind::Offer || bundle.setup != transport::Setup::Actpass);
    } else {
        assert!(remote.sections.iter().all(|section| section.rejected) && !remote.is_usable());
    }
    for section in &remote.sections {
        assert!(section.ssrcs.len() <= 16 && section.formats.len() <= 128);
        assert!(section.formats.iter().all(|format| format.pt < 128));
        let chosen = payload::choose(&section.formats, &ALL);
        assert_eq!(
            chosen.is_some(),
            section.formats.iter().any(|format| format.codec.is_some())
        );
        assert!(chosen.is_none() || matches!(section.kind, SectionKind::Media(_)));
        let rejected = section::rejected(&section.head, &section.mid);
        let text = section::session(1, 1, vec![rejected.clone()], &[]).write();
        assert_eq!(Sdp::parse(&text).map(|sdp| sdp.media), Ok(vec![rejected]));
    }
}
