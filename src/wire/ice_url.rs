//! `stun:`, `stuns:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065).

use std::fmt;

/// Which protocol, and whether inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceScheme {
    /// `stun:`
    Stun,
    /// `stuns:`
    Stuns,
    /// `turn:`
    Turn,
    /// `turns:`
    Turns,
}

/// How the server is spoken to, below TLS if there is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceTransport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// A parsed URL, with defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IceUrl<'a> {
    /// Scheme.
    pub scheme: IceScheme,
    /// A name, an IPv4 address or a bracketed IPv6 address.
    pub host: &'a str,
    /// Port, never 0.
    pub port: u16,
    /// Transport.
    pub transport: IceTransport,
}

impl IceScheme {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "stun" => Some(Self::Stun),
            "stuns" => Some(Self::Stuns),
            "turn" => Some(Self::Turn),
            "turns" => Some(Self::Turns),
            _ => None,
        }
    }

    fn is_secure(self) -> bool {
        matches!(self, Self::Stuns | Self::Turns)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Stuns => "stuns",
            Self::Turn => "turn",
            Self::Turns => "turns",
        }
    }
}

impl IceTransport {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Why a text is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceUrlError {
    /// Another scheme, or none.
    Scheme,
    /// One of ours, followed by nonsense.
    Malformed(IceScheme),
}

impl<'a> IceUrl<'a> {
    /// Reads `scheme:host[:port][?transport=udp|tcp]`.
    pub fn parse(text: &'a str) -> Result<Self, IceUrlError> {
        let (scheme, rest) = text.split_once(':').ok_or(IceUrlError::Scheme)?;
        let scheme = IceScheme::parse(scheme).ok_or(IceUrlError::Scheme)?;
        parse_rest(scheme, rest).ok_or(IceUrlError::Malformed(scheme))
    }
}

fn parse_rest(scheme: IceScheme, rest: &str) -> Option<IceUrl<'_>> {
    let (authority, query) = match rest.split_once('?') {
        Some((authority, query)) => (authority, Some(query)),
        None => (rest, None),
    };
    let authority = authority.strip_prefix("//").unwrap_or(authority);
    let transport = match query.map(str::to_ascii_lowercase).as_deref() {
        None if scheme.is_secure() => IceTransport::Tcp,
        None | Some("transport=udp") => IceTransport::Udp,
        Some("transport=tcp") => IceTransport::Tcp,
        Some(_) => return None,
    };
    let split = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']').map(|end| end + 2)?,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(split)?;
    let port = match port.strip_prefix(':') {
        Some(digits) => digits.parse().ok().filter(|port| *port != 0)?,
        None if port.is_empty() => default_port(scheme),
        None => return None,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let legal_v6 = |c: char| c.is_ascii_hexdigit() || ":.".contains(c);
    let fine = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.chars().all(legal_v6),
        None => !host.is_empty() && host.chars().all(legal),
    };
    fine.then_some(IceUrl {
        scheme,
        host,
        port,
        transport,
    })
}

fn default_port(scheme: IceScheme) -> u16 {
    if scheme.is_secure() { 5349 } else { 3478 }
}

/// With everything said that has a default.
impl fmt::Display for IceUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        let transport = self.transport.as_str();
        write!(f, "{scheme}:{}:{}?transport={transport}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let whole = |text| IceUrl::parse(text).unwrap().to_string();
        assert_eq!(whole("turn:h"), "turn:h:3478?transport=udp");
        assert_eq!(whole("TURN:h?transport=TCP"), "turn:h:3478?transport=tcp");
        assert_eq!(whole("turns:h"), "turns:h:5349?transport=tcp");
        assert_eq!(
            whole("turns:[::1]:443?transport=udp"),
            "turns:[::1]:443?transport=udp"
        );
        assert_eq!(whole("stun://h:1"), "stun:h:1?transport=udp");
    }

    #[test]
    fn the_scheme_is_told_from_the_rest() {
        assert_eq!(IceUrl::parse("turn"), Err(IceUrlError::Scheme));
        assert_eq!(IceUrl::parse("http://h"), Err(IceUrlError::Scheme));
        assert_eq!(
            IceUrl::parse("turns:"),
            Err(IceUrlError::Malformed(IceScheme::Turns))
        );
        assert_eq!(
            IceUrl::parse("turn:u@h"),
            Err(IceUrlError::Malformed(IceScheme::Turn))
        );
    }
}
