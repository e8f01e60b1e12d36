//! Silence and signs of life.

use super::*;

fn with_window(inactivity_window: Duration) -> Bench {
    Bench::connected(ClientConfig {
        inactivity_window,
        ..key_config()
    })
}

/// The next frame that is sent, and when.
fn next_frame(bench: &mut Bench) -> (Duration, Value) {
    let (start, before) = (bench.now, bench.sent().len());
    while bench.sent().len() == before {
        let at = bench.client.poll_timeout().expect("nothing is waited for");
        bench.advance(at - bench.now);
    }
    (bench.now - start, bench.sent()[before].clone())
}

#[test]
fn c017_silence_pings_and_traffic_suppresses_it() {
    let mut bench = Bench::connected(key_config());
    assert_eq!(next_frame(&mut bench), (secs(20), json!({"type": "ping"})));
    assert_eq!(next_frame(&mut bench), (secs(20), json!({"type": "ping"})));
    bench.frame(json!({"type": "pong"}));
    for _ in 0..10 {
        bench.advance(secs(19));
        bench.frame(json!({"type": "presence", "channel": "c", "joined": [], "left": []}));
    }
    assert_eq!(bench.sent().len(), 2);
    // What we send ourselves is no sign of life.
    bench.advance(secs(19));
    bench.publish(json!(1)).unwrap();
    bench.advance(secs(1));
    assert_eq!(bench.sent_types(), ["ping", "ping", "publish", "ping"]);
}

#[test]
fn c017_a_third_of_the_window_but_not_below_a_second() {
    assert_eq!(next_frame(&mut with_window(secs(9))).0, secs(3));
    assert_eq!(next_frame(&mut with_window(secs(2))).0, secs(1));
}

#[test]
fn c018_silence_of_the_window_reconnects() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(60) - Duration::from_millis(1));
    assert_eq!(bench.sent_types(), ["ping", "ping"]);
    assert!(bench.events.is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.close_codes(), [4000]);
    let lost = |event: &ClientEvent| {
        matches!(
            event,
            ClientEvent::Disconnected {
                code: CloseCode(4000),
                will_reconnect: true,
                ..
            }
        )
    };
    assert!(bench.has(lost));
    assert_eq!(bench.client.state(), ClientState::Reconnecting);
    assert!(bench.until_attempt() < secs(1));
    assert_eq!(bench.urls().len(), 1);
}

#[test]
fn c018_it_counts_from_the_last_frame() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(59));
    bench.frame(json!({"type": "pong"}));
    bench.advance(secs(59));
    assert!(bench.close_codes().is_empty());
    bench.advance(secs(1));
    assert_eq!(bench.close_codes(), [4000]);
}

#[test]
fn c019_no_window_no_watchdog_and_no_pings() {
    // The type has no NaN; a window beyond all clocks is as good as none.
    let mut bench = with_window(Duration::ZERO);
    assert_eq!(bench.client.poll_timeout(), None);
    bench.advance(secs(100_000));
    assert!(bench.net.is_empty() && bench.events.is_empty());
    let mut bench = with_window(Duration::MAX);
    bench.advance(secs(100_000));
    assert!(bench.net.is_empty() && bench.events.is_empty());
}

#[test]
fn c020_malformed_text_is_a_sign_of_life_and_binary_is_not() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(15));
    bench.input(NetInput::Text(bench.socket(), "no json".into()));
    bench.advance(secs(15));
    assert!(bench.sent().is_empty());
    bench.input(NetInput::Activity(bench.socket()));
    bench.advance(secs(5));
    assert_eq!(bench.sent_types(), ["ping"]);
    for _ in 0..8 {
        bench.advance(secs(5));
        bench.input(NetInput::Activity(bench.socket()));
    }
    assert_eq!(bench.close_codes(), [4000]);
}

#[test]
fn c021_the_error_of_a_server_without_pings_is_swallowed() {
    let mut bench = Bench::connected(key_config());
    bench.frame(json!({"type": "error", "code": "unknown_type", "message": "m"}));
    assert!(bench.events.is_empty());
    // Exactly that shape.
    let id = bench.publish(json!(1)).unwrap();
    bench.frame(json!({"type": "error", "code": "unknown_type", "requestId": id.to_string()}));
    bench.frame(json!({"type": "error", "code": "unknown_type", "requestId": "x"}));
    bench.frame(json!({"type": "error", "code": "malformed_message"}));
    assert!(matches!(&bench.events[..], [
        ClientEvent::RequestFailed(failed, RequestError::Server { code, .. }),
        ClientEvent::ServerError { code: unknown, .. },
        ClientEvent::ServerError { code: other, .. },
    ] if *failed == id && code == "unknown_type" && unknown == "unknown_type" && other == "malformed_message"));
}

#[test]
fn c022_text_over_one_mebibyte_ends_the_connection() {
    let direct = |len: usize| {
        let head = r#"{"type":"direct","from":"a","data":""#;
        format!("{head}{}\"}}", "x".repeat(len - head.len() - 2))
    };
    let mut bench = Bench::connected(key_config());
    bench.input(NetInput::Text(bench.socket(), direct(1_048_576)));
    assert!(matches!(
        &bench.events[..],
        [ClientEvent::Direct { size: 1_048_576, .. }]
    ));
    bench.events.clear();
    bench.input(NetInput::Text(bench.socket(), direct(1_048_577)));
    assert_eq!(bench.close_codes(), [1009]);
    let told = &bench.events[0];
    assert!(matches!(
        told,
        ClientEvent::Disconnected {
            code: CloseCode(1009),
            will_reconnect: true,
            ..
        }
    ));
    assert!(!bench.has(|event| matches!(event, ClientEvent::Direct { .. })));
    assert!(bench.until_attempt() < secs(1));
}

#[test]
fn c025_going_away_changes_no_state_but_the_next_delay() {
    let mut bench = Bench::connected(key_config());
    bench.advance(secs(10));
    bench.frame(json!({"type": "going_away"}));
    bench.frame(json!({"type": "going_away", "retryAfterMs": 20_000}));
    let told = [1, 20].map(|seconds| ClientEvent::GoingAway {
        retry_after: secs(seconds),
    });
    assert_eq!(bench.events, told);
    assert_eq!(bench.client.state(), ClientState::Connected);
    bench.publish(json!("still there")).unwrap();
    bench.closed(1001);
    let delay = bench.until_attempt();
    assert!((secs(20)..=secs(24)).contains(&delay), "{delay:?}");
    // Once.
    bench.end(reset());
    assert!(bench.until_attempt() < secs(2));
}

#[test]
fn an_announcement_that_comes_to_nothing_is_forgotten() {
    let mut bench = with_window(Duration::ZERO);
    bench.frame(json!({"type": "going_away", "retryAfterMs": 20_000}));
    bench.advance(secs(301));
    bench.closed(1006);
    assert!(bench.until_attempt() < secs(1));
}

#[test]
fn so_is_one_of_a_former_connect() {
    let mut bench = Bench::connected(key_config());
    bench.frame(json!({"type": "going_away", "retryAfterMs": 20_000}));
    bench.close();
    bench.connect();
    bench.open();
    bench.welcome();
    bench.closed(1006);
    assert!(bench.until_attempt() < secs(1));
}
