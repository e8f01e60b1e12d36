//! Memory over many connections: it has to stay where it is.

use std::time::{Duration, Instant};

use gstmeteredwebrtc::signalling::{ClientOptions, Credentials, ReconnectOptions, SignallingClient};

use crate::{Result, local};

/// Lines of the table.
const SAMPLES: usize = 10;

/// Resident memory of this process, in KiB.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

/// A client in this process, and a server that welcomes it and closes.
pub async fn run(count: usize) -> Result {
    let (listener, url) = local::listen().await?;
    let options = ClientOptions::new(Credentials::api_key("pk_dev"))
        .endpoint(url)
        .retry_first_connect(true)
        .reconnect(ReconnectOptions {
            initial: Duration::from_millis(1),
            multiplier: 1.0,
            max: Duration::from_millis(1),
            jitter: 0.0,
            attempts: None,
            ..ReconnectOptions::default()
        });
    let client = SignallingClient::new(options)?;
    let mut connections = client.connections();
    let first = client.clone();
    let connecting = tokio::spawn(async move { first.connect().await });
    let start = Instant::now();
    let every = (count / SAMPLES).max(1);
    let mut samples = Vec::new();
    for n in 1..=count {
        local::close(local::welcome(&listener).await?).await?;
        // The client has seen it.
        connections.next().await.ok_or("the client has ended")?;
        if n % every == 0 {
            samples.push(resident()?);
            println!("after {n:>6} connections: {:>6} KiB", resident()?);
        }
    }
    connecting.await??;
    let (first, last) = (
        samples.first().ok_or("no samples")?,
        samples.last().ok_or("no samples")?,
    );
    println!(
        "resident memory, first and last sample: {first} and {last} KiB ({:.3}x), {:.0} connections/s",
        *last as f64 / *first as f64,
        count as f64 / start.elapsed().as_secs_f64()
    );
    client.close().await;
    Ok(())
}
