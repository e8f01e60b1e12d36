//! Which addresses this machine has. Nothing tells a sender that the address it sends from has gone, so they are looked
//! up again and again: that is cheap, and the same on every system.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::core::io::NetInput;

/// Between two looks. A change is believed when the second one finds the same: a new lease takes one address away before
/// it brings the other.
const EVERY: Duration = Duration::from_millis(500);

/// What was found.
#[derive(Debug, Default)]
struct Addresses {
    /// The last list that counted.
    settled: Vec<IpAddr>,
    last: Vec<IpAddr>,
}

impl Addresses {
    /// What has become of the list, when it has changed for good. A machine without any address is on its way to one.
    fn look(&mut self, mut found: Vec<IpAddr>) -> Option<Vec<IpAddr>> {
        found.sort_unstable();
        found.dedup();
        let same = found == self.last;
        self.last = found;
        let news = same && !self.last.is_empty() && self.last != self.settled;
        if news {
            self.settled.clone_from(&self.last);
        }
        news.then(|| self.last.clone())
    }
}

/// Reports changes until nobody listens.
pub(super) async fn watch(facts: mpsc::Sender<NetInput>) {
    let now = found().unwrap_or_default();
    let mut addresses = Addresses::default();
    // What is there at the start is no change.
    let _ = addresses.look(now.clone());
    let _ = addresses.look(now);
    loop {
        sleep(EVERY).await;
        let Some(news) = found().and_then(|found| addresses.look(found)) else {
            continue;
        };
        if facts.send(NetInput::AddressesChanged(news)).await.is_err() {
            return;
        }
    }
}

/// Those that reach somebody else: neither loopback nor IPv6's link-local ones, which every container that starts brings.
fn found() -> Option<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    let addresses = interfaces.iter().map(if_addrs::Interface::ip);
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    Some(
        addresses
            .filter(|ip| !ip.is_loopback() && !link_local(ip))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn a_change_counts_when_it_stays() {
        let mut addresses = Addresses::default();
        let mut look = |text: &str| addresses.look(list(text));
        assert_eq!(look("10.0.0.1"), None);
        assert_eq!(look("10.0.0.1"), Some(list("10.0.0.1")));
        // A flap, and an order that means nothing.
        for same in ["10.0.0.1", "", "10.0.0.1", "10.0.0.1 10.0.0.1"] {
            assert_eq!(look(same), None, "{same}");
        }
        // From one to the other, with nothing in between.
        for gone in ["", "", ""] {
            assert_eq!(look(gone), None);
        }
        assert_eq!(look("10.0.0.2 fd00::1"), None);
        assert_eq!(look("fd00::1 10.0.0.2"), Some(list("10.0.0.2 fd00::1")));
        assert_eq!(look("10.0.0.2 fd00::1"), None);
    }
}
