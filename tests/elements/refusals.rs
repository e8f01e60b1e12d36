//! Each thing a user can get wrong ends in one clear message, and never in a hang.

use std::time::{Duration, Instant};

use gst::prelude::*;
use gstmeteredwebrtc::dev_server::Action;

use crate::support::{Line, Server, init};

/// What leaving may take (README): in any state.
const LEAVE: Duration = Duration::from_secs(2);

fn refused_in_ready(properties: &str) -> String {
    let line = Line::parse(&format!("meteredwebrtcsrc name=e {properties}"));
    let _ = line
        .pipeline
        .set_state(gst::State::Ready)
        .expect_err("NULL to READY must fail");
    line.wait_error()
}

#[test]
fn wrong_settings_are_refused_before_anything_starts() {
    init();
    assert!(refused_in_ready("api-key=pk_x").contains("channel=lobby"));
    assert!(refused_in_ready("channel=lobby api-key=pk_x url=http://localhost").contains("wss://"));
    assert!(refused_in_ready("channel=lobby api-key=pk_x url=ws://example.org").contains("localhost only"));
    assert!(refused_in_ready("channel=lobby api-key=pk_x token=y").contains("keep exactly one"));
    assert!(refused_in_ready("channel=_INTERNAL/x api-key=pk_x").contains("reserved"));
}

#[test]
fn a_key_that_is_unknown_ends_the_pipeline_with_its_name() {
    let server = Server::plain();
    let line = Line::play(&format!(
        "meteredwebrtcsrc channel=lobby api-key=pk_wrong url={}",
        server.url()
    ));
    let error = line.wait_error();
    assert!(error.contains("invalid_token"), "{error}");
    assert!(!error.contains("pk_wrong"), "{error}");
    assert!(line.stop() < LEAVE);
}

#[test]
fn a_key_without_send_says_so() {
    let server = Server::start(|config| {
        for key in &mut config.publishable_keys {
            key.permissions.retain(|action| *action != Action::Send);
        }
    });
    let viewer = Line::play(&format!(
        "meteredwebrtcsrc channel=lobby api-key=pk_dev url={}",
        server.url()
    ));
    viewer.wait_notice("joined");
    let sink = Line::play(&format!(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48 ! meteredwebrtcsink channel=lobby \
         api-key=pk_dev url={}",
        server.url()
    ));
    let error = sink.wait_error();
    assert!(
        error.contains("send") && error.contains("action_not_permitted"),
        "{error}"
    );
    assert!(sink.stop() < LEAVE);
}

#[test]
fn a_server_that_cannot_be_reached_is_tried_again_and_left_at_once() {
    init();
    // A port that nobody listens on: bound, asked for its number, closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let line = Line::play(&format!(
        "meteredwebrtcsrc channel=lobby api-key=pk_dev url=ws://127.0.0.1:{port}"
    ));
    let retry = line.wait_notice("retrying");
    assert!(retry.get::<String>("text").unwrap().contains("reach"), "{retry}");
    line.wait_notice("retrying");
    assert!(line.stop() < LEAVE);
}

#[test]
fn a_server_that_says_nothing_does_not_hold_us() {
    init();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", silent.local_addr().unwrap());
    let line = Line::play(&format!(
        "meteredwebrtcsrc channel=lobby api-key=pk_dev url={url}"
    ));
    let _accepted = silent.accept().unwrap();
    assert!(line.stop() < LEAVE);
}

#[test]
fn unknown_codecs_are_named() {
    let server = Server::plain();
    let line = Line::play(&format!(
        "videotestsrc is-live=true ! meteredwebrtcsink channel=lobby api-key=pk_dev url={} \
         video-caps=video/x-theora",
        server.url()
    ));
    let error = line.wait_error();
    assert!(error.contains("theora") && error.contains("VP8"), "{error}");
}

#[test]
fn ready_is_reached_within_two_seconds_at_any_moment() {
    let server = Server::plain();
    let publisher = format!(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 ! meteredwebrtcsink \
         channel=lobby api-key=pk_dev url={}",
        server.url()
    );
    let resident = Line::play(&publisher);
    resident.wait_notice("joined");
    for round in 0..20u64 {
        let line = Line::play(&format!(
            "meteredwebrtcsrc channel=lobby api-key=pk_dev url={}",
            server.url()
        ));
        // Somewhere between connecting and media; the moment differs from round to round.
        let moment = Instant::now() + Duration::from_millis(round * 35);
        while let Some(left) = moment.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        let begin = Instant::now();
        line.pipeline.set_state(gst::State::Ready).unwrap();
        assert!(begin.elapsed() < LEAVE, "round {round}: {:?}", begin.elapsed());
    }
    assert!(resident.stop() < LEAVE);
}
