//! HTTP proxies for `wss:` servers: which one.
//!
//! A server on this machine is never reached through a proxy, which would look for it on its own machine.

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio_tungstenite::tungstenite::http::Uri;
use url::Host;

mod tunnel;

pub(super) use tunnel::{Proxy, ProxyError};

use crate::wire::Secret;

/// Stands for a proxy when only the exceptions matter, and for a server when only the proxy does.
const ANYTHING: &str = "https://any.invalid/";

/// Whether a `wss:` server is reached through a proxy. A server on this machine never is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProxyPolicy {
    /// The one that the environment names, if any: `https_proxy`, else `all_proxy`, but not for what `no_proxy`
    /// names; or the same in upper case. Read when the driver starts.
    #[default]
    Environment,
    /// None.
    Off,
    /// This one.
    Url {
        /// `http://host:port`, or `https:` if the proxy itself wants TLS. May have a user name and a password,
        /// percent-encoded where they contain special characters.
        url: Secret<String>,
        /// Servers to reach without it, written like `no_proxy`: names with all their subdomains, addresses,
        /// networks, separated by commas. `*` is everything.
        except: String,
    },
}

/// A policy, understood.
#[derive(Debug, Default)]
pub(super) struct ProxyRules(Option<Rule>);

#[derive(Debug)]
struct Rule {
    /// Where the proxy is set, for messages.
    setting: &'static str,
    proxy: Option<Intercept>,
    /// Intercepts what is not excepted.
    exceptions: Matcher,
}

impl ProxyRules {
    pub(super) fn new(policy: &ProxyPolicy) -> Self {
        match policy {
            ProxyPolicy::Off => Self(None),
            ProxyPolicy::Environment => Self::from_variables(|name| std::env::var(name).ok()),
            ProxyPolicy::Url { url, except } => {
                Self(Some(Rule::new("the proxy setting", url.expose(), except)))
            }
        }
    }

    /// As curl does it, but that the upper-case names count just as much.
    fn from_variables(value: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                value(name)
                    .filter(|value| !value.trim().is_empty())
                    .map(|value| (name, value.trim().to_owned()))
            })
        };
        let Some((setting, url)) =
            first(["https_proxy", "HTTPS_PROXY"]).or_else(|| first(["all_proxy", "ALL_PROXY"]))
        else {
            return Self(None);
        };
        let except = first(["no_proxy", "NO_PROXY"]).map(|(_, except)| except);
        Self(Some(Rule::new(setting, &url, &except.unwrap_or_default())))
    }

    /// The proxy for a server, if there is to be one.
    pub(super) fn proxy_for(&self, host: &Host<&str>, port: u16) -> Result<Option<Proxy<'_>>, ProxyError> {
        let Some(rule) = &self.0 else { return Ok(None) };
        let server = format!("https://{host}:{port}/").parse::<Uri>();
        let wanted = server.is_ok_and(|server| rule.exceptions.intercept(&server).is_some());
        if !wanted || is_this_machine(host) {
            return Ok(None);
        }
        let setting = rule.setting;
        let at = rule.proxy.as_ref().ok_or(ProxyError::Url(setting))?;
        match at.uri().scheme_str() {
            Some("http" | "https") => Ok(Some(Proxy { setting, at })),
            _ => Err(ProxyError::Socks(setting)),
        }
    }
}

impl Rule {
    fn new(setting: &'static str, url: &str, except: &str) -> Self {
        Self {
            setting,
            proxy: Matcher::builder()
                .https(url)
                .build()
                .intercept(&Uri::from_static(ANYTHING)),
            exceptions: Matcher::builder().https(ANYTHING).no(except).build(),
        }
    }
}

fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.to_canonical().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dial::borrowed;

    fn rules(variables: &[(&str, &str)]) -> ProxyRules {
        ProxyRules::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Where the proxy for a server is, or nothing.
    fn chosen(variables: &[(&str, &str)], server: &str) -> Option<String> {
        let rules = rules(variables);
        let host = Host::parse(server).unwrap();
        let proxy = rules.proxy_for(&borrowed(&host), 443).unwrap();
        proxy.map(|proxy| proxy.at.uri().to_string())
    }

    #[test]
    fn variables() {
        let some = |text: &str| Some(text.to_owned());
        let server = "rms.metered.ca";
        assert_eq!(chosen(&[], server), None);
        assert_eq!(chosen(&[("http_proxy", "http://p:1")], server), None);
        assert_eq!(
            chosen(&[("HTTPS_PROXY", "http://p:1")], server),
            some("http://p:1/")
        );
        assert_eq!(chosen(&[("https_proxy", "p:1")], server), some("http://p:1/"));
        assert_eq!(
            chosen(&[("ALL_PROXY", "https://[::1]:3")], server),
            some("https://[::1]:3/")
        );
        let both = [("all_proxy", "http://a:1"), ("HTTPS_PROXY", "http://h:1")];
        assert_eq!(chosen(&both, server), some("http://h:1/"));
        let empty = [("https_proxy", " "), ("HTTPS_PROXY", "http://h:1")];
        assert_eq!(chosen(&empty, server), some("http://h:1/"));
    }

    #[test]
    fn exceptions() {
        let proxy = |except: &str, server: &str| {
            chosen(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", except)], server).is_some()
        };
        for (except, server) in [
            ("metered.ca", "rms.metered.ca"),
            ("a.example, .metered.ca", "rms.metered.ca"),
            ("rms.metered.ca", "rms.metered.ca"),
            ("*", "rms.metered.ca"),
            ("192.0.2.0/24", "192.0.2.9"),
            ("2001:db8::/32", "[2001:db8::7]"),
            // Never, whatever the exceptions.
            ("", "localhost"),
            ("", "rms.localhost"),
            ("", "127.0.0.2"),
            ("", "[::1]"),
            ("", "[::ffff:127.0.0.1]"),
        ] {
            assert!(!proxy(except, server), "{except} {server}");
        }
        for (except, server) in [
            ("", "rms.metered.ca"),
            ("ered.ca", "rms.metered.ca"),
            ("x.rms.metered.ca", "rms.metered.ca"),
            ("192.0.2.0/24", "192.0.3.9"),
        ] {
            assert!(proxy(except, server), "{except} {server}");
        }
    }

    #[test]
    fn a_setting_that_is_no_proxy_is_named() {
        let error = |url: &str, host: &'static str| {
            let variables = [("all_proxy", url), ("no_proxy", "a.example")];
            let rules = rules(&variables);
            let error = rules.proxy_for(&Host::Domain(host), 443).err();
            error.map(|error| error.to_string())
        };
        for url in ["ftp://user:pass1@p", "http://", "http://user:pa ss1@p:1", "::"] {
            let text = error(url, "b.example").expect(url);
            assert!(text.starts_with("all_proxy does not name"), "{text}");
            assert!(!text.contains("ss1"), "{text}");
            assert_eq!(error(url, "a.example"), None);
            assert_eq!(error(url, "localhost"), None);
        }
        let text = error("socks5://user:pass1@p:1", "b.example").unwrap();
        assert!(text.contains("SOCKS") && !text.contains("pass1"), "{text}");
    }

    #[test]
    fn credentials_are_not_shown() {
        let variables = [("https_proxy", "http://Aladdin:open%20sesame@p:1")];
        let rules = rules(&variables);
        let proxy = rules.proxy_for(&Host::Domain("a.example"), 443).unwrap().unwrap();
        assert_eq!(
            proxy.at.basic_auth().unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        let policy = ProxyPolicy::Url {
            url: Secret::new("http://Aladdin:open%20sesame@p:1".to_owned()),
            except: String::new(),
        };
        for text in [format!("{proxy:?}"), format!("{rules:?}"), format!("{policy:?}")] {
            assert!(!text.contains("sesame") && !text.contains("QWxh"), "{text}");
        }
    }
}
