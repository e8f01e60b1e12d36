//! Subscriptions over reconnects.

use super::*;

impl Bench {
    /// The server says no to the newest request.
    fn refuse(&mut self) {
        let id = self.last_request();
        self.frame(json!({"type": "error", "requestId": id, "code": "internal_error"}));
    }

    /// For each failed replay, whether another try was promised.
    fn replays_failed(&self) -> Vec<bool> {
        let failed = |event: &ClientEvent| match event {
            ClientEvent::ResubscribeFailed { will_retry, .. } => Some(*will_retry),
            _ => None,
        };
        self.events.iter().filter_map(failed).collect()
    }
}

#[test]
fn c063_all_channels_are_restored_with_their_options() {
    let mut bench = Bench::connected(key_config());
    let names: Vec<String> = (0..100).map(|n| format!("c{n:02}")).collect();
    for (n, name) in names.iter().enumerate() {
        bench.subscribe_with(name, n % 3 == 0).unwrap();
    }
    // The last word counts.
    bench.subscribe_with("c00", false).unwrap();
    bench.unsubscribe("c99").unwrap();
    bench.reconnect();
    let sent = bench.sent();
    assert_eq!(sent.len(), 99);
    for (n, frame) in sent.iter().enumerate() {
        let flag = (n % 3 == 0 && n != 0).then_some(json!(true));
        assert_eq!(
            (&frame["type"], &frame["channel"]),
            (&json!("subscribe"), &json!(names[n]))
        );
        assert_eq!(frame.get("includeSenderMetadata"), flag.as_ref(), "{n}");
    }
    bench.events.clear();
    for frame in &sent {
        bench.frame(json!({"type": "ack", "requestId": frame["requestId"]}));
    }
    let restored: Vec<ClientEvent> = names[..99]
        .iter()
        .map(|name| ClientEvent::Resubscribed(channel(name)))
        .collect();
    assert_eq!(bench.events, restored);
}

#[test]
fn c063_options_that_change_while_away_count() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("a").unwrap();
    bench.closed(1006);
    assert_eq!(bench.subscribe_with("a", true), Err(RequestError::NotConnected));
    bench.until_attempt();
    bench.open();
    bench.net.clear();
    bench.welcome();
    assert_eq!(bench.sent_members("includeSenderMetadata"), [json!(true)]);
}

#[test]
fn a_first_welcome_and_a_new_connect_restore_nothing() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("a").unwrap();
    bench.close();
    bench.connect();
    bench.open();
    bench.net.clear();
    bench.welcome();
    bench.reconnect();
    assert!(bench.sent().is_empty());
}

#[test]
fn nothing_is_restored_if_the_application_does_not_want_it() {
    let mut bench = Bench::connected(ClientConfig {
        auto_resubscribe: false,
        ..key_config()
    });
    bench.subscribe("a").unwrap();
    bench.reconnect();
    bench.advance(secs(10));
    assert!(bench.sent().is_empty());
}

#[test]
fn c064_a_rejected_replay_is_retried_three_times() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("a").unwrap();
    bench.reconnect();
    for retry in 1..=3 {
        bench.refuse();
        bench.advance(secs(2) - Duration::from_millis(1));
        assert_eq!(bench.sent().len(), retry);
        bench.advance(Duration::from_millis(1));
        assert_eq!(bench.sent().len(), retry + 1);
    }
    bench.refuse();
    assert_eq!(bench.replays_failed(), [true, true, true, false]);
    bench.advance(secs(19));
    assert_eq!(bench.sent().len(), 4);
    // The next welcome starts over.
    bench.reconnect();
    assert_eq!(bench.sent_types(), ["subscribe"]);
    bench.refuse();
    assert_eq!(bench.replays_failed(), [true]);
}

#[test]
fn c064_an_unacknowledged_replay_too() {
    let mut bench = Bench::connected(ClientConfig {
        inactivity_window: Duration::ZERO,
        ..key_config()
    });
    bench.subscribe("a").unwrap();
    bench.reconnect();
    // 15 s of waiting and 2 s of spacing.
    for sent in 1..=4 {
        assert_eq!(bench.sent().len(), sent);
        bench.advance(secs(17));
    }
    bench.advance(secs(1000));
    assert_eq!(bench.sent().len(), 4);
    assert_eq!(bench.replays_failed(), [true, true, true, false]);
}

#[test]
fn c064_a_loss_schedules_no_retry() {
    // Once while a retry is waited for, once while a replay is under way.
    for refused in [true, false] {
        let mut bench = Bench::connected(key_config());
        bench.subscribe("a").unwrap();
        bench.reconnect();
        if refused {
            bench.refuse();
        }
        bench.events.clear();
        bench.reopen();
        bench.advance(secs(9));
        assert!(bench.replays_failed().is_empty());
        assert_eq!(bench.sent().len(), 1);
        bench.welcome();
        assert_eq!(bench.sent().len(), 2);
    }
}

#[test]
fn c064_a_channel_that_is_given_up_in_between_is_not_retried() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("a").unwrap();
    bench.subscribe("b").unwrap();
    bench.reconnect();
    let answers = bench.sent_members("requestId");
    bench.unsubscribe("a").unwrap();
    bench.client.untrack(&channel("b"));
    bench.net.clear();
    bench.events.clear();
    bench.frame(json!({"type": "error", "requestId": answers[0], "code": "internal_error"}));
    bench.frame(json!({"type": "ack", "requestId": answers[1]}));
    bench.advance(secs(10));
    assert!(bench.events.is_empty() && bench.sent().is_empty());
}

#[test]
fn c065_a_subscription_that_was_not_sent_is_not_restored() {
    let mut bench = Bench::connected(key_config());
    bench.closed(1006);
    assert_eq!(bench.subscribe("never"), Err(RequestError::NotConnected));
    bench.until_attempt();
    bench.open();
    bench.welcome();
    assert!(bench.sent().is_empty());
}

#[test]
fn c065_one_that_was_sent_is_whatever_became_of_it() {
    let mut bench = Bench::connected(key_config());
    let id = bench.subscribe("lost").unwrap();
    bench.subscribe("refused").unwrap();
    bench.refuse();
    bench.closed(1006);
    let failed = ClientEvent::RequestFailed(id, RequestError::Disconnected);
    assert!(bench.events.contains(&failed));
    bench.until_attempt();
    bench.open();
    bench.net.clear();
    bench.welcome();
    assert_eq!(bench.sent_members("channel"), [json!("lost"), json!("refused")]);
}

#[test]
fn c066_unsubscribing_counts_even_if_it_cannot_be_sent() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("gone").unwrap();
    bench.subscribe("lost").unwrap();
    bench.subscribe("kept").unwrap();
    let id = bench.unsubscribe("lost").unwrap();
    bench.closed(1006);
    assert!(
        bench
            .events
            .contains(&ClientEvent::RequestFailed(id, RequestError::Disconnected))
    );
    assert_eq!(bench.unsubscribe("gone"), Err(RequestError::NotConnected));
    bench.until_attempt();
    bench.open();
    bench.net.clear();
    bench.welcome();
    assert_eq!(bench.sent_members("channel"), [json!("kept")]);
}

#[test]
fn c074_a_refused_channel_can_be_forgotten_and_asked_for_again() {
    let mut bench = Bench::connected(key_config());
    bench.subscribe("a").unwrap();
    bench.refuse();
    bench.client.untrack(&channel("a"));
    bench.reconnect();
    assert!(bench.sent().is_empty());
    let id = bench.subscribe("a").unwrap();
    bench.ack(id);
    assert_eq!(bench.events.last(), Some(&ClientEvent::Acked(id)));
}

#[test]
fn c075_a_drop_during_a_join_is_told_and_closing_then_ends_it() {
    let mut bench = Bench::connected(key_config());
    let id = bench.subscribe("a").unwrap();
    bench.closed(1006);
    assert_eq!(
        bench.events[0],
        ClientEvent::RequestFailed(id, RequestError::Disconnected)
    );
    bench.close();
    bench.net.clear();
    bench.advance(secs(1000));
    assert!(bench.net.is_empty());
    assert_eq!(bench.client.state(), ClientState::Closed);
}
