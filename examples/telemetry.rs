//! A daemon that reports the state of its machine at a fixed rate, for months.
//!
//! ```text
//! METERED_API_KEY=pk_… cargo run --no-default-features --features signalling --example telemetry -- fleet/7 --rate 2
//! ```
//!
//! It starts before its network is there, never resends and never queues: a reading that cannot be sent now is of no
//! use later, and is counted. Ctrl-C or SIGTERM end it with a summary. With `--attempts` it gives up after so many
//! failures in a row, with exit code 1, for a service manager to decide.

mod support;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use gstmeteredwebrtc::signalling::{Event, ReconnectOptions, Refusal, RequestError, SignallingClient};
use serde::Serialize;
use support::service::Service;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

/// Readings whose acknowledgement is awaited at the same time. More than this, and the network is too slow for the
/// rate.
const UNDER_WAY: usize = 64;

/// Publishes readings of this machine at a fixed rate.
#[derive(Parser)]
struct Arguments {
    /// Channel to publish in
    #[arg(value_parser = support::service::channel)]
    channel: String,
    /// Readings per second, up to 50
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    rate: f64,
    /// Failed attempts in a row after which to give up; without it, never
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    attempts: Option<u32>,
    /// Seconds between two lines about progress
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = positive)]
    report: f64,
    #[command(flatten)]
    service: Service,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    match number > 0.0 && number <= 86_400.0 {
        true => Ok(number),
        false => Err("it must be greater than 0 and at most 86400".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    positive(text).and_then(|rate| match rate <= 50.0 {
        true => Ok(rate),
        false => {
            Err("the service takes at most 100 messages a second from everything on a connection".to_owned())
        }
    })
}

#[derive(Serialize)]
struct Reading {
    sequence: u64,
    uptime_seconds: f64,
    /// Of the last minute; absent where the system does not tell.
    load: Option<f64>,
}

/// What has become of the readings.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    /// The connection was lost before the answer: they may have arrived or not.
    unknown: AtomicU64,
    /// There was no connection, or too much was under way.
    skipped: AtomicU64,
}

impl Counts {
    fn count(&self, result: &Result<(), RequestError>) {
        let counter = match result {
            Ok(()) => &self.acknowledged,
            Err(RequestError::Request(Refusal::NotConnected | Refusal::QueueFull)) => &self.skipped,
            Err(error) if error.is_certainly_undone() => &self.refused,
            Err(_) => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} acknowledged, {} refused, {} unknown, {} skipped",
            get(&self.acknowledged),
            get(&self.refused),
            get(&self.unknown),
            get(&self.skipped)
        )
    }
}

fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// One line per change; the text of a failure says what to do about it.
fn tell(event: &Event) {
    match event {
        Event::Connected(connected) => eprintln!("connected as {}", connected.peer_id),
        Event::Disconnected(lost) if lost.will_reconnect => eprintln!("connection lost ({})", lost.code),
        Event::ConnectFailed(failed) => match failed.retry_in {
            Some(delay) => eprintln!("{}; next attempt in {:.1} s", failed.failure, delay.as_secs_f64()),
            None => eprintln!("{}", failed.failure),
        },
        Event::TokenProviderError(error) => {
            eprintln!(
                "no token for the {}th time: {}",
                error.consecutive_failures, error.error
            )
        }
        Event::ServerError(error) => eprintln!("the server reports {}", error.code),
        _ => {}
    }
}

/// Until it is told to end (true) or the client has given up (false).
async fn publish_readings(
    client: &SignallingClient,
    arguments: &Arguments,
    counts: &Arc<Counts>,
) -> Result<bool, Box<dyn Error>> {
    let mut events = client.events();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut ticks = interval(Duration::from_secs_f64(1.0 / arguments.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut reports = interval(Duration::from_secs_f64(arguments.report));
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let (start, mut sequence) = (Instant::now(), 0);

    let connecting = client.clone();
    tokio::spawn(async move { connecting.connect().await });
    loop {
        tokio::select! {
            Some(event) = events.next() => {
                tell(&event);
                if matches!(&event, Event::Disconnected(lost) if !lost.will_reconnect) {
                    return Ok(false);
                }
            }
            _ = ticks.tick() => {
                sequence += 1;
                let reading = Reading { sequence, uptime_seconds: start.elapsed().as_secs_f64(), load: load() };
                let Ok(permit) = under_way.clone().try_acquire_owned() else {
                    counts.skipped.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let (client, counts, channel) = (client.clone(), counts.clone(), arguments.channel.clone());
                tokio::spawn(async move {
                    counts.count(&client.publish(&channel, &reading).await);
                    drop(permit);
                });
            }
            _ = reports.tick() => eprintln!("{counts}"),
            _ = tokio::signal::ctrl_c() => return Ok(true),
            _ = terminate.recv() => return Ok(true),
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let reconnect = ReconnectOptions {
        attempts: arguments.attempts,
        ..ReconnectOptions::default()
    };
    let mut arguments = arguments;
    let service = std::mem::take(&mut arguments.service);
    let options = service.options()?.reconnect(reconnect).retry_first_connect(true);
    let client = SignallingClient::new(options)?;
    let counts = Arc::new(Counts::default());
    let content = publish_readings(&client, &arguments, &counts).await?;
    client.close().await;
    println!("{counts}");
    Ok(content)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
