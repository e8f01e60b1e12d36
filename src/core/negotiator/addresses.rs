//! This machine's own addresses, which come and go: an agent gathers once, so a connection does not follow them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Negotiator;

impl Negotiator {
    pub(super) fn on_path(&mut self, address: IpAddr) {
        if let Some(session) = &mut self.session {
            session.path = Some(address);
        }
    }

    /// Where the path in use is gone, or there was none, the connection is made anew: a restart would offer the old
    /// addresses. Any other goes on, but has to show that it is alive, because a relay or a tunnel in between may have
    /// been reached from an address that is gone.
    pub(super) fn on_addresses(&mut self, now: Instant, addresses: &[IpAddr]) {
        let Some(session) = &mut self.session else {
            return self.recovery.hurry(now);
        };
        let is_gone = |address: &IpAddr| !address.is_loopback() && !addresses.contains(address);
        let hosts = session.outbox.hosts();
        session.moved |= hosts.iter().any(is_gone);
        let lost = match session.connected {
            true => session.path.is_some_and(|path| is_gone(&path)),
            // Whatever it tries, it does not try with the address that may do.
            false if session.was_connected => true,
            false => !hosts.is_empty() && hosts.iter().all(is_gone),
        };
        if lost {
            self.problem(
                "address_changed",
                "the addresses of this machine have changed; the connection is made anew".into(),
            );
            self.recover(now, Duration::ZERO);
        } else if session.connected && session.moved {
            self.liveness.doubt(now);
        }
    }
}
