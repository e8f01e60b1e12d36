//! ICE credentials, certificate fingerprints and DTLS roles (RFC 8839, RFC 8122, RFC 8842).

/// What one end of a bundled transport says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
    /// SHA-256 of the certificate: upper-case hex with colons.
    pub fingerprint: String,
}

impl Transport {
    /// The attribute lines, without `a=setup`.
    pub fn lines(&self) -> [String; 3] {
        [
            format!("a=ice-ufrag:{}", self.ufrag),
            format!("a=ice-pwd:{}", self.pwd),
            format!("a=fingerprint:sha-256 {}", self.fingerprint),
        ]
    }
}

/// `a=setup`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Either role.
    Actpass,
    /// Client.
    Active,
    /// Server.
    Passive,
}

impl Setup {
    /// Reads the attribute's value; `holdconn` is nothing we can use.
    pub fn parse(value: &str) -> Option<Self> {
        match value.trim() {
            "actpass" => Some(Self::Actpass),
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            _ => None,
        }
    }

    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Actpass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    /// What the other end of an established association says. `actpass` is answered with `active`, which saves half
    /// a round trip (RFC 5763 §5).
    pub fn answer(self) -> Self {
        match self {
            Self::Actpass | Self::Passive => Self::Active,
            Self::Active => Self::Passive,
        }
    }
}

/// The bytes of a SHA-256 fingerprint in canonical form, or nothing if the value is something else.
pub fn sha256_fingerprint(value: &str) -> Option<String> {
    let (hash, hex) = value.trim().split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let hex = hex.trim().to_ascii_uppercase();
    let pairs = hex.split(':').count();
    let good = hex
        .split(':')
        .all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
    (good && pairs == 32).then_some(hex)
}

/// RFC 8839 §5.4: ice-char, ufrag 4 to 256, pwd 22 to 256.
pub fn is_ice_token(value: &str, min: usize) -> bool {
    (min..=256).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_canonical() {
        let hex = vec!["ab"; 32].join(":");
        assert_eq!(
            sha256_fingerprint(&format!("SHA-256 {hex}")),
            Some(hex.to_uppercase())
        );
        assert_eq!(sha256_fingerprint(&format!("sha-384 {hex}")), None);
        assert_eq!(sha256_fingerprint("sha-256 AB:CD"), None);
        assert_eq!(sha256_fingerprint(""), None);
    }

    #[test]
    fn ice_tokens() {
        assert!(is_ice_token("abcd", 4));
        assert!(!is_ice_token("abc", 4));
        assert!(!is_ice_token("ab cd", 4));
    }
}
