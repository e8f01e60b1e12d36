//! What one remote peer has said about its tracks, and which of it belongs to a received track.

use std::collections::VecDeque;

use serde_json::Value;

use super::io::MediaKind;
use crate::wire::limits::{TRACK_META_BYTES_MAX, TRACK_META_ENTRIES};
use crate::wire::{Metadata, TrackMeta};

#[derive(Debug, Clone)]
struct Entry {
    track_id: String,
    bag: Metadata,
    kind: Option<String>,
    stream_id: Option<String>,
    /// See [`weight`].
    bytes: usize,
}

/// A received track as its description shows it.
#[derive(Debug, Clone, Copy)]
pub struct TrackQuery<'a> {
    /// Audio or video.
    pub kind: MediaKind,
    /// Track part of the section's `a=msid`.
    pub track_id: Option<&'a str>,
    /// Stream part of it.
    pub stream_id: Option<&'a str>,
}

/// The cache. Outlives reconnects: a sender that did not notice one does not repeat itself. The oldest of 512
/// tracks makes room for a new one, and so do the oldest when all together become too big.
#[derive(Debug, Clone, Default)]
pub struct TrackMetaCache {
    /// Oldest first.
    entries: VecDeque<Entry>,
}

impl TrackMetaCache {
    /// Takes what the peer says. Returns whether anything is different now.
    pub fn apply(&mut self, meta: TrackMeta) -> bool {
        let TrackMeta {
            track_id,
            metadata,
            kind,
            stream_id,
        } = meta;
        let known = self.entries.iter().position(|entry| entry.track_id == track_id);
        let (bag, bytes) = match metadata.map(|bag| (weight(&bag), bag)) {
            Some((bytes, bag)) if bytes <= TRACK_META_BYTES_MAX => (bag, bytes),
            // Too big to be kept is as good as not said.
            _ => return known.and_then(|index| self.entries.remove(index)).is_some(),
        };
        let mut entry = Entry {
            track_id,
            bag,
            kind,
            stream_id,
            bytes,
        };
        if let Some(old) = known.and_then(|index| self.entries.get_mut(index)) {
            std::mem::swap(old, &mut entry);
            let changed = old.bag != entry.bag || old.kind != entry.kind || old.stream_id != entry.stream_id;
            let track_id = old.track_id.clone();
            self.make_room(0, 0, &track_id);
            return changed;
        }
        self.make_room(1, entry.bytes, "");
        self.entries.push_back(entry);
        true
    }

    /// Drops the oldest until so many more fit. Track ids are never empty, so an empty `keep` keeps none.
    fn make_room(&mut self, entries: usize, bytes: usize, keep: &str) {
        let mut total = bytes + self.entries.iter().map(|entry| entry.bytes).sum::<usize>();
        while self.entries.len() + entries > TRACK_META_ENTRIES || total > TRACK_META_BYTES_MAX {
            let oldest = self.entries.iter().position(|entry| entry.track_id != keep);
            let Some(dropped) = oldest.and_then(|index| self.entries.remove(index)) else {
                return;
            };
            total -= dropped.bytes;
        }
    }

    /// The peer has gone.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How many tracks are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bag of one track id.
    pub fn get(&self, track_id: &str) -> Option<&Metadata> {
        self.entries
            .iter()
            .find(|entry| entry.track_id == track_id)
            .map(|entry| &entry.bag)
    }

    /// The bag that belongs to a received track. `signalled` are the track ids of all sections of the same
    /// description: an entry for one of them belongs to that section and to no other.
    ///
    /// The track id decides. Browsers that sign their sections with other ids than their tracks have are matched by
    /// stream and kind, and at last by there being no choice; both only if all candidates say the same.
    pub fn find(&self, track: TrackQuery<'_>, signalled: &[&str]) -> Option<&Metadata> {
        if let Some(bag) = track.track_id.and_then(|track_id| self.get(track_id)) {
            return Some(bag);
        }
        let unmatched = || {
            self.entries
                .iter()
                .filter(|entry| !signalled.contains(&entry.track_id.as_str()))
        };
        let kind = track.kind.as_str();
        if let Some(stream) = track.stream_id {
            let same = |entry: &&Entry| {
                entry.stream_id.as_deref() == Some(stream) && entry.kind.as_deref() == Some(kind)
            };
            let mut same = unmatched().filter(same).peekable();
            if same.peek().is_some() {
                return agreed(same);
            }
        }
        agreed(unmatched().filter(|entry| {
            let other_kind = entry.kind.as_deref().is_some_and(|other| other != kind);
            let other_stream = entry.stream_id.is_some() && entry.stream_id.as_deref() != track.stream_id;
            !other_kind && !other_stream
        }))
    }
}

/// Of one value or member, besides its text.
const NODE_BYTES: usize = 32;

/// What a bag takes in memory, roughly: a short text can be a thousand values.
fn weight(bag: &Metadata) -> usize {
    let member = |(name, value): (&String, &Value)| NODE_BYTES + name.len() + value_weight(value);
    bag.iter().map(member).sum()
}

/// The same of a value.
pub(super) fn value_weight(value: &Value) -> usize {
    NODE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(value_weight).sum(),
            Value::Object(bag) => weight(bag),
            _ => 0,
        }
}

/// The bag of all these entries, if they have the same.
fn agreed<'a>(mut entries: impl Iterator<Item = &'a Entry>) -> Option<&'a Metadata> {
    let first = entries.next()?;
    entries.all(|entry| entry.bag == first.bag).then_some(&first.bag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(track: &str, label: &str, kind: Option<&str>, stream: Option<&str>) -> TrackMeta {
        TrackMeta {
            track_id: track.into(),
            metadata: json!({"label": label}).as_object().cloned(),
            kind: kind.map(Into::into),
            stream_id: stream.map(Into::into),
        }
    }

    fn label(bag: Option<&Metadata>) -> Option<&str> {
        bag?.get("label")?.as_str()
    }

    fn video<'a>(track_id: Option<&'a str>, stream_id: Option<&'a str>) -> TrackQuery<'a> {
        TrackQuery {
            kind: MediaKind::Video,
            track_id,
            stream_id,
        }
    }

    #[test]
    fn c149_first_in_first_out_but_updates_stay() {
        let mut cache = TrackMetaCache::default();
        for n in 0..TRACK_META_ENTRIES {
            assert!(cache.apply(meta(&n.to_string(), "x", None, None)));
        }
        assert!(cache.apply(meta("0", "new", None, None)));
        assert!(!cache.apply(meta("0", "new", None, None)));
        assert_eq!(label(cache.get("0")), Some("new"));
        assert!(cache.apply(meta("more", "x", None, None)));
        assert_eq!((cache.len(), cache.get("0")), (TRACK_META_ENTRIES, None));
        let clear = TrackMeta {
            metadata: None,
            ..meta("more", "", None, None)
        };
        assert!(cache.apply(clear.clone()));
        assert!(!cache.apply(clear));
    }

    #[test]
    fn big_bags_make_room_for_each_other_and_too_big_ones_are_not_kept() {
        let mut cache = TrackMetaCache::default();
        let big = |track: &str, bytes: usize| meta(track, &"x".repeat(bytes), None, None);
        for n in 0..100 {
            assert!(cache.apply(big(&n.to_string(), 60_000)));
        }
        assert!((16..18).contains(&cache.len()), "{}", cache.len());
        assert!(cache.get("99").is_some() && cache.get("0").is_none());
        // One that grows in place pushes the others out, not itself.
        let oldest = (100 - cache.len()).to_string();
        assert!(cache.apply(big(&oldest, TRACK_META_BYTES_MAX - 1000)));
        assert_eq!((cache.len(), cache.get(&oldest).is_some()), (1, true));
        assert!(cache.apply(big(&oldest, TRACK_META_BYTES_MAX)));
        assert!(cache.is_empty());
        assert!(!cache.apply(big("never", TRACK_META_BYTES_MAX)));
        // Many small values weigh more than their text.
        let list = TrackMeta {
            metadata: json!({"x": vec![0; 40_000]}).as_object().cloned(),
            ..meta("list", "", None, None)
        };
        assert!(!cache.apply(list));
    }

    #[test]
    fn c151_track_id_then_stream_and_kind() {
        let mut cache = TrackMetaCache::default();
        cache.apply(meta("t1", "one", Some("video"), Some("s")));
        cache.apply(meta("t2", "two", Some("video"), Some("s")));
        assert_eq!(
            label(cache.find(video(Some("t1"), Some("s")), &["t1", "t2"])),
            Some("one")
        );
        // Both could be meant, and they differ.
        assert_eq!(cache.find(video(Some("{x}"), Some("s")), &["{x}"]), None);
        // One of them is signalled elsewhere.
        assert_eq!(
            label(cache.find(video(Some("{x}"), Some("s")), &["{x}", "t1"])),
            Some("two")
        );
        // Neither kind nor stream may contradict.
        assert_eq!(cache.find(video(None, Some("other")), &["t1"]), None);
        let audio = TrackQuery {
            kind: MediaKind::Audio,
            ..video(None, Some("s"))
        };
        assert_eq!(cache.find(audio, &["t1"]), None);
    }

    #[test]
    fn the_only_remainder_is_taken() {
        let mut cache = TrackMetaCache::default();
        cache.apply(meta("t1", "one", None, None));
        assert_eq!(
            label(cache.find(video(Some("{x}"), Some("s")), &["{x}"])),
            Some("one")
        );
        cache.apply(meta("t2", "one", None, None));
        assert_eq!(label(cache.find(video(None, None), &[])), Some("one"));
        cache.apply(meta("t3", "three", None, None));
        assert_eq!(cache.find(video(None, None), &[]), None);
    }
}
