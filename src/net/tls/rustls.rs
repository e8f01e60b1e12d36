//! rustls with an explicit provider and explicit roots. The process-wide default provider belongs to the host
//! application and is never touched.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use url::Host;

use super::{TlsError, TlsOptions};
use crate::net::stream::{BoxStream, Stream};

pub(super) type Connector = Arc<ClientConfig>;

pub(super) fn load(options: &TlsOptions) -> Result<Connector, TlsError> {
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be parsed are common in system stores and do no harm.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = options.read_ca_file()? {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(&file.pem) {
            let certificate = certificate.map_err(|e| file.error(e))?;
            roots.add(certificate).map_err(|e| file.error(e))?;
            found = true;
        }
        if !found {
            return Err(file.empty());
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

pub(super) async fn connect<S: Stream + 'static>(
    connector: &Connector,
    host: &Host<&str>,
    stream: S,
) -> Result<BoxStream, TlsError> {
    let name = match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned())
            .map_err(|_| TlsError::Setup(format!("{name} cannot be the name of a TLS server")))?,
        Host::Ipv4(ip) => ServerName::IpAddress(IpAddr::V4(*ip).into()),
        Host::Ipv6(ip) => ServerName::IpAddress(IpAddr::V6(*ip).into()),
    };
    match TlsConnector::from(connector.clone()).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(explain(host, &error)),
    }
}

fn explain(host: &Host<&str>, error: &io::Error) -> TlsError {
    use rustls::Error as Tls;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    match inner {
        Some(Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented) => {
            TlsError::Certificate(error.to_string())
        }
        Some(Tls::InvalidMessage(_)) => TlsError::NotTls(host.to_string()),
        _ => TlsError::Handshake {
            peer: host.to_string(),
            error: error.to_string(),
        },
    }
}
