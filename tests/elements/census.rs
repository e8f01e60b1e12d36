//! What this process has: threads, descriptors, memory, objects of GStreamer.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use gst::prelude::*;

use crate::support::wait_for;

const ALONE: &str = "METERED_TEST_ALONE";

/// Runs the test `name`, with its module, again in a process of its own. True in that process: then the test is to be
/// done. Lines of a table (`| `) and seeds that it prints are shown.
pub fn alone(name: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--include-ignored"])
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
    let said = String::from_utf8_lossy(&output.stderr);
    for line in said
        .lines()
        .filter(|line| line.starts_with("| ") || line.starts_with("METERED_TEST_SEED"))
    {
        eprintln!("{line}");
    }
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
pub fn threads() -> Vec<String> {
    let mut threads = entries("/proc/self/task");
    threads.retain(|name| !name.starts_with("pool-"));
    threads
}

pub fn files() -> Vec<String> {
    entries("/proc/self/fd")
}

pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Warnings of the session layer: a teardown that hangs, a part that is still in use.
pub fn count_leaked_sessions() -> Arc<AtomicUsize> {
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

/// What the leaks tracer says is alive; nothing, without it. It is asked to log it: what it returns when asked for a list, it gives away
/// without a reference (1.22).
pub fn live_objects() -> Vec<String> {
    static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It would write all of it to the terminal, too.
        gst::log::remove_default_log_function();
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
    if let Some(tracer) = tracer {
        tracer.emit_by_name::<()>("log-live-objects", &[]);
    }
    LOGGED.lock().unwrap().clone()
}

/// What malloc has given out, in all its arenas: what is resident above that is caches and fragmentation.
pub fn allocated() -> u64 {
    // SAFETY: it takes the locks that it needs and writes to nothing of ours.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

/// How many live objects there are of each type, as the leaks tracer says; nothing without it. Buffers, events and the
/// like (mini objects) are among them.
pub fn objects() -> BTreeMap<String, usize> {
    let mut types = BTreeMap::new();
    for line in live_objects() {
        let name = line.split("type-name=(string)").nth(1).unwrap_or(&line);
        let name = name.split([',', ';']).next().unwrap_or(name);
        *types.entry(name.to_owned()).or_default() += 1;
    }
    types
}

/// The same without what flows and so comes and goes at any moment.
fn lasting_objects() -> BTreeMap<String, usize> {
    let lasting =
        |name: &str| glib::Type::from_name(name).is_none_or(|found| found.is_a(gst::Object::static_type()));
    let mut types = objects();
    types.retain(|name, _| lasting(name));
    types
}

/// One line of the table that a long test prints.
#[derive(Debug, Clone)]
pub struct Census {
    pub resident: u64,
    allocated: u64,
    pub threads: Vec<String>,
    pub files: Vec<String>,
    pub objects: BTreeMap<String, usize>,
}

impl Census {
    /// As of now.
    fn take() -> Self {
        Self {
            resident: resident(),
            allocated: allocated(),
            threads: threads(),
            files: files(),
            objects: lasting_objects(),
        }
    }

    /// As soon as threads, descriptors and objects are no more than in `before`.
    pub fn settled(before: &Self) -> Self {
        wait_for(
            "the threads, descriptors and objects of the beginning",
            || format!("{:#?}\ninstead of {before:#?}", Self::take()),
            || {
                let now = Self::take();
                now.is_within(before).then_some(now)
            },
        )
    }

    fn is_within(&self, before: &Self) -> bool {
        let objects = |census: &Self| census.objects.values().sum::<usize>();
        self.threads.len() <= before.threads.len()
            && self.files.len() <= before.files.len()
            && objects(self) <= objects(before)
    }

    /// As soon as nothing changes any more: for the beginning.
    pub fn steady() -> Self {
        let last = Mutex::new(Self::take());
        wait_for(
            "the same number of threads, descriptors and objects twenty times",
            || format!("{:#?}", last.lock().unwrap()),
            || {
                let mut last = last.lock().unwrap();
                for _ in 0..20 {
                    let now = Self::take();
                    let same = now.is_within(&last) && last.is_within(&now);
                    *last = now;
                    if !same {
                        return None;
                    }
                    std::thread::park_timeout(std::time::Duration::from_millis(20));
                }
                Some(last.clone())
            },
        )
    }

    pub fn head(what: &str) {
        eprintln!("| {what:>8} | RSS KiB | allocated KiB | threads | files | GstObjects |");
    }

    pub fn row(&self, cycle: usize) {
        eprintln!(
            "| {cycle:8} | {:7} | {:13} | {:7} | {:5} | {:10} |",
            self.resident >> 10,
            self.allocated >> 10,
            self.threads.len(),
            self.files.len(),
            self.objects.values().sum::<usize>()
        );
    }
}
