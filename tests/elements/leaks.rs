//! What is left when an element is gone: nothing. Each of these tests counts things of the whole process, so it runs
//! in a process of its own.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;

use crate::calls::{Viewer, room};
use crate::census::{alone, count_leaked_sessions, files, live_objects, threads};
use crate::lifecycle::SMALL;
use crate::support::{Line, Server, init, wait_for};

fn meet(server: &Server) {
    let viewer = Viewer::with(&room(server), false);
    viewer.pad("video", 0).1.wait_changes(1);
    viewer.pad("audio", 0).1.wait_changes(1);
    assert!(viewer.line.stop() < Duration::from_secs(2));
}

fn publish_small(server: &Server) -> Line {
    Line::play(&format!(
        "{SMALL} ! meteredwebrtcsink name=s {} audiotestsrc is-live=true ! s.",
        room(server)
    ))
}

#[test]
fn every_object_goes_with_its_element() {
    let variables = [
        ("G_DEBUG", "fatal-criticals"),
        (
            "GST_TRACERS",
            "leaks(filters=\"GstElement,GstPad,GstBus,GstWebRTCICE\")",
        ),
    ];
    if !alone("leaks::every_object_goes_with_its_element", &variables) {
        return;
    }
    let server = Server::plain();
    let leaked = count_leaked_sessions();
    let weak = {
        let sink = publish_small(&server);
        let viewer = Viewer::with(&room(&server), true);
        let (video, picture) = viewer.pad("video", 0);
        picture.wait_changes(5);
        let other = Viewer::with(&room(&server), false);
        let (audio, sound) = other.pad("audio", 0);
        sound.wait_changes(5);
        let (s, r) = (sink.element("s"), viewer.line.element("r"));
        let pad = s.static_pad("video_0").unwrap();
        for line in [&sink, &viewer.line, &other.line] {
            assert!(line.stop() < Duration::from_secs(2));
        }
        [
            s.upcast::<glib::Object>().downgrade(),
            r.upcast::<glib::Object>().downgrade(),
            pad.upcast::<glib::Object>().downgrade(),
            video.upcast::<glib::Object>().downgrade(),
            audio.upcast::<glib::Object>().downgrade(),
        ]
    };
    let alive = || weak.iter().filter(|weak| weak.upgrade().is_some()).count();
    wait_for(
        "elements and pads to go",
        || format!("{} and {:#?}", alive(), live_objects()),
        || (alive() == 0).then_some(()),
    );
    wait_for(
        "every element and pad to go",
        || format!("{:#?}", live_objects()),
        || live_objects().is_empty().then_some(()),
    );
    assert_eq!(leaked.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_refused_leaves_no_thread() {
    if !alone(
        "leaks::what_is_refused_leaves_no_thread",
        &[("G_DEBUG", "fatal-criticals")],
    ) {
        return;
    }
    init();
    let refused = |line: &str| {
        let line = Line::parse(line);
        let _ = line
            .pipeline
            .set_state(gst::State::Playing)
            .expect_err("wrong settings");
        line.wait_error()
    };
    let all = || {
        let wrong = [
            "meteredwebrtcsrc",
            "meteredwebrtcsink channel=lobby api-key=pk_x url=http://localhost",
            "meteredwebrtcsrc channel=lobby api-key=pk_x url=ws://localhost:1 video-codecs=video/x-theora",
        ];
        for line in wrong {
            eprintln!("{line}: {}", refused(line));
        }
    };
    all();
    let (base_threads, base_files) = (threads(), files());
    (0..5).for_each(|_| all());
    wait_for(
        "the threads of the beginning",
        || format!("{:?} instead of {base_threads:?}", threads()),
        || (threads().len() <= base_threads.len()).then_some(()),
    );
    assert_eq!(files().len(), base_files.len(), "{:?}", files());
    assert!(
        !threads().iter().any(|name| name.starts_with("metered")),
        "{:?}",
        threads()
    );
}

#[test]
fn an_element_that_is_dropped_in_playing_takes_its_threads_with_it() {
    // GStreamer itself calls this critical, which must not end the process.
    if !alone(
        "leaks::an_element_that_is_dropped_in_playing_takes_its_threads_with_it",
        &[("G_DEBUG", "")],
    ) {
        return;
    }
    let server = Server::plain();
    let _sink = publish_small(&server);
    meet(&server);
    let base = threads();
    for _ in 0..3 {
        let element = gst::ElementFactory::make("meteredwebrtcsrc")
            .property("channel", "lobby")
            .property("api-key", "pk_dev")
            .property("url", server.url())
            .build()
            .unwrap();
        let (sender, joined) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        element.connect("peer-state-changed", false, move |values| {
            let state: String = values[2].get().unwrap();
            let _ = sender.lock().unwrap().send(state);
            None
        });
        element.set_state(gst::State::Playing).unwrap();
        while joined
            .recv_timeout(crate::support::PATIENCE)
            .expect("a connection")
            != "connected"
        {}
        drop(element);
    }
    wait_for(
        "the threads of the beginning",
        || format!("{:?} instead of {base:?}", threads()),
        || (threads().len() <= base.len()).then_some(()),
    );
}
