//! Where the service is, and the URL to connect to.

use std::fmt::{self, Write as _};

use url::{Host, Url};

use super::limits::{CONNECT_PATH, DEFAULT_ENDPOINT};
use super::secret::Secret;

/// Why an endpoint was refused. The texts never repeat the input: it might carry a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It has a fragment.
    #[error("the endpoint must not have a fragment (#…); give the origin only, such as wss://rms.metered.ca")]
    Fragment,
    /// `ws:` is for local development.
    #[error("ws: is only allowed for localhost, 127.0.0.1 and ::1; use wss:")]
    InsecureHost,
    /// It is no URL.
    #[error("the endpoint is not a URL; it should look like wss://rms.metered.ca")]
    Invalid,
    /// It has a path.
    #[error("the endpoint must not have a path; give the origin only, such as wss://rms.metered.ca")]
    Path,
    /// It has a query.
    #[error("the endpoint must not have a query; API keys and tokens have their own properties")]
    Query,
    /// It is not `wss:` or `ws:`.
    #[error("the endpoint must start with wss://")]
    Scheme,
    /// It has a user or password.
    #[error("the endpoint must not have a user or password; API keys and tokens have their own properties")]
    UserInfo,
}

/// What proves to the service who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Publishable key, `pk_live_…`.
    ApiKey(Secret<String>),
    /// JWT.
    Token(Secret<String>),
}

/// The origin of a service: scheme, host and port, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    origin: String,
}

impl Endpoint {
    /// Checks an origin such as `wss://rms.metered.ca` or `ws://localhost:8443`.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(|_| EndpointError::Invalid)?;
        let host = match url.scheme() {
            "wss" | "ws" => url.host().ok_or(EndpointError::Invalid)?,
            _ => return Err(EndpointError::Scheme),
        };
        if url.scheme() == "ws" && !is_this_machine(&host) {
            return Err(EndpointError::InsecureHost);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::UserInfo);
        }
        if !matches!(url.path(), "" | "/") {
            return Err(EndpointError::Path);
        }
        if url.query().is_some() {
            return Err(EndpointError::Query);
        }
        if url.fragment().is_some() {
            return Err(EndpointError::Fragment);
        }
        let mut origin = format!("{}://{host}", url.scheme());
        if let Some(port) = url.port() {
            let _ = write!(origin, ":{port}");
        }
        Ok(Self { origin })
    }

    /// scheme://host\[:port\]
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    /// The URL to open a WebSocket to. It contains the credential.
    pub fn connect_url(&self, credential: &Credential) -> Secret<String> {
        let (name, value) = match credential {
            Credential::ApiKey(key) => ("key", key),
            Credential::Token(token) => ("token", token),
        };
        let mut url = format!("{}{CONNECT_PATH}?{name}=", self.origin);
        percent_encode(value.expose(), &mut url);
        Secret::new(url)
    }
}

impl Default for Endpoint {
    /// The public service.
    fn default() -> Self {
        Self {
            origin: DEFAULT_ENDPOINT.to_owned(),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => *address == std::net::Ipv4Addr::LOCALHOST,
        Host::Ipv6(address) => *address == std::net::Ipv6Addr::LOCALHOST,
    }
}

/// Everything but the unreserved characters of RFC 3986 is encoded.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Option<EndpointError> {
        Endpoint::parse(text).err()
    }

    #[test]
    fn c001_schemes() {
        for ok in [
            "wss://rms.metered.ca",
            "ws://localhost",
            "ws://127.0.0.1:81",
            "ws://[::1]:9/",
            "WSS://A.example",
        ] {
            assert_eq!(error(ok), None, "{ok}");
        }
        assert_eq!(error("ws://rms.metered.ca"), Some(EndpointError::InsecureHost));
        assert_eq!(error("ws://127.0.0.2"), Some(EndpointError::InsecureHost));
        assert_eq!(error("https://rms.metered.ca"), Some(EndpointError::Scheme));
        assert_eq!(error("rms.metered.ca"), Some(EndpointError::Invalid));
        assert_eq!(error(""), Some(EndpointError::Invalid));
    }

    #[test]
    fn c002_only_an_origin() {
        assert_eq!(error("wss://a.example/v1"), Some(EndpointError::Path));
        assert_eq!(error("wss://a.example/?key=x"), Some(EndpointError::Query));
        assert_eq!(error("wss://a.example#x"), Some(EndpointError::Fragment));
        assert_eq!(error("wss://a.example/"), None);
    }

    #[test]
    fn c003_no_user_info() {
        for url in ["wss://u:p@a.example", "wss://u@a.example", "ws://:p@localhost"] {
            assert_eq!(error(url), Some(EndpointError::UserInfo), "{url}");
        }
    }

    #[test]
    fn c004_connect_url() {
        let url = |endpoint: &str, key: &str| {
            let credential = Credential::ApiKey(Secret::new(key.to_owned()));
            Endpoint::parse(endpoint)
                .unwrap()
                .connect_url(&credential)
                .expose()
                .clone()
        };
        assert_eq!(
            url("wss://a.example:8443/", "pk a"),
            "wss://a.example:8443/v1?key=pk%20a"
        );
        assert_eq!(
            url("wss://a.example:443", "ä&=+/"),
            "wss://a.example/v1?key=%C3%A4%26%3D%2B%2F"
        );
        assert_eq!(url("ws://[::1]:9", "x"), "ws://[::1]:9/v1?key=x");
        let token = Credential::Token(Secret::new("eyJ.a_b-c~".to_owned()));
        assert_eq!(
            Endpoint::default().connect_url(&token).expose(),
            "wss://rms.metered.ca/v1?token=eyJ.a_b-c~"
        );
        assert_eq!(Endpoint::parse(DEFAULT_ENDPOINT), Ok(Endpoint::default()));
        assert!(!format!("{token:?}").contains("eyJ"));
    }
}
