//! Which local addresses ICE uses.

use std::net::{IpAddr, Ipv4Addr};

/// Whether the loopback address is a candidate. libnice leaves it out when it looks for addresses itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loopback {
    /// Only when the machine has no other address.
    #[default]
    Auto,
    /// Beside all other addresses; for tests and demonstrations on one machine.
    Always,
    /// Never.
    Never,
}

/// The addresses to name to libnice; none leaves the search to libnice. Naming one ends its own search, therefore
/// either all are named or none.
pub(super) fn local_addresses(loopback: Loopback) -> Vec<IpAddr> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    choose(loopback, found.iter().map(if_addrs::Interface::ip))
}

fn choose(loopback: Loopback, found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let usable: Vec<IpAddr> = found
        .filter(|ip| !ip.is_loopback() && !is_link_local_v6(ip))
        .collect();
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match loopback {
        Loopback::Auto if usable.is_empty() => vec![local],
        Loopback::Auto | Loopback::Never => Vec::new(),
        Loopback::Always => usable.into_iter().chain([local]).collect(),
    }
}

/// Useless without a scope id, which candidates cannot carry.
fn is_link_local_v6(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(loopback: Loopback, found: &[&str]) -> Vec<String> {
        let found = found.iter().map(|text| text.parse().unwrap());
        choose(loopback, found).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn loopback_is_the_last_resort() {
        let lone = ["127.0.0.1", "::1"];
        let both = ["127.0.0.1", "192.0.2.2", "fd00::2", "fe80::1"];
        assert_eq!(chosen(Loopback::Auto, &lone), ["127.0.0.1"]);
        assert_eq!(chosen(Loopback::Never, &lone), [""; 0]);
        assert_eq!(chosen(Loopback::Auto, &both), [""; 0]);
        assert_eq!(
            chosen(Loopback::Always, &both),
            ["192.0.2.2", "fd00::2", "127.0.0.1"]
        );
    }
}
