//! From a host to a TCP connection: several addresses are tried, so that a dead one costs little (RFC 8305).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Host;

use crate::wire::limits::CONNECT_STAGGER;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the name {name} cannot be resolved: {error}")]
    Name { name: String, error: io::Error },
    #[error("no connection to {host} port {port}: {error}")]
    Connect {
        host: String,
        port: u16,
        error: io::Error,
    },
}

/// Connects to a host. Takes as long as it takes: the caller limits it.
pub(super) async fn dial(host: &Host<&str>, port: u16) -> Result<TcpStream, DialError> {
    let addresses = addresses(host, port).await?;
    let tcp = connect_any(addresses).await.map_err(|error| DialError::Connect {
        host: host.to_string(),
        port,
        error,
    })?;
    // Signalling frames are small and urgent. Failure only costs latency.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// The same without its own text.
pub(super) fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(ip) => Host::Ipv4(*ip),
        Host::Ipv6(ip) => Host::Ipv6(*ip),
    }
}

async fn addresses(host: &Host<&str>, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let name = match host {
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::new(IpAddr::V4(*ip), port)]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::new(IpAddr::V6(*ip), port)]),
        Host::Domain(name) => *name,
    };
    match tokio::net::lookup_host((name, port)).await {
        Ok(found) => Ok(alternate(found.collect())),
        Err(error) => Err(DialError::Name {
            name: name.to_owned(),
            error,
        }),
    }
}

/// Keeps the resolver's preference but alternates the families (RFC 8305 §4): one that is broken costs one stagger.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first);
    let mut other = other.into_iter();
    let mut mixed = Vec::new();
    for address in preferred {
        mixed.push(address);
        mixed.extend(other.next());
    }
    mixed.extend(other);
    mixed
}

/// Tries the next address as soon as one has failed, or does not answer at once.
async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        // The last address is waited for as long as the caller allows.
        let patience = if addresses.len() > 0 {
            CONNECT_STAGGER
        } else {
            Duration::MAX
        };
        match timeout(patience, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(e)))) => error = e,
            Ok(None) => return Err(error),
            // A cancelled attempt, or time for the next one.
            Ok(Some(Err(_))) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Instant;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::wire::limits::WELCOME_TIMEOUT;

    /// More than a queue of one holds.
    const FILLERS: usize = 8;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address that never answers: a listener that accepts nothing and whose queue is full.
    struct Dead {
        address: SocketAddr,
        _listener: TcpListener,
        _fillers: JoinSet<io::Result<TcpStream>>,
        _queued: Vec<TcpStream>,
    }

    impl Dead {
        async fn new() -> Self {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let mut fillers = JoinSet::new();
            for _ in 0..FILLERS {
                fillers.spawn(TcpStream::connect(address));
            }
            // Linux queues one more than was asked for; whichever it is, the queue is full when no more come.
            let mut queued = Vec::new();
            while let Ok(Some(stream)) = timeout(4 * CONNECT_STAGGER, fillers.join_next()).await {
                queued.push(stream.unwrap().unwrap());
            }
            assert!(queued.len() < FILLERS, "the queue does not fill");
            Self {
                address,
                _listener: listener,
                _fillers: fillers,
                _queued: queued,
            }
        }
    }

    #[test]
    fn families_alternate() {
        let list = |text: &str| {
            text.split(' ')
                .map(|a| a.parse().unwrap())
                .collect::<Vec<SocketAddr>>()
        };
        let mixed = alternate(list("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1"));
        assert_eq!(mixed, list("[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"));
        assert!(alternate(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn no_address_is_an_error() {
        assert!(connect_any(Vec::new()).await.is_err());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_dead_address_costs_a_stagger_and_not_the_time_limit() {
        let dead = Dead::new().await;
        let (_listener, alive) = listener().await;
        let start = Instant::now();
        let stream = connect_any(vec![dead.address, alive]).await.unwrap();
        let took = start.elapsed();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert!(
            took >= CONNECT_STAGGER,
            "the first address was not tried: {took:?}"
        );
        assert!(took < WELCOME_TIMEOUT / 2, "{took:?}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_while_another_is_dead() {
        let dead = Dead::new().await;
        let refusing = TcpSocket::new_v4().unwrap();
        refusing.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (_listener, alive) = listener().await;
        let list = vec![refusing.local_addr().unwrap(), dead.address, alive];
        let stream = timeout(WELCOME_TIMEOUT / 2, connect_any(list)).await;
        assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), alive);
    }

    #[tokio::test]
    async fn the_last_error_is_told_when_all_refuse() {
        let refusing = TcpSocket::new_v4().unwrap();
        refusing.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = refusing.local_addr().unwrap();
        let error = connect_any(vec![address, address]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// What most systems answer for `localhost`, when the server listens on IPv4 only.
    #[tokio::test]
    async fn localhost_is_found_on_either_family() {
        let (_listener, alive) = listener().await;
        // Keeps others away from the port; there may be no IPv6 here.
        let held = TcpSocket::new_v6().ok();
        let _ = held
            .as_ref()
            .map(|s| s.bind((Ipv6Addr::LOCALHOST, alive.port()).into()));
        let list = vec![(Ipv6Addr::LOCALHOST, alive.port()).into(), alive];
        let stream = connect_any(alternate(list)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let stream = dial(&Host::Domain("localhost"), alive.port()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
    }
}
