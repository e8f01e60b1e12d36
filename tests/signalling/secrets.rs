//! Nothing that the library says contains a credential, whatever goes wrong.
//!
//! The scenes run in a child process that writes everything it gets to hear to its standard output; the parent looks
//! through that and through what the library itself may have written.

use std::fmt::{Debug, Display};
use std::process::{Command, Stdio};
use std::time::Duration;

use gstmeteredwebrtc::signalling::{ClientOptions, Credentials, SignallingClient, SubscribeOptions};
use serde_json::json;

use super::run::{Run, fast, options_with};
use super::server::{CLOSE, Conn, FIN, Server, TEXT};

const KEY: &str = "pk_live_Quu7+zebra/Nightfall=Umbrella";
const TOKEN: &str = "eyJhbGciOi.Walrus%Ginger&Lantern=.Sig-Marmalade";
const TURN_PASSWORD: &str = "Tangerine\"Hovercraft\\Ledger";
const TURN_USER: &str = "1699999:Periwinkle-Octopus";
const SECRETS: [&str; 4] = [KEY, TOKEN, TURN_PASSWORD, TURN_USER];

/// A shorter part is no use to anybody, and found by chance.
const PART: usize = 12;

/// Set in the child.
const CHILD: &str = "SIGNALLING_SECRETS_CHILD";

fn say(what: &(impl Debug + ?Sized)) {
    println!("{what:?}\n{what:#?}");
}

fn say_error(error: &(impl Debug + Display)) {
    say(error);
    println!("{error}");
}

fn key() -> Credentials {
    Credentials::api_key(KEY)
}

fn provider() -> Credentials {
    Credentials::token_provider(|| async { Ok::<_, String>(TOKEN.to_owned()) })
}

async fn ending(mut run: Run) {
    say(run.client());
    run.abandon();
    for event in run.all().await {
        say(&event);
    }
}

/// Everything works, and everything can be asked for.
async fn good(credentials: Credentials) {
    let server = Server::start().await;
    let options = options_with(&server, credentials).origin("https://app.example");
    say(&options);
    let mut run = Run::new(options);
    say(run.client());
    let connecting = run.connecting();
    let mut conn = server.upgraded().await;
    let relay = json!({"urls": "turn:relay.example", "username": TURN_USER, "credential": TURN_PASSWORD});
    conn.json(
        json!({"type": "welcome", "peerId": "me", "serverTime": 1, "maxMessageSize": 65536,
                     "iceServers": [relay.clone()], "metadata": {"iceServers": [relay]}}),
    )
    .await;
    say(&connecting.await.unwrap());
    say(&run.client().ice_servers());
    let client = run.client();
    say_error(&client.publish("c", &"x".repeat(70_000)).await.unwrap_err());
    let (result, ()) = tokio::join!(client.subscribe("c", SubscribeOptions::default()), async {
        let request = conn.receive().await;
        let id = &request["requestId"];
        conn.json(json!({"type": "error", "requestId": id, "code": "forbidden", "message": "no"}))
            .await;
    });
    say_error(&result.unwrap_err());
    conn.frame(FIN | TEXT, b"\xff").await;
    conn.ended().await;
    // Lost, and refused with an echo of the request on the way back.
    let mut conn = server.accept().await;
    let request = conn.request().await;
    let echo = format!(
        "HTTP/1.1 503 x\r\nContent-Length: {}\r\n\r\n{request}",
        request.len()
    );
    conn.write(echo.as_bytes()).await;
    let mut conn = server.welcomed().await;
    run.until("welcome again").await;
    conn.frame(FIN | CLOSE, &[0x0f, 0xa1]).await;
    conn.ended().await;
    ending(run).await;
}

/// Each of these answers to the upgrade fails in a way of its own.
async fn bad(credentials: impl Fn() -> Credentials) {
    for echo in [true, false] {
        for begin in [
            "",
            "garbage\r\n",
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n",
            "HTTP/1.1 401 No\r\nContent-Length: 300\r\n",
            "HTTP/1.1 403 No\r\nX-Echo: ",
            "HTTP/1.1 429 No\r\n",
            "HTTP/1.1 500 No\r\n",
            "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
            "HTTP/1.1 999999 x\r\n",
            "HTTP/1.1 200 \u{1}\r\n",
        ] {
            let server = Server::start().await;
            let run = Run::new(options_with(&server, credentials()).retry_first_connect(false));
            let connecting = run.connecting();
            let mut conn = server.accept().await;
            let request = conn.request().await;
            let rest = if echo { request.as_str() } else { "\r\n\r\n" };
            conn.write(format!("{begin}{rest}").as_bytes()).await;
            drop(conn);
            say_error(&connecting.await.unwrap().unwrap_err());
            ending(run).await;
        }
    }
}

async fn unreachable(credentials: impl Fn() -> Credentials) {
    for url in [
        "ws://127.0.0.1:1",
        "wss://127.0.0.1:1",
        "ws://[::1]:1",
        "wss://name.invalid",
    ] {
        let options = ClientOptions::new(credentials()).endpoint(url).reconnect(fast());
        let run = Run::new(options);
        say_error(&run.client().connect().await.unwrap_err());
        ending(run).await;
    }
    // A TLS client meets something else.
    let server = Server::start().await;
    let url = format!("wss://localhost:{}", server.port);
    let run = Run::new(ClientOptions::new(credentials()).endpoint(url));
    let (result, ()) = tokio::join!(run.client().connect(), async {
        let mut conn: Conn = server.accept().await;
        conn.write(b"HTTP/1.1 400 x\r\n\r\n").await;
    });
    say_error(&result.unwrap_err());
    ending(run).await;
    // Options that are refused.
    for url in [
        "http://rms.example",
        "ws://rms.example",
        "wss://rms.example/path",
        "::",
        "",
    ] {
        let options = ClientOptions::new(credentials()).endpoint(url);
        if let Err(error) = SignallingClient::new(options) {
            say_error(&error);
        }
    }
    let options = ClientOptions::new(credentials())
        .ca_file("/nowhere")
        .endpoint("wss://localhost:1");
    let run = Run::new(options);
    say_error(&run.client().connect().await.unwrap_err());
    ending(run).await;
}

/// Providers whose trouble shows the token in one of the forms that are known to carry one.
async fn talkative() {
    let trouble = || async {
        Err::<String, _>(format!(
            "GET https://auth.example/v1?token={} failed",
            TOKEN.replace('&', "%26")
        ))
    };
    let server = Server::start().await;
    let options =
        options_with(&server, Credentials::token_provider(trouble)).token_timeout(Duration::from_secs(1));
    let mut run = Run::new(options);
    let connecting = run.connecting();
    run.until("token error 4").await;
    run.client().close().await;
    say_error(&connecting.await.unwrap().unwrap_err());
    ending(run).await;
    let command = format!("echo '{TOKEN}' > /dev/null; exit 3");
    let options = options_with(&server, Credentials::token_command(command)).retry_first_connect(false);
    say(&options);
    let run = Run::new(options);
    say_error(&run.client().connect().await.unwrap_err());
    ending(run).await;
    // Bytes that cannot be in a URL as they are.
    for token in [
        format!("{TOKEN}\r\nX-Header: 1"),
        format!("{TOKEN}\0"),
        format!("ü {TOKEN}"),
    ] {
        let options = options_with(&server, Credentials::token(token)).retry_first_connect(false);
        let run = Run::new(options);
        let connecting = run.connecting();
        server.accept().await.reset();
        say_error(&connecting.await.unwrap().unwrap_err());
        ending(run).await;
    }
}

#[tokio::test]
async fn scenes() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    good(key()).await;
    good(provider()).await;
    good(Credentials::token(TOKEN)).await;
    bad(key).await;
    bad(provider).await;
    unreachable(key).await;
    unreachable(provider).await;
    talkative().await;
    println!("all scenes are over");
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            },
        )
        .collect()
}

/// The parts of a secret in all the forms in which it could show.
fn parts(secret: &str) -> Vec<String> {
    let escaped = format!("{secret:?}");
    let forms = [
        secret.to_owned(),
        percent_encoded(secret),
        escaped.trim_matches('"').to_owned(),
    ];
    let parts = forms.iter().flat_map(|form| {
        let ends = PART..=form.len();
        ends.map(|end| form[end - PART..end].to_owned())
    });
    parts.collect()
}

#[test]
fn c165_nothing_that_the_library_says_contains_a_credential() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "secrets::scenes", "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(
        child.status.success() && said.contains("all scenes are over"),
        "{said}"
    );
    // It did say something.
    for word in [
        "SignallingClient",
        "ClientOptions",
        "HttpRefused",
        "ice_servers",
        "relay.example",
        "Unreachable",
    ] {
        assert!(said.contains(word), "{word}");
    }
    let folded = said.to_lowercase();
    for part in SECRETS.iter().flat_map(|secret| parts(secret)) {
        let lines = said
            .lines()
            .filter(|line| line.to_lowercase().contains(&part.to_lowercase()));
        assert!(
            !folded.contains(&part.to_lowercase()),
            "{part} in: {:#?}",
            lines.collect::<Vec<_>>()
        );
    }
}
