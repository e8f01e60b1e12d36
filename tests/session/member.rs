//! A whole member without elements: a room on the network, a session for each peer, and media that can be counted.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_utils::StreamProducer;
use gst_utils::streamproducer::ProducerSettings;
use gstmeteredwebrtc::core::client::{ClientConfig, CredentialSource};
use gstmeteredwebrtc::core::events::{RoomEvent, RoomInput, RoomOutput};
use gstmeteredwebrtc::core::io::{Codec, Generation, MediaKind, SessionCommand, TrackKey};
use gstmeteredwebrtc::core::negotiator::{LocalTrack, PeerState, ReceivePolicy};
use gstmeteredwebrtc::core::room::{Room, RoomConfig};
use gstmeteredwebrtc::net::{self, DriverOptions, Handle, Runtime};
use gstmeteredwebrtc::session::{
    Feed, FeedError, Loopback, Outlet, PeerSession, Registry, SessionContext, Timing,
};
use gstmeteredwebrtc::wire::{ChannelName, Endpoint, PeerId, Secret};

/// Time between two frames. They are sound only by name: each is one RTP packet.
pub const FRAME: Duration = Duration::from_millis(100);
/// Bytes of PCMU in that time.
const FRAME_BYTES: usize = 800;

/// Frames that say whose they are and which: a track tag and a number.
pub struct Frames {
    tag: u32,
    number: AtomicU32,
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    producer: StreamProducer,
}

impl Frames {
    pub fn new(tag: u32) -> Self {
        let text = "appsrc name=in is-live=true format=time do-timestamp=true \
             caps=audio/x-mulaw,rate=8000,channels=1 ! appsink name=out async=false";
        let pipeline = gst::parse::launch(text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let source = pipeline.by_name("in").unwrap().downcast().unwrap();
        let sink = pipeline
            .by_name("out")
            .unwrap()
            .downcast::<gst_app::AppSink>()
            .unwrap();
        let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            tag,
            number: AtomicU32::new(0),
            pipeline,
            source,
            producer,
        }
    }

    pub fn push(&self) {
        let mut frame = vec![0; FRAME_BYTES];
        frame[..4].copy_from_slice(&self.tag.to_le_bytes());
        frame[4..8].copy_from_slice(&self.number.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let mut buffer = gst::Buffer::from_mut_slice(frame);
        let duration = gst::ClockTime::try_from(FRAME).unwrap();
        buffer.get_mut().unwrap().set_duration(duration);
        let _ = self.source.push_buffer(buffer);
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// What came on one m-line.
#[derive(Debug, Default)]
pub struct Heard {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub frames: u64,
    /// Of the last frame: its tag and its number.
    pub last: Option<(u32, u32)>,
    /// Frames that did not follow the one before: what came, and what should have come.
    pub breaks: Vec<((u32, u32), (u32, u32))>,
}

impl Heard {
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn note(&self, buffer: &gst::BufferRef) {
        let Ok(map) = buffer.map_readable() else { return };
        let word = |at: usize| {
            map.get(at..at + 4)
                .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        };
        let (Some(tag), Some(number)) = (word(0), word(4)) else {
            return;
        };
        let mut seen = self.seen.lock().unwrap();
        let seen = &mut *seen;
        if let Some((last_tag, last)) = seen.last {
            let expected = (last_tag, last + 1);
            if expected != (tag, number) {
                seen.breaks.push(((tag, number), expected));
            }
        }
        seen.last = Some((tag, number));
        seen.frames += 1;
    }
}

type Line = (PeerId, Generation, String);

/// A track that the room shows.
#[derive(Debug, Clone)]
pub struct Shown {
    pub peer: PeerId,
    pub track: String,
    pub heard: Arc<Heard>,
}

/// What has happened to a member: first what should not have.
#[derive(Debug, Default)]
pub struct Trouble {
    pub resets: usize,
    pub problems: Vec<String>,
    pub reconnecting: usize,
    /// webrtcbins made.
    pub connections: usize,
    /// Descriptions of peers that were applied.
    pub descriptions: usize,
}

#[derive(Default)]
struct Board {
    own: Option<PeerId>,
    left: bool,
    connected: BTreeMap<PeerId, bool>,
    heard: HashMap<Line, Arc<Heard>>,
    shown: BTreeMap<Line, Shown>,
    /// Every track that was ever shown.
    history: Vec<Shown>,
    trouble: Trouble,
}

struct Shared {
    board: Mutex<Board>,
    feeds: Mutex<HashMap<TrackKey, Arc<Frames>>>,
    sessions: Mutex<HashMap<PeerId, (Generation, PeerSession)>>,
    room: OnceLock<Handle<RoomInput>>,
    registry: Registry,
    timing: Timing,
    number: AtomicU32,
}

/// See the module.
pub struct Member {
    shared: Arc<Shared>,
    room: Handle<RoomInput>,
    next: AtomicU32,
}

impl Member {
    pub fn join(url: &str, seed: u64) -> Self {
        let clock = gst::SystemClock::obtain();
        let base_time = clock.time();
        let shared = Arc::new(Shared {
            board: Mutex::default(),
            feeds: Mutex::default(),
            sessions: Mutex::default(),
            room: OnceLock::new(),
            registry: Registry::default(),
            timing: Timing { clock, base_time },
            number: AtomicU32::new(0),
        });
        let key = CredentialSource::ApiKey(Secret::new("pk_dev".to_owned()));
        let config = RoomConfig {
            channel: ChannelName::new("lobby").unwrap(),
            client: ClientConfig {
                endpoint: Endpoint::parse(url).unwrap(),
                ..ClientConfig::new(key, seed)
            },
            receive: ReceivePolicy {
                audio: vec![Codec::Pcmu],
                video: Vec::new(),
            },
            include_sender_metadata: false,
            max_peers: 64,
            departure_grace: Duration::from_secs(30),
            ice_servers: None,
            relay_only: false,
            seed: seed.rotate_left(17),
        };
        let runtime = Runtime::shared().unwrap();
        let room = Room::new(config, Instant::now()).unwrap();
        let outputs = shared.clone();
        let room = net::spawn(
            &runtime,
            room,
            DriverOptions::default(),
            move |output| match output {
                RoomOutput::Event(event) => outputs.on_event(event),
                RoomOutput::Session(peer, generation, command) => {
                    outputs.on_command(peer, generation, command)
                }
            },
        );
        let _ = shared.room.set(room.clone());
        room.send(RoomInput::Join).unwrap();
        Self {
            shared,
            room,
            next: AtomicU32::new(0),
        }
    }

    pub fn own(&self) -> Option<PeerId> {
        self.shared.board().own.clone()
    }

    /// Peers whose connection stands.
    pub fn connected(&self) -> usize {
        self.shared.board().connected.values().filter(|up| **up).count()
    }

    /// Publishes these frames under this name.
    pub fn add(&self, name: &str, frames: &Arc<Frames>) -> TrackKey {
        let key = TrackKey(self.next.fetch_add(1, Ordering::Relaxed));
        self.shared.feeds.lock().unwrap().insert(key, frames.clone());
        let track = LocalTrack {
            key,
            kind: MediaKind::Audio,
            stream_id: format!("stream-of-{name}"),
            track_id: name.to_owned(),
            codecs: vec![Codec::Pcmu],
        };
        self.room.send(RoomInput::AddTrack(track, None)).unwrap();
        key
    }

    pub fn remove(&self, key: TrackKey) {
        self.room.send(RoomInput::RemoveTrack(key)).unwrap();
        self.shared.feeds.lock().unwrap().remove(&key);
    }

    pub fn shown(&self) -> Vec<Shown> {
        self.shared.board().shown.values().cloned().collect()
    }

    pub fn history(&self) -> Vec<Shown> {
        self.shared.board().history.clone()
    }

    pub fn trouble<T>(&self, look: impl FnOnce(&Trouble) -> T) -> T {
        look(&self.shared.board().trouble)
    }

    /// Leaves; no session may be left behind.
    pub fn leave(self) {
        let _ = self.room.send(RoomInput::Leave);
        assert!(self.room.wait_closed(Duration::from_secs(30)), "leaving hangs");
        self.shared.sessions.lock().unwrap().clear();
        assert!(
            self.shared.registry.wait_idle(Duration::from_secs(60)),
            "a session hangs"
        );
        assert_eq!(self.shared.registry.leaked(), 0);
        assert!(self.shared.board().left);
    }
}

impl Shared {
    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap()
    }

    fn on_event(&self, event: RoomEvent) {
        let mut board = self.board();
        match event {
            RoomEvent::Joined { peer_id, .. } => board.own = Some(peer_id),
            RoomEvent::Left { .. } => board.left = true,
            RoomEvent::PeerStateChanged(peer, state) => {
                board.trouble.reconnecting += usize::from(state == PeerState::Reconnecting);
                board.connected.insert(peer, state == PeerState::Connected);
            }
            RoomEvent::PeerLeft(peer) => drop(board.connected.remove(&peer)),
            RoomEvent::ConnectionReset(_) => board.trouble.resets += 1,
            RoomEvent::NegotiationError(peer, problem) => {
                board.trouble.problems.push(format!("{peer}: {problem:?}"));
            }
            RoomEvent::Warning { text }
            | RoomEvent::Retrying { text, .. }
            | RoomEvent::Fatal { text, .. } => {
                board.trouble.problems.push(text);
            }
            RoomEvent::TrackAdded { peer, track, .. } => {
                let line = (peer.clone(), track.generation, track.mid);
                let heard = board.heard.get(&line).cloned().unwrap_or_default();
                let shown = Shown {
                    peer,
                    track: track.track_id.unwrap_or_default(),
                    heard,
                };
                board.history.push(shown.clone());
                board.shown.insert(line, shown);
            }
            RoomEvent::TrackRemoved {
                peer,
                generation,
                mid,
            } => drop(board.shown.remove(&(peer, generation, mid))),
            _ => (),
        }
    }

    fn on_command(self: &Arc<Self>, peer: PeerId, generation: Generation, command: SessionCommand) {
        let mut sessions = self.sessions.lock().unwrap();
        match command {
            SessionCommand::Create(config) => {
                self.board().trouble.connections += 1;
                let session = PeerSession::spawn(self.context(&peer, generation));
                session.send(SessionCommand::Create(config));
                sessions.insert(peer, (generation, session));
            }
            command => {
                let current = sessions.get(&peer).filter(|(current, _)| *current == generation);
                let Some((_, session)) = current else { return };
                let last = command == SessionCommand::Dispose;
                let described = matches!(command, SessionCommand::SetRemote(..));
                self.board().trouble.descriptions += usize::from(described);
                session.send(command);
                if last {
                    sessions.remove(&peer);
                }
            }
        }
    }

    fn context(self: &Arc<Self>, peer: &PeerId, generation: Generation) -> SessionContext {
        let (room, id) = (self.room.get().cloned(), peer.clone());
        SessionContext {
            peer: self.number.fetch_add(1, Ordering::Relaxed),
            generation,
            timing: self.timing.clone(),
            feed: Arc::new(OwnFeed(self.clone())),
            outlet: Arc::new(PeerOutlet(peer.clone(), self.clone())),
            latency: Duration::from_millis(200),
            loopback: Loopback::Auto,
            registry: self.registry.clone(),
            warn: Box::new(|_| ()),
            events: Box::new(move |event| {
                if let Some(room) = &room {
                    let _ = room.send(RoomInput::Session(id.clone(), generation, event));
                }
            }),
        }
    }
}

struct OwnFeed(Arc<Shared>);

impl Feed for OwnFeed {
    fn attach(
        &self,
        track: TrackKey,
        _: Codec,
        appsrc: &gst_app::AppSrc,
    ) -> Result<Box<dyn Any + Send>, FeedError> {
        let frames = self.0.feeds.lock().unwrap().get(&track).cloned();
        let frames = frames.ok_or(FeedError::UnknownTrack)?;
        let link = frames
            .producer
            .add_consumer(appsrc)
            .map_err(|error| FeedError::Unavailable(error.to_string()))?;
        // What a busy machine delays is not to be lost: the test is about negotiation.
        appsrc.set_max_time(gst::ClockTime::from_seconds(60));
        Ok(Box::new((link, frames)))
    }
}

struct PeerOutlet(PeerId, Arc<Shared>);

impl Outlet for PeerOutlet {
    fn media(&self, generation: Generation, mid: &str, _: Codec, producer: StreamProducer) {
        let heard = Arc::new(Heard::default());
        let line = (self.0.clone(), generation, mid.to_owned());
        self.1.board().heard.insert(line, heard.clone());
        let pad = producer.appsink().static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer() {
                heard.note(buffer);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn ended(&self, generation: Generation, mid: &str) {
        let line = (self.0.clone(), generation, mid.to_owned());
        self.1.board().heard.remove(&line);
    }
}
