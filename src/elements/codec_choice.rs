//! Which codecs a pad is offered with, and which are taken: the user's wish, cut to what is installed.

use crate::core::io::{Codec, MediaKind};
use crate::media::{codecs, encoders};
use crate::session;

fn wanted(kind: MediaKind, property: Option<&gst::Caps>) -> Result<Option<Vec<Codec>>, String> {
    property
        .map(|caps| codecs::codecs_of_property(kind, caps))
        .transpose()
        .map_err(|error| error.to_string())
}

/// Codecs to send raw media with, in order of preference; not empty.
pub fn sendable(kind: MediaKind, property: Option<&gst::Caps>) -> Result<Vec<Codec>, String> {
    let wanted = match wanted(kind, property)? {
        Some(wanted) => wanted,
        None => codecs::encodable(kind),
    };
    usable(kind, wanted, |codec| {
        encoders::best(codec).err().map(|error| error.to_string())
    })
}

/// Codecs to take, in order of preference; not empty.
pub fn receivable(kind: MediaKind, property: Option<&gst::Caps>) -> Result<Vec<Codec>, String> {
    let wanted = match wanted(kind, property)? {
        Some(wanted) => wanted,
        None => codecs::decodable(kind),
    };
    usable(kind, wanted, |_| None)
}

fn usable(
    kind: MediaKind,
    wanted: Vec<Codec>,
    missing: impl Fn(Codec) -> Option<String>,
) -> Result<Vec<Codec>, String> {
    let mut problem = None;
    let mut usable = wanted;
    usable.retain(
        |codec| match missing(*codec).or_else(|| session::unavailable(*codec)) {
            Some(text) => {
                problem.get_or_insert(text);
                false
            }
            None => true,
        },
    );
    match (usable.is_empty(), problem) {
        (false, _) => Ok(usable),
        (true, Some(problem)) => Err(problem),
        (true, None) => Err(format!("no {} codec is installed or allowed", kind.as_str())),
    }
}
