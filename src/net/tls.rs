//! TLS with an explicit provider and explicit roots. The process-wide default provider belongs to the host
//! application and is never touched.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// PEM file with certificate authorities to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the ca-file {path} cannot be used: {reason}; it must be a PEM file with certificates")]
    CaFile { path: String, reason: String },
    #[error(
        "this system has no certificate authorities to trust; install the ca-certificates package, or name a PEM file \
         with ca-file"
    )]
    NoRoots,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Makes the configuration when it is first needed: reading the system's authorities takes time, and a local server
/// needs none.
#[derive(Debug, Default)]
pub(super) struct Tls {
    options: TlsOptions,
    loaded: Mutex<Option<Arc<ClientConfig>>>,
}

impl Tls {
    pub(super) fn new(options: TlsOptions) -> Self {
        Self {
            options,
            loaded: Mutex::default(),
        }
    }

    /// Reads files: to be called where blocking is allowed. A failure is not remembered, so that what it asks for
    /// can be done.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*loaded {
            return Ok(config.clone());
        }
        let config = Arc::new(load(&self.options)?);
        *loaded = Some(config.clone());
        Ok(config)
    }
}

fn load(options: &TlsOptions) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be parsed are common in system stores and do no harm.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &options.ca_file {
        let error = |reason: String| TlsError::CaFile {
            path: path.display().to_string(),
            reason,
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| error(e.to_string()))?;
        let mut found = false;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| error(e.to_string()))?;
            roots.add(certificate).map_err(|e| error(e.to_string()))?;
            found = true;
        }
        if !found {
            return Err(error("it contains no certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Whether a failed handshake means that the server's certificate was refused.
pub(super) fn is_certificate_error(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}
