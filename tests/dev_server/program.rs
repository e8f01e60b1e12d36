//! The binary: its first line, its signals, its exit codes, what it keeps to itself.

use std::process::Stdio;

use gstmeteredwebrtc::dev_server::DEV_KEY;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::{upgrade, within};

fn program(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_metered-dev-server"))
        .args(arguments)
        .env("METERED_DEV_SECRET_KEY", "sk_id_env:very-secret")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
}

async fn rest_of(stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut stream = stream;
    let mut text = String::new();
    within("output", stream.read_to_string(&mut text))
        .await
        .expect("output");
    text
}

#[tokio::test]
async fn the_first_line_names_the_addresses_and_a_signal_ends_it() {
    let mut child = program(&["--port", "0", "--test-hooks", "--channel", "studio"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    within("first line", stdout.read_line(&mut line))
        .await
        .expect("first line");
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["listening", ws, http] = words[..] else {
        panic!("{line}")
    };
    assert!(
        ws.starts_with("ws://127.0.0.1:") && http.starts_with("http://127.0.0.1:"),
        "{line}"
    );
    let url = format!("{ws}/v1?key={DEV_KEY}");
    let mut client = upgrade(url, None).await.expect("upgrade");

    let id = child.id().expect("running").to_string();
    let kill = Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .await
        .expect("kill");
    assert!(kill.success());
    let mut seen = Vec::new();
    while let Some(Ok(message)) = within("frames", futures_util::StreamExt::next(&mut client)).await {
        seen.push(format!("{message:?}"));
    }
    assert!(
        seen.iter().any(|message| message.contains("going_away")),
        "{seen:#?}"
    );
    assert!(within("exit", child.wait()).await.expect("exit").success());
    let rest = rest_of(stdout).await;
    assert!(
        rest.contains("for development") && rest.contains(DEV_KEY),
        "{rest}"
    );
    assert!(!rest.contains("very-secret"), "{rest}");
}

#[tokio::test]
async fn a_script_may_close_stdout_after_the_first_line() {
    let mut child = program(&["--port", "0", "--verbose"]);
    let mut stdout = BufReader::with_capacity(16, child.stdout.take().expect("stdout"));
    let mut line = String::new();
    within("first line", stdout.read_line(&mut line))
        .await
        .expect("first line");
    drop((stdout, child.stderr.take()));
    let ws = line.split_whitespace().nth(1).expect("URL").to_owned();
    for _ in 0..2 {
        upgrade(format!("{ws}/v1?key={DEV_KEY}"), None)
            .await
            .expect("upgrade");
    }
}

#[tokio::test]
async fn failures_are_one_line_and_an_exit_code() {
    for (arguments, expected) in [
        (&["--host", "0.0.0.0", "--port", "0"][..], "--allow-public"),
        (&["--config", "/does/not/exist"][..], "/does/not/exist"),
        (&["--port", "0", "--ice-server", "nonsense"][..], "--ice-server"),
        (&["--port", "0", "--secret-key", "very-secret"][..], "ID:SECRET"),
    ] {
        let mut child = program(arguments);
        let stderr = rest_of(child.stderr.take().expect("stderr")).await;
        assert!(!within("exit", child.wait()).await.expect("exit").success());
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("very-secret"), "{stderr}");
    }
    let help = within("help", program(&["--help"]).wait_with_output())
        .await
        .expect("help");
    assert!(!String::from_utf8_lossy(&help.stdout).contains("very-secret"));
}
