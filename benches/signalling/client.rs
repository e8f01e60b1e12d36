//! A publisher and a subscriber in one process. Lines on standard input say what they do, one line of JSON answers
//! each: `trip COUNT RATE`, `publish COUNT`, `receive`.

use std::time::{Duration, Instant};

use gstmeteredwebrtc::signalling::{
    ClientOptions, Credentials, Events, Message, SignallingClient, SubscribeOptions,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::Result;

/// Publishes that wait for their answers.
const WINDOW: usize = 64;

/// The programs that are compared take turns on one server.
fn channel() -> String {
    format!("bench-{}", std::process::id())
}

async fn connected(url: &str) -> Result<SignallingClient> {
    let client = SignallingClient::new(ClientOptions::new(Credentials::api_key("pk_dev")).endpoint(url))?;
    client.connect().await?;
    Ok(client)
}

/// Microseconds from publish to message, one at a time, so many a second.
async fn trip(
    publisher: &SignallingClient,
    messages: &mut Events<Message>,
    count: usize,
    rate: f64,
) -> Result<Vec<f64>> {
    let channel = channel();
    let mut trips = Vec::with_capacity(count);
    let start = tokio::time::Instant::now();
    for n in 0..count {
        tokio::time::sleep_until(start + Duration::from_secs_f64(n as f64 / rate)).await;
        let data = json!({"n": n});
        let sent = Instant::now();
        // The message may come before the answer.
        let (done, (message, trip)) = tokio::join!(publisher.publish(&channel, &data), async {
            (messages.next().await, sent.elapsed())
        });
        done?;
        trips.push(trip.as_secs_f64() * 1e6);
        let message = message.ok_or("the subscriber has ended")?;
        if message.data["n"] != n {
            return Err(format!("{} instead of {n}", message.data).into());
        }
    }
    Ok(trips)
}

/// Seconds until all are acknowledged.
async fn publish(publisher: &SignallingClient, count: usize) -> Result<f64> {
    let start = Instant::now();
    let workers: Vec<_> = (0..WINDOW)
        .map(|worker| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                for n in (worker..count).step_by(WINDOW) {
                    publisher.publish("nobody", &json!({"n": n})).await?;
                }
                Ok::<(), gstmeteredwebrtc::signalling::RequestError>(())
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// How many messages a flood brought, and the seconds from the subscription to the last.
async fn receive(client: &SignallingClient) -> Result<(usize, f64)> {
    let mut messages = client.messages();
    let (mut count, start) = (0, Instant::now());
    client.subscribe("flood", SubscribeOptions::default()).await?;
    while let Some(message) = messages.next().await {
        if message.data == "end" {
            return match messages.missed() {
                0 => Ok((count, start.elapsed().as_secs_f64())),
                missed => Err(format!("{missed} events were dropped").into()),
            };
        }
        count += 1;
    }
    Err("the client has ended".into())
}

pub async fn run(url: &str) -> Result {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let client = connected(url).await?;
    let mut pair = None;
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["trip", count, rate] => {
                if pair.is_none() {
                    let subscriber = connected(url).await?;
                    let messages = subscriber.messages();
                    subscriber
                        .subscribe(&channel(), SubscribeOptions::default())
                        .await?;
                    pair = Some((subscriber, messages));
                }
                let Some((_, messages)) = &mut pair else { continue };
                json!(trip(&client, messages, count.parse()?, rate.parse()?).await?)
            }
            ["publish", count] => json!(publish(&client, count.parse()?).await?),
            ["receive"] => json!(receive(&client).await?),
            _ => return Err("trip COUNT RATE | publish COUNT | receive".into()),
        };
        println!("{answer}");
    }
    client.close().await;
    Ok(())
}
