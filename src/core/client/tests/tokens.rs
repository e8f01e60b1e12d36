//! The token provider and its failures.

use super::*;

/// The numbers with which `TokenProviderError` was told.
fn told(bench: &Bench) -> Vec<u32> {
    let told = |event: &ClientEvent| match event {
        ClientEvent::TokenProviderError {
            consecutive_failures, ..
        } => Some(*consecutive_failures),
        _ => None,
    };
    bench.events.iter().filter_map(told).collect()
}

#[test]
fn c056_giving_up_on_tokens_ends_with_a_word() {
    let mut bench = Bench::connected(with_attempts(2, token_config()));
    bench.closed(1006);
    for _ in 0..2 {
        bench.until_attempt();
        assert!(bench.finals().is_empty());
        bench.token(Err("no"));
    }
    assert_eq!(bench.finals(), [CloseCode::ABNORMAL]);
    assert_eq!(bench.client.state(), ClientState::Closed);
    assert!(bench.urls().is_empty());
    bench.advance(secs(1000));
    assert_eq!(bench.finals().len(), 1);
}

#[test]
fn c058_the_provider_is_asked_for_every_attempt() {
    let mut bench = Bench::new(token_config());
    bench.connect();
    for n in 1..=5 {
        let asked = |output: &&NetOutput| matches!(output, NetOutput::FetchToken(_));
        assert_eq!(bench.net.iter().filter(asked).count(), n);
        assert_eq!(bench.urls().len(), n - 1);
        bench.token(Ok(&format!("t{n}")));
        assert_eq!(
            *bench.urls().last().unwrap(),
            format!("wss://a.example/v1?token=t{n}")
        );
        if n == 1 {
            bench.open();
            bench.welcome();
        }
        bench.closed(1006);
        bench.until_attempt();
    }
}

#[test]
fn c058_ten_seconds_without_an_answer_are_a_failure() {
    let mut bench = Bench::connected(token_config());
    bench.closed(1006);
    bench.until_attempt();
    bench.events.clear();
    bench.advance(secs(10) - Duration::from_millis(1));
    assert!(bench.events.is_empty());
    bench.advance(Duration::from_millis(1));
    assert!(matches!(
        bench.failures()[..],
        [(ConnectFailure::Token { .. }, true)]
    ));
    // The late answer is nobody's.
    bench.token(Ok("late"));
    assert!(bench.urls().is_empty());
    assert!((Duration::from_millis(800)..=Duration::from_millis(1200)).contains(&bench.until_attempt()));
}

/// The provider may hang for ever; nobody waits for it any more.
#[test]
fn c027_c058_a_question_that_is_given_up_is_withdrawn() {
    let mut bench = Bench::new(ClientConfig {
        retry_first_connect: true,
        ..token_config()
    });
    bench.connect();
    bench.advance(secs(10));
    let withdrawn = |bench: &Bench| match bench.net[..] {
        [.., NetOutput::FetchToken(asked), NetOutput::ForgetToken(id)] => asked == id,
        _ => false,
    };
    assert!(withdrawn(&bench), "{:?}", bench.net);
    bench.until_attempt();
    bench.client.close();
    bench.drain();
    assert!(withdrawn(&bench), "{:?}", bench.net);
}

#[test]
fn c058_the_limit_can_be_set() {
    let mut bench = Bench::new(ClientConfig {
        token_timeout: secs(2),
        ..token_config()
    });
    bench.connect();
    bench.advance(secs(2));
    // A first connect is not tried again.
    assert!(matches!(
        bench.failures()[..],
        [(ConnectFailure::Token { .. }, false)]
    ));
    assert_eq!(bench.finals(), [CloseCode::ABNORMAL]);
}

#[test]
fn a_second_answer_to_one_question_is_ignored() {
    let mut bench = Bench::new(token_config());
    bench.connect();
    bench.token(Ok("one"));
    bench.token(Ok("two"));
    bench.token(Err("three"));
    assert_eq!(bench.urls(), ["wss://a.example/v1?token=one"]);
    assert_eq!(bench.client.state(), ClientState::Connecting);
}

#[test]
fn c059_the_third_failure_in_a_row_and_every_further_one_is_told() {
    let mut bench = Bench::connected(token_config());
    bench.closed(1006);
    let fail = |bench: &mut Bench| {
        bench.until_attempt();
        bench.token(Err("GET https://b/?token=abc failed"));
        told(bench)
    };
    assert!(fail(&mut bench).is_empty());
    assert!(fail(&mut bench).is_empty());
    assert_eq!(fail(&mut bench), [3]);
    assert_eq!(fail(&mut bench), [3, 4]);
    assert!(!format!("{:?}", bench.events).contains("abc"));
    bench.until_attempt();
    // Success starts the count over, also if the connection then fails.
    bench.token(Ok("good"));
    bench.end(reset());
    assert_eq!(fail(&mut bench), [3, 4]);
    assert_eq!(fail(&mut bench), [3, 4]);
    assert_eq!(fail(&mut bench), [3, 4, 3]);
}

#[test]
fn c059_all_kinds_of_failure_count() {
    let mut bench = Bench::connected(token_config());
    bench.closed(1006);
    bench.until_attempt();
    bench.token(Err("no"));
    bench.until_attempt();
    bench.token(Ok(""));
    bench.until_attempt();
    bench.advance(secs(10));
    assert_eq!(told(&bench), [3]);
    // The event comes before the failure it belongs to.
    let last = &bench.events[bench.events.len() - 2..];
    assert!(matches!(
        last,
        [
            ClientEvent::TokenProviderError { .. },
            ClientEvent::ConnectFailed {
                retry_in: Some(_),
                ..
            },
        ]
    ));
}

#[test]
fn c059_a_new_connect_starts_the_count_over() {
    let mut bench = Bench::connected(token_config());
    bench.closed(1006);
    for _ in 0..2 {
        bench.until_attempt();
        bench.token(Err("no"));
    }
    bench.close();
    bench.connect();
    bench.token(Err("no"));
    assert!(told(&bench).is_empty());
}

#[test]
fn c060_an_empty_token_is_a_failure() {
    let mut bench = Bench::new(token_config());
    bench.connect();
    bench.token(Ok(""));
    assert!(bench.urls().is_empty());
    assert!(matches!(
        bench.failures()[..],
        [(ConnectFailure::Token { .. }, false)]
    ));
    let mut bench = Bench::connected(token_config());
    bench.closed(1006);
    bench.until_attempt();
    bench.token(Ok(""));
    assert!(bench.urls().is_empty());
    assert!(matches!(
        bench.failures()[..],
        [(ConnectFailure::Token { .. }, true)]
    ));
}
