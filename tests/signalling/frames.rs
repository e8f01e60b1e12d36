//! Frames that are no good, and some that look like it.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::run::{Run, options};
use super::server::{BINARY, CLOSE, FIN, PING, Server, TEXT, message};

/// Largest text a client takes.
const LARGEST: usize = 1_048_576;

const GOOD: [&str; 3] = ["connecting", "connected", "welcome"];

/// What is harmless is ignored, and what follows arrives.
#[tokio::test]
async fn c021_noise_is_ignored() {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let mut conn = server.upgraded().await;
    // Also before the welcome.
    for text in ["{", "", "null", "[]", "{\"type\":7}", "{\"type\":\"pong\"}"] {
        conn.frame(FIN | TEXT, text.as_bytes()).await;
    }
    conn.json(message("too early")).await;
    conn.welcome().await;
    conn.frame(FIN | BINARY, &[0, 159, 146, 150]).await;
    conn.frame(FIN | BINARY, &[]).await;
    for text in [
        "{",
        "",
        "\u{0}",
        "[[[[",
        "{\"type\":\"tomorrow\"}",
        "{\"type\":\"message\"}",
        "\"welcome\"",
    ] {
        conn.frame(FIN | TEXT, text.as_bytes()).await;
    }
    let deep = "[".repeat(100_000);
    conn.frame(FIN | TEXT, deep.as_bytes()).await;
    conn.welcome().await;
    conn.json(json!({"type": "ack", "requestId": "unknown"})).await;
    conn.json(json!({"type": "error", "code": "unknown_type"})).await;
    conn.json(json!({"type": "error", "code": "brand_new", "message": "words"}))
        .await;
    // A text in three fragments, cut inside a character, with a ping in between.
    let text = message("ü").to_string().into_bytes();
    let cut = text.iter().position(|byte| *byte >= 0x80).unwrap() + 1;
    conn.frame(TEXT, &text[..cut]).await;
    conn.frame(FIN | PING, b"are you there").await;
    conn.frame(0, &text[cut..cut + 1]).await;
    conn.frame(FIN, &text[cut + 1..]).await;
    run.until("message \"ü\"").await;
    assert!(connecting.await.unwrap().is_ok());
    let dropped = |times| vec!["dropped"; times];
    let expected = [
        vec!["connecting"],
        dropped(7),
        vec!["connected", "welcome"],
        // Seven texts, one that is too deep, and a second welcome.
        dropped(9),
        vec![
            "error brand_new",
            "message \"ü\"",
            "disconnected 1000 final",
            "closed",
        ],
    ]
    .concat();
    let (_, code) = tokio::join!(run.end(&server, &expected), conn.close_code());
    assert_eq!(code, 1000);
}

#[tokio::test]
async fn c022_the_largest_text_arrives() {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let mut conn = server.welcomed().await;
    connecting.await.unwrap().unwrap();
    let empty = message("").to_string().len();
    let text = message("x".repeat(LARGEST - empty)).to_string();
    assert_eq!(text.len(), LARGEST);
    // In one frame and in many: the limit is the message's.
    conn.frame(FIN | TEXT, text.as_bytes()).await;
    for (n, part) in text.as_bytes().chunks(100_000).enumerate() {
        let first = if n == 0 { TEXT } else { 0 };
        conn.frame(first, part).await;
    }
    conn.frame(FIN, &[]).await;
    conn.json(message("end")).await;
    run.until("message \"end\"").await;
    let big = format!("message \"{}\"", "x".repeat(LARGEST - empty));
    let expected = [
        &GOOD[..],
        &[&big, &big, "message \"end\"", "disconnected 1000 final", "closed"],
    ]
    .concat();
    tokio::join!(run.end(&server, &expected), conn.close_code());
}

/// Sends something after which the connection cannot go on; it comes back, and the server was told why.
async fn fatal(bytes: &[u8], told: u16, seen: u16) {
    let server = Server::start().await;
    let mut run = Run::new(options(&server));
    let connecting = run.connecting();
    let conn = server.welcomed().await;
    connecting.await.unwrap().unwrap();
    // The client answers before it has read everything, so both directions go on at the same time.
    let (reader, mut writer) = tokio::io::split(conn.stream);
    let reader = super::server::Conn {
        stream: tokio::io::join(reader, tokio::io::sink()),
    };
    let sending = async {
        // It takes all of it, if only to throw it away: a reset could overtake the reason.
        writer.write_all(bytes).await.unwrap();
        let _ = writer.shutdown().await;
    };
    let (code, ()) = tokio::join!(reader.close_code(), sending);
    assert_eq!(code, told, "{:?}", &bytes[..bytes.len().min(8)]);
    let conn = server.welcomed().await;
    run.until("welcome again").await;
    let lost = format!("disconnected {seen} retry");
    let after = [
        &lost,
        "reconnecting",
        "connected",
        "welcome again",
        "disconnected 1000 final",
        "closed",
    ];
    let expected = [&GOOD[..], &after].concat();
    tokio::join!(run.end(&server, &expected), conn.close_code());
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    super::server::frame(first, payload)
}

#[tokio::test]
async fn c022_ten_megabytes_end_the_connection_with_1009() {
    fatal(&frame(FIN | TEXT, &vec![b'x'; 10_000_000]), 1009, 1009).await;
}

#[tokio::test]
async fn c022_fragments_that_are_too_much_together_end_it_with_1009() {
    let mut bytes = frame(TEXT, &vec![b'x'; LARGEST]);
    bytes.extend(frame(FIN, b"y"));
    fatal(&bytes, 1009, 1009).await;
}

/// A length is only a promise.
#[tokio::test]
async fn c022_a_length_beyond_all_measure_is_not_waited_for() {
    let mut bytes = vec![FIN | TEXT, 127];
    bytes.extend((i64::MAX as u64).to_be_bytes());
    fatal(&bytes, 1009, 1009).await;
}

#[tokio::test]
async fn text_that_is_no_text_ends_the_connection_with_1007() {
    fatal(&frame(FIN | TEXT, b"{\"type\":\"message\xff\"}"), 1007, 1006).await;
}

#[tokio::test]
async fn frames_against_the_rules_end_the_connection_with_1002() {
    for bytes in [
        // Reserved bits and opcodes.
        frame(FIN | 0x40 | TEXT, b"{}"),
        frame(FIN | 0x10 | TEXT, b"{}"),
        frame(FIN | 3, b"{}"),
        frame(FIN | 11, b"{}"),
        // A continuation of nothing, and a new text inside another.
        frame(FIN, b"{}"),
        [frame(TEXT, b"{"), frame(FIN | TEXT, b"{}")].concat(),
        // Control frames in pieces, and too long.
        frame(PING, b""),
        frame(FIN | PING, &[0; 126]),
        // Masked, as only clients do.
        [vec![FIN | TEXT, 0x82, 1, 2, 3, 4], b"{}".to_vec()].concat(),
    ] {
        fatal(&bytes, 1002, 1006).await;
    }
}

/// Close frames that a server must not send.
#[tokio::test]
async fn a_close_frame_without_sense_is_an_end_like_others() {
    for payload in [&[0u8][..], &[0x03, 0xe8, 0xff], &[0, 0], b""] {
        let server = Server::start().await;
        let mut run = Run::new(options(&server));
        let connecting = run.connecting();
        let mut conn = server.welcomed().await;
        connecting.await.unwrap().unwrap();
        conn.frame(FIN | CLOSE, payload).await;
        conn.close_code().await;
        let conn = server.welcomed().await;
        run.until("welcome again").await;
        let briefs = run.brief();
        assert!(
            briefs[3].starts_with("disconnected") && briefs[3].ends_with("retry"),
            "{briefs:?}"
        );
        let lost = briefs[3].clone();
        let after = [
            &lost,
            "reconnecting",
            "connected",
            "welcome again",
            "disconnected 1000 final",
            "closed",
        ];
        let expected = [&GOOD[..], &after].concat();
        tokio::join!(run.end(&server, &expected), conn.close_code());
    }
}
