use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use gstmeteredwebrtc::net::{TlsOptions, Tunnels};
use gstmeteredwebrtc::wire::{IceServer, Secret};

use super::certificates::{CaFile, certificate};
use super::server::{Server, accept, tls};
use super::tls::trusting;
use super::*;

fn server(urls: &[&str]) -> IceServer {
    IceServer {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        username: Some(Secret::new("user".to_owned())),
        credential: Some(Secret::new("password".to_owned())),
    }
}

fn tunnels(ca_file: Option<PathBuf>) -> (Tunnels, Receiver<String>) {
    let (sender, warnings) = channel();
    let runtime = Runtime::shared().unwrap();
    let tunnels = Tunnels::new(&runtime, TlsOptions { ca_file }, move |text| {
        let _ = sender.send(text);
    });
    (tunnels, warnings)
}

fn port_of(url: &str) -> u16 {
    let rest = url
        .strip_prefix("turn:127.0.0.1:")
        .unwrap_or_else(|| panic!("{url}"));
    rest.strip_suffix("?transport=tcp").unwrap().parse().unwrap()
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port_of(url))).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn only_turns_over_tcp_goes_through_a_tunnel() {
    let (tunnels, warnings) = tunnels(None);
    let others = [
        "turn:h",
        "stun:h",
        "stuns:h",
        "turns:h?transport=udp",
        "turns:",
        "http:h",
    ];
    let same = vec![server(&others)];
    assert_eq!(tunnels.through(same.clone()), same);

    let changed = tunnels.through(vec![server(&[
        "turns:h:443",
        "TURNS:h:443?transport=tcp",
        "turns:h",
    ])]);
    let urls = &changed[0].urls;
    assert_eq!(port_of(&urls[0]), port_of(&urls[1]), "one server, one tunnel");
    assert_ne!(port_of(&urls[0]), port_of(&urls[2]));
    assert_eq!(changed[0].username, Some(Secret::new("user".to_owned())));
    assert_eq!(tunnels.through(vec![server(&["turns:h"])])[0].urls, urls[2..]);
    assert_eq!(
        tunnels.unmask(format!("{} x", urls[0])),
        "turns:h:443?transport=tcp x"
    );
    assert!(warnings.try_recv().is_err());
}

#[test]
fn a_tunnel_speaks_tls_and_ends_with_its_owner() {
    let (pem, tls_config) = certificate("localhost");
    let ca = CaFile::new(&pem);
    let remote = Server::start(move |listener| {
        let mut stream = tls(accept(&listener), tls_config).unwrap();
        let mut request = [0; 5];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"hello");
        stream.write_all(b"HELLO").unwrap();
        stream.flush().unwrap();
        // The other end goes: nothing is left behind.
        assert!(matches!(stream.read(&mut request), Ok(0) | Err(_)));
    });
    let (tunnels, warnings) = tunnels(trusting(&ca).ca_file);
    let url = format!("turns:localhost:{}", remote.port);
    let changed = tunnels.through(vec![server(&[&url])]);
    let mut stream = connect(&changed[0].urls[0]);
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HELLO");
    assert!(warnings.try_recv().is_err());
    drop(tunnels);
    assert!(matches!(stream.read(&mut answer), Ok(0) | Err(_)));
    remote.finish();
}

#[test]
fn a_server_with_a_wrong_certificate_is_told_and_gets_nothing() {
    let (_, tls_config) = certificate("localhost");
    let remote = Server::start(move |listener| {
        assert!(tls(accept(&listener), tls_config).is_err());
    });
    let (tunnels, warnings) = tunnels(None);
    let url = format!("turns:localhost:{}", remote.port);
    let changed = tunnels.through(vec![server(&[&url])]);
    let mut stream = connect(&changed[0].urls[0]);
    let warning = warnings.recv_timeout(PATIENCE).unwrap();
    assert!(
        warning.starts_with(&format!("the TURN server {url}?transport=tcp cannot be used: ")),
        "{warning}"
    );
    assert!(warning.contains("certificate"), "{warning}");
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    remote.finish();
}
