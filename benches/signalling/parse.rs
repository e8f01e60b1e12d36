//! What reading a frame costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gstmeteredwebrtc::wire::ServerFrame;
use serde_json::{Value, json};

use crate::Result;

/// Of each side of a comparison.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(100);

/// Members of the large snapshot.
const CROWD: usize = 10_000;

fn frames() -> Vec<(&'static str, Value)> {
    let sdp = "a=candidate:1 1 UDP 2122260223 192.0.2.1 54321 typ host\r\n".repeat(60);
    let members = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|n| json!({"peerId": format!("peer-{n:05}"), "metadata": {"username": format!("User {n}")}}))
            .collect()
    };
    let presence =
        |count| json!({"type": "presence", "channel": "lobby", "joined": members(count), "left": []});
    vec![
        (
            "ack",
            json!({"type": "ack", "requestId": "0b0f6a5e-6f6c-4f0e-9d1d-6b2f3a1c9e11"}),
        ),
        (
            "small message",
            json!({"type": "message", "channel": "studio/7", "from": "cam-3", "data": {"cue": 4, "text": "hello"}}),
        ),
        (
            "direct with a description of 3 kB",
            json!({"type": "direct", "from": "cam-3", "data": {"description": {"type": "offer", "sdp": sdp}}}),
        ),
        (
            "message of 60 kB",
            json!({"type": "message", "channel": "studio/7", "from": "cam-3", "data": "x".repeat(60_000)}),
        ),
        ("presence, one arrival", presence(1)),
        ("presence, snapshot of 10000", presence(CROWD)),
    ]
}

/// Runs per second during one round.
fn rate(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut runs = 0u32;
    while start.elapsed() < ROUND {
        for _ in 0..8 {
            run();
        }
        runs += 8;
    }
    f64::from(runs) / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// On one core. The two sides take turns, so that both see the same machine.
pub fn run() -> Result {
    println!(
        "{:<36} {:>8} {:>12} {:>12} {:>9}",
        "frame", "bytes", "frames/s", "Value/s", "time"
    );
    for (name, frame) in frames() {
        let text = frame.to_string();
        ServerFrame::parse(&text)?;
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(rate(|| drop(black_box(ServerFrame::parse(black_box(&text))))));
            floor.push(rate(|| {
                drop(black_box(serde_json::from_str::<Value>(black_box(&text))))
            }));
        }
        let (ours, floor) = (median(ours), median(floor));
        println!(
            "{name:<36} {:>8} {ours:>12.0} {floor:>12.0} {:>8.2}x",
            text.len(),
            floor / ours
        );
    }
    Ok(())
}
