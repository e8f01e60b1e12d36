//! A server in this process, pipelines on it, and waits that say what they saw.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstmeteredwebrtc::dev_server::{Claims, Config, DevServer, Running, SecretKey};

/// How long anything may take on a busy machine. A test that needs this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// GStreamer with the elements of this crate.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstmeteredwebrtc::plugin_register_static().unwrap();
    });
}

/// A development server on an ephemeral port, with a runtime of its own.
pub struct Server {
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
    config: Config,
}

fn secret_key() -> SecretKey {
    SecretKey::new("sk_id_test", "sk_secret_test_0123456789")
}

/// Lets the server take tokens.
pub fn with_tokens(config: &mut Config) {
    config.secret_keys.push(secret_key());
}

impl Server {
    pub fn start(change: impl FnOnce(&mut Config)) -> Self {
        init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::ephemeral();
        change(&mut config);
        let running = runtime.block_on(DevServer::start(config.clone())).unwrap();
        // Whoever starts it again finds it where it was.
        config.bind = running.local_addr();
        Self {
            running: Some(running),
            runtime,
            config,
        }
    }

    pub fn plain() -> Self {
        Self::start(|_| ())
    }

    pub fn url(&self) -> String {
        self.running.as_ref().unwrap().ws_url()
    }

    /// A token of the key that [`with_tokens`] adds.
    pub fn token(&self, peer: &str, seconds: u64) -> String {
        Claims::new(peer, seconds).sign(&secret_key()).unwrap()
    }

    /// Ends it, until [`Server::restart`].
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
    }

    /// A new server in its place, that knows nobody.
    pub fn restart(&mut self) {
        let started = || self.runtime.block_on(DevServer::start(self.config.clone()));
        let running = wait_for("the port", String::new, || started().ok());
        self.running = Some(running);
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A pipeline from a gst-launch line, its bus messages, and a clean end.
pub struct Line {
    pub pipeline: gst::Pipeline,
    messages: Receiver<gst::Message>,
    seen: Mutex<VecDeque<String>>,
}

impl Line {
    /// Parses, without starting.
    pub fn parse(line: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        // A line with one element gives that element.
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap_or_else(|element| {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&element).unwrap();
            pipeline
        });
        let (sender, messages) = channel();
        let sender = Mutex::new(sender);
        pipeline.bus().unwrap().set_sync_handler(move |_, message| {
            let _ = sender.lock().unwrap().send(message.clone());
            gst::BusSyncReply::Drop
        });
        Self {
            pipeline,
            messages,
            seen: Mutex::default(),
        }
    }

    /// Parses and plays.
    pub fn play(line: &str) -> Self {
        let line = Self::parse(line);
        line.pipeline.set_state(gst::State::Playing).unwrap();
        line
    }

    pub fn element(&self, name: &str) -> gst::Element {
        self.pipeline
            .by_name(name)
            .unwrap_or_else(|| panic!("no element {name}"))
    }

    /// Waits for a message that `pick` recognises. Errors end the wait unless `pick` takes them.
    pub fn wait_message<T>(&self, what: &str, pick: impl Fn(&gst::MessageRef) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(message) = self.messages.recv_timeout(left) else {
                panic!("waited for {what}; saw:\n{}", self.seen());
            };
            if let Some(found) = pick(&message) {
                return found;
            }
            if !matches!(
                message.view(),
                gst::MessageView::StateChanged(_) | gst::MessageView::StreamStatus(_)
            ) {
                self.seen.lock().unwrap().push_back(format!("{message:?}"));
            }
            if let gst::MessageView::Error(error) = message.view() {
                panic!(
                    "waited for {what}; got the error {error:?}; saw:\n{}",
                    self.seen()
                );
            }
        }
    }

    /// Waits for the element message `metered-<name>`.
    pub fn wait_notice(&self, name: &str) -> gst::Structure {
        self.wait_notice_where(name, |_| true)
    }

    /// The same, with a condition.
    pub fn wait_notice_where(
        &self,
        name: &str,
        condition: impl Fn(&gst::StructureRef) -> bool,
    ) -> gst::Structure {
        let full = format!("metered-{name}");
        self.wait_message(&full, |message| {
            let structure = message
                .structure()
                .filter(|structure| structure.name() == full.as_str())?;
            condition(structure).then(|| structure.to_owned())
        })
    }

    /// Forgets what the bus has said until now: for tests that watch the memory.
    pub fn forget(&self) {
        self.drain();
        self.seen.lock().unwrap().clear();
    }

    /// What the bus has said until now and nobody has waited for.
    pub fn drain(&self) -> Vec<String> {
        self.messages
            .try_iter()
            .map(|message| format!("{message:?}"))
            .collect()
    }

    /// Waits for the error that must come; its text.
    pub fn wait_error(&self) -> String {
        self.wait_message("an error", |message| match message.view() {
            gst::MessageView::Error(error) => Some(error.error().to_string()),
            _ => None,
        })
    }

    fn seen(&self) -> String {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|line| format!("  {line}\n"))
            .collect()
    }

    /// Goes to NULL and says how long it took.
    pub fn stop(&self) -> Duration {
        let begin = Instant::now();
        self.pipeline.set_state(gst::State::Null).unwrap();
        begin.elapsed()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
        self.pipeline.bus().unwrap().unset_sync_handler();
    }
}

/// Waits until `condition` gives a value; on time-out prints what `saw` tells.
pub fn wait_for<T>(what: &str, saw: impl Fn() -> String, condition: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited for {what}; saw {}", saw());
        // A poll, not a synchronisation: the condition decides, the pause only keeps the core free.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Counts buffers on a pad and how many of them differ from their predecessor.
#[derive(Debug, Default, Clone)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    buffers: u64,
    changes: u64,
    last: u64,
    eos: bool,
    caps: Option<gst::Caps>,
}

impl Watch {
    pub fn on(pad: &gst::Pad) -> Self {
        let watch = Self::default();
        let inner = watch.clone();
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(kinds, move |_, info| {
            inner.note(info);
            gst::PadProbeReturn::Ok
        });
        watch
    }

    fn note(&self, info: &gst::PadProbeInfo) {
        let mut seen = self.0.lock().unwrap();
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let hash = digest(buffer);
                seen.buffers += 1;
                seen.changes += u64::from(hash != seen.last);
                seen.last = hash;
            }
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Eos(_) => seen.eos = true,
                gst::EventView::Caps(caps) => seen.caps = Some(caps.caps_owned()),
                _ => {}
            },
            _ => {}
        }
    }

    pub fn changes(&self) -> u64 {
        self.0.lock().unwrap().changes
    }

    pub fn eos(&self) -> bool {
        self.0.lock().unwrap().eos
    }

    pub fn caps(&self) -> Option<gst::Caps> {
        self.0.lock().unwrap().caps.clone()
    }

    pub fn wait_changes(&self, count: u64) {
        let goal = self.changes() + count;
        wait_for(
            &format!("{count} changing buffers"),
            || format!("{:?}", self.0.lock().unwrap()),
            || (self.changes() >= goal).then_some(()),
        );
    }
}

fn digest(buffer: &gst::Buffer) -> u64 {
    use std::hash::Hasher;
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    if let Ok(map) = buffer.map_readable() {
        hasher.write(&map);
    }
    hasher.finish()
}
