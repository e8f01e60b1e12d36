//! Certificates, and files that hold them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate for a name, and the TLS configuration of a server that has it.
pub fn certificate(name: &str) -> (String, Arc<ServerConfig>) {
    certificate_with(name, |_| ())
}

/// The same, with changes.
pub fn certificate_with(
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let signed = params.self_signed(&key).unwrap();
    (pem(signed.der()), server_config(signed.der().clone(), &key))
}

/// An authority, and the TLS configuration of a server that has a certificate of it for this name.
pub fn authority(name: &str) -> (String, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Two of the same name could not be told apart.
    let common_name = format!("test authority for {name}");
    authority.distinguished_name.push(DnType::CommonName, common_name);
    let pem = pem(authority.self_signed(&key).unwrap().der());
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    (pem, server_config(certificate.der().clone(), &key))
}

fn server_config(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..4)
            .map(|n| match n <= chunk.len() {
                true => char::from(ALPHABET[(bits >> (18 - 6 * n) & 63) as usize]),
                false => '=',
            })
            .collect::<String>()
    };
    let lines: Vec<String> = der
        .chunks(48)
        .map(|line| line.chunks(3).map(encode).collect())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// A CA file that goes with its test.
pub struct CaFile(pub PathBuf);

impl CaFile {
    pub fn new(pem: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("metered-test-{}-{number}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, pem).unwrap();
        Self(path)
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
