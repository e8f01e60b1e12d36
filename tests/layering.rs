//! The layers know only what is below them (docs/architecture.md): greps the sources for forbidden names.
//!
//! Comments are ignored, so a file may say why it does not use something.

use std::fs;
use std::path::{Path, PathBuf};

/// Folder below `src`, and what its code must not name.
const RULES: [(&str, &[&str]); 9] = [
    (
        "wire",
        &[
            "gst",
            "glib",
            "tokio",
            "Instant::now",
            "SystemTime",
            "thread",
            "core",
            "sdp",
            "net",
            "session",
        ],
    ),
    (
        "sdp",
        &[
            "gst",
            "glib",
            "tokio",
            "Instant::now",
            "SystemTime",
            "thread",
            "core",
            "net",
            "session",
        ],
    ),
    (
        "core",
        &[
            "gst",
            "glib",
            "tokio",
            "SystemTime",
            "thread",
            "net",
            "session",
            "media",
            "elements",
        ],
    ),
    (
        "net",
        &["gst", "glib", "signalling", "session", "media", "elements"],
    ),
    ("signalling", &["gst", "glib", "session", "media", "elements"]),
    (
        "session",
        &["tokio", "core::client", "core::room", "net", "elements"],
    ),
    (
        "media",
        &[
            "tokio",
            "core::client",
            "core::room",
            "session",
            "net",
            "elements",
        ],
    ),
    ("wire", &["fastrand", "rand"]),
    ("sdp", &["fastrand", "rand"]),
];

/// Layers whose names are also ordinary words count only as module paths.
const MODULES: [&str; 7] = ["core", "sdp", "net", "signalling", "session", "media", "elements"];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code of a line.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// A file without its inline tests, which may read the clock, and without comments.
fn production(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| format!("{}\n", code(line))).collect()
}

fn names(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return false;
        }
        !MODULES.contains(&name) || before.ends_with("crate::") || before.ends_with("super::super::")
    })
}

/// `use crate::{core::io, wire}` names modules without a `crate::` before each.
fn grouped(code: &str, name: &str) -> bool {
    code.split("crate::{").skip(1).any(|group| {
        let group = group.split(';').next().unwrap_or_default();
        let member = |item: &str| item == name || item.starts_with(&format!("{name}::"));
        group.split(['{', ',', '}']).any(|item| member(item.trim()))
    })
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|n| n == "tests.rs")
}

#[test]
fn layers_know_only_what_is_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut offences = Vec::new();
    for (layer, forbidden) in RULES {
        let mut files = Vec::new();
        rust_files(&source.join(layer), &mut files);
        let single = source.join(layer).with_extension("rs");
        files.extend(single.exists().then_some(single));
        for file in files.iter().filter(|file| !is_test_file(file)) {
            let code = production(file);
            let hits = forbidden
                .iter()
                .filter(|name| names(&code, name) || grouped(&code, name));
            offences.extend(hits.map(|name| format!("{} names {name}", file.display())));
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn the_check_finds_what_it_looks_for() {
    assert!(names("use tokio::time;", "tokio"));
    assert!(names("let x = Instant::now();", "Instant::now"));
    assert!(names("use crate::net::Runtime;", "net"));
    assert!(!names("let net = self.net;", "net"));
    assert!(!names("tokiox", "tokio"));
    assert!(grouped("use crate::{\n    core::io,\n    net,\n};", "net"));
    assert!(!grouped("use crate::{wire};\nfn f(net: u8) {}", "net"));
    assert!(!names(code("// no tokio here"), "tokio"));
}
