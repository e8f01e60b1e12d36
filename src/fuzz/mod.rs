//! Bodies of the fuzz targets: bytes in, a panic if a promise is broken.
//!
//! Compiled for tests and for cargo-fuzz only (`--cfg fuzzing`). `fuzz/` gives each of them to libFuzzer; the test
//! at the end replays `tests/corpus`, so what was found once is checked by every `cargo test`. The machines are
//! driven by scripts, one fact per line, so that the corpus can be read and written by hand.

mod client;
mod clock;
#[cfg(test)]
mod laws;
mod metadata;
mod negotiator;
mod room;
mod scrub;
mod sdp;
mod wire;

// The models that the tests of these machines use.
#[cfg(not(test))]
#[path = "../core/negotiator/tests/bin.rs"]
mod bin;
#[cfg(not(test))]
#[path = "../core/room/tests/ledger.rs"]
mod ledger;
#[cfg(test)]
use crate::core::{negotiator::tests::bin, room::tests::ledger};

pub use client::client;
pub use metadata::metadata;
pub use negotiator::negotiator;
pub use room::room;
pub use scrub::scrub;
pub use sdp::sdp;
pub use wire::{endpoint, frame, ice_servers, names};

/// Most lines of a script that are looked at: more add time, not coverage.
const MAX_LINES: usize = 400;

/// The lines of a script.
fn lines(data: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(data);
    text.split('\n').take(MAX_LINES).map(str::to_owned).collect()
}

/// The number a text starts with, at most `max`.
fn number(text: &str, max: u64) -> u64 {
    let digits = text.trim_start().bytes().take_while(u8::is_ascii_digit);
    digits.fold(0, |n: u64, digit| {
        n.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
            .min(max)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    type Target = (&'static str, fn(&[u8]));

    /// What `fuzz/fuzz_targets` has, by the names of their corpora.
    const TARGETS: [Target; 10] = [
        ("client", super::client),
        ("endpoint", super::endpoint),
        ("frame", super::frame),
        ("ice_servers", super::ice_servers),
        ("metadata", super::metadata),
        ("names", super::names),
        ("negotiator", super::negotiator),
        ("room", super::room),
        ("scrub", super::scrub),
        ("sdp", super::sdp),
    ];

    fn replay(name: &str, target: fn(&[u8])) -> usize {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/corpus")
            .join(name);
        let mut count = 0;
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            // The name of the file is what a failure is looked for by.
            println!("{}", path.display());
            target(&data);
            count += 1;
        }
        count
    }

    #[test]
    fn the_corpus_breaks_no_promise() {
        for (name, target) in TARGETS {
            assert!(replay(name, target) > 0, "{name} has no corpus");
        }
    }

    /// Cuts and repeats of the corpus: what libFuzzer tries first, without libFuzzer.
    #[test]
    fn pieces_of_the_corpus_break_no_promise() {
        for (name, target) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/corpus")
                .join(name);
            let mut rng = fastrand::Rng::with_seed(7);
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let data = std::fs::read(&path).unwrap();
                let (a, b) = (rng.usize(0..=data.len()), rng.usize(0..=data.len()));
                let (a, b) = (a.min(b), a.max(b));
                println!("{a}..{b} of {}", path.display());
                target(&data[..a]);
                target(&data[a..b]);
                target(&[&data[..b], &data[a..]].concat());
            }
        }
    }
}
