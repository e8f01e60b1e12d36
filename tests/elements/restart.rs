//! A new path for a call while it goes on.

use gst::prelude::*;

use crate::calls::{Viewer, publish};
use crate::support::Server;

/// Nothing above ICE notices: pads, streams and the peers' states stay.
#[test]
fn media_flows_through_restarts_from_either_element() {
    let server = Server::plain();
    let sink = publish(&server);
    let viewer = Viewer::start(&server, true);
    let (_, picture) = viewer.pad("video", 0);
    let (_, sound) = viewer.pad("audio", 0);
    picture.wait_changes(30);
    sound.wait_changes(50);
    let (publisher, receiver) = (sink.element("s"), viewer.line.element("r"));
    let before = names(&receiver);
    assert_eq!(before.len(), 2);
    for (element, to) in [
        (&publisher, ""),
        (&receiver, ""),
        (&publisher, "nobody"),
        (&receiver, ""),
    ] {
        assert!(element.emit_by_name::<bool>("restart-ice", &[&to]));
        picture.wait_changes(60);
        sound.wait_changes(100);
        assert_eq!(names(&receiver), before, "new pads");
    }
    assert!(!picture.eos() && !sound.eos());
    for line in [&sink, &viewer.line] {
        for text in line.drain() {
            assert!(!text.contains("reconnecting"), "{text}");
            assert!(!text.contains("negotiation-error"), "{text}");
            assert!(!text.contains("stream-removed"), "{text}");
        }
    }
}

fn names(element: &gst::Element) -> Vec<String> {
    element
        .src_pads()
        .iter()
        .map(|pad| pad.name().to_string())
        .collect()
}
