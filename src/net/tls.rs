//! TLS for the signalling connection, of one of two kinds: rustls (the default), or with the feature `tls-native`
//! the operating system's. Both trust the system's authorities and those of the `ca-file`, and check the host name.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use url::Host;

use super::stream::{BoxStream, Stream};

#[cfg_attr(feature = "tls-native", path = "tls/native.rs")]
#[cfg_attr(not(feature = "tls-native"), path = "tls/rustls.rs")]
mod backend;

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// PEM file with certificate authorities to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the ca-file {path} cannot be used: {reason}; it must be a PEM file with certificates")]
    CaFile { path: String, reason: String },
    #[error(
        "this system has no certificate authorities to trust; install the ca-certificates package, or name a PEM file \
         with ca-file"
    )]
    #[cfg_attr(feature = "tls-native", expect(dead_code, reason = "the system does not say"))]
    NoRoots,
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
    /// The other side's certificate is not good enough.
    #[error("{0}")]
    Certificate(String),
    /// What the other side sent is not TLS.
    #[error(
        "there is no TLS at {0}; check the endpoint and its port (a server on this machine without TLS is reached with \
         ws://)"
    )]
    NotTls(String),
    #[error(
        "TLS with {peer} failed: {error}; check that the port of the endpoint is one for TLS, and whether a proxy or \
         firewall is in the way"
    )]
    Handshake { peer: String, error: String },
}

impl TlsError {
    /// Whether it is about trust, which trying again does not mend.
    pub(super) fn is_certificate(&self) -> bool {
        match self {
            Self::CaFile { .. } | Self::NoRoots | Self::Certificate(_) => true,
            Self::Setup(_) | Self::NotTls(_) | Self::Handshake { .. } => false,
        }
    }
}

/// A client's side of TLS. Made when it is first needed: reading the system's authorities takes time, and a local
/// server needs none.
#[derive(Default)]
pub(super) struct Tls {
    options: TlsOptions,
    loaded: Mutex<Option<backend::Connector>>,
}

impl Tls {
    pub(super) fn new(options: TlsOptions) -> Self {
        Self {
            options,
            loaded: Mutex::default(),
        }
    }

    /// Does the handshake on a stream to this host.
    pub(super) async fn connect<S: Stream + 'static>(
        self: &Arc<Self>,
        host: &Host<&str>,
        stream: S,
    ) -> Result<BoxStream, TlsError> {
        let loader = self.clone();
        let connector = tokio::task::spawn_blocking(move || loader.connector())
            .await
            .map_err(|_| TlsError::Setup("loading the certificate authorities was cancelled".to_owned()))??;
        backend::connect(&connector, host, stream).await
    }

    /// Reads files: to be called where blocking is allowed. A failure is not remembered, so that what it asks for
    /// can be done.
    fn connector(&self) -> Result<backend::Connector, TlsError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = &*loaded {
            return Ok(connector.clone());
        }
        let connector = backend::load(&self.options)?;
        *loaded = Some(connector.clone());
        Ok(connector)
    }
}

impl TlsOptions {
    /// The content of the `ca-file`, and what to say if it is not what it should be.
    fn read_ca_file(&self) -> Result<Option<CaFile>, TlsError> {
        let Some(path) = &self.ca_file else {
            return Ok(None);
        };
        let path_text = path.display().to_string();
        match std::fs::read(path) {
            Ok(pem) => Ok(Some(CaFile { path: path_text, pem })),
            Err(error) => Err(TlsError::CaFile {
                path: path_text,
                reason: error.to_string(),
            }),
        }
    }
}

struct CaFile {
    path: String,
    pem: Vec<u8>,
}

impl CaFile {
    fn error(&self, reason: impl ToString) -> TlsError {
        TlsError::CaFile {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }

    fn empty(&self) -> TlsError {
        self.error("it contains no certificate")
    }
}
