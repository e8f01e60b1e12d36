//! State changes, pads and handlers in every order an application can think of.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::calls::{PICTURE, Viewer, publish, room};
use crate::support::{Line, PATIENCE, Server, Watch, wait_for};

/// What any state change may take (README).
const STEP: Duration = Duration::from_secs(2);
/// A picture that costs next to nothing.
pub const SMALL: &str = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1";

static CRITICALS: AtomicUsize = AtomicUsize::new(0);

/// Counts what GLib and GStreamer call critical, in the whole process; asserts on drop that there was nothing.
pub struct NoCriticals(usize);

impl NoCriticals {
    pub fn watch() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            glib::log_set_default_handler(|domain, level, text| {
                eprintln!("{level:?} {}: {text}", domain.unwrap_or_default());
                if matches!(level, glib::LogLevel::Critical | glib::LogLevel::Error) {
                    CRITICALS.fetch_add(1, Ordering::SeqCst);
                }
            });
        });
        Self(CRITICALS.load(Ordering::SeqCst))
    }
}

impl Drop for NoCriticals {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(CRITICALS.load(Ordering::SeqCst), self.0, "criticals, see above");
        }
    }
}

/// A seed from the environment, to repeat a run, or a new one.
fn seed() -> u64 {
    let given = std::env::var("METERED_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("METERED_TEST_SEED={seed}");
    seed
}

/// Lets time pass until the next step of a storm: any amount is right.
fn drift(random: &mut fastrand::Rng, most_ms: u64) {
    let moment = Instant::now() + Duration::from_millis(random.u64(..most_ms));
    while let Some(left) = moment.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

fn storm(pipeline: &gst::Pipeline, mut random: fastrand::Rng, steps: usize) {
    const STATES: [gst::State; 4] = [
        gst::State::Null,
        gst::State::Ready,
        gst::State::Paused,
        gst::State::Playing,
    ];
    for step in 0..steps {
        // Half of all steps go up, or nobody would ever meet.
        let state = STATES[random.usize(..8).min(3)];
        let begin = Instant::now();
        let _ = pipeline.set_state(state);
        let took = begin.elapsed();
        assert!(took < STEP, "step {step}, to {state:?}: {took:?}");
        drift(&mut random, 60);
    }
    pipeline.set_state(gst::State::Playing).unwrap();
}

#[test]
fn state_storms_end_where_they_should() {
    let _quiet = NoCriticals::watch();
    let seed = seed();
    let server = Server::plain();
    let resident = publish(&server);
    let onlooker = Viewer::start(&server, false);
    let sink = Line::parse(&format!("{SMALL} ! meteredwebrtcsink name=s {}", room(&server)));
    let viewer = Viewer::start(&server, true);
    std::thread::scope(|scope| {
        scope.spawn(|| storm(&sink.pipeline, fastrand::Rng::with_seed(seed), 150));
        scope.spawn(|| storm(&viewer.line.pipeline, fastrand::Rng::with_seed(!seed), 150));
    });
    let own = || sink.element("s").property::<Option<String>>("peer-id");
    let id = wait_for("the sink to be a member", || format!("{:?}", own()), own);
    for viewer in [&viewer, &onlooker] {
        let (_, picture) = viewer.pad_where("a picture of the sink", |pad| {
            pad.parent().is_some()
                && pad.name().starts_with("video")
                && pad.property::<String>("peer-id") == id
        });
        picture.wait_changes(5);
    }
    for line in [&sink, &viewer.line, &onlooker.line, &resident] {
        assert!(line.stop() < STEP);
    }
}

#[test]
fn several_threads_may_change_the_state() {
    let _quiet = NoCriticals::watch();
    let seed = seed();
    let server = Server::plain();
    let _resident = publish(&server);
    let viewer = Viewer::start(&server, false);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let pipeline = &viewer.line.pipeline;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ number);
                for _ in 0..10 {
                    let state =
                        [gst::State::Ready, gst::State::Paused, gst::State::Playing][random.usize(..3)];
                    let _ = pipeline.set_state(state);
                    drift(&mut random, 50);
                }
            });
        }
    });
    viewer.line.pipeline.set_state(gst::State::Playing).unwrap();
    let (_, picture) = viewer.pad_where("a pad that is shown", |pad| pad.parent().is_some());
    picture.wait_changes(5);
    assert!(viewer.line.stop() < STEP);
}

#[test]
fn pads_come_and_go_in_storms() {
    let _quiet = NoCriticals::watch();
    let seed = seed();
    let server = Server::plain();
    let sink = publish(&server);
    let viewer = Viewer::start(&server, false);
    let (_, picture) = viewer.pad("video", 0);
    picture.wait_changes(1);
    let element = sink.element("s");
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (element, pipeline) = (&element, &sink.pipeline);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ number);
                for _ in 0..15 {
                    let pad = element.request_pad_simple("video_%u").expect("a pad");
                    let make = gst::ElementFactory::make("videotestsrc");
                    let source = make.property("is-live", true).build().unwrap();
                    pipeline.add(&source).unwrap();
                    source.static_pad("src").unwrap().link(&pad).unwrap();
                    source.sync_state_with_parent().unwrap();
                    drift(&mut random, 120);
                    let begin = Instant::now();
                    if random.bool() {
                        // Without stopping what pushes into it.
                        element.release_request_pad(&pad);
                        source.set_locked_state(true);
                        source.set_state(gst::State::Null).unwrap();
                    } else {
                        source.set_locked_state(true);
                        source.set_state(gst::State::Null).unwrap();
                        element.release_request_pad(&pad);
                    }
                    pipeline.remove(&source).unwrap();
                    assert!(begin.elapsed() < STEP, "{:?}", begin.elapsed());
                    assert!(pad.parent().is_none());
                }
            });
        }
    });
    assert_eq!(element.num_sink_pads(), 2);
    let goal = picture.changes() + 15;
    wait_for(
        "15 pictures of the track that stays",
        || {
            let stats = || element.property::<gst::Structure>("stats").to_string();
            let before = stats();
            drift(&mut fastrand::Rng::with_seed(1), 1000);
            let states =
                [&sink.pipeline, &viewer.line.pipeline].map(|pipeline| pipeline.state(gst::ClockTime::ZERO));
            let sinks = viewer
                .line
                .pipeline
                .iterate_all_by_element_factory_name("fakesink")
                .into_iter()
                .flatten();
            let sinks: Vec<_> = sinks
                .map(|sink| (sink.name(), sink.state(gst::ClockTime::ZERO)))
                .collect();
            format!(
                "{picture:?}\n{before}\n{}\n{states:?} {sinks:?} {:?}",
                stats(),
                viewer.line.element("r").pads()
            )
        },
        || (picture.changes() >= goal).then_some(()),
    );
    let shown = || viewer.line.element("r").num_src_pads();
    wait_for(
        "the two tracks that stay",
        || shown().to_string(),
        || (shown() == 2).then_some(()),
    );
    assert!(sink.stop() < STEP);
}

#[test]
fn a_pad_that_is_asked_for_by_many_at_once_has_many_names() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let line = Line::parse(&format!("meteredwebrtcsink name=s {}", room(&server)));
    let element = line.element("s");
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    barrier.wait();
                    let pad = element.request_pad_simple("audio_%u");
                    barrier.wait();
                    element.release_request_pad(&pad.expect("a pad of its own"));
                }
            });
        }
    });
    assert_eq!(element.num_pads(), 0);
    assert_eq!(element.downcast_ref::<gst::Bin>().unwrap().children().len(), 0);
    assert!(element.request_pad_simple("video_7").is_some());
}

#[test]
fn a_pad_can_be_released_while_the_pipeline_is_paused() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    // Not live: in PAUSED the first frame waits in the sink.
    let line = Line::parse(&format!(
        "{} ! identity name=i ! meteredwebrtcsink name=s {}",
        PICTURE.replace("is-live=true", ""),
        room(&server)
    ));
    let before = Watch::on(&line.element("i").static_pad("src").unwrap());
    line.pipeline.set_state(gst::State::Paused).unwrap();
    // It may be there already.
    wait_for(
        "the first frame",
        || format!("{before:?}"),
        || (before.changes() > 0).then_some(()),
    );
    let element = line.element("s");
    let pad = element.static_pad("video_0").unwrap();
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        element.release_request_pad(&pad);
        let _ = done.send(());
    });
    is_done.recv_timeout(STEP).expect("release_request_pad returns");
    assert!(line.stop() < STEP);
}

/// Sets the whole pipeline to NULL from a handler of `signal`, then plays it again.
fn null_from(server: &Server, signal: &'static str, trigger: impl Fn(&Viewer)) {
    eprintln!("from {signal}");
    let viewer = Viewer::with(&room(server), false);
    let element = viewer.line.element("r");
    // It plays: what the handler is for may have happened before there is one.
    viewer.line.pipeline.set_state(gst::State::Null).unwrap();
    let (took, result) = channel();
    let (weak, once) = (viewer.line.pipeline.downgrade(), AtomicBool::new(false));
    let took = Mutex::new(took);
    element.connect(signal, false, move |_| {
        if let (Some(pipeline), false) = (weak.upgrade(), once.swap(true, Ordering::SeqCst)) {
            let begin = Instant::now();
            let changed = pipeline.set_state(gst::State::Null);
            let _ = took.lock().unwrap().send((changed, begin.elapsed()));
        }
        None
    });
    viewer.line.pipeline.set_state(gst::State::Playing).unwrap();
    trigger(&viewer);
    let (changed, took) = result
        .recv_timeout(PATIENCE)
        .expect("the handler runs and returns");
    changed.unwrap();
    assert!(took < STEP, "{signal}: {took:?}");
    let pads = || element.num_src_pads();
    wait_for(
        "no pads in NULL",
        || format!("{signal}: {} pads", pads()),
        || (pads() == 0).then_some(()),
    );
    viewer.line.pipeline.set_state(gst::State::Playing).unwrap();
    viewer.wait_pictures(3);
    assert!(viewer.line.stop() < STEP);
    assert_eq!(pads(), 0);
}

#[test]
fn a_handler_may_set_the_element_to_null() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let _resident = publish(&server);
    for signal in [
        "joined",
        "state-changed",
        "peer-joined",
        "pad-added",
        "stream-added",
        "peer-state-changed",
    ] {
        null_from(&server, signal, |_| ());
    }
    for signal in ["peer-left", "pad-removed"] {
        null_from(&server, signal, |viewer| {
            let guest = publish(&server);
            let id: String = guest.wait_notice("joined").get("peer-id").unwrap();
            viewer.pad_where("a pad of the guest", |pad| {
                pad.property::<String>("peer-id") == id
            });
        });
    }
}

#[test]
fn what_a_blocked_handler_was_showing_is_gone_in_ready() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let _resident = publish(&server);
    let line = Line::parse(&format!("meteredwebrtcsrc name=r {}", room(&server)));
    let element = line.element("r");
    let (entered, is_entered) = sync_channel(1);
    let (release, blocked) = channel::<()>();
    let blocked = Mutex::new(blocked);
    element.connect_pad_added(move |_, _| {
        let _ = entered.try_send(());
        // Until the test lets go of the other end.
        let _ = blocked.lock().unwrap().recv();
    });
    let (gone, order) = channel();
    let gone = Mutex::new(gone);
    element.connect_pad_removed(move |_, pad| drop(gone.lock().unwrap().send(pad.name().to_string())));
    line.pipeline.set_state(gst::State::Playing).unwrap();
    is_entered.recv_timeout(PATIENCE).unwrap();
    let begin = Instant::now();
    line.pipeline.set_state(gst::State::Ready).unwrap();
    assert!(begin.elapsed() < STEP, "{:?}", begin.elapsed());
    drop(release);
    order.recv_timeout(PATIENCE).expect("the pad is removed");
    let pads = || element.num_src_pads();
    wait_for(
        "no pads in READY",
        || pads().to_string(),
        || (pads() == 0).then_some(()),
    );
    let children = || element.downcast_ref::<gst::Bin>().unwrap().children().len();
    wait_for(
        "no children in READY",
        || children().to_string(),
        || (children() == 0).then_some(()),
    );
}

#[test]
fn a_new_start_does_not_hear_of_the_last_one() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let line = Line::parse(&format!("meteredwebrtcsrc name=r {}", room(&server)));
    let element = line.element("r");
    let (entered, is_entered) = sync_channel(1);
    let (release, blocked) = channel::<()>();
    let blocked = Mutex::new(blocked);
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let inside = Arc::new(AtomicUsize::new(0));
    let (list, count) = (heard.clone(), inside.clone());
    element.connect("state-changed", false, move |values| {
        assert_eq!(count.fetch_add(1, Ordering::SeqCst), 0, "two handlers at once");
        list.lock().unwrap().push(values[2].get::<String>().unwrap());
        if entered.try_send(()).is_ok() {
            let _ = blocked.lock().unwrap().recv();
        }
        count.fetch_sub(1, Ordering::SeqCst);
        None
    });
    line.pipeline.set_state(gst::State::Playing).unwrap();
    is_entered.recv_timeout(PATIENCE).unwrap();
    // The handler is stuck in `joining` while the element stops and starts anew.
    line.pipeline.set_state(gst::State::Ready).unwrap();
    line.pipeline.set_state(gst::State::Playing).unwrap();
    drop(release);
    wait_for(
        "joined",
        || format!("{heard:?}"),
        || heard.lock().unwrap().contains(&"joined".to_owned()).then_some(()),
    );
    assert_eq!(*heard.lock().unwrap(), ["joining", "joining", "joined"]);
    assert_eq!(element.property::<String>("state"), "joined");
}

#[test]
fn a_slow_handler_holds_up_news_but_no_media() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let _resident = publish(&server);
    let viewer = Viewer::start(&server, false);
    let (_, picture) = viewer.pad("video", 0);
    picture.wait_changes(1);
    let element = viewer.line.element("r");
    let (entered, is_entered) = sync_channel(1);
    let (release, blocked) = channel::<()>();
    let blocked = Mutex::new(blocked);
    let heard: Arc<Mutex<Vec<&str>>> = Arc::default();
    let list = heard.clone();
    element.connect("peer-joined", false, move |_| {
        let _ = entered.try_send(());
        let _ = blocked.lock().unwrap().recv();
        list.lock().unwrap().push("peer-joined");
        None
    });
    for name in ["peer-left", "data"] {
        let list = heard.clone();
        element.connect(name, false, move |_| {
            list.lock().unwrap().push(name);
            None
        });
    }
    let guest = Line::play(&format!("meteredwebrtcsrc name=g {}", room(&server)));
    is_entered.recv_timeout(PATIENCE).unwrap();
    guest.wait_notice("joined");
    assert!(guest.element("g").emit_by_name::<bool>("send", &[&"1"]));
    let begin = Instant::now();
    // Five seconds of 30 pictures each.
    picture.wait_changes(150);
    assert!(begin.elapsed() > Duration::from_secs(4), "{:?}", begin.elapsed());
    drop(guest);
    assert_eq!(*heard.lock().unwrap(), [""; 0]);
    drop(release);
    wait_for(
        "all news",
        || format!("{heard:?}"),
        || (heard.lock().unwrap().len() == 3).then_some(()),
    );
    assert_eq!(*heard.lock().unwrap(), ["peer-joined", "data", "peer-left"]);
}

#[test]
fn a_consumer_that_takes_nothing_does_not_hold_up_the_news() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let guest = publish(&server);
    let viewer = Viewer::start(&server, false);
    viewer.pad("video", 0).1.wait_changes(5);
    viewer.pad("audio", 0).1.wait_changes(5);
    // From here on every sink holds its buffer for as long as the pipeline is paused.
    let stuck = || {
        let mut sinks = viewer
            .line
            .pipeline
            .iterate_all_by_element_factory_name("fakesink")
            .into_iter()
            .flatten();
        sinks.all(|sink| sink.property::<Option<gst::Sample>>("last-sample").is_some())
    };
    viewer.line.pipeline.set_state(gst::State::Paused).unwrap();
    wait_for("stuck sinks", String::new, || stuck().then_some(()));
    drop(guest);
    viewer.line.wait_notice("peer-left");
    let pads = || viewer.line.element("r").num_src_pads();
    wait_for("no pads", || pads().to_string(), || (pads() == 0).then_some(()));
    viewer.line.pipeline.set_state(gst::State::Playing).unwrap();
    let _next = publish(&server);
    viewer.pad("video", 1).1.wait_changes(5);
    assert!(viewer.line.stop() < STEP);
}

/// Buffers carry the running time of the application's pipeline, whatever its base time is.
fn assert_in_time(viewer: &Viewer, pad: &gst::Pad) {
    let (sender, times) = channel();
    let sender = Mutex::new(sender);
    let element = viewer.line.element("r");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let (Some(time), Some(now)) = (
            info.buffer().and_then(|b| b.pts()),
            element.current_running_time(),
        ) {
            let _ = sender.lock().unwrap().send((time, now));
        }
        gst::PadProbeReturn::Ok
    });
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    while let Ok((time, now)) = times.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if time.absdiff(now) < gst::ClockTime::from_mseconds(900) {
            return;
        }
        last = Some((time, now));
    }
    panic!("waited for a buffer of now; saw {last:?}");
}

#[test]
fn running_times_survive_a_pause_and_a_base_time_of_zero() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let _sink = publish(&server);
    let viewer = Viewer::start(&server, false);
    viewer.line.pipeline.set_state(gst::State::Null).unwrap();
    viewer.line.pipeline.set_start_time(gst::ClockTime::NONE);
    viewer.line.pipeline.set_base_time(gst::ClockTime::ZERO);
    viewer.line.pipeline.set_state(gst::State::Playing).unwrap();
    let shown = |pad: &gst::Pad| pad.parent().is_some() && pad.name().starts_with("video");
    let (pad, _) = viewer.pad_where("a pad that is shown", shown);
    assert_in_time(&viewer, &pad);

    let viewer = Viewer::start(&server, false);
    let (pad, picture) = viewer.pad("video", 0);
    picture.wait_changes(5);
    assert_in_time(&viewer, &pad);
    for _ in 0..2 {
        viewer.line.pipeline.set_state(gst::State::Paused).unwrap();
        let paused = Instant::now();
        wait_for("a pause", String::new, || {
            (paused.elapsed() > Duration::from_secs(1)).then_some(())
        });
        viewer.line.pipeline.set_state(gst::State::Playing).unwrap();
        assert_in_time(&viewer, &pad);
        picture.wait_changes(5);
    }
}

#[test]
fn properties_may_be_set_while_everything_runs() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let sink = publish(&server);
    let viewer = Viewer::start(&server, false);
    let (_, picture) = viewer.pad("video", 0);
    picture.wait_changes(5);
    let pad = sink.element("s").static_pad("video_0").unwrap();
    let objects: [glib::Object; 3] = [
        sink.element("s").upcast(),
        viewer.line.element("r").upcast(),
        pad.upcast(),
    ];
    for object in &objects {
        for spec in object.list_properties() {
            let skipped = ["name", "parent", "message-forward", "async-handling"].contains(&spec.name());
            if spec.flags().contains(glib::ParamFlags::READABLE) {
                let _ = object.property_value(spec.name());
            }
            let writable = spec.flags().contains(glib::ParamFlags::WRITABLE)
                && !spec.flags().contains(glib::ParamFlags::CONSTRUCT_ONLY);
            if writable && !skipped && spec.owner_type().name().contains("Metered") {
                object.set_property_from_value(spec.name(), spec.default_value());
            }
        }
    }
    picture.wait_changes(15);
    assert!(sink.stop() < STEP);
}

#[test]
fn a_bitrate_counts_until_the_element_starts() {
    let server = Server::plain();
    let sink = Line::parse(&format!("{SMALL} ! meteredwebrtcsink name=s {}", room(&server)));
    sink.element("s").set_property("start-bitrate", 123_000u32);
    sink.pipeline.set_state(gst::State::Playing).unwrap();
    Viewer::start(&server, false).pad("video", 0).1.wait_changes(1);
    let stats: gst::Structure = sink.element("s").property("stats");
    let pads = stats.get::<gst::Array>("pads").unwrap();
    let pad = pads[0].get::<gst::Structure>().unwrap();
    let encodings = pad.get::<gst::Array>("encodings").unwrap();
    let bitrate = encodings[0]
        .get::<gst::Structure>()
        .unwrap()
        .get::<u32>("bitrate");
    assert_eq!(bitrate, Ok(123_000), "{stats}");
}

#[test]
fn closing_is_no_end() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let sink = publish(&server);
    let viewer = Viewer::start(&server, false);
    let close = |line: &Line, name| line.element(name).emit_by_name::<bool>("close", &[]);
    for round in 0..3 {
        let shown = |pad: &gst::Pad| pad.parent().is_some() && pad.name().starts_with("video");
        let (pad, picture) = viewer.pad_where("a pad that is shown", shown);
        picture.wait_changes(5);
        let (line, name) = if round == 1 {
            (&viewer.line, "r")
        } else {
            (&sink, "s")
        };
        assert!(close(line, name));
        line.wait_notice("left");
        assert_eq!(line.element(name).property::<String>("state"), "closed");
        wait_for(
            "the pad to go",
            || format!("{pad:?}"),
            || pad.parent().is_none().then_some(()),
        );
        assert!(!close(line, name), "there is nothing left to close");
        line.pipeline.set_state(gst::State::Ready).unwrap();
        line.pipeline.set_state(gst::State::Playing).unwrap();
    }
    assert!(sink.stop() < STEP);
}

#[test]
fn six_viewers_share_one_encoder() {
    let _quiet = NoCriticals::watch();
    let server = Server::plain();
    let sink = Line::play(&format!("{SMALL} ! meteredwebrtcsink name=s {}", room(&server)));
    let viewers: Vec<Viewer> = (0..6).map(|_| Viewer::start(&server, false)).collect();
    for viewer in &viewers {
        viewer.pad("video", 0).1.wait_changes(30);
    }
    let stats: gst::Structure = sink.element("s").property("stats");
    assert_eq!(stats.get::<u32>("encodings"), Ok(1), "{stats}");
    assert_eq!(stats.get::<u32>("connected"), Ok(6), "{stats}");
    for viewer in &viewers {
        assert!(viewer.line.stop() < STEP);
    }
    assert!(sink.stop() < STEP);
}
