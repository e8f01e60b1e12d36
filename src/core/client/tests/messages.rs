use super::*;
use crate::wire::RequestId;

fn ack(bench: &mut Bench, id: RequestId) {
    bench.frame(json!({"type": "ack", "requestId": id.to_string()}));
}

#[test]
fn c021_unknown_type_without_request_is_swallowed() {
    let mut bench = Bench::connected(key_config());
    bench.frame(json!({"type": "error", "code": "unknown_type"}));
    assert!(bench.events.is_empty());
    bench.frame(json!({"type": "error", "code": "unknown_type", "requestId": "x"}));
    assert!(matches!(&bench.events[..], [ClientEvent::ServerError { code, .. }] if code == "unknown_type"));
}

#[test]
fn c026_frames_are_paced() {
    let mut bench = Bench::connected(key_config());
    for n in 0..300 {
        bench
            .client
            .send(bench.now, &peer("a"), &json!(n), Priority::Candidate)
            .unwrap();
    }
    bench.drain();
    assert_eq!(bench.sent().len(), 150);
    bench.advance(secs(1));
    assert!(
        (229..=231).contains(&bench.sent().len()),
        "{}",
        bench.sent().len()
    );
    bench.advance(secs(1));
    assert_eq!(bench.sent().len(), 300);
    let order: Vec<Value> = bench.sent().iter().map(|frame| frame["data"].clone()).collect();
    assert_eq!(order, (0..300).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn c036_c037_c038_answers() {
    let mut bench = Bench::connected(key_config());
    let ids: Vec<RequestId> = (0..3)
        .map(|_| {
            bench
                .client
                .publish(bench.now, &channel("c"), &Value::Null)
                .unwrap()
        })
        .collect();
    ack(&mut bench, ids[1]);
    ack(&mut bench, ids[1]);
    bench.frame(json!({"type": "ack", "requestId": "somebody else's"}));
    bench.frame(
        json!({"type": "error", "requestId": ids[0].to_string(), "code": "brand_new", "message": "m"}),
    );
    let error = RequestError::Server {
        code: "brand_new".into(),
        message: Some("m".into()),
    };
    assert_eq!(
        bench.events,
        [
            ClientEvent::Acked(ids[1]),
            ClientEvent::RequestFailed(ids[0], error)
        ]
    );
    bench.events.clear();
    bench.frame(json!({"type": "error", "requestId": ids[0].to_string(), "code": "late"}));
    assert!(matches!(&bench.events[..], [ClientEvent::ServerError { code, .. }] if code == "late"));
}

#[test]
fn c039_no_ack() {
    let mut bench = Bench::connected(key_config());
    let id = bench
        .client
        .publish(bench.now, &channel("c"), &json!({}))
        .unwrap();
    bench.advance(secs(15) - Duration::from_millis(1));
    assert!(bench.events.is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(
        bench.events,
        [ClientEvent::RequestFailed(id, RequestError::AckTimeout)]
    );
    ack(&mut bench, id);
    assert_eq!(bench.events.len(), 1);
}

#[test]
fn c040_not_connected() {
    let mut bench = Bench::new(key_config());
    let error = Err(RequestError::NotConnected);
    assert_eq!(bench.client.publish(bench.now, &channel("c"), &json!(1)), error);
    assert_eq!(
        bench
            .client
            .send(bench.now, &peer("a"), &json!(1), Priority::Description),
        error
    );
    bench.drain();
    assert!(bench.net.is_empty() && bench.events.is_empty());
}

#[test]
fn c041_c042_the_whole_frame_counts() {
    let mut bench = Bench::connected(key_config());
    let fits = 65_536 - Client::frame_size(&peer("a"), &json!(""));
    let send = |bench: &mut Bench, len: usize| {
        bench
            .client
            .send(bench.now, &peer("a"), &json!("x".repeat(len)), Priority::Data)
    };
    assert!(send(&mut bench, fits).is_ok());
    assert_eq!(
        send(&mut bench, fits + 1),
        Err(RequestError::Oversized {
            size: 65_537,
            cap: 65_536
        })
    );
    bench.drain();
    let Some(NetOutput::SendText(_, text)) = bench.net.first() else {
        panic!("nothing was sent")
    };
    assert_eq!((text.len(), bench.net.len()), (65_536, 1));
}

#[test]
fn c035_messages_are_delivered() {
    let mut bench = Bench::connected(key_config());
    bench.frame(json!({"type": "direct", "from": "a", "data": null, "fromMetadata": {"x": 1}}));
    bench.frame(json!({"type": "message", "channel": "c", "from": "backend", "data": [1]}));
    bench.frame(json!({"type": "presence", "channel": "c", "joined": [{"peerId": "a"}], "left": []}));
    bench.frame(json!({"type": "message", "channel": "c", "from": "backend"}));
    assert!(
        matches!(&bench.events[..], [
        ClientEvent::Direct { data: Value::Null, from_metadata: Some(_), .. },
        ClientEvent::Message { from, .. },
        ClientEvent::Presence { joined, .. },
        ClientEvent::FrameDropped(_),
    ] if from == "backend" && joined.len() == 1),
        "{:?}",
        bench.events
    );
}

#[test]
fn signals_for_a_peer_that_has_gone_are_withdrawn() {
    let mut bench = Bench::connected(key_config());
    for n in 0..150 {
        bench.client.publish(bench.now, &channel("c"), &json!(n)).unwrap();
    }
    let id = bench
        .client
        .send(bench.now, &peer("a"), &json!(1), Priority::Candidate)
        .unwrap();
    bench.client.forget_peer(&peer("a"));
    bench.drain();
    assert_eq!(
        bench.events,
        [ClientEvent::RequestFailed(id, RequestError::Cancelled)]
    );
    bench.advance(secs(1));
    assert_eq!(bench.sent().len(), 150);
}

#[test]
fn the_time_for_an_ack_starts_when_the_frame_leaves() {
    let mut bench = Bench::connected(ClientConfig {
        inactivity_window: Duration::ZERO,
        ..key_config()
    });
    let ids: Vec<RequestId> = (0..190)
        .map(|n| {
            bench
                .client
                .send(bench.now, &peer("a"), &json!(n), Priority::Data)
                .unwrap()
        })
        .collect();
    bench.advance(Duration::from_millis(15_200));
    let timed_out = |bench: &Bench, id: RequestId| {
        bench
            .events
            .contains(&ClientEvent::RequestFailed(id, RequestError::AckTimeout))
    };
    assert!(timed_out(&bench, ids[0]));
    assert!(!timed_out(&bench, ids[189]));
    bench.advance(secs(1));
    assert!(timed_out(&bench, ids[189]));
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
