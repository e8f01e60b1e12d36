//! The operating system's TLS: its authorities, its policy, its certifications. OpenSSL on Linux.

use native_tls::{Certificate, Protocol, TlsConnector};
use url::Host;

use super::{TlsError, TlsOptions};
use crate::net::stream::{BoxStream, Stream};

pub(super) type Connector = tokio_native_tls::TlsConnector;

pub(super) fn load(options: &TlsOptions) -> Result<Connector, TlsError> {
    let mut builder = TlsConnector::builder();
    // The default would allow 1.0.
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Some(file) = options.read_ca_file()? {
        let certificates = Certificate::stack_from_pem(&file.pem).map_err(|e| file.error(words(&e)))?;
        if certificates.is_empty() {
            return Err(file.empty());
        }
        for certificate in certificates {
            builder.add_root_certificate(certificate);
        }
    }
    let connector = builder.build().map_err(|e| TlsError::Setup(words(&e)))?;
    Ok(connector.into())
}

pub(super) async fn connect<S: Stream + 'static>(
    connector: &Connector,
    host: &Host<&str>,
    stream: S,
) -> Result<BoxStream, TlsError> {
    let name = match host {
        Host::Domain(name) => (*name).to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        // Without brackets.
        Host::Ipv6(ip) => ip.to_string(),
    };
    match connector.connect(&name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(explain(host, &error)),
    }
}

/// The error has no kinds, only words. They are those of OpenSSL; other systems have their own, often translated,
/// so there an untrusted certificate may count as an ordinary failure.
fn explain(host: &Host<&str>, error: &native_tls::Error) -> TlsError {
    let text = error.to_string();
    let not_trusted = text.contains("certificate verify failed")
        || cfg!(not(target_os = "linux")) && text.to_ascii_lowercase().contains("certificate");
    if not_trusted {
        return TlsError::Certificate(words(error));
    }
    let not_tls = ["wrong version number", "http request", "packet length too long"];
    if not_tls.iter().any(|words| text.contains(words)) {
        return TlsError::NotTls(host.to_string());
    }
    TlsError::Handshake {
        peer: host.to_string(),
        error: words(error),
    }
}

/// OpenSSL says `error:CODE:library:function:reason:file:line:data (verify result)`, several times perhaps. People
/// need the reasons.
fn words(error: &native_tls::Error) -> String {
    shorten(&error.to_string())
}

fn shorten(text: &str) -> String {
    if let Some((_, result)) = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
        return result.to_owned();
    }
    let reasons: Vec<&str> = text
        .split(", ")
        .map(|one| match one.strip_prefix("error:") {
            Some(fields) => fields.split(':').nth(3).unwrap_or(one),
            None => one,
        })
        .collect();
    reasons.join(", ")
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn what_openssl_says_is_cut_to_its_reasons() {
        let head = "error:0A000086:SSL routines:tls_post_process_server_certificate";
        let untrusted =
            format!("{head}:certificate verify failed:../ssl/statem_clnt.c:1889: (self-signed certificate)");
        for (text, short) in [
            (untrusted.as_str(), "self-signed certificate"),
            (
                "error:0A00010B:SSL routines:f:wrong version number:../r.c:354:",
                "wrong version number",
            ),
            (
                "error:01:a:f:first:x.c:1:, error:02:b:g:second:y.c:2:",
                "first, second",
            ),
            ("unexpected EOF", "unexpected EOF"),
            ("error:odd", "error:odd"),
        ] {
            assert_eq!(shorten(text), short);
        }
    }
}
