//! Names of the form `….local` that browsers put into host candidates instead of addresses (RFC 8828).
//!
//! The system is asked first and multicast DNS at the same time, but only once there is such a name: joining a
//! multicast group makes some firewalls ask their users.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mdns_sd::{HostnameResolutionEvent, ServiceDaemon};
use tokio::time::timeout;

use crate::wire::limits::MDNS_TIMEOUT;

/// Longest domain name (RFC 1035).
const NAME_MAX: usize = 253;

/// Shares one multicast socket among all questions of one driver.
#[derive(Clone, Default)]
pub(super) struct Resolver {
    daemon: Arc<Daemon>,
}

#[derive(Default)]
struct Daemon(Mutex<Option<ServiceDaemon>>);

impl Resolver {
    /// The addresses of a `.local` name; none if there are none, or not in time.
    pub(super) async fn resolve(&self, host: &str) -> Vec<IpAddr> {
        if !is_local_name(host) {
            return Vec::new();
        }
        let system = async {
            let found = tokio::net::lookup_host((host, 0)).await;
            found
                .map(|found| found.map(|address| address.ip()).collect())
                .unwrap_or_default()
        };
        let daemon = self.daemon.clone();
        let name = format!("{}.", host.to_ascii_lowercase());
        let multicast = async {
            tokio::task::spawn_blocking(move || daemon.ask(&name))
                .await
                .unwrap_or_default()
        };
        timeout(MDNS_TIMEOUT, first_answer(system, multicast))
            .await
            .unwrap_or_default()
    }
}

/// The first of two answers that has an address in it.
async fn first_answer(
    a: impl Future<Output = Vec<IpAddr>>,
    b: impl Future<Output = Vec<IpAddr>>,
) -> Vec<IpAddr> {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    tokio::select! {
        found = &mut a => if found.is_empty() { b.await } else { found },
        found = &mut b => if found.is_empty() { a.await } else { found },
    }
}

fn is_local_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= NAME_MAX
        && host
            .to_ascii_lowercase()
            .strip_suffix(".local")
            .is_some_and(|name| name.split('.').all(label))
}

impl Daemon {
    /// Blocks for as long as a question may take.
    fn ask(&self, name: &str) -> Vec<IpAddr> {
        let Some(daemon) = self.started() else {
            return Vec::new();
        };
        let deadline = Instant::now() + MDNS_TIMEOUT;
        let milliseconds = u64::try_from(MDNS_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let Ok(answers) = daemon.resolve_hostname(name, Some(milliseconds)) else {
            return Vec::new();
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                Ok(HostnameResolutionEvent::AddressesFound(_, addresses)) if !addresses.is_empty() => {
                    let _ = daemon.stop_resolve_hostname(name);
                    return addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
                }
                Ok(HostnameResolutionEvent::SearchTimeout(_) | HostnameResolutionEvent::SearchStopped(_))
                | Err(_) => return Vec::new(),
                Ok(_) if left == Duration::ZERO => return Vec::new(),
                Ok(_) => {}
            }
        }
    }

    fn started(&self) -> Option<ServiceDaemon> {
        let mut daemon = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if daemon.is_none() {
            *daemon = ServiceDaemon::new().ok();
        }
        daemon.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(daemon) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = daemon.shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_names_are_asked_for() {
        for ok in ["a.local", "1f1c-2.local", "A-b.c.LOCAL"] {
            assert!(is_local_name(ok), "{ok}");
        }
        for bad in [
            "",
            "local",
            ".local",
            "a.example",
            "a..local",
            "a b.local",
            "localhost",
            "192.0.2.1",
        ] {
            assert!(!is_local_name(bad), "{bad}");
        }
        assert!(!is_local_name(&format!("{}.local", "a".repeat(250))));
    }

    #[tokio::test]
    async fn other_names_start_nothing() {
        let resolver = Resolver::default();
        assert!(resolver.resolve("rms.metered.ca").await.is_empty());
        assert!(resolver.daemon.0.lock().unwrap().is_none());
    }

    #[tokio::test]
    #[ignore = "needs a network interface with multicast"]
    async fn a_name_on_the_network_is_found() {
        let responder = ServiceDaemon::new().unwrap();
        let host = "4f1f2d9c-driver-test.local";
        let name = format!("{host}.");
        let service = mdns_sd::ServiceInfo::new("_test._udp.local.", "driver", &name, "", 9, None).unwrap();
        responder.register(service.enable_addr_auto()).unwrap();
        let found = Resolver::default().resolve(host).await;
        assert!(!found.is_empty());
        let _ = responder.shutdown();
    }

    #[tokio::test]
    async fn an_empty_answer_waits_for_the_other() {
        let ip = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(first_answer(async { vec![] }, async { vec![ip] }).await, [ip]);
        assert_eq!(
            first_answer(async { vec![ip] }, std::future::pending()).await,
            [ip]
        );
        assert!(first_answer(async { vec![] }, async { vec![] }).await.is_empty());
    }
}
