//! Requests and their answers.

use std::collections::HashSet;

use super::*;

fn failed(bench: &Bench, id: RequestId, error: RequestError) -> bool {
    bench.events.contains(&ClientEvent::RequestFailed(id, error))
}

#[test]
fn c028_the_flag_is_sent_only_when_it_is_set() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("a").unwrap();
    bench.subscribe_with("a", true).unwrap();
    let flags: Vec<Option<Value>> = bench
        .sent()
        .iter()
        .map(|frame| frame.get("includeSenderMetadata").cloned())
        .collect();
    assert_eq!(flags, [None, Some(json!(true))]);
}

#[test]
fn c029_every_request_has_an_id_of_its_own() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("a").unwrap();
    bench.unsubscribe("b").unwrap();
    bench.publish(json!(1)).unwrap();
    bench.send("a", json!(1), Priority::Data).unwrap();
    // The replay is a request too.
    bench.reopen();
    bench.welcome();
    let ids = bench.sent_members("requestId");
    assert_eq!(ids.len(), 5);
    assert!(
        ids.iter()
            .all(|id| (1..=128).contains(&id.as_str().unwrap().len()))
    );
    assert_eq!(ids.iter().map(Value::to_string).collect::<HashSet<_>>().len(), 5);
}

#[test]
fn c036_an_error_rejects_its_request_at_once_whatever_its_code() {
    let mut bench = Bench::connected(key_config());
    let id = bench.publish(json!(1)).unwrap();
    bench.frame(json!({"type": "error", "requestId": id.to_string(), "code": "brand_new", "message": "m"}));
    let error = RequestError::Server {
        code: "brand_new".into(),
        message: Some("m".into()),
    };
    assert_eq!(bench.events, [ClientEvent::RequestFailed(id, error)]);
    // It is over: neither an ack nor time says more.
    bench.ack(id);
    bench.advance(secs(15));
    assert_eq!(bench.events.len(), 1);
}

#[test]
fn c037_an_error_of_no_request_is_told_as_such() {
    let mut bench = Bench::connected(key_config());
    let id = bench.publish(json!(1)).unwrap();
    bench.ack(id);
    bench.events.clear();
    for request_id in [json!("somebody else's"), json!(id.to_string()), Value::Null] {
        bench.frame(json!({"type": "error", "requestId": request_id, "code": "over_message_quota"}));
    }
    let told = |event: &ClientEvent| matches!(event, ClientEvent::ServerError { code, .. } if code == "over_message_quota");
    assert_eq!(bench.events.len(), 3);
    assert!(bench.events.iter().all(told));
}

#[test]
fn c038_unknown_acks_are_ignored() {
    let mut bench = Bench::connected(key_config());
    let ids = [bench.publish(json!(1)).unwrap(), bench.publish(json!(2)).unwrap()];
    bench.frame(json!({"type": "ack", "requestId": "somebody else's"}));
    bench.frame(json!({"type": "ack", "requestId": RequestId::from_random(7).to_string()}));
    assert!(bench.events.is_empty());
    bench.ack(ids[1]);
    bench.ack(ids[1]);
    assert_eq!(bench.events, [ClientEvent::Acked(ids[1])]);
}

#[test]
fn c039_no_ack_in_fifteen_seconds() {
    let mut bench = Bench::connected(key_config());
    let id = bench.publish(json!({})).unwrap();
    bench.advance(secs(15) - Duration::from_millis(1));
    assert!(bench.events.is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(
        bench.events,
        [ClientEvent::RequestFailed(id, RequestError::AckTimeout)]
    );
    bench.ack(id);
    assert_eq!(bench.events.len(), 1);
    assert_eq!(bench.client.state(), ClientState::Connected);
}

#[test]
fn the_time_for_an_ack_starts_when_the_frame_leaves() {
    let mut bench = Bench::connected(ClientConfig {
        inactivity_window: Duration::ZERO,
        ..key_config()
    });
    let ids: Vec<RequestId> = (0..190)
        .map(|n| bench.send("a", json!(n), Priority::Data).unwrap())
        .collect();
    bench.advance(Duration::from_millis(15_200));
    assert!(failed(&bench, ids[0], RequestError::AckTimeout));
    assert!(!failed(&bench, ids[189], RequestError::AckTimeout));
    bench.advance(secs(1));
    assert!(failed(&bench, ids[189], RequestError::AckTimeout));
}

#[test]
fn c040_without_a_connection_nothing_is_sent() {
    let check = |bench: &mut Bench| {
        let (before, error) = (bench.sent().len(), Err(RequestError::NotConnected));
        assert_eq!(bench.subscribe("c"), error);
        assert_eq!(bench.unsubscribe("c"), error);
        assert_eq!(bench.publish(json!(1)), error);
        assert_eq!(bench.send("a", json!(1), Priority::Description), error);
        assert_eq!(bench.sent().len(), before);
    };
    let mut bench = Bench::new(key_config());
    check(&mut bench);
    bench.connect();
    check(&mut bench);
    bench.open();
    bench.welcome();
    bench.closed(1006);
    check(&mut bench);
    bench.until_attempt();
    bench.open();
    check(&mut bench);
    // Nor afterwards: nothing is kept for better times.
    bench.welcome();
    assert!(bench.sent().is_empty());
    bench.close();
    check(&mut bench);
}

#[test]
fn c041_what_is_too_large_fails_here() {
    let mut bench = Bench::connected(key_config());
    let data = json!("x".repeat(65_537));
    for error in [
        bench.publish(data.clone()),
        bench.send("a", data, Priority::Description),
    ] {
        let Err(RequestError::Oversized { size, cap: 65_536 }) = error else {
            panic!("{error:?}")
        };
        assert!(size > 65_537);
    }
    assert!(bench.net.is_empty());
    // A larger limit of a later welcome counts.
    bench.reopen();
    bench.frame(json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": 100_000}));
    bench.publish(json!("x".repeat(65_537))).unwrap();
}

#[test]
fn c042_the_whole_frame_counts() {
    let mut bench = Bench::connected(key_config());
    let fits = 65_536 - Client::frame_size(&peer("a"), &json!(""));
    bench.send("a", json!("x".repeat(fits)), Priority::Data).unwrap();
    assert_eq!(
        bench.send("a", json!("x".repeat(fits + 1)), Priority::Data),
        Err(RequestError::Oversized {
            size: 65_537,
            cap: 65_536
        })
    );
    // Bytes, not characters.
    assert!(
        bench
            .send("a", json!("ä".repeat(fits / 2 + 1)), Priority::Data)
            .is_err()
    );
    let texts: Vec<usize> = bench
        .net
        .iter()
        .filter_map(|output| match output {
            NetOutput::SendText(_, text) => Some(text.len()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, [65_536]);
}

#[test]
fn c042_subscriptions_and_pings_too() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("studio").unwrap();
    bench.reopen();
    bench.net.clear();
    bench.events.clear();
    bench.frame(json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": 10}));
    assert!(matches!(
        bench.subscribe("other"),
        Err(RequestError::Oversized { cap: 10, .. })
    ));
    assert!(matches!(
        bench.unsubscribe("x"),
        Err(RequestError::Oversized { cap: 10, .. })
    ));
    bench.advance(secs(59));
    assert!(bench.sent().is_empty());
    // Trying again would not make it smaller.
    let refused: Vec<&ClientEvent> = bench
        .events
        .iter()
        .filter(|event| matches!(event, ClientEvent::ResubscribeFailed { .. }))
        .collect();
    assert!(matches!(
        refused[..],
        [ClientEvent::ResubscribeFailed {
            will_retry: false,
            ..
        }]
    ));
    // The channel that was kept is kept, the one that could not be asked for is not.
    bench.reconnect();
    assert_eq!(bench.sent_members("channel"), [json!("studio")]);
}

#[test]
fn c061_requests_fail_before_the_loss_is_told() {
    let mut bench = Bench::connected(key_config());
    // The last ones of these still wait for their turn.
    let ids: Vec<RequestId> = (0..160).map(|n| bench.publish(json!(n)).unwrap()).collect();
    bench.closed(1006);
    let failures = ids
        .iter()
        .map(|id| ClientEvent::RequestFailed(*id, RequestError::Disconnected));
    assert!(bench.events.iter().take(160).cloned().eq(failures));
    let after = &bench.events[160..];
    let (from, to) = (ClientState::Connected, ClientState::Reconnecting);
    assert!(
        matches!(after, [ClientEvent::Disconnected { will_reconnect: true, .. }, state]
        if *state == ClientEvent::StateChanged { from, to })
    );
    // They are not sent again.
    bench.until_attempt();
    bench.open();
    bench.net.clear();
    bench.welcome();
    bench.advance(secs(2));
    assert!(bench.sent().is_empty());
}

#[test]
fn signals_for_a_peer_that_has_gone_are_withdrawn() {
    let mut bench = Bench::connected(key_config());
    for n in 0..150 {
        bench.publish(json!(n)).unwrap();
    }
    let id = bench.send("a", json!(1), Priority::Candidate).unwrap();
    bench.send("b", json!(1), Priority::Candidate).unwrap();
    bench.client.forget_peer(&peer("a"));
    bench.drain();
    assert_eq!(
        bench.events,
        [ClientEvent::RequestFailed(id, RequestError::Cancelled)]
    );
    bench.advance(secs(1));
    assert_eq!(bench.sent().len(), 151);
}

proptest::proptest! {
    /// The limit of the service is about the whole frame, so the frame that is measured must be the one that is sent.
    #[test]
    fn the_size_of_a_frame_is_the_length_of_the_text_that_is_sent(text in ".*", to in "[a-zé\"\\\\]{1,9}") {
        let (to, data) = (peer(&to), json!({"text": text}));
        let size = Client::frame_size(&to, &data);
        let mut bench = Bench::connected(key_config());
        bench.client.max_message_size = size - 1;
        let refused = bench.client.send(bench.now, &to, &data, Priority::Data);
        proptest::prop_assert_eq!(refused, Err(RequestError::Oversized { size, cap: size - 1 }));
        bench.client.max_message_size = size;
        proptest::prop_assert!(bench.client.send(bench.now, &to, &data, Priority::Data).is_ok());
        bench.drain();
        let [NetOutput::SendText(_, sent)] = &bench.net[..] else { panic!("one frame: {:?}", bench.net) };
        proptest::prop_assert_eq!(sent.len(), size);
    }
}
