//! How fast frames leave, and in which order.

use super::*;

/// So many frames have left that the next ones wait.
fn exhausted() -> Bench {
    let mut bench = Bench::connected(key_config());
    for n in 0..150 {
        bench.publish(json!(n)).unwrap();
    }
    assert_eq!(bench.sent().len(), 150);
    bench.net.clear();
    bench
}

#[test]
fn c026_frames_of_many_peers_stay_below_the_servers_limits() {
    let mut bench = Bench::connected(key_config());
    for n in 0..600 {
        bench
            .send(&format!("p{}", n % 30), json!(n), Priority::Candidate)
            .unwrap();
    }
    let (start, mut sent) = (bench.now, Vec::new());
    while sent.len() < 600 {
        sent.extend(vec![(bench.now - start).as_secs_f64(); bench.net.len()]);
        bench.net.clear();
        let at = bench.client.poll_timeout().unwrap();
        bench.advance(at - bench.now);
    }
    // The server lets 200 pass at once and 100 per second, in any window.
    for (first, from) in sent.iter().enumerate() {
        for (last, to) in sent.iter().enumerate().skip(first) {
            assert!(((last - first) as f64) < 200.0 + 100.0 * (to - from));
        }
    }
    assert!(sent[599] < 6.0, "{}", sent[599]);
}

#[test]
fn c026_the_rate_is_that_of_the_bucket() {
    let mut bench = Bench::connected(key_config());
    for n in 0..300 {
        bench.send("a", json!(n), Priority::Candidate).unwrap();
    }
    assert_eq!(bench.sent().len(), 150);
    bench.advance(secs(1));
    let sent = bench.sent().len();
    assert!((229..=231).contains(&sent), "{sent}");
    bench.advance(secs(1));
    assert_eq!(
        bench.sent_members("data"),
        (0..300).map(Value::from).collect::<Vec<_>>()
    );
}

#[test]
fn the_most_urgent_leave_first() {
    let mut bench = exhausted();
    bench.publish(json!("data")).unwrap();
    bench.send("a", json!("data too"), Priority::Data).unwrap();
    bench.send("b", json!("metadata"), Priority::Metadata).unwrap();
    bench.send("c", json!("candidate"), Priority::Candidate).unwrap();
    bench
        .send("d", json!("description"), Priority::Description)
        .unwrap();
    bench.subscribe("c").unwrap();
    assert!(bench.sent().is_empty());
    bench.advance(secs(1));
    let order: Vec<Value> = bench
        .sent()
        .into_iter()
        .map(|frame| frame.get("data").cloned().unwrap_or(frame["type"].clone()))
        .collect();
    let expected = [
        "subscribe",
        "description",
        "candidate",
        "metadata",
        "data",
        "data too",
    ];
    assert_eq!(order, expected.map(Value::from));
}

#[test]
fn what_one_peer_is_signalled_keeps_its_order() {
    let mut bench = exhausted();
    bench
        .send("other", json!("candidate"), Priority::Candidate)
        .unwrap();
    bench.send("a", json!("metadata"), Priority::Metadata).unwrap();
    bench.send("a", json!("offer"), Priority::Description).unwrap();
    bench
        .send("a", json!("its candidate"), Priority::Candidate)
        .unwrap();
    bench.advance(secs(1));
    let expected = ["metadata", "offer", "candidate", "its candidate"];
    assert_eq!(bench.sent_members("data"), expected.map(Value::from));
}

#[test]
fn full_queues_refuse() {
    let mut bench = exhausted();
    let full = Err(RequestError::QueueFull);
    let mut fill = |request: &mut dyn FnMut(&mut Bench) -> Result<RequestId, RequestError>| {
        let taken = (0..10_000).take_while(|_| request(&mut bench).is_ok()).count();
        assert_eq!(request(&mut bench), full);
        taken
    };
    assert_eq!(fill(&mut |bench| bench.publish(json!(1))), 1024);
    assert_eq!(
        fill(&mut |bench| bench.send("a", json!(1), Priority::Candidate)),
        4096
    );
    assert_eq!(fill(&mut |bench| bench.subscribe("c")), 1024);
    // The one that was refused is not restored later.
    assert_eq!(bench.subscribe("new"), full);
    assert_eq!(bench.unsubscribe("new"), full);
    bench.reconnect();
    assert_eq!(bench.sent_members("channel"), [json!("c")]);
}

#[test]
fn a_rate_violation_halves_the_rate() {
    let mut bench = exhausted();
    bench.closed(4011);
    bench.until_attempt();
    bench.open();
    bench.welcome();
    for n in 0..150 {
        bench.publish(json!(n)).unwrap();
    }
    assert_eq!(bench.sent().len(), 75);
    bench.advance(secs(1));
    let sent = bench.sent().len();
    assert!((114..=116).contains(&sent), "{sent}");
    // A new connect is a new client.
    bench.close();
    bench.connect();
    bench.open();
    bench.welcome();
    bench.net.clear();
    for n in 0..200 {
        bench.publish(json!(n)).unwrap();
    }
    assert_eq!(bench.sent().len(), 150);
}
