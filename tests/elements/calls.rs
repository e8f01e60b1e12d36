//! Media and metadata between elements.

use gst::prelude::*;

use crate::support::{Line, Server, Watch, wait_for};

pub fn room(server: &Server) -> String {
    format!("channel=lobby api-key=pk_dev url={}", server.url())
}

pub const PICTURE: &str =
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1";
pub const TONE: &str = "audiotestsrc is-live=true freq=440 ! audio/x-raw,rate=48000";

pub fn publish(server: &Server) -> Line {
    Line::play(&format!(
        "{PICTURE} ! meteredwebrtcsink name=s {} video_0::stream-id=cam \
         video_0::metadata=meta,role=camera,label=(string)Front {TONE} ! s.",
        room(server)
    ))
}

/// A receiver that decodes everything; each pad that appears, with a watch on it.
pub struct Viewer {
    pub line: Line,
    pads: std::sync::Arc<std::sync::Mutex<Vec<(gst::Pad, Watch)>>>,
}

impl Viewer {
    pub fn start(server: &Server, raw: bool) -> Self {
        Self::with(&room(server), raw)
    }

    /// The same with other properties.
    pub fn with(properties: &str, raw: bool) -> Self {
        let line = Line::parse(&format!("meteredwebrtcsrc name=r latency=50 {properties}"));
        let pads: std::sync::Arc<std::sync::Mutex<Vec<(gst::Pad, Watch)>>> = Default::default();
        let (seen, pipeline) = (pads.clone(), line.pipeline.downgrade());
        line.element("r").connect_pad_added(move |_, pad| {
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let media = if pad.name().starts_with("audio") {
                "audio/x-raw"
            } else {
                "video/x-raw"
            };
            let description = if raw {
                format!("capsfilter caps={media} ! fakesink sync=false")
            } else {
                "fakesink sync=false".to_owned()
            };
            let bin = gst::parse::bin_from_description(&description, true).unwrap();
            bin.set_property("name", sink_name(pad));
            pipeline.add(&bin).unwrap();
            bin.sync_state_with_parent().unwrap();
            let sink = bin.sink_pads().remove(0);
            let watch = Watch::on(&sink);
            pad.link(&sink).unwrap();
            seen.lock().unwrap().push((pad.clone(), watch));
        });
        // A sink that waits for a first buffer for ever would keep the pipeline from starting again.
        let pipeline = line.pipeline.downgrade();
        line.element("r").connect_pad_removed(move |_, pad| {
            let bin = pipeline
                .upgrade()
                .and_then(|pipeline| pipeline.by_name(&sink_name(pad)));
            if let Some(bin) = bin {
                // The pipeline may just be changing its state, on another thread.
                bin.set_locked_state(true);
                let _ = bin.set_state(gst::State::Null);
                let _ = bin.parent().and_downcast::<gst::Bin>().unwrap().remove(&bin);
            }
        });
        line.pipeline.set_state(gst::State::Playing).unwrap();
        Self { line, pads }
    }

    pub fn pad(&self, prefix: &str, index: usize) -> (gst::Pad, Watch) {
        wait_for(
            &format!("pad {index} of {prefix}"),
            || self.names(),
            || {
                let pads = self.pads.lock().unwrap();
                pads.iter()
                    .filter(|(pad, _)| pad.name().starts_with(prefix))
                    .nth(index)
                    .cloned()
            },
        )
    }

    /// Waits until a video pad that is shown has had so many pictures. Which one, does not matter: a connection that is
    /// made anew brings another.
    pub fn wait_pictures(&self, count: u64) {
        let shown = |pad: &gst::Pad| pad.parent().is_some() && pad.name().starts_with("video");
        wait_for(
            &format!("{count} pictures on a pad that is shown"),
            || {
                let pads = self.pads.lock().unwrap();
                let pads = pads.iter().map(|(pad, watch)| (pad.name(), shown(pad), watch));
                format!("{:?}", pads.collect::<Vec<_>>())
            },
            || {
                let pads = self.pads.lock().unwrap();
                pads.iter()
                    .any(|(pad, watch)| shown(pad) && watch.changes() >= count)
                    .then_some(())
            },
        );
    }

    /// The first pad that the condition is true of.
    pub fn pad_where(&self, what: &str, condition: impl Fn(&gst::Pad) -> bool) -> (gst::Pad, Watch) {
        wait_for(
            what,
            || self.names(),
            || {
                let pads = self.pads.lock().unwrap();
                pads.iter().find(|(pad, _)| condition(pad)).cloned()
            },
        )
    }

    fn names(&self) -> String {
        let pads = self.pads.lock().unwrap();
        format!("{:?}", pads.iter().map(|(pad, _)| pad.name()).collect::<Vec<_>>())
    }
}

fn sink_name(pad: &gst::Pad) -> String {
    format!("sink of {}", pad.name())
}

#[test]
fn a_sink_is_seen_and_heard_by_a_source() {
    let server = Server::plain();
    let sink = publish(&server);
    let joined = sink.wait_notice("joined");
    let viewer = Viewer::start(&server, true);
    let (video, picture) = viewer.pad("video", 0);
    let (audio, sound) = viewer.pad("audio", 0);
    picture.wait_changes(30);
    sound.wait_changes(50);
    let own: String = joined.get("peer-id").unwrap();
    for pad in [&video, &audio] {
        assert_eq!(pad.property::<String>("peer-id"), own);
        assert!(pad.property::<Option<String>>("track-id").is_some());
    }
    assert_eq!(video.property::<String>("stream-id"), "cam");
    let metadata = video
        .property::<Option<gst::Structure>>("metadata")
        .expect("the track has metadata");
    assert_eq!(metadata.get::<String>("role").unwrap(), "camera");
    assert_eq!(metadata.get::<String>("label").unwrap(), "Front");
    assert_eq!(audio.property::<Option<gst::Structure>>("metadata"), None);
    let caps = picture.caps().expect("caps came before buffers");
    assert_eq!(caps.structure(0).unwrap().name(), "video/x-raw");
    assert_eq!(caps.structure(0).unwrap().get::<i32>("width").unwrap(), 320);

    drop(sink);
    wait_for(
        "EOS on both pads",
        || format!("{picture:?} {sound:?}"),
        || (picture.eos() && sound.eos()).then_some(()),
    );
    viewer.line.wait_notice("stream-removed");
    viewer.line.wait_notice("peer-left");
    wait_for(
        "no pads",
        || format!("{}", viewer.line.element("r").num_src_pads()),
        || (viewer.line.element("r").num_src_pads() == 0).then_some(()),
    );
}

#[test]
fn encoded_media_comes_out_where_it_is_wanted() {
    let server = Server::plain();
    let _sink = publish(&server);
    let viewer = Viewer::start(&server, false);
    let (_, picture) = viewer.pad("video", 0);
    picture.wait_changes(10);
    assert_eq!(
        picture.caps().unwrap().structure(0).unwrap().name(),
        "video/x-vp8"
    );
}

#[test]
fn three_members_see_each_other() {
    let server = Server::plain();
    let _one = publish(&server);
    let _two = publish(&server);
    let first = Viewer::start(&server, true);
    let second = Viewer::start(&server, false);
    for viewer in [&first, &second] {
        let (a, picture_a) = viewer.pad("video", 0);
        let (b, picture_b) = viewer.pad("video", 1);
        picture_a.wait_changes(15);
        picture_b.wait_changes(15);
        assert_ne!(a.property::<String>("peer-id"), b.property::<String>("peer-id"));
        let (_, sound) = viewer.pad("audio", 1);
        sound.wait_changes(15);
    }
}

#[test]
fn alone_in_a_room_nothing_is_encoded_and_everything_starts_on_demand() {
    let server = Server::plain();
    let sink = publish(&server);
    sink.wait_notice("joined");
    let encodings = || {
        let stats: gst::Structure = sink.element("s").property("stats");
        stats.get::<u32>("encodings").unwrap()
    };
    assert_eq!(encodings(), 0);
    let viewer = Viewer::start(&server, false);
    viewer.pad("video", 0).1.wait_changes(5);
    assert_eq!(encodings(), 2, "one for video, one for audio");
    let other = Viewer::start(&server, false);
    other.pad("video", 0).1.wait_changes(5);
    assert_eq!(encodings(), 2, "shared by all viewers");
    drop((viewer, other));
    wait_for(
        "no encoding",
        || encodings().to_string(),
        || (encodings() == 0).then_some(()),
    );
}

#[test]
fn a_pipeline_with_an_end_ends_although_peers_are_connected() {
    let server = Server::plain();
    let viewer = Viewer::start(&server, true);
    let sink = Line::play(&format!(
        "videotestsrc is-live=true num-buffers=90 ! video/x-raw,width=64,height=48,framerate=30/1 ! \
         meteredwebrtcsink {}",
        room(&server)
    ));
    viewer.pad("video", 0).1.wait_changes(1);
    sink.wait_message("EOS", |message| {
        matches!(message.view(), gst::MessageView::Eos(_)).then_some(())
    });
}

#[test]
fn data_reaches_everybody_or_one() {
    let server = Server::plain();
    let one = Viewer::start(&server, false);
    let two = Viewer::start(&server, false);
    let id_one: String = one.line.wait_notice("joined").get("peer-id").unwrap();
    let id_two: String = two.line.wait_notice("joined").get("peer-id").unwrap();
    one.line.wait_notice_where("peer-joined", |fields| {
        fields.get::<String>("peer-id") == Ok(id_two.clone())
    });
    assert!(
        one.line
            .element("r")
            .emit_by_name::<bool>("send", &[&r#"{"cue": 4}"#])
    );
    let data = two.line.wait_notice("data");
    assert_eq!(data.get::<String>("kind").unwrap(), "broadcast");
    assert_eq!(data.get::<String>("data").unwrap(), r#"{"cue":4}"#);
    assert!(
        two.line
            .element("r")
            .emit_by_name::<bool>("send-to", &[&id_one, &"\"ü\""])
    );
    let data = one.line.wait_notice("data");
    assert_eq!(data.get::<String>("kind").unwrap(), "direct");
    assert_eq!(data.get::<String>("from").unwrap(), id_two);
    assert!(!one.line.element("r").emit_by_name::<bool>("send", &[&"no json"]));
}

#[test]
fn a_track_that_ends_leaves_the_others_alone() {
    let server = Server::plain();
    let sink = publish(&server);
    let viewer = Viewer::start(&server, true);
    let (_, picture) = viewer.pad("video", 0);
    let (_, sound) = viewer.pad("audio", 0);
    let element = sink.element("s");
    // One m-line carries them all, one after the other.
    for round in 1..11 {
        let screen = "videotestsrc is-live=true pattern=snow ! capsfilter caps=video/x-raw,width=64,height=48,framerate=10/1";
        let screen = gst::parse::bin_from_description(screen, true).unwrap();
        sink.pipeline.add(&screen).unwrap();
        let pad = element.request_pad_simple("video_%u").unwrap();
        screen.src_pads()[0].link(&pad).unwrap();
        screen.sync_state_with_parent().unwrap();
        let (shared, shared_picture) = viewer.pad("video", round);
        shared_picture.wait_changes(5);

        screen.set_locked_state(true);
        screen.set_state(gst::State::Null).unwrap();
        element.release_request_pad(&pad);
        sink.pipeline.remove(&screen).unwrap();
        wait_for(
            "the end of the shared screen",
            || format!("{shared_picture:?}"),
            || (shared_picture.eos() && shared.parent().is_none()).then_some(()),
        );
        picture.wait_changes(10);
        sound.wait_changes(10);
    }
}

#[test]
fn a_camera_that_changes_its_size_goes_on() {
    let server = Server::plain();
    let sink = Line::play(&format!(
        "videotestsrc is-live=true pattern=ball ! capsfilter name=size caps=video/x-raw,width=320,height=240,framerate=30/1 ! \
         meteredwebrtcsink {}",
        room(&server)
    ));
    let viewer = Viewer::start(&server, true);
    let (_, picture) = viewer.pad("video", 0);
    picture.wait_changes(10);
    for (width, height) in [(160, 120), (641, 359), (320, 240)] {
        let caps: gst::Caps = format!("video/x-raw,width={width},height={height},framerate=30/1")
            .parse()
            .unwrap();
        sink.element("size").set_property("caps", caps);
        wait_for(
            "the new size",
            || format!("{picture:?}"),
            || {
                let caps = picture.caps()?;
                let structure = caps.structure(0)?;
                (structure.get::<i32>("width") == Ok(width) && structure.get::<i32>("height") == Ok(height))
                    .then_some(())
            },
        );
        picture.wait_changes(10);
    }
    assert_eq!(
        viewer.line.element("r").num_src_pads(),
        1,
        "it is still the same track"
    );
}

#[test]
fn other_codecs_and_encoded_input() {
    let raw = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1";
    // Larger than level 3.1 has room for.
    let large = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=1920,height=1080,framerate=5/1";
    let x264 = "x264enc tune=zerolatency speed-preset=ultrafast ! video/x-h264,profile=main ! h264parse";
    let lines = [
        (
            "video/x-h264",
            format!("{large} ! meteredwebrtcsink video-caps=video/x-h264"),
        ),
        (
            "video/x-vp9",
            format!("{raw} ! meteredwebrtcsink video-caps=video/x-vp9"),
        ),
        (
            "video/x-vp8",
            format!("{raw} ! vp8enc deadline=1 ! meteredwebrtcsink"),
        ),
        ("video/x-h264", format!("{raw} ! {x264} ! meteredwebrtcsink")),
        (
            "audio/x-mulaw",
            format!("{TONE} ! meteredwebrtcsink audio-caps=audio/x-mulaw"),
        ),
    ];
    for (media_type, line) in lines {
        let server = Server::plain();
        let _sink = Line::play(&format!("{line} {}", room(&server)));
        let viewer = Viewer::start(&server, false);
        let (_, media) = viewer.pad(&media_type[..5], 0);
        media.wait_changes(10);
        let caps = media.caps().unwrap();
        assert_eq!(caps.structure(0).unwrap().name(), media_type, "{line}");
    }
}
