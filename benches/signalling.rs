//! Measurements of the signalling client; `scripts/bench signalling` runs them all. Prints ratios of one run and
//! fails on none: absolute times say more about the machine than about the code.
//!
//! * `parse`: frames read per second, against `serde_json::Value` as the floor
//! * `reconnects N`: memory over so many connections
//! * `flood N`: a server that sends so many messages to who subscribes, as fast as they are taken
//! * `client URL`: does what the lines on standard input say, as round_trip.mjs and round_trip.py do

#[path = "signalling/client.rs"]
mod client;
#[path = "signalling/local.rs"]
mod local;
#[path = "signalling/parse.rs"]
mod parse;
#[path = "signalling/reconnects.rs"]
mod reconnects;

use std::error::Error;

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match words[..] {
        ["parse"] => parse::run(),
        ["reconnects", count] => runtime.block_on(reconnects::run(count.parse()?)),
        ["flood", count] => runtime.block_on(local::flood(count.parse()?)),
        ["client", url] => runtime.block_on(client::run(url)),
        _ => Err("parse | reconnects N | flood N | client URL".into()),
    }
}
