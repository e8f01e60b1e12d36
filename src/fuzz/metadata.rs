//! What peers say about their tracks.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::core::io::MediaKind;
use crate::core::metadata::{TrackMetaCache, TrackQuery};
use crate::wire::DirectPayload;
use crate::wire::limits::TRACK_META_ENTRIES;

/// Each line is a payload as it comes in a direct message, or `? KIND TRACK STREAM` for a track that is received.
pub fn metadata(data: &[u8]) {
    let mut cache = TrackMetaCache::default();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for line in super::lines(data) {
        if let Some(words) = line.strip_prefix("? ") {
            look_up(&cache, words, &seen);
            continue;
        }
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let DirectPayload::TrackMeta(meta) = DirectPayload::classify(value) else {
            continue;
        };
        seen.insert(meta.track_id.clone());
        let (before, track, bag) = (
            cache.get(&meta.track_id).cloned(),
            meta.track_id.clone(),
            meta.metadata.clone(),
        );
        let changed = cache.apply(meta);
        assert!(changed || cache.get(&track) == before.as_ref());
        if bag.is_none() {
            assert_eq!(cache.get(&track), None);
        }
        // A bag that is too big on its own is not kept; anything else is what was said last.
        assert!(cache.get(&track).is_none_or(|kept| Some(kept) == bag.as_ref()));
        assert!(cache.len() <= TRACK_META_ENTRIES.min(seen.len()));
    }
    cache.clear();
    assert!(cache.is_empty());
}

fn look_up(cache: &TrackMetaCache, words: &str, seen: &BTreeSet<String>) {
    let mut words = words
        .split(' ')
        .map(|word| Some(word).filter(|word| *word != "-"));
    let kind = match words.next().flatten() {
        Some("audio") => MediaKind::Audio,
        _ => MediaKind::Video,
    };
    let (track_id, stream_id) = (words.next().flatten(), words.next().flatten());
    let signalled: Vec<&str> = words.flatten().collect();
    let query = TrackQuery {
        kind,
        track_id,
        stream_id,
    };
    if let Some(found) = cache.find(query, &signalled) {
        let owners = || seen.iter().filter(|track| cache.get(track) == Some(found));
        assert!(owners().next().is_some(), "a bag out of nowhere");
        // What belongs to another section of the description is not given to this one.
        assert!(owners().any(|track| track_id == Some(track) || !signalled.contains(&track.as_str())));
    }
}
