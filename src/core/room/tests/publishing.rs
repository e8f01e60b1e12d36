//! Tracks of ours.

use serde_json::json;

use super::harness::Harness;
use super::{bag, ms};
use crate::core::events::RoomInput;
use crate::core::io::{MediaKind, TrackKey};
use crate::core::negotiator::LocalTrack;
use crate::core::negotiator::tests::pair::track;
use crate::sdp::model::Sdp;

pub fn audio(key: u32) -> LocalTrack {
    track(key, MediaKind::Audio)
}

#[test]
fn c142_c145_c147_metadata_goes_before_the_offer_to_each_peer() {
    let mut room = Harness::new();
    room.input(RoomInput::AddTrack(audio(1), bag("mic")));
    room.input(RoomInput::Join);
    room.open();
    room.welcome("m");
    room.ack("subscribe");
    room.presence(&["a", "z"], &[]);
    room.input(RoomInput::AddTrack(track(2, MediaKind::Video), bag("cam")));
    room.pass(ms(1000));
    for peer in ["a", "z"] {
        let lines = room.log_of(&[&format!("send send {peer}")]);
        let [meta, offer, candidate, end] =
            ["meta", "offer", "candidate", "end"].map(|what| format!("send send {peer} {what}"));
        assert_eq!(
            lines,
            [&meta, &meta, &offer, &candidate, &candidate, &candidate, &end],
            "c120"
        );
        let sent = room.sent_to(peer);
        let mic = json!({"trackId": "t1", "metadata": {"label": "mic"}, "kind": "audio", "streamId": "s1"});
        assert_eq!(sent[0], json!({"__meteredTrackMeta": mic}));
        let sdp = sent[2]["description"]["sdp"].as_str().unwrap();
        assert!(sdp.contains("msid:s1 t1") && sdp.contains("msid:s2 t2"), "c152");
        assert_eq!(Sdp::parse(sdp).unwrap().media.len(), 2);
    }
}

#[test]
fn c159_no_metadata_no_message() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(audio(1), None));
    room.pass(ms(1000));
    room.input(RoomInput::RemoveTrack(TrackKey(1)));
    assert_eq!(room.log_of(&["send send z meta", "send send z clear"]).len(), 0);
    assert_eq!(room.log_of(&["send send z offer"]).len(), 1);
}

#[test]
fn c146_a_removed_track_is_cleared_without_a_metadata_member() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(audio(1), bag("mic")));
    room.pass(ms(1000));
    room.forget();
    room.input(RoomInput::RemoveTrack(TrackKey(1)));
    room.input(RoomInput::RemoveTrack(TrackKey(9)));
    assert_eq!(
        room.sent_to("z"),
        [json!({"__meteredTrackMeta": {"trackId": "t1"}})]
    );
    room.presence(&["y"], &[]);
    room.pass(ms(1000));
    assert!(room.sent_to("y").is_empty(), "c155: later joiners do not get it");
}

#[test]
fn c143_a_track_added_while_reconnecting_is_sent_after_the_snapshot() {
    let mut room = Harness::joined(&["z"]);
    room.lost();
    room.input(RoomInput::AddTrack(audio(1), bag("mic")));
    room.pass(ms(100));
    assert!(room.sent().is_empty());
    room.reconnect();
    room.welcome("m");
    room.ack("subscribe");
    room.presence(&["z"], &[]);
    room.pass(ms(3000));
    let lines = room.log_of(&["send send z meta", "send send z offer"]);
    assert_eq!(lines, ["send send z meta", "send send z offer"]);
}
