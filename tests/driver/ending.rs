//! What is left when everything has been dropped: nothing.
#![cfg(target_os = "linux")]

use std::fs;

use gstmeteredwebrtc::net::TokenSource;

use super::certificates::{CaFile, authority};
use super::server::{Server, accept, close_code, upgrade, welcome};
use super::tls::trusting;
use super::*;

/// Threads are counted per process, and other tests have theirs: so this one runs in a process of its own.
#[test]
fn dropping_everything_ends_all_threads() {
    run_alone("ending::in_a_process_of_its_own", &[]);
}

/// The library's threads.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks
        .filter_map(name)
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("metered-io"))
        .collect()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}; threads: {:?}", threads());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that has ended but has not been asked for its status counts as gone.
fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
#[ignore = "dropping_everything_ends_all_threads runs it in a process of its own"]
fn in_a_process_of_its_own() {
    assert_eq!(threads(), [""; 0]);
    for _ in 0..2 {
        with_all_kinds_of_work(|| assert!(!threads().is_empty()));
        wait_until("something is left running", || threads().is_empty());
    }
}

/// Has members in every state of a connection, then drops them.
fn with_all_kinds_of_work(meanwhile: impl Fn()) {
    let connected = Server::start(|listener| {
        let mut socket = upgrade(accept(&listener));
        welcome(&mut socket);
        assert_eq!(close_code(&mut socket), 1000);
    });
    // Reads what comes and never answers: one member waits for the upgrade, one for TLS.
    let silent = |told| {
        Server::start(move |listener| {
            let mut stream = accept(&listener);
            std::sync::mpsc::Sender::send(&told, ()).unwrap();
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        })
    };
    let (told, accepted) = channel();
    let (upgrading, handshaking) = (silent(told.clone()), silent(told));
    let ca = CaFile::new(&authority("localhost").0);
    let refused = tokio::net::TcpSocket::new_v4().unwrap();
    refused.bind("127.0.0.1:0".parse().unwrap()).unwrap();

    let first = Member::connect(config(&connected.url()), DriverOptions::default());
    let second = Member::connect(config(&upgrading.url()), DriverOptions::default());
    let third = format!("wss://localhost:{}", handshaking.port);
    let third = Member::connect(config(&third), trusting(&ca));
    let retrying = ClientConfig {
        retry_first_connect: true,
        ..config(&format!("ws://{}", refused.local_addr().unwrap()))
    };
    let fourth = Member::connect(retrying, DriverOptions::default());
    let file = std::env::temp_dir().join(format!("driver-test-{}-pid", std::process::id()));
    let (fifth, pid) = asking(&file);

    first.connected();
    for _ in 0..2 {
        accepted.recv_timeout(PATIENCE).unwrap();
    }
    fourth.failure();
    meanwhile();
    drop((first, second, third, fourth, fifth));
    for server in [connected, upgrading, handshaking] {
        server.finish();
    }
    wait_until("the token command is still running", || !is_running(&pid));
    let _ = fs::remove_file(&file);
}

/// A member whose token command does not end, and the process of the command.
fn asking(file: &std::path::Path) -> (Member, String) {
    let _ = fs::remove_file(file);
    let command = format!("echo $$ > {}; exec sleep 600", file.display());
    let options = DriverOptions {
        token: Some(TokenSource::Command(command)),
        ..DriverOptions::default()
    };
    let config = ClientConfig {
        credential: CredentialSource::TokenProvider,
        ..config("ws://127.0.0.1:9")
    };
    let member = Member::connect(config, options);
    let read = || fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'));
    wait_until("the token command does not start", || read().is_some());
    (member, read().unwrap().trim().to_owned())
}
