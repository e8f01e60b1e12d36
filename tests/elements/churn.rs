//! Members that come and go for a long time, and what that leaves behind: nothing. A short form runs always,
//! `METERED_TEST_LONG=1` asks for the long one (`scripts/test soak`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use gst::prelude::*;

use crate::calls::{Viewer, room};
use crate::census::{Census, alone, count_leaked_sessions, objects};
use crate::lifecycle::SMALL;
use crate::support::{Line, PATIENCE, Server, wait_for};

/// What a process may grow by after it has warmed up, however often members come and go.
const GROWTH: u64 = 20 << 20;
/// The first cycles fill caches, arenas and plugins.
const WARM_UP: usize = 10;

/// How often, in the short form and in the long one.
fn cycles(short: usize, long: usize) -> usize {
    let long_form = std::env::var_os("METERED_TEST_LONG").is_some();
    let wanted = std::env::var("METERED_TEST_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok());
    wanted.unwrap_or(if long_form { long } else { short })
}

/// Runs a test of this module in a process of its own, with everything of GStreamer counted.
fn counted(name: &str) -> bool {
    let variables = [
        ("G_DEBUG", "fatal-criticals"),
        ("GST_TRACERS", "leaks(filters=\"GstObject\")"),
    ];
    alone(&format!("churn::{name}"), &variables)
}

fn publish_small(server: &Server) -> Line {
    Line::play(&format!(
        "{SMALL} ! meteredwebrtcsink name=s {} audiotestsrc is-live=true ! s.",
        room(server)
    ))
}

/// A receiver that stays: says of each pad that it has media, and keeps nothing.
struct Resident {
    line: Line,
    heard: Receiver<String>,
}

impl Resident {
    fn start(server: &Server) -> Self {
        let line = Line::parse(&format!("meteredwebrtcsrc name=r latency=50 {}", room(server)));
        let (sender, heard) = channel();
        let sender = Mutex::new(sender);
        let pipeline = line.pipeline.downgrade();
        line.element("r").connect_pad_added(move |_, pad| {
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let sink = gst::ElementFactory::make("fakesink")
                .name(format!("sink of {}", pad.name()))
                .property("sync", false)
                .property("async", false)
                .build()
                .unwrap();
            pipeline.add(&sink).unwrap();
            sink.sync_state_with_parent().unwrap();
            let sender = sender.lock().unwrap().clone();
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
                let _ = sender.send(pad.name().to_string());
                gst::PadProbeReturn::Remove
            });
            pad.link(&sink.static_pad("sink").unwrap()).unwrap();
        });
        let pipeline = line.pipeline.downgrade();
        line.element("r").connect_pad_removed(move |_, pad| {
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            if let Some(sink) = pipeline.by_name(&format!("sink of {}", pad.name())) {
                sink.set_locked_state(true);
                let _ = sink.set_state(gst::State::Null);
                let _ = pipeline.remove(&sink);
            }
        });
        line.pipeline.set_state(gst::State::Playing).unwrap();
        Self { line, heard }
    }

    /// Waits until a pad for sound and one for pictures have had media.
    fn wait_both(&self) {
        let mut left = vec!["audio", "video"];
        while !left.is_empty() {
            let name = self
                .heard
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no media on {left:?}"));
            left.retain(|kind| !name.starts_with(kind));
        }
    }

    /// Waits until it shows no pad and no peer but so many.
    fn wait_pads(&self, pads: usize) {
        let element = self.line.element("r");
        wait_for(
            &format!("{pads} pads"),
            || format!("{:?}", element.src_pads()),
            || (element.src_pads().len() == pads).then_some(()),
        );
    }
}

/// Prints the table, and fails where it does not stay level.
fn watch_cycles(what: &str, cycles: usize, mut cycle: impl FnMut(usize), mut rest: impl FnMut()) {
    for number in 0..WARM_UP {
        cycle(number);
    }
    rest();
    let before = Census::steady();
    Census::head(what);
    before.row(0);
    let step = (cycles / 20).max(5);
    let mut most = 0;
    for number in 1..=cycles {
        cycle(number);
        if number % step == 0 || number == cycles {
            rest();
            let now = Census::settled(&before);
            now.row(number);
            most = most.max(now.resident.saturating_sub(before.resident));
        }
    }
    eprintln!("| grown by at most {} KiB in {cycles} {what}", most >> 10);
    assert!(most < GROWTH, "grown by {} KiB", most >> 10);
}

/// GStreamer keeps one DTLS agent for the life of the process, and the registry has this crate's plugin.
fn assert_nothing_is_left() {
    let left = || {
        let mut left = objects();
        left.retain(|name, _| !["GstDtlsAgent", "GstElementFactory", "GstPlugin"].contains(&name.as_str()));
        left
    };
    wait_for(
        "every object to go",
        || format!("{:#?}", left()),
        || left().is_empty().then_some(()),
    );
}

fn encodings(line: &Line) -> u32 {
    let stats: gst::Structure = line.element("s").property("stats");
    stats.get("encodings").unwrap()
}

#[test]
fn visitors_leave_nothing_behind() {
    if !counted("visitors_leave_nothing_behind") {
        return;
    }
    let server = Server::plain();
    let leaked = count_leaked_sessions();
    {
        let sink = publish_small(&server);
        sink.wait_notice("joined");
        let resident = Resident::start(&server);
        resident.wait_both();
        let visits = AtomicUsize::new(0);
        let visit = |_| {
            // One time somebody who watches, the other time somebody who shows something.
            if visits.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                let viewer = Viewer::with(&room(&server), false);
                viewer.pad("video", 0).1.wait_changes(1);
                viewer.pad("audio", 0).1.wait_changes(1);
            } else {
                let _visitor = publish_small(&server);
                resident.wait_both();
            }
            sink.wait_notice("peer-left");
            resident.line.wait_notice("peer-left");
            sink.forget();
            resident.line.forget();
        };
        let rest = || resident.wait_pads(2);
        watch_cycles("visits", cycles(30, 1000), visit, rest);
    }
    drop(server);
    assert_eq!(leaked.load(Ordering::SeqCst), 0);
    assert_nothing_is_left();
}

#[test]
fn going_to_ready_and_back_leaves_nothing_behind() {
    if !counted("going_to_ready_and_back_leaves_nothing_behind") {
        return;
    }
    let server = Server::plain();
    let leaked = count_leaked_sessions();
    {
        // These stay; the elements that go to READY and back are a sink and a source of their own.
        let resident = Resident::start(&server);
        let publisher = publish_small(&server);
        resident.wait_both();
        let (sink, source) = (publish_small(&server), Resident::start(&server));
        let cycle = |_| {
            resident.wait_both();
            source.wait_both();
            source.wait_pads(4);
            for line in [&sink, &source.line] {
                line.pipeline.set_state(gst::State::Ready).unwrap();
                resident.line.wait_notice("peer-left");
                line.forget();
            }
            resident.line.forget();
            publisher.forget();
            while source.heard.try_recv().is_ok() {}
            for line in [&sink, &source.line] {
                line.pipeline.set_state(gst::State::Playing).unwrap();
            }
        };
        let rest = || {
            source.wait_pads(4);
            resident.wait_pads(4);
            wait_for(
                "two encodings of each sink",
                || format!("{} {}", encodings(&publisher), encodings(&sink)),
                || (encodings(&publisher) + encodings(&sink) == 4).then_some(()),
            );
        };
        watch_cycles("restarts", cycles(10, 200), cycle, rest);
    }
    drop(server);
    assert_eq!(leaked.load(Ordering::SeqCst), 0);
    assert_nothing_is_left();
}
