//! The publishing half of an element: its sink pads, one shared set of encodings behind each.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::io::{Codec, TrackKey};
use crate::media::Ingest;
use crate::session::{Feed, FeedError};

/// The tracks of one element. Sessions take encoded media from here.
#[derive(Default)]
pub struct Publisher {
    tracks: Mutex<BTreeMap<TrackKey, Arc<Ingest>>>,
}

impl Publisher {
    fn tracks(&self) -> MutexGuard<'_, BTreeMap<TrackKey, Arc<Ingest>>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pad was requested.
    pub fn insert(&self, key: TrackKey, ingest: Arc<Ingest>) {
        self.tracks().insert(key, ingest);
    }

    /// A pad was released.
    pub fn remove(&self, key: TrackKey) -> Option<Arc<Ingest>> {
        self.tracks().remove(&key)
    }

    /// The ingest of a track.
    pub fn get(&self, key: TrackKey) -> Option<Arc<Ingest>> {
        self.tracks().get(&key).cloned()
    }

    /// All tracks.
    pub fn all(&self) -> Vec<(TrackKey, Arc<Ingest>)> {
        self.tracks()
            .iter()
            .map(|(key, ingest)| (*key, ingest.clone()))
            .collect()
    }
}

impl Feed for Publisher {
    fn attach(
        &self,
        track: TrackKey,
        codec: Codec,
        appsrc: &gst_app::AppSrc,
    ) -> Result<Box<dyn Any + Send>, FeedError> {
        let ingest = self.tracks().get(&track).cloned();
        let ingest = ingest.ok_or(FeedError::UnknownTrack)?;
        let subscription = ingest
            .attach(codec, appsrc)
            .map_err(|error| FeedError::Unavailable(error.to_string()))?;
        Ok(Box::new(subscription))
    }
}
