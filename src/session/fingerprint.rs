//! Compares the certificate that DTLS has met with the fingerprint that signalling has promised.
//!
//! webrtcbin before 1.28.5 does not, so whoever can redirect the packets could sit in the middle of the call.

use gst::glib;

/// A remote description promises these certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Promised(Vec<(glib::ChecksumType, String)>);

impl Promised {
    /// Reads every `a=fingerprint` of an SDP. Unknown and broken algorithms (SHA-1, MD5) are left out.
    pub fn from_sdp(sdp: &str) -> Self {
        let mut found: Vec<(glib::ChecksumType, String)> = Vec::new();
        for value in sdp
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("a=fingerprint:"))
        {
            let Some((algorithm, digest)) = value.split_once(' ') else {
                continue;
            };
            let algorithm = match algorithm.to_ascii_lowercase().as_str() {
                "sha-256" => glib::ChecksumType::Sha256,
                "sha-384" => glib::ChecksumType::Sha384,
                "sha-512" => glib::ChecksumType::Sha512,
                _ => continue,
            };
            let digest = digest.trim().replace(':', "").to_ascii_lowercase();
            if !found.contains(&(algorithm, digest.clone())) {
                found.push((algorithm, digest));
            }
        }
        Self(found)
    }

    /// Whether this certificate was promised.
    pub fn allows(&self, pem: &str) -> bool {
        let Some(der) = der(pem) else { return false };
        self.0.iter().any(|(algorithm, digest)| {
            glib::compute_checksum_for_data(*algorithm, &der).is_some_and(|real| real == digest.as_str())
        })
    }
}

fn der(pem: &str) -> Option<Vec<u8>> {
    let body = pem
        .split_once("-----BEGIN CERTIFICATE-----")?
        .1
        .split_once("-----END CERTIFICATE-----")?
        .0;
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let fine = !body.is_empty()
        && body
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c));
    fine.then(|| glib::base64_decode(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    // "abc" as the body: its digests are known from FIPS 180.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nYW\nJj\n-----END CERTIFICATE-----\n";
    const ABC: &str =
        "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";

    #[test]
    fn only_the_promised_one() {
        let sdp = |line: &str| Promised::from_sdp(&format!("v=0\r\n{line}\r\nm=x\r\n"));
        assert!(sdp(&format!("a=fingerprint:sha-256 {ABC}")).allows(PEM));
        assert!(sdp(&format!("a=fingerprint:SHA-256 {}", ABC.to_lowercase())).allows(PEM));
        assert!(!sdp(&format!("a=fingerprint:sha-256 00{}", &ABC[2..])).allows(PEM));
        assert!(!sdp("a=fingerprint:sha-1 A9:99:3E").allows(PEM));
        assert!(!sdp("a=fingerprint:sha-256").allows(PEM));
        assert!(!Promised::default().allows(PEM));
        assert!(!sdp(&format!("a=fingerprint:sha-256 {ABC}")).allows("no certificate"));
    }
}
