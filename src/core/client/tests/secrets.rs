//! What must not be shown is not.

use super::*;

const SECRETS: [&str; 7] = [
    "pk_live",
    "eyJtok",
    "s3cret-pwd",
    "fr4g",
    "turn-pass",
    "turn-user",
    "room-pin",
];

fn check(shown: &str) {
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

fn sdp() -> Value {
    let sdp = "v=0\r\na=ice-ufrag:fr4g\r\na=ice-pwd:s3cret-pwd\r\n";
    json!({"type": "rtc-description", "description": {"type": "offer", "sdp": sdp}})
}

#[test]
fn c165_debug_output_has_no_secrets() {
    for config in [key_config(), token_config()] {
        let mut bench = Bench::new(config);
        let now = bench.now;
        bench.client.connect(now).unwrap();
        check(&format!("{:?}", bench.client));
        bench.drain();
        bench.token(Ok("eyJtok"));
        bench.open();
        bench.frame(
            json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": 65536, "metadata": {
            "iceServers": [{"urls": "turn:t", "username": "turn-user", "credential": "turn-pass"}],
            "credential": "room-pin"}}),
        );
        // What waits for its turn, and what waits to be taken.
        for n in 0..200 {
            bench
                .client
                .send(now, &peer("a"), &sdp(), Priority::Candidate)
                .unwrap();
            bench
                .client
                .publish(now, &channel("c"), &json!({"credential": "turn-pass", "n": n}))
                .unwrap();
        }
        let direct = json!({"type": "direct", "from": "a", "data": sdp()}).to_string();
        let input = NetInput::Text(bench.socket(), direct);
        check(&format!("{input:?}"));
        bench.client.handle_net(now, input);
        check(&format!("{:?}", bench.client));
        bench.drain();
        check(&format!("{:?}", bench.net));
        check(&format!("{:?}", bench.events));
        check(&format!(
            "{:?}",
            NetInput::Token(bench.socket(), Ok(Secret::new("eyJtok".into())))
        ));
    }
}

#[test]
fn c165_what_others_say_about_our_url_is_scrubbed() {
    let detail = || "GET wss://a/v1?key=pk_live_7Qd2&x=1 and ?token=eyJtok failed".to_owned();
    let ends = [
        SocketEnd::Closed {
            code: 4001,
            reason: detail(),
        },
        SocketEnd::Lost { detail: detail() },
        SocketEnd::Unreachable {
            detail: detail(),
            certificate: false,
        },
        SocketEnd::Unreachable {
            detail: detail(),
            certificate: true,
        },
    ];
    for end in ends {
        let mut bench = Bench::new(key_config());
        bench.connect();
        bench.end(end);
        check(&format!("{:?}", bench.events));
        check(&bench.failures()[0].0.to_string());
    }
    let mut bench = Bench::connected(key_config());
    let id = bench.publish(json!(1)).unwrap().to_string();
    for id in [json!(id), Value::Null] {
        bench.frame(json!({"type": "error", "code": "x", "message": detail(), "requestId": id}));
    }
    bench.closed(1006);
    assert!(bench.events.len() > 2);
    check(&format!("{:?}", bench.events));
    let mut bench = Bench::new(token_config());
    bench.connect();
    bench.token(Err(&detail()));
    check(&format!("{:?}", bench.events));
    check(&bench.failures()[0].0.to_string());
}

#[test]
fn c166_errors_do_not_repeat_the_servers_words() {
    let words = "server words";
    let closed = |code| ConnectFailure::Closed {
        code: CloseCode(code),
        reason: words.into(),
    };
    for code in [1000, 1006, 1008, 4001, 4002, 4003, 4010, 4020, 4999] {
        let text = closed(code).to_string();
        assert!(
            !text.contains(words) && text.contains(&code.to_string()),
            "{text}"
        );
    }
    for status in [401, 403, 429, 500] {
        let error = Some("server_words".to_owned());
        let text = ConnectFailure::HttpRefused { status, error }.to_string();
        assert!(
            !text.contains("server_words") && text.contains(&status.to_string()),
            "{text}"
        );
    }
    let error = RequestError::Server {
        code: "brand_new".into(),
        message: Some(words.into()),
    };
    assert_eq!(error.to_string(), "the server refused the request: brand_new");
}
