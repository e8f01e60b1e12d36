//! ICE servers in webrtcbin's words, and what to say about those that are of no use. Pure.
//!
//! webrtcbin takes `stun://host:port` and `turn://user:password@host:port?transport=udp|tcp`, not the W3C forms
//! `stun:host:port` and `turn:host:port`, and wants the user information percent-encoded.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::core::io::IceServer;
use crate::wire::secret::Secret;
use crate::wire::{IceScheme, IceTransport, IceUrl, IceUrlError};

/// libnice drops what goes beyond this number of relays per component (`NICE_CANDIDATE_MAX_TURN_SERVERS`).
pub const MAX_RELAYS: usize = 8;

/// Places for relays over TCP when there are too many: TLS comes here as TCP to a tunnel.
const TCP_RELAYS: usize = 3;

/// What webrtcbin is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IcePlan {
    /// For `stun-server`; webrtcbin knows one only, so the first usable one.
    pub stun: Option<String>,
    /// For `add-turn-server`, in the order of the servers, at most [`MAX_RELAYS`].
    pub relays: Vec<Relay>,
    /// Why the others were left out. Names schemes and reasons, never hosts or credentials.
    pub warnings: Vec<String>,
    /// A server is on this machine, under a loopback address.
    pub on_loopback: bool,
}

/// One TURN server over one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// With user name and password.
    pub url: Secret<String>,
    /// Name or address, without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// As the server wants it.
    pub user: Secret<String>,
    /// The same for the password.
    pub password: Secret<String>,
    /// TCP, or UDP.
    pub transport: IceTransport,
    /// The URL without them, in the W3C form, for messages.
    pub name: String,
}

impl IcePlan {
    /// What to say when gathering has ended without a single relay candidate.
    pub fn no_relay(&self) -> Option<String> {
        let names: Vec<&str> = self.relays.iter().map(|relay| relay.name.as_str()).collect();
        let (who, what) = match names.len() {
            0 => return None,
            1 => ("the TURN server", "gives no relay"),
            _ => ("none of the TURN servers", "gives a relay"),
        };
        Some(format!(
            "{who} {} {what}: it cannot be reached, or user name or password are wrong or have expired",
            names.join(", ")
        ))
    }
}

/// Whether a local candidate is a relay's.
pub fn is_relayed(candidate: &str) -> bool {
    let mut words = candidate.split(' ').skip_while(|word| *word != "typ");
    words.nth(1) == Some("relay")
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
    if plan.relays.len() > MAX_RELAYS {
        plan.relays = choose(std::mem::take(&mut plan.relays));
        plan.warnings
            .push(format!("more than {MAX_RELAYS} relays are not used"));
    }
    plan
}

/// The best [`MAX_RELAYS`]: the first ones over UDP, and [`TCP_RELAYS`] over TCP for networks that let nothing else out.
fn choose(relays: Vec<Relay>) -> Vec<Relay> {
    let is_udp = |relay: &Relay| relay.transport == IceTransport::Udp;
    let (mut udp, mut tcp): (Vec<Relay>, Vec<Relay>) = relays.into_iter().partition(is_udp);
    tcp.truncate(TCP_RELAYS.max(MAX_RELAYS.saturating_sub(udp.len())));
    udp.truncate(MAX_RELAYS.saturating_sub(tcp.len()));
    udp.into_iter().chain(tcp).collect()
}

fn add(plan: &mut IcePlan, server: &IceServer, url: &str) -> Result<(), String> {
    let url = IceUrl::parse(url).map_err(|error| match error {
        IceUrlError::Scheme => "an ICE server URL is neither stun: nor turn:".to_owned(),
        IceUrlError::Malformed(scheme) => format!("a {}: URL is malformed", scheme.as_str()),
    })?;
    match url.scheme {
        IceScheme::Stun => {
            if plan.stun.is_none() {
                plan.on_loopback |= is_loopback(&url);
                plan.stun = Some(format!("stun://{}:{}", url.host, url.port));
            }
            Ok(())
        }
        IceScheme::Turn => add_relay(plan, server, &url),
        // libnice sends TURN over plain TCP to a turns: port (all versions): user name and nonce in clear. Those over
        // TCP do not come as far as this, see net::tunnel.
        IceScheme::Turns => Err("turns: servers over UDP (DTLS) are not used".into()),
        IceScheme::Stuns => Err("stuns: servers are not used, because libnice has no TLS".into()),
    }
}

/// Whether only a socket on 127.0.0.1 reaches it. libnice's TCP sockets choose their address themselves.
fn is_loopback(url: &IceUrl<'_>) -> bool {
    let here = url.host.eq_ignore_ascii_case("localhost")
        || url.host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback());
    here && url.transport == IceTransport::Udp
}

fn add_relay(plan: &mut IcePlan, server: &IceServer, url: &IceUrl<'_>) -> Result<(), String> {
    let (Some(user), Some(password)) = (&server.username, &server.credential) else {
        return Err("a turn: server without user name and credential is not used".into());
    };
    // Without `transport` webrtcbin makes two relays of it; RFC 7065 means UDP.
    let relay = Relay {
        url: Secret::new(format!(
            "turn://{}:{}@{}:{}?transport={}",
            encode(user.expose()),
            encode(password.expose()),
            url.host,
            url.port,
            url.transport.as_str()
        )),
        host: url.host.trim_matches(['[', ']']).to_owned(),
        port: url.port,
        user: user.clone(),
        password: password.clone(),
        transport: url.transport,
        name: url.to_string(),
    };
    if !plan.relays.contains(&relay) {
        plan.on_loopback |= is_loopback(url);
        plan.relays.push(relay);
    }
    Ok(())
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
            .map(|relay| relay.url.expose().clone())
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
    fn servers_on_this_machine_are_noticed() {
        for url in ["turn:127.0.0.1", "stun:LocalHost:1", "turn:127.9.9.9:3478"] {
            assert!(plan(&[server(url)]).on_loopback, "{url}");
        }
        for url in [
            "turn:127.0.0.1?transport=tcp",
            "turn:192.0.2.1",
            "stun:127.0.0.1.example.com",
            "turn:[2001:db8::1]",
        ] {
            assert!(!plan(&[server(url)]).on_loopback, "{url}");
        }
    }

    #[test]
    fn a_server_without_relay_is_named_without_its_secrets() {
        assert_eq!(plan(&[server("stun:h")]).no_relay(), None);
        let one = plan(&[server("turn:h")]).no_relay().unwrap();
        assert!(
            one.starts_with("the TURN server turn:h:3478?transport=udp gives no relay"),
            "{one}"
        );
        let two = plan(&[server("turn:h"), server("turn:[::1]:9?transport=tcp")])
            .no_relay()
            .unwrap();
        assert!(
            two.contains("turn:h:3478?transport=udp, turn:[::1]:9?transport=tcp gives"),
            "{two}"
        );
        assert!(!two.contains("1700") && !two.contains("p%40") && !two.contains("p@"));
    }

    #[test]
    fn relay_candidates_are_told_from_others() {
        assert!(is_relayed(
            "candidate:5 1 UDP 1 192.0.2.9 5000 typ relay raddr 192.0.2.1 rport 9"
        ));
        assert!(!is_relayed(
            "candidate:5 1 UDP 1 192.0.2.9 5000 typ srflx raddr 192.0.2.1 rport 9"
        ));
        assert!(!is_relayed("candidate:relay 1 UDP 1 192.0.2.9 5000 typ host"));
        assert!(!is_relayed("") && !is_relayed("typ"));
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
            "turns:h:443?transport=udp",
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
    fn udp_comes_first_and_tcp_keeps_places() {
        let hosts = |udp: usize, tcp: usize| -> Vec<String> {
            let udp = (0..udp).map(|n| server(&format!("turn:u{n}")));
            let tcp = (0..tcp).map(|n| server(&format!("turn:t{n}?transport=tcp")));
            let servers: Vec<_> = tcp.chain(udp).collect();
            plan(&servers)
                .relays
                .into_iter()
                .map(|relay| relay.host)
                .collect()
        };
        assert_eq!(hosts(6, 6).join(" "), "u0 u1 u2 u3 u4 t0 t1 t2");
        assert_eq!(hosts(9, 1).join(" "), "u0 u1 u2 u3 u4 u5 u6 t0");
        assert_eq!(hosts(1, 9).join(" "), "u0 t0 t1 t2 t3 t4 t5 t6");
        assert_eq!(hosts(0, 10).len(), 8);
        // Few enough: as they come.
        assert_eq!(hosts(2, 1).join(" "), "t0 u0 u1");
    }

    #[test]
    fn relays_are_bounded_and_unique() {
        let many: Vec<_> = (0..20).map(|n| server(&format!("turn:h{}", n / 2))).collect();
        let plan = plan(&many);
        assert_eq!((plan.relays.len(), plan.warnings.len()), (MAX_RELAYS, 1));
        assert_eq!(plan.relays[7].host, "h7");
        assert!(!format!("{plan:?}").contains("1700"));
        let anonymous = IceServer {
            urls: vec!["turn:h".into()],
            username: None,
            credential: None,
        };
        assert!(super::plan(&[anonymous]).relays.is_empty());
    }
}
