//! What is left when an element is gone: nothing. Each of these tests counts things of the whole process, so it runs
//! in a process of its own.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use gst::prelude::*;

use crate::calls::{Viewer, room};
use crate::lifecycle::SMALL;
use crate::support::{Line, Server, init, wait_for};

const ALONE: &str = "METERED_TEST_ALONE";
/// Room for what malloc keeps: forty connections that left half a megabyte each would be seen.
const GROWTH: u64 = 12 << 20;

/// Runs the test `name` again in a process of its own. True in that process: then the test is to be done.
fn alone(name: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            &format!("leaks::{name}"),
            "--exact",
            "--nocapture",
            "--include-ignored",
        ])
        .env(ALONE, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn entries(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| match folder {
            "/proc/self/task" => std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default(),
            _ => std::fs::read_link(entry.path())
                .unwrap_or_default()
                .display()
                .to_string(),
        })
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.starts_with("/proc/"))
        .collect();
    names.sort();
    names
}

/// GLib keeps idle threads of its pools for a while, and ours to run `call_async`.
fn threads() -> Vec<String> {
    let mut threads = entries("/proc/self/task");
    threads.retain(|name| !name.starts_with("pool-"));
    threads
}

fn files() -> Vec<String> {
    entries("/proc/self/fd")
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Warnings of the session layer: a teardown that hangs, a part that is still in use.
fn count_leaked_sessions() -> Arc<AtomicUsize> {
    let leaked = Arc::new(AtomicUsize::new(0));
    let count = leaked.clone();
    gst::log::set_threshold_for_name("meteredsession", gst::DebugLevel::Warning);
    gst::log::add_log_function(move |category, _, _, _, _, _, message| {
        let text = message.get().map(|text| text.to_string()).unwrap_or_default();
        if category.name() == "meteredsession" && (text.contains("still in use") || text.contains("hangs")) {
            eprintln!("{text}");
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    leaked
}

/// What the leaks tracer says is alive. It is asked to log it: what it returns when asked for a list, it gives away
/// without a reference (1.22).
fn live_objects() -> Vec<String> {
    static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::log::set_threshold_for_name("GST_TRACER", gst::DebugLevel::Trace);
        gst::log::add_log_function(|category, _, _, _, _, _, message| {
            let text = message.get().map(|text| text.to_string()).unwrap_or_default();
            if category.name() == "GST_TRACER" && text.starts_with("object-alive") {
                LOGGED.lock().unwrap().push(text);
            }
        });
    });
    let mut tracers = gst::active_tracers().into_iter();
    let tracer = tracers.find(|tracer| tracer.type_().name() == "GstLeaksTracer");
    LOGGED.lock().unwrap().clear();
    tracer
        .expect("the leaks tracer was asked for")
        .emit_by_name::<()>("log-live-objects", &[]);
    LOGGED.lock().unwrap().clone()
}

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
fn fifty_visits_leave_nothing_behind() {
    if !alone(
        "fifty_visits_leave_nothing_behind",
        &[("G_DEBUG", "fatal-criticals")],
    ) {
        return;
    }
    let server = Server::plain();
    let leaked = count_leaked_sessions();
    let sink = publish_small(&server);
    sink.wait_notice("joined");
    // The first visits fill caches, arenas and plugins.
    for _ in 0..10 {
        meet(&server);
        sink.wait_notice("peer-left");
    }
    wait_idle(&sink);
    let (base_threads, base_files, base_memory) = (threads(), files(), resident());
    for _ in 0..50 {
        meet(&server);
        sink.wait_notice("peer-left");
    }
    wait_idle(&sink);
    wait_for(
        "the threads of the beginning",
        || format!("{:?} instead of {base_threads:?}", threads()),
        || (threads().len() <= base_threads.len()).then_some(()),
    );
    wait_for(
        "the files of the beginning",
        || format!("{:?} instead of {base_files:?}", files()),
        || (files().len() <= base_files.len()).then_some(()),
    );
    let grown = resident().saturating_sub(base_memory);
    eprintln!("grown by {} KiB in 50 visits", grown >> 10);
    assert!(grown < GROWTH, "{} KiB", grown >> 10);
    assert_eq!(leaked.load(Ordering::SeqCst), 0);
}

fn wait_idle(sink: &Line) {
    let encodings = || {
        let stats: gst::Structure = sink.element("s").property("stats");
        stats.get::<u32>("encodings").unwrap()
    };
    wait_for(
        "no encoding",
        || encodings().to_string(),
        || (encodings() == 0).then_some(()),
    );
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
    if !alone("every_object_goes_with_its_element", &variables) {
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
        "what_is_refused_leaves_no_thread",
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
        "an_element_that_is_dropped_in_playing_takes_its_threads_with_it",
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
