//! The DTLS certificate of a connection: ECDSA, as everybody else's, and a new one each time.
//!
//! GStreamer < 1.27.2 makes an RSA one. A peer whose DTLS stack takes ECDSA only, such as aiortc, then refuses every
//! connection in which it is the DTLS client ("no shared cipher"), and making the key takes up to a second. And
//! GStreamer has one for the whole process: a browser that kept its connection takes the fingerprint of a rebuilt
//! one for the same DTLS association (RFC 8842 §4), and refuses its other DTLS role.

use gst::glib;
use gst::prelude::*;

use super::CAT;
use crate::wire::Secret;

/// Line length of PEM (RFC 7468 §2).
const PEM_WIDTH: usize = 64;

/// A certificate with its key.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pem: Secret<String>,
    /// SHA-256, as in SDP.
    fingerprint: String,
}

impl Certificate {
    /// A new one. `None`: the connection uses GStreamer's.
    pub(super) fn new() -> Option<Self> {
        let made = generate();
        if let Err(error) = &made {
            gst::warning!(CAT, "no DTLS certificate of our own: {error}");
        }
        made.ok()
    }

    /// Has a webrtcbin use it, in every transport that it makes.
    pub(super) fn install(&self, webrtcbin: &gst::Element) {
        let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else {
            return;
        };
        let pem = self.pem.clone();
        bin.connect_deep_element_added(move |_, _, element| {
            if element
                .factory()
                .is_some_and(|factory| factory.name() == "dtlsdec")
            {
                element.set_property("pem", pem.expose());
                // It has made its connection already, with the default certificate; naming it again makes a new one.
                // The encoder looks it up later, when it leaves NULL.
                let id: Option<String> = element.property("connection-id");
                element.set_property("connection-id", id);
            }
        });
    }

    /// Puts the fingerprint into what webrtcbin wrote, which has hashed the key along with the certificate.
    pub(super) fn correct(&self, sdp: &str) -> String {
        with_fingerprint(sdp, &self.fingerprint)
    }
}

fn generate() -> Result<Certificate, rcgen::Error> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "WebRTC");
    let certificate = params.self_signed(&key)?;
    Ok(Certificate {
        pem: Secret::new(pem("CERTIFICATE", certificate.der()) + &pem("PRIVATE KEY", &key.serialize_der())),
        fingerprint: fingerprint(certificate.der()),
    })
}

fn fingerprint(der: &[u8]) -> String {
    let digest = glib::compute_checksum_for_data(glib::ChecksumType::Sha256, der).unwrap_or_default();
    let pairs: Vec<&str> = (0..digest.len() / 2).map(|n| &digest[2 * n..2 * n + 2]).collect();
    pairs.join(":").to_uppercase()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = glib::base64_encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, c) in body.chars().enumerate() {
        if at > 0 && at % PEM_WIDTH == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text + &format!("\n-----END {label}-----\n")
}

fn with_fingerprint(sdp: &str, fingerprint: &str) -> String {
    let line = |line: &str| match line.starts_with("a=fingerprint:") {
        true => format!("a=fingerprint:sha-256 {fingerprint}\r\n"),
        false => line.to_owned(),
    };
    sdp.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::Promised;
    use super::*;

    #[test]
    fn a_certificate_that_openssl_reads_and_sdp_promises() {
        let ours = generate().unwrap();
        let text = ours.pem.expose();
        assert!(text.lines().all(|line| line.len() <= PEM_WIDTH));
        gst::init().unwrap();
        let decoder = gst::ElementFactory::make("dtlsdec").build().unwrap();
        decoder.set_property("pem", text);
        assert_eq!(decoder.property::<String>("pem").trim(), text.trim());
        let sdp = with_fingerprint(
            "v=0\r\na=fingerprint:sha-256 00:11\r\na=mid:0\r\n",
            &ours.fingerprint,
        );
        assert!(Promised::from_sdp(&sdp).allows(text));
        assert_ne!(generate().unwrap().fingerprint, ours.fingerprint);
        assert!(sdp.starts_with("v=0\r\na=fingerprint:sha-256 ") && sdp.ends_with("\r\na=mid:0\r\n"));
    }
}
