//! ICE servers in webrtcbin's words. Pure.
//!
//! webrtcbin takes `stun://host:port` and `turn://user:password@host:port?transport=udp|tcp`, not the W3C forms
//! `stun:host:port` and `turn:host:port`, and wants the user information percent-encoded.

use std::fmt::Write;

use crate::core::io::IceServer;
use crate::wire::secret::Secret;

/// libnice drops what goes beyond this number of relays per component (`NICE_CANDIDATE_MAX_TURN_SERVERS`).
pub const MAX_RELAYS: usize = 8;

const DEFAULT_PORT: u16 = 3478;

/// What webrtcbin is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IcePlan {
    /// For `stun-server`; webrtcbin knows one only, so the first usable one.
    pub stun: Option<String>,
    /// For `add-turn-server`, in the order of the servers, at most [`MAX_RELAYS`].
    pub relays: Vec<Secret<String>>,
    /// Why the others were left out. Names schemes and reasons, never hosts or credentials.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

struct Address<'a> {
    host: &'a str,
    port: u16,
    transport: Transport,
}

/// Translates validated servers. What cannot be used is left out with a warning: a call may well connect without.
pub fn plan(servers: &[IceServer]) -> IcePlan {
    let mut plan = IcePlan::default();
    for server in servers {
        for url in &server.urls {
            if let Err(warning) = add(&mut plan, server, url) {
                plan.warnings.push(warning);
            }
        }
    }
    plan
}

fn add(plan: &mut IcePlan, server: &IceServer, url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once(':').ok_or("an ICE server URL has no scheme")?;
    match scheme.to_ascii_lowercase().as_str() {
        "stun" => {
            let address = parse(rest).ok_or("a stun: URL is malformed")?;
            if plan.stun.is_none() {
                plan.stun = Some(format!("stun://{}:{}", address.host, address.port));
            }
            Ok(())
        }
        "turn" => add_relay(plan, server, rest),
        // libnice sends TURN over plain TCP to a turns: port (all versions): user name and nonce in clear.
        "turns" => Err("turns: servers are not used yet, because libnice has no TLS".into()),
        "stuns" => Err("stuns: servers are not used, because libnice has no TLS".into()),
        _ => Err("an ICE server URL is neither stun: nor turn:".into()),
    }
}

fn add_relay(plan: &mut IcePlan, server: &IceServer, rest: &str) -> Result<(), String> {
    let address = parse(rest).ok_or("a turn: URL is malformed")?;
    let (Some(user), Some(password)) = (&server.username, &server.credential) else {
        return Err("a turn: server without user name and credential is not used".into());
    };
    if plan.relays.len() >= MAX_RELAYS {
        return Err(format!("more than {MAX_RELAYS} relays are not used"));
    }
    let transport = match address.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    // Without `transport` webrtcbin makes two relays of it; RFC 7065 means UDP.
    let url = Secret::new(format!(
        "turn://{}:{}@{}:{}?transport={transport}",
        encode(user.expose()),
        encode(password.expose()),
        address.host,
        address.port
    ));
    if !plan.relays.contains(&url) {
        plan.relays.push(url);
    }
    Ok(())
}

/// `host[:port][?transport=udp|tcp]`, host a name, an IPv4 address or a bracketed IPv6 address.
fn parse(rest: &str) -> Option<Address<'_>> {
    let (authority, query) = match rest.split_once('?') {
        Some((authority, query)) => (authority, Some(query)),
        None => (rest, None),
    };
    let authority = authority.strip_prefix("//").unwrap_or(authority);
    let transport = match query.map(str::to_ascii_lowercase).as_deref() {
        None | Some("transport=udp") => Transport::Udp,
        Some("transport=tcp") => Transport::Tcp,
        Some(_) => return None,
    };
    let split = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']').map(|end| end + 2)?,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(split)?;
    let port = match port.strip_prefix(':') {
        Some(digits) => digits.parse().ok().filter(|port| *port != 0)?,
        None if port.is_empty() => DEFAULT_PORT,
        None => return None,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let legal_v6 = |c: char| c.is_ascii_hexdigit() || ":.".contains(c);
    let fine = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.chars().all(legal_v6),
        None => !host.is_empty() && host.chars().all(legal),
    };
    fine.then_some(Address {
        host,
        port,
        transport,
    })
}

/// Everything but RFC 3986 "unreserved": libnice's caller splits the user information at `:` and `@`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> IceServer {
        IceServer {
            urls: vec![url.into()],
            username: Some(Secret::new("1700:a+8-x@y.z".into())),
            credential: Some(Secret::new("p@ss:w?r/d#1%=".into())),
        }
    }

    fn relays(url: &str) -> Vec<String> {
        plan(&[server(url)])
            .relays
            .iter()
            .map(|relay| relay.expose().clone())
            .collect()
    }

    const USERINFO: &str = "1700%3Aa%2B8-x%40y.z:p%40ss%3Aw%3Fr%2Fd%231%25%3D";

    #[test]
    fn turn_is_encoded() {
        let expected = vec![format!("turn://{USERINFO}@turn.example.com:80?transport=tcp")];
        assert_eq!(relays("turn:turn.example.com:80?transport=tcp"), expected);
        let expected = vec![format!("turn://{USERINFO}@10.0.0.1:3478?transport=udp")];
        assert_eq!(relays("turn:10.0.0.1"), expected);
        let expected = vec![format!("turn://{USERINFO}@[2001:db8::1]:3478?transport=udp")];
        assert_eq!(relays("TURN:[2001:db8::1]"), expected);
        let expected = vec![format!("turn://{USERINFO}@[::1]:99?transport=udp")];
        assert_eq!(relays("turn:[::1]:99?transport=udp"), expected);
    }

    #[test]
    fn stun_is_one() {
        let plan = plan(&[server("stun:a.example:1"), server("stun:[::1]")]);
        assert_eq!(plan.stun.as_deref(), Some("stun://a.example:1"));
        assert!(plan.relays.is_empty() && plan.warnings.is_empty());
    }

    #[test]
    fn what_is_unusable_is_left_out() {
        let bad = [
            "turn",
            "turn:",
            "turn:h:0",
            "turn:h:99999",
            "turn:h:1x",
            "turn:[::1",
            "turn:[::1]x",
            "turn:u@h",
            "turn:h?transport=tls",
            "turn:h?x=1",
            "turns:h:443",
            "stuns:h",
            "http://h",
            "turn:h/..",
            "turn:h h",
            "turn:[zz]",
            "stun:\u{e9}",
        ];
        for url in bad {
            let plan = plan(&[server(url)]);
            assert!(plan.relays.is_empty() && plan.stun.is_none(), "{url} was used");
            assert_eq!(plan.warnings.len(), 1, "{url}");
            assert!(!plan.warnings[0].contains("p@ss"), "{url}");
        }
    }

    #[test]
    fn relays_are_bounded_and_unique() {
        let many: Vec<_> = (0..20).map(|n| server(&format!("turn:h{}", n / 2))).collect();
        let plan = plan(&many);
        assert_eq!(plan.relays.len(), MAX_RELAYS);
        assert!(!format!("{plan:?}").contains("1700"));
        let anonymous = IceServer {
            urls: vec!["turn:h".into()],
            username: None,
            credential: None,
        };
        assert!(super::plan(&[anonymous]).relays.is_empty());
    }
}
