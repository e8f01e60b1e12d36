//! The ICE servers of a welcome. Fails closed: one bad entry voids the list, so that a manipulated list is not used
//! in part.

use serde_json::Value;

use super::limits::{ICE_CREDENTIAL_LEN_MAX, ICE_SERVERS_MAX, ICE_URL_LEN_MAX, ICE_URLS_MAX};
use super::secret::Secret;

/// An ICE server of the welcome, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:` URLs.
    pub urls: Vec<String>,
    /// TURN user.
    pub username: Option<Secret<String>>,
    /// TURN password.
    pub credential: Option<Secret<String>>,
}

impl IceServer {
    /// Reads the `iceServers` member of a welcome's metadata. `None` means "absent": missing or not acceptable.
    /// An empty list is a list.
    pub fn parse_list(list: &Value) -> Option<Vec<Self>> {
        let entries = list
            .as_array()
            .filter(|entries| entries.len() <= ICE_SERVERS_MAX)?;
        let servers: Vec<Self> = entries.iter().map(Self::parse).collect::<Option<_>>()?;
        let urls: usize = servers.iter().map(|server| server.urls.len()).sum();
        (urls <= ICE_URLS_MAX).then_some(servers)
    }

    fn parse(entry: &Value) -> Option<Self> {
        let entry = entry.as_object()?;
        let urls = match entry.get("urls")? {
            Value::String(url) => vec![check_url(url)?],
            Value::Array(urls) if !urls.is_empty() => urls
                .iter()
                .map(|url| check_url(url.as_str()?))
                .collect::<Option<_>>()?,
            _ => return None,
        };
        let username = credential(entry.get("username"))?;
        let credential = credential(entry.get("credential"))?;
        Some(Self {
            urls,
            username,
            credential,
        })
    }
}

/// Lengths count as in browsers, which have checked the same list for the other members of the room.
fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count()
}

fn check_url(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once(':')?;
    let known = ["stun", "stuns", "turn", "turns"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    (known && utf16_len(url) <= ICE_URL_LEN_MAX).then(|| url.to_owned())
}

/// The outer `None` voids the list. What is no string is dropped and does not.
fn credential(value: Option<&Value>) -> Option<Option<Secret<String>>> {
    match value {
        Some(Value::String(text)) if utf16_len(text) > ICE_CREDENTIAL_LEN_MAX => None,
        Some(Value::String(text)) => Some(Some(Secret::new(text.clone()))),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(url: &str) -> Value {
        json!({"urls": url})
    }

    #[test]
    fn c012_sixteen_entries_are_the_limit() {
        let list = |n| Value::Array(vec![entry("stun:a"); n]);
        assert_eq!(IceServer::parse_list(&list(16)).unwrap().len(), 16);
        assert_eq!(IceServer::parse_list(&list(17)), None);
        assert_eq!(IceServer::parse_list(&list(0)), Some(vec![]));
    }

    #[test]
    fn c013_one_bad_scheme_voids_the_list() {
        assert_eq!(
            IceServer::parse_list(&json!([entry("stun:a"), entry("http:b")])),
            None
        );
        assert!(IceServer::parse_list(&json!([entry("TURNS:a")])).is_some());
    }

    #[test]
    fn c014_long_strings_void_the_list() {
        let url = |n: usize| json!([entry(&format!("stun:{}", "a".repeat(n - 5)))]);
        assert!(IceServer::parse_list(&url(512)).is_some());
        assert_eq!(IceServer::parse_list(&url(513)), None);
        for member in ["username", "credential"] {
            let list = |n: usize| json!([{"urls": "turn:a", member: "x".repeat(n)}]);
            assert!(IceServer::parse_list(&list(1024)).is_some());
            assert_eq!(IceServer::parse_list(&list(1025)), None);
        }
    }

    #[test]
    fn c015_empty_urls_void_and_odd_credentials_drop() {
        assert_eq!(IceServer::parse_list(&json!([{"urls": []}])), None);
        assert_eq!(IceServer::parse_list(&json!([{"urls": [""]}])), None);
        assert_eq!(IceServer::parse_list(&json!({"urls": "stun:a"})), None);
        let list =
            IceServer::parse_list(&json!([{"urls": "turn:a", "username": 7, "credential": "c"}])).unwrap();
        assert_eq!(list[0].username, None);
        assert_eq!(list[0].credential, Some(Secret::new("c".to_owned())));
    }

    #[test]
    fn total_urls_are_capped() {
        let list = json!([{"urls": vec!["stun:a"; 65]}]);
        assert_eq!(IceServer::parse_list(&list), None);
    }
}
