//! Binding, serving and stopping.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::config::{Config, Tls};
use super::hooks::{self, Hooks};
use super::hub::Hub;
use super::upgrade::{self, Gate};
use super::{page, rest};

/// How long a graceful shutdown waits for sockets to end.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(3);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is reachable by other machines and nobody asked for that.
    #[error(
        "refusing to listen on {0}: other machines could reach this development server, its key is public and \
         its traffic is not protected. Use a loopback address, or pass --allow-public if that is what you want"
    )]
    PublicAddress(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot use the TLS certificate: {0}")]
    Tls(String),
    /// The configuration file cannot be used.
    #[error("cannot use {path}: {reason}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The page directory does not exist.
    #[error("{0} is not a directory: pass a directory with an index.html to --page")]
    Page(PathBuf),
}

/// What every handler gets.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) hub: Arc<Hub>,
    pub(super) gate: Arc<Gate>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) address: SocketAddr,
}

/// The development signalling server.
#[derive(Debug)]
pub struct DevServer;

impl DevServer {
    /// Binds and serves in the background on the current tokio runtime.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        if !config.bind.ip().is_loopback() && !config.allow_public {
            return Err(StartError::PublicAddress(config.bind));
        }
        if let Some(directory) = config.page.as_ref().filter(|page| !page.is_dir()) {
            return Err(StartError::Page(directory.clone()));
        }
        let tls = config.tls.as_ref().map(load_tls).transpose()?;
        let bind_failed = |source| StartError::Bind {
            address: config.bind,
            source,
        };
        let listener = listen(config.bind).map_err(bind_failed)?;
        let address = listener.local_addr().map_err(bind_failed)?;
        let secure = tls.is_some();
        let app = App {
            hub: Arc::new(Hub::new(config.clone())),
            gate: Arc::default(),
            hooks: Arc::default(),
            address,
        };
        let service = router(&app).into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener)
            .map_err(bind_failed)?
            .handle(handle.clone())
            .acceptor(NoDelayAcceptor);
        let task = match tls {
            Some(tls) => tokio::spawn(
                server
                    .map(|inner| RustlsAcceptor::new(tls).acceptor(inner))
                    .serve(service),
            ),
            None => tokio::spawn(server.serve(service)),
        };
        Ok(Running {
            app,
            secure,
            handle,
            task,
        })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn router(app: &App) -> Router {
    let config = &app.hub.config;
    let mut router = Router::new()
        .route("/v1", get(upgrade::connect))
        .merge(rest::routes())
        .merge(page::routes(config));
    if config.test_hooks {
        router = router.merge(hooks::routes());
    }
    router.with_state(app.clone())
}

fn load_tls(tls: &Tls) -> Result<RustlsConfig, StartError> {
    let failed =
        |what: &PathBuf, err: &dyn std::fmt::Display| StartError::Tls(format!("{}: {err}", what.display()));
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|err| failed(&tls.certificate, &err))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|err| failed(&tls.key, &err))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|err| failed(&tls.certificate, &err))?;
    // WebSockets are upgraded from HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

/// A server that runs until it is shut down or dropped.
#[derive(Debug)]
pub struct Running {
    app: App,
    secure: bool,
    handle: Handle<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Address it listens on, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.app.address
    }

    /// Origin for clients, such as `ws://127.0.0.1:8787`.
    pub fn ws_url(&self) -> String {
        format!(
            "{}://{}",
            if self.secure { "wss" } else { "ws" },
            self.app.address
        )
    }

    /// Address of the page and of the REST interface, such as `http://127.0.0.1:8787/`.
    pub fn http_url(&self) -> String {
        format!(
            "{}://{}/",
            if self.secure { "https" } else { "http" },
            self.app.address
        )
    }

    /// Stops as the service does at a deploy: `going_away`, then close code 1001, then no more connections.
    pub async fn shutdown(mut self) {
        self.app.hub.stop();
        self.app.hub.send_away(self.app.hub.config.retry_after_ms);
        self.handle.graceful_shutdown(Some(SHUTDOWN_DEADLINE));
        let _ = timeout(SHUTDOWN_DEADLINE, self.app.hub.sockets_gone()).await;
        let _ = timeout(SHUTDOWN_DEADLINE, &mut self.task).await;
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }
}

/// Dropping it is the crash of a server: sockets end without a close frame.
impl Drop for Running {
    fn drop(&mut self) {
        self.app.hub.stop();
        self.app.hub.abort_all();
        self.handle.shutdown();
        self.task.abort();
    }
}
