//! What the service does to a member: certificates, tokens, lost sockets, kicks.

use std::path::PathBuf;

use gst::prelude::*;
use gstmeteredwebrtc::dev_server::Tls;

use crate::calls::{PICTURE, Viewer};
use crate::support::{Line, Server, wait_for, with_tokens};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

#[test]
fn a_certificate_must_be_trusted() {
    let server = Server::start(|config| {
        config.tls = Some(Tls {
            certificate: fixture("server.pem"),
            key: fixture("server.key"),
        });
    });
    let url = server.url().replace("127.0.0.1", "localhost");
    let refused = Line::play(&format!(
        "meteredwebrtcsrc channel=lobby api-key=pk_dev url={url}"
    ));
    let error = refused.wait_error();
    assert!(
        error.contains("certificate") && error.contains("ca-file"),
        "{error}"
    );
    let trusting = format!(
        "meteredwebrtcsrc channel=lobby api-key=pk_dev url={url} ca-file={}",
        fixture("ca.pem").display()
    );
    Line::play(&trusting).wait_notice("joined");
}

#[test]
fn a_kick_ends_the_pipeline_with_its_name() {
    let server = Server::start(with_tokens);
    let token = server.token("cam", 600);
    let line = Line::play(&format!(
        "meteredwebrtcsrc channel=lobby token={token} url={}",
        server.url()
    ));
    assert_eq!(
        line.wait_notice("joined").get::<String>("peer-id").unwrap(),
        "cam"
    );
    assert_eq!(server.running().close_peer("cam", 4020, "kicked"), 1);
    let error = line.wait_error();
    assert!(error.contains("admin_disconnect"), "{error}");
    line.wait_notice("left");
}

#[test]
fn an_expired_token_is_replaced_and_the_member_stays() {
    let server = Server::start(with_tokens);
    let line = Line::play(&format!(
        "meteredwebrtcsrc name=r channel=lobby token={} url={}",
        server.token("cam", 600),
        server.url()
    ));
    line.wait_notice("joined");
    assert!(
        line.element("r")
            .emit_by_name::<bool>("set-token", &[&server.token("cam", 900)])
    );
    server.running().close_peer("cam", 4002, "token expired");
    line.wait_notice_where("state-changed", |fields| {
        fields.get::<String>("new-state").unwrap() == "reconnecting"
    });
    line.wait_notice_where("state-changed", |fields| {
        fields.get::<String>("new-state").unwrap() == "joined"
    });
}

#[test]
fn pictures_return_after_either_side_lost_its_socket() {
    let server = Server::start(with_tokens);
    let room = |peer: &str| {
        format!(
            "channel=lobby departure-grace=0 token={} url={}",
            server.token(peer, 600),
            server.url()
        )
    };
    // Connections that do not outlive the signalling, as those with other programs.
    let _sink = Line::play(&format!("{PICTURE} ! meteredwebrtcsink {}", room("cam")));
    let viewer = Viewer::with(&room("viewer"), true);
    viewer.pad("video", 0).1.wait_changes(5);
    for (round, lost) in ["cam", "viewer", "cam"].into_iter().enumerate() {
        assert_eq!(server.running().close_peer(lost, 1006, ""), 1);
        let (_, picture) = viewer.pad("video", round + 1);
        picture.wait_changes(10);
        wait_for(
            "both to be members",
            || format!("{:?}", server.running().members("lobby")),
            || (server.running().members("lobby").len() == 2).then_some(()),
        );
    }
}

#[test]
fn members_come_and_go() {
    let server = Server::start(with_tokens);
    let room = |peer: &str| {
        format!(
            "channel=lobby token={} url={}",
            server.token(peer, 600),
            server.url()
        )
    };
    let viewer = Viewer::with(&room("viewer"), false);
    viewer.line.wait_notice("joined");
    for round in 0..3 {
        let sink = Line::play(&format!("{PICTURE} ! meteredwebrtcsink {}", room("cam")));
        let joined = viewer.line.wait_notice("peer-joined");
        assert_eq!(joined.get::<String>("peer-id").unwrap(), "cam");
        viewer.pad("video", round).1.wait_changes(5);
        drop(sink);
        viewer.line.wait_notice("peer-left");
    }
    let peers: gst::Array = viewer.line.element("r").property("peers");
    assert!(peers.is_empty());
}
