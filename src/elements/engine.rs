//! Wires one element together: the room on the network driver, a session for each peer, the notifier.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::notifier::Notifier;
use crate::core::events::{RoomEvent, RoomInput, RoomOutput};
use crate::core::io::{Generation, SessionCommand};
use crate::core::room::{Room, RoomConfig};
use crate::net::{self, DriverOptions, Handle, Runtime, TlsOptions, Tunnels};
use crate::session::{Feed, Loopback, Outlet, PeerSession, Registry, SessionContext, Timing};
use crate::wire::PeerId;

/// How long leaving may take in all; the service's close handshake has one second of it.
const LEAVE_PATIENCE: Duration = Duration::from_millis(1700);

/// Different warnings of one run; servers may change with every welcome.
const WARNINGS_MAX: usize = 100;

/// Where the media of a peer goes.
pub type OutletOf = Box<dyn Fn(&PeerId) -> Arc<dyn Outlet> + Send + Sync>;

/// What the sessions of one element need of it.
pub struct Parts {
    /// Name for threads and logs.
    pub name: String,
    /// Clock and base time shared by all its pipelines, as of now.
    pub timing: Timing,
    /// Where sessions take encoded media from.
    pub feed: Arc<dyn Feed>,
    /// Where sessions bring received media to, for one peer.
    pub outlet: OutletOf,
    /// Size of the jitter buffers.
    pub latency: Duration,
}

struct Shared {
    parts: Parts,
    notifier: Notifier,
    timing: Mutex<Timing>,
    registry: Registry,
    next_peer: AtomicU32,
    sessions: Mutex<HashMap<PeerId, (Generation, PeerSession)>>,
    room: OnceLock<Handle<RoomInput>>,
    tunnels: Tunnels,
    /// Warnings that the application has had. What one session finds, the next ones find too.
    warned: Mutex<HashSet<String>>,
    /// The room has told its last event.
    left: AtomicBool,
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, HashMap<PeerId, (Generation, PeerSession)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the application, once.
    fn warn(&self, text: String) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let new = warned.len() < WARNINGS_MAX && warned.insert(text.clone());
        drop(warned);
        if new {
            self.notifier.post(RoomEvent::Warning { text });
        }
    }
}

/// A running element. Dropping it leaves the room without waiting.
pub struct Engine {
    shared: Arc<Shared>,
    room: Handle<RoomInput>,
}

impl Engine {
    /// Starts the driver and the notifier, and joins. `handler` is called on the notifier's thread, once `before` has
    /// ended.
    pub fn start(
        config: RoomConfig,
        options: DriverOptions,
        parts: Parts,
        before: Option<Notifier>,
        handler: impl Fn(RoomEvent) + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        let runtime = Runtime::shared()?;
        // What can fail comes before the thread.
        let room = Room::new(config, Instant::now()).map_err(std::io::Error::other)?;
        let notifier = Notifier::spawn(&parts.name, before, handler)?;
        let tls = TlsOptions {
            ca_file: options.ca_file.clone(),
        };
        let shared = Arc::new_cyclic(|shared| Shared {
            tunnels: Tunnels::new(&runtime, tls, warner(shared.clone())),
            timing: Mutex::new(parts.timing.clone()),
            registry: Registry::default(),
            next_peer: AtomicU32::new(0),
            parts,
            notifier,
            sessions: Mutex::default(),
            room: OnceLock::new(),
            warned: Mutex::default(),
            left: AtomicBool::new(false),
        });
        let outputs = shared.clone();
        let room = net::spawn(&runtime, room, options, move |output| on_output(&outputs, output));
        let _ = shared.room.set(room.clone());
        // An input that comes too late finds a room that has ended, here and below.
        let _ = room.send(RoomInput::Join);
        Ok(Self { shared, room })
    }

    /// Tells the room something; never blocks. `false` if the room has ended.
    pub fn send(&self, input: RoomInput) -> bool {
        // The room may be finished while its driver still closes the socket.
        !self.shared.left.load(Ordering::Relaxed) && self.room.send(input).is_ok()
    }

    /// Data messages lost because a handler was too slow.
    pub fn dropped_data(&self) -> u64 {
        self.shared.notifier.dropped_data()
    }

    /// The element has gone to PLAYING: running times count from a new base.
    pub fn set_timing(&self, timing: &Timing) {
        *self.shared.timing.lock().unwrap_or_else(PoisonError::into_inner) = timing.clone();
        for (_, session) in self.shared.sessions().values() {
            session.set_timing(timing.clone());
        }
    }

    /// Leaves: at most [`LEAVE_PATIENCE`], then what is left goes on in the background. Returns the notifier, which may
    /// still have something to tell.
    pub fn stop(self) -> Notifier {
        let deadline = Instant::now() + LEAVE_PATIENCE;
        let _ = self.room.send(RoomInput::Leave);
        self.room.wait_closed(LEAVE_PATIENCE);
        let sessions = std::mem::take(&mut *self.shared.sessions());
        drop(sessions);
        self.shared
            .registry
            .wait_idle(deadline.saturating_duration_since(Instant::now()));
        self.shared
            .notifier
            .close(deadline.saturating_duration_since(Instant::now()));
        self.shared.notifier.clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.room.send(RoomInput::Leave);
        self.shared.notifier.close(Duration::ZERO);
    }
}

/// What sessions and tunnels tell their warnings to.
fn warner(shared: Weak<Shared>) -> impl Fn(String) + Send + Sync {
    move |text| {
        if let Some(shared) = shared.upgrade() {
            shared.warn(shared.tunnels.unmask(text));
        }
    }
}

fn on_output(shared: &Arc<Shared>, output: RoomOutput) {
    match output {
        RoomOutput::Event(event) => {
            if matches!(event, RoomEvent::Left { .. }) {
                shared.left.store(true, Ordering::Relaxed);
            }
            shared.notifier.post(event);
        }
        RoomOutput::Session(peer, generation, command) => on_command(shared, peer, generation, command),
    }
}

fn on_command(shared: &Arc<Shared>, peer: PeerId, generation: Generation, command: SessionCommand) {
    match command {
        SessionCommand::Create(mut config) => {
            config.ice_servers = shared.tunnels.through(config.ice_servers);
            let session = PeerSession::spawn(context(shared, &peer, generation));
            session.send(SessionCommand::Create(config));
            let replaced = shared.sessions().insert(peer, (generation, session));
            drop(replaced);
        }
        SessionCommand::RestartIce {
            controlling,
            ice_servers,
        } => {
            let ice_servers = shared.tunnels.through(ice_servers);
            let restart = SessionCommand::RestartIce {
                controlling,
                ice_servers,
            };
            send(shared, &peer, generation, restart);
        }
        SessionCommand::Dispose => {
            let mut sessions = shared.sessions();
            let current = sessions
                .get(&peer)
                .is_some_and(|(current, _)| *current == generation);
            let disposed = if current { sessions.remove(&peer) } else { None };
            drop(sessions);
            if let Some((_, session)) = disposed {
                session.send(SessionCommand::Dispose);
            }
        }
        command => send(shared, &peer, generation, command),
    }
}

fn send(shared: &Shared, peer: &PeerId, generation: Generation, command: SessionCommand) {
    if let Some((_, session)) = shared
        .sessions()
        .get(peer)
        .filter(|(current, _)| *current == generation)
    {
        session.send(command);
    }
}

fn context(shared: &Arc<Shared>, peer: &PeerId, generation: Generation) -> SessionContext {
    let room = shared.room.get().cloned();
    let id = peer.clone();
    SessionContext {
        peer: shared.next_peer.fetch_add(1, Ordering::Relaxed),
        generation,
        timing: shared
            .timing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
        feed: shared.parts.feed.clone(),
        outlet: (shared.parts.outlet)(peer),
        latency: shared.parts.latency,
        loopback: Loopback::Auto,
        registry: shared.registry.clone(),
        warn: Box::new(warner(Arc::downgrade(shared))),
        events: Box::new(move |event| {
            if let Some(room) = &room {
                let _ = room.send(RoomInput::Session(id.clone(), generation, event));
            }
        }),
    }
}
