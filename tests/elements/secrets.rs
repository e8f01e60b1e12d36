//! Keys, tokens and TURN passwords appear in nothing that this plugin says, however verbose it is asked to be.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use serde_json::json;

use crate::calls::{PICTURE, Viewer};
use crate::support::{Line, Server, with_tokens};

const TURN_PASSWORD: &str = "turn-passw0rd-5ecret";

/// Everything that our own categories log, at the most verbose level.
fn listen() -> Arc<Mutex<String>> {
    let heard = Arc::new(Mutex::new(String::new()));
    if std::env::var_os("GST_DEBUG").is_none() {
        // Nobody asked to see it.
        gst::log::remove_default_log_function();
    }
    gst::log::set_threshold_from_string("metered*:9", false);
    let log = heard.clone();
    gst::log::add_log_function(move |category, _, _, _, _, object, message| {
        if category.name().starts_with("metered") {
            let text = message.get().map(|text| text.to_string()).unwrap_or_default();
            let mut log = log.lock().unwrap();
            log.push_str(&format!("{} {object:?} {text}\n", category.name()));
        }
    });
    heard
}

#[test]
fn no_secret_is_told() {
    let server = Server::start(|config| {
        with_tokens(config);
        config.ice_servers.push(json!({
            "urls": ["turn:127.0.0.1:9?transport=udp", "turns:127.0.0.1:9"],
            "username": "user", "credential": TURN_PASSWORD,
        }));
    });
    let heard = listen();
    let (one, two) = (server.token("cam", 600), server.token("viewer", 600));
    let sink = Line::play(&format!(
        "{PICTURE} ! meteredwebrtcsink name=s channel=lobby token={one} url={}",
        server.url()
    ));
    let viewer = Viewer::with(&format!("channel=lobby token={two} url={}", server.url()), true);
    viewer.pad("video", 0).1.wait_changes(5);
    let element = sink.element("s");
    for property in ["api-key", "token", "turn-servers"] {
        let spec = element.find_property(property).unwrap();
        assert!(
            !spec.flags().contains(glib::ParamFlags::READABLE),
            "{property} can be read"
        );
    }
    let dot = sink
        .pipeline
        .debug_to_dot_data(gst::DebugGraphDetails::all())
        .to_string();
    drop((sink, viewer));
    let log = heard.lock().unwrap().clone();
    assert!(log.contains("Joined"), "the log function hears nothing");
    for (place, text) in [("log", &log), ("dot file", &dot)] {
        for secret in [one.as_str(), two.as_str(), TURN_PASSWORD, "ice-pwd:", "sk_secret"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in the {place}");
        }
    }
}
