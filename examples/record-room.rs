//! Records a room: every participant into a Matroska file of their own, as it came, without decoding.
//!
//! ```text
//! METERED_API_KEY=pk_… cargo run --example record-room -- lobby recordings
//! ```
//!
//! Files are called `CHANNEL-PEER-TIME.mkv`, with `.part` behind it until they are complete. What a participant adds
//! later, such as a shared screen, becomes a file of its own. Ctrl-C ends all files properly. `METERED_URL` and
//! `METERED_TOKEN` are read as well; see the README.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use gst::prelude::*;

/// A participant's picture and sound come one after the other. Those that come within this time share a file.
const GATHER: Duration = Duration::from_millis(700);
/// What a queue may hold meanwhile, and while the other track of the file is late.
const QUEUE_TIME: gst::ClockTime = gst::ClockTime::from_seconds(5);
/// How long the files may take to be completed at the end.
const FINISH: Duration = Duration::from_secs(5);

/// What the main loop hears about, from whatever thread.
enum News {
    Track {
        peer: String,
        queue: gst::Element,
        block: gst::PadProbeId,
    },
    Written(PathBuf),
    Message(gst::Message),
    Interrupted,
}

/// A participant's new tracks, held back until the file starts.
struct Gathering {
    since: Instant,
    tracks: Vec<(gst::Element, gst::PadProbeId)>,
}

/// A file being written.
struct Recording {
    queues: Vec<gst::Element>,
    elements: Vec<gst::Element>,
}

struct Recorder {
    pipeline: gst::Pipeline,
    channel: String,
    directory: PathBuf,
    sender: Sender<News>,
    gathering: HashMap<String, Gathering>,
    /// By the name of the finished file.
    recordings: HashMap<PathBuf, Recording>,
}

/// Notifier thread: takes a new track into a queue that gives nothing out yet.
fn take_track(pipeline: &gst::Pipeline, pad: &gst::Pad, sender: &Sender<News>) -> Result<(), Box<dyn Error>> {
    let queue = gst::ElementFactory::make("queue")
        .property("max-size-time", QUEUE_TIME)
        .property("max-size-bytes", 0u32)
        .property("max-size-buffers", 0u32)
        .build()?;
    pipeline.add(&queue)?;
    let block = queue
        .static_pad("src")
        .and_then(|src| {
            src.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
                gst::PadProbeReturn::Ok
            })
        })
        .ok_or("a queue without a source pad")?;
    queue.sync_state_with_parent()?;
    pad.link(&queue.static_pad("sink").ok_or("a queue without a sink pad")?)?;
    let peer = pad.property::<String>("peer-id");
    Ok(sender.send(News::Track { peer, queue, block })?)
}

/// Nothing in a file name that a shell or a file system could take for something else.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn part_of(path: &Path) -> PathBuf {
    path.with_extension("mkv.part")
}

impl Recorder {
    fn free_path(&self, peer: &str) -> Result<PathBuf, Box<dyn Error>> {
        let time = glib::DateTime::now_local()?.format("%Y%m%d-%H%M%S")?;
        let stem = format!("{}-{}-{time}", plain(&self.channel), plain(peer));
        let paths = (1..).map(|n| {
            if n == 1 {
                format!("{stem}.mkv")
            } else {
                format!("{stem}-{n}.mkv")
            }
        });
        let mut paths = paths.map(|name| self.directory.join(name));
        Ok(paths
            .find(|path| !path.exists() && !part_of(path).exists())
            .ok_or("no free file name")?)
    }

    /// Starts the file of what was gathered from one participant.
    fn start(
        &mut self,
        peer: &str,
        tracks: Vec<(gst::Element, gst::PadProbeId)>,
    ) -> Result<(), Box<dyn Error>> {
        let path = self.free_path(peer)?;
        let mux = gst::ElementFactory::make("matroskamux")
            .property("offset-to-zero", true)
            .build()?;
        // Without `async` the pipeline does not wait for the new file's first bytes.
        let file = gst::ElementFactory::make("filesink")
            .property(
                "location",
                part_of(&path)
                    .to_str()
                    .ok_or("the directory's name is not UTF-8")?,
            )
            .property("async", false)
            .property("sync", false)
            .build()?;
        self.pipeline.add_many([&mux, &file])?;
        mux.link(&file)?;
        let (sender, written) = (self.sender.clone(), path.clone());
        let end = file.static_pad("sink").ok_or("a filesink without a pad")?;
        end.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info
                .event()
                .is_some_and(|event| event.type_() == gst::EventType::Eos)
            {
                let _ = sender.send(News::Written(written.clone()));
            }
            gst::PadProbeReturn::Ok
        });
        let mut recording = Recording {
            queues: Vec::new(),
            elements: vec![file, mux.clone()],
        };
        for (queue, _) in &tracks {
            let caps = queue.static_pad("sink").and_then(|pad| pad.current_caps());
            let h264 = caps.is_some_and(|caps| caps.iter().any(|format| format.name() == "video/x-h264"));
            if h264 {
                let parser = gst::ElementFactory::make("h264parse").build()?;
                self.pipeline.add(&parser)?;
                gst::Element::link_many([queue, &parser, &mux])?;
                recording.elements.push(parser);
            } else {
                queue.link(&mux)?;
            }
            recording.queues.push(queue.clone());
        }
        for element in &recording.elements {
            element.sync_state_with_parent()?;
        }
        for (queue, block) in tracks {
            if let Some(src) = queue.static_pad("src") {
                src.remove_probe(block);
            }
        }
        println!("recording {}", path.display());
        self.recordings.insert(path, recording);
        Ok(())
    }

    /// Starts what has been gathered for long enough, or everything.
    fn start_gathered(&mut self, everything: bool) -> Result<(), Box<dyn Error>> {
        let due = |gathering: &Gathering| everything || gathering.since.elapsed() >= GATHER;
        let peers: Vec<String> = self
            .gathering
            .iter()
            .filter(|(_, g)| due(g))
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in peers {
            if let Some(gathering) = self.gathering.remove(&peer) {
                self.start(&peer, gathering.tracks)?;
            }
        }
        Ok(())
    }

    /// Closes and renames a file whose last byte is on its way.
    fn finish(&mut self, path: &Path) -> Result<(), Box<dyn Error>> {
        let Some(Recording { queues, elements }) = self.recordings.remove(path) else {
            return Ok(());
        };
        for element in queues.iter().chain(&elements) {
            element.set_locked_state(true);
            element.set_state(gst::State::Null)?;
            self.pipeline.remove(element)?;
        }
        std::fs::rename(part_of(path), path)?;
        println!("finished {}", path.display());
        Ok(())
    }

    fn hear(&mut self, news: News) -> Result<bool, Box<dyn Error>> {
        match news {
            News::Track { peer, queue, block } => {
                let new = || Gathering {
                    since: Instant::now(),
                    tracks: Vec::new(),
                };
                self.gathering
                    .entry(peer)
                    .or_insert_with(new)
                    .tracks
                    .push((queue, block));
            }
            News::Written(path) => self.finish(&path)?,
            News::Interrupted => return Ok(false),
            News::Message(message) => match message.view() {
                gst::MessageView::Error(error) => return Err(error.error().to_string().into()),
                gst::MessageView::Warning(warning) => eprintln!("warning: {}", warning.error()),
                _ => {}
            },
        }
        Ok(true)
    }

    /// Until somebody interrupts; then ends all files.
    fn run(&mut self, news: &Receiver<News>) -> Result<(), Box<dyn Error>> {
        loop {
            match news.recv_timeout(Duration::from_millis(100)) {
                Ok(news) => {
                    if !self.hear(news)? {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.start_gathered(false)?;
        }
    }

    fn end_all(&mut self, news: &Receiver<News>) -> Result<(), Box<dyn Error>> {
        self.start_gathered(true)?;
        for queue in self.recordings.values().flat_map(|recording| &recording.queues) {
            queue
                .static_pad("sink")
                .map(|pad| pad.send_event(gst::event::Eos::new()));
        }
        let deadline = Instant::now() + FINISH;
        while !self.recordings.is_empty() {
            match news.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(News::Written(path)) => self.finish(&path)?,
                Ok(_) => {}
                Err(_) => return Err(format!("{} files are not complete", self.recordings.len()).into()),
            }
        }
        Ok(())
    }
}

/// Waits for Ctrl-C or SIGTERM.
fn wait_for_signal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    });
}

fn record(channel_name: String, directory: PathBuf) -> Result<(), Box<dyn Error>> {
    gst::init()?;
    if gst::ElementFactory::find("meteredwebrtcsrc").is_none() {
        gstmeteredwebrtc::plugin_register_static()?;
    }
    std::fs::create_dir_all(&directory)?;
    let (sender, news) = channel();
    let pipeline = gst::Pipeline::new();
    let room = gst::ElementFactory::make("meteredwebrtcsrc")
        .property("channel", &channel_name)
        .build()?;
    pipeline.add(&room)?;

    let (weak, tracks) = (pipeline.downgrade(), sender.clone());
    room.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(error) = take_track(&pipeline, pad, &tracks) {
            eprintln!("warning: {} is not recorded: {error}", pad.name());
        }
    });
    let messages = sender.clone();
    pipeline
        .bus()
        .ok_or("a pipeline without a bus")?
        .set_sync_handler(move |_, message| {
            let _ = messages.send(News::Message(message.clone()));
            gst::BusSyncReply::Drop
        });
    let interrupts = sender.clone();
    std::thread::spawn(move || {
        wait_for_signal();
        let _ = interrupts.send(News::Interrupted);
    });

    let (gathering, recordings) = (HashMap::new(), HashMap::new());
    let mut recorder = Recorder {
        pipeline,
        channel: channel_name,
        directory,
        sender,
        gathering,
        recordings,
    };
    // What prevents it is on the bus, in better words.
    let _ = recorder.pipeline.set_state(gst::State::Playing);
    let outcome = recorder.run(&news);
    let ended = recorder.end_all(&news);
    recorder.pipeline.set_state(gst::State::Null)?;
    outcome.and(ended)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [channel, directory] = arguments.as_slice() else {
        eprintln!("usage: record-room CHANNEL DIRECTORY");
        return ExitCode::FAILURE;
    };
    match record(channel.clone(), directory.into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("record-room: {error}");
            ExitCode::FAILURE
        }
    }
}
