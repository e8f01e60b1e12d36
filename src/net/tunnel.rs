//! TLS for `turns:` servers, which libnice does not have: a listener on 127.0.0.1 for each server, every connection to
//! which goes on to the server inside TLS. ICE is given the listener as a plain `turn:` server over TCP.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use url::Host;

use super::dial::{borrowed, dial};
use super::runtime::Runtime;
use super::stream::BoxStream;
use super::tls::{Tls, TlsOptions};
use crate::wire::{IceScheme, IceServer, IceTransport, IceUrl};

/// For name resolution, TCP and TLS together; libnice gives up after some eight seconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);

/// Connections through one listener at a time: one or two for each peer.
const CONNECTIONS_MAX: usize = 256;

/// Servers at a time; welcomes carry at most 64 URLs, and the newest may differ from those before.
const TUNNELS_MAX: usize = 64;

/// How long to wait after the system would not accept a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Warn = Arc<dyn Fn(String) + Send + Sync>;

/// The tunnels of one element. They end with it.
pub struct Tunnels {
    runtime: Runtime,
    tls: Arc<Tls>,
    warn: Warn,
    /// The listener's port of each server, by its URL.
    open: Mutex<HashMap<String, u16>>,
    /// Closes when this goes.
    life: watch::Sender<()>,
}

impl Tunnels {
    /// None yet. `warn` is told what does not work, and must not block.
    pub fn new(runtime: &Runtime, tls: TlsOptions, warn: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self {
            runtime: runtime.clone(),
            tls: Arc::new(Tls::new(tls)),
            warn: Arc::new(warn),
            open: Mutex::default(),
            life: watch::channel(()).0,
        }
    }

    /// The servers with every `turns:` URL over TCP replaced by its tunnel's. What cannot be replaced stays. Does not
    /// block.
    pub fn through(&self, mut servers: Vec<IceServer>) -> Vec<IceServer> {
        for url in servers.iter_mut().flat_map(|server| &mut server.urls) {
            let Ok(parsed) = IceUrl::parse(url) else { continue };
            if (parsed.scheme, parsed.transport) != (IceScheme::Turns, IceTransport::Tcp) {
                continue;
            }
            match self.port(&parsed) {
                Ok(port) => *url = local(port),
                Err(reason) => (self.warn)(format!("the TURN server {parsed} cannot be used: {reason}")),
            }
        }
        servers
    }

    /// A message with the names of servers in place of those of their tunnels.
    pub fn unmask(&self, mut text: String) -> String {
        for (server, port) in &*self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            text = text.replace(&local(*port), server);
        }
        text
    }

    fn port(&self, url: &IceUrl<'_>) -> Result<u16, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let server = url.to_string();
        if let Some(port) = open.get(&server) {
            return Ok(*port);
        }
        if open.len() >= TUNNELS_MAX {
            return Err(format!("there are {TUNNELS_MAX} others"));
        }
        let host = Host::parse(url.host).map_err(|error| error.to_string())?;
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        listener
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let tunnel = Tunnel {
            server: server.clone(),
            host,
            port: url.port,
            tls: self.tls.clone(),
            warn: self.warn.clone(),
        };
        let life = self.life.subscribe();
        self.runtime.spawn(Arc::new(tunnel).listen(listener, life));
        open.insert(server, port);
        Ok(port)
    }
}

fn local(port: u16) -> String {
    format!("turn:127.0.0.1:{port}?transport=tcp")
}

struct Tunnel {
    server: String,
    host: Host<String>,
    port: u16,
    tls: Arc<Tls>,
    warn: Warn,
}

impl Tunnel {
    async fn listen(self: Arc<Self>, listener: StdListener, mut life: watch::Receiver<()>) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return self.failed(&error.to_string()),
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = life.changed() => return,
            };
            let Ok((local, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let (this, mut life) = (self.clone(), life.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = this.carry(local) => (),
                    _ = life.changed() => (),
                }
                drop(place);
            });
        }
    }

    /// Until one end closes.
    async fn carry(&self, local: TcpStream) {
        // Media in small packets, which must not wait for each other.
        let _ = local.set_nodelay(true);
        let remote = match timeout(CONNECT_LIMIT, self.connect()).await {
            Ok(Ok(remote)) => remote,
            Ok(Err(reason)) => return self.failed(&reason),
            Err(_) => return self.failed("it does not answer"),
        };
        let (mut from_local, mut to_local) = tokio::io::split(local);
        let (mut from_remote, mut to_remote) = tokio::io::split(remote);
        // `copy` flushes whenever it has nothing to read.
        tokio::select! {
            _ = tokio::io::copy(&mut from_local, &mut to_remote) => (),
            _ = tokio::io::copy(&mut from_remote, &mut to_local) => (),
        }
        let _ = timeout(CONNECT_LIMIT, to_remote.shutdown()).await;
    }

    async fn connect(&self) -> Result<BoxStream, String> {
        let host = borrowed(&self.host);
        let tcp = dial(&host, self.port).await.map_err(|error| error.to_string())?;
        self.tls
            .connect(&host, tcp)
            .await
            .map_err(|error| match error.is_certificate() {
                true => {
                    format!("its certificate cannot be trusted: {error}; ca-file can name another authority")
                }
                false => error.to_string(),
            })
    }

    fn failed(&self, reason: &str) {
        (self.warn)(format!(
            "the TURN server {} cannot be used: {reason}",
            self.server
        ));
    }
}
