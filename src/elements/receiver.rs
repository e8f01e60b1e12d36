//! The receiving half of an element: from a session's track to a pad, and back to nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gst_utils::StreamProducer;

use super::{CAT, MeteredWebRTCSrcPad};
use crate::core::io::{Codec, Generation};
use crate::core::negotiator::RemoteTrack;
use crate::media::Outlet as MediaOutlet;
use crate::session::Outlet;
use crate::wire::PeerId;

/// Names one track of one webrtcbin of one peer.
pub type TrackName = (PeerId, Generation, String);

struct Exposed {
    outlet: MediaOutlet,
    pad: MeteredWebRTCSrcPad,
    /// Somebody has taken the pad from the element, or is about to.
    removed: AtomicBool,
}

#[derive(Default)]
struct Tracks {
    /// Nothing is exposed any more.
    closed: bool,
    by_name: HashMap<TrackName, Arc<Exposed>>,
}

/// An end of stream is behind what the pad still has to play. A consumer that takes nothing for so long must not hold up
/// the room's news.
const EOS_PATIENCE: Duration = Duration::from_millis(1500);

/// Nor one that is slow: it gets this many times as long.
const EOS_ROUNDS: usize = 6;

/// See the module. There is one for each run of the element, from READY to READY, so that what one of them leaves
/// behind in some queue is nothing to the next. Pads come on the notifier's thread; they go there, and when the element
/// goes to READY.
pub struct Receiver {
    group: gst::GroupId,
    arrived: Mutex<HashMap<TrackName, (Codec, StreamProducer)>>,
    exposed: Mutex<Tracks>,
    /// The element is going to READY: nobody waits for the end of a stream.
    stopping: AtomicBool,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            group: gst::GroupId::next(),
            arrived: Mutex::default(),
            exposed: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Where the sessions of one peer bring their media.
    pub fn for_peer(self: &Arc<Self>, peer: &PeerId) -> Arc<dyn Outlet> {
        Arc::new(PeerOutlet {
            peer: peer.clone(),
            receiver: self.clone(),
        })
    }

    /// Takes the stream of a track that the room has announced, if it is still there.
    pub fn take(&self, name: &TrackName) -> Option<(Codec, StreamProducer)> {
        lock(&self.arrived).remove(name)
    }

    /// Builds the chain behind a pad that was described, and shows the pad. `false` if there is nothing to show any
    /// more.
    pub fn expose(
        &self,
        bin: &gst::Bin,
        track: &RemoteTrack,
        name: TrackName,
        pad: MeteredWebRTCSrcPad,
        latency_ms: u32,
    ) -> Result<bool, String> {
        let Some((codec, producer)) = self.take(&name) else {
            return Ok(false);
        };
        let outlet = MediaOutlet::new(pad.name().as_str(), track.kind, codec, producer, latency_ms)
            .map_err(|error| error.to_string())?;
        outlet.set_stream(&stream_id(track, &name), self.group);
        let weak = bin.downgrade();
        outlet.set_fault_hook(Arc::new(move |text: String| {
            let Some(bin) = weak.upgrade() else { return };
            bin.call_async(move |bin| gst::element_warning!(bin, gst::StreamError::Decode, ("{text}")));
        }));
        if let Err(error) = connect(bin, &outlet, &pad) {
            outlet.dispose();
            return Err(error.to_string());
        }
        gst::info!(
            CAT,
            obj = bin,
            "{} carries {} of peer {}",
            pad.name(),
            track.mid,
            name.0
        );
        let exposed = Arc::new(Exposed {
            outlet,
            pad,
            removed: AtomicBool::new(false),
        });
        {
            let mut tracks = lock(&self.exposed);
            if tracks.closed {
                drop(tracks);
                retire(bin, &exposed);
                return Ok(false);
            }
            tracks.by_name.insert(name.clone(), exposed.clone());
        }
        // Its handlers may take their time, or stop the element.
        if let Err(error) = bin.add_pad(&exposed.pad) {
            lock(&self.exposed).by_name.remove(&name);
            retire(bin, &exposed);
            return Err(error.to_string());
        }
        let shown = lock(&self.exposed).by_name.contains_key(&name);
        if !shown {
            // Retired before it belonged to the element, perhaps.
            take_away(bin, &exposed);
        }
        Ok(shown)
    }

    /// Ends a track: EOS, so that muxers finish their files, then the pad goes.
    ///
    /// What has arrived under this name and is not shown yet stays: it is the next track of the same m-line, or its
    /// session takes it back ([`Outlet::ended`]).
    pub fn remove(&self, bin: &gst::Bin, name: &TrackName) {
        let exposed = lock(&self.exposed).by_name.remove(name);
        if let Some(exposed) = exposed {
            gst::info!(CAT, obj = bin, "{} ends", exposed.pad.name());
            let drain = Drain::of(&exposed.pad);
            exposed.outlet.eos();
            let patient = exposed.pad.is_linked() && !self.stopping.load(Ordering::Relaxed);
            if patient {
                drain.wait();
            }
            let silent = exposed.outlet.dispose_behind(exposed.pad.clone().upcast());
            if patient {
                // It has passed the pad, but it need not have arrived.
                let _ = silent.recv_timeout(EOS_PATIENCE);
            }
            take_away(bin, &exposed);
        }
    }

    /// From now on tracks end without waiting for their end of stream to be played.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Removes all pads, without EOS, for good: the element is going to READY.
    pub fn close(&self, bin: &gst::Bin) {
        lock(&self.arrived).clear();
        let gone = {
            let mut tracks = lock(&self.exposed);
            tracks.closed = true;
            std::mem::take(&mut tracks.by_name)
        };
        for exposed in gone.values() {
            retire(bin, exposed);
        }
    }
}

/// Puts the chain into the element, and the pad in front of it.
fn connect(bin: &gst::Bin, outlet: &MediaOutlet, pad: &MeteredWebRTCSrcPad) -> Result<(), glib::BoolError> {
    bin.add(outlet.bin())?;
    pad.set_target(Some(outlet.src_pad()))?;
    pad.set_active(true)?;
    outlet.bin().sync_state_with_parent()
}

fn retire(bin: &gst::Bin, exposed: &Exposed) {
    take_away(bin, exposed);
    let _ = exposed.outlet.dispose_behind(exposed.pad.clone().upcast());
}

/// Once, whoever comes first.
fn take_away(bin: &gst::Bin, exposed: &Exposed) {
    let ours = exposed.pad.parent().as_ref() == Some(bin.upcast_ref());
    if ours && !exposed.removed.swap(true, Ordering::Relaxed) {
        let _ = bin.remove_pad(&exposed.pad);
    }
}

/// Tells when an end of stream has left the pad.
/// What still goes through a pad until its end of stream.
struct Drain {
    passed: mpsc::Receiver<()>,
    buffers: Arc<AtomicU64>,
}

impl Drain {
    fn of(pad: &MeteredWebRTCSrcPad) -> Self {
        let (sender, passed) = mpsc::channel();
        let buffers = Arc::new(AtomicU64::new(0));
        let count = buffers.clone();
        let data = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(data, move |_, info| {
            match info.event() {
                None => {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Some(event) if event.type_() == gst::EventType::Eos => {
                    let _ = sender.send(());
                }
                Some(_) => {}
            }
            gst::PadProbeReturn::Ok
        });
        Self { passed, buffers }
    }

    /// Until the end has passed, as long as anything does.
    fn wait(&self) {
        for _ in 0..EOS_ROUNDS {
            let before = self.buffers.load(Ordering::Relaxed);
            let ended = self.passed.recv_timeout(EOS_PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout);
            if ended || self.buffers.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// Unique for each peer and track, and the same again after a new connection.
fn stream_id(track: &RemoteTrack, (peer, _, mid): &TrackName) -> String {
    let id = track.track_id.as_deref().unwrap_or(mid);
    format!("{peer}/{}/{id}", track.stream_id.as_deref().unwrap_or("-"))
}

struct PeerOutlet {
    peer: PeerId,
    receiver: Arc<Receiver>,
}

impl Outlet for PeerOutlet {
    fn media(&self, generation: Generation, mid: &str, codec: Codec, producer: StreamProducer) {
        let name = (self.peer.clone(), generation, mid.to_owned());
        lock(&self.receiver.arrived).insert(name, (codec, producer));
    }

    fn ended(&self, generation: Generation, mid: &str) {
        lock(&self.receiver.arrived).remove(&(self.peer.clone(), generation, mid.to_owned()));
    }
}
