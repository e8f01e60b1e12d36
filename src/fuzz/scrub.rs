//! The removal of secrets from texts.

use crate::wire;

/// The first line is the secret, the rest what stands around it: before and behind a `@@`.
pub fn scrub(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    stable(&text);
    let (secret, around) = text.split_once('\n').unwrap_or((&text, ""));
    let secret: String = secret
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    let (before, behind) = around.split_once("@@").unwrap_or((around, ""));
    if secret.len() >= 12 {
        for form in FORMS {
            hidden(before, form, &secret, behind);
        }
    }
}

/// How secrets appear; `@` is the place.
const FORMS: [&str; 16] = [
    "eyJhbGci.eyJzdWIi.@",
    "eyJ@.eyJ@.@",
    "pk_live_@",
    "sk_live_@",
    "?token=@",
    "&key=@",
    "%3Ftoken%3D@",
    "\\u0026key=@",
    " Authorization: Bearer @",
    "\"credential\":\"@\"",
    "\\\"credential\\\": \\\"@\\\"",
    "\"token\" : \"@\"",
    "%22credential%22%3A%22@%22",
    "\r\na=ice-pwd:@",
    "\\r\\na=ice-ufrag:@\\r\\n",
    "turn://user:@%40@host:3478",
];

fn stable(text: &str) -> String {
    let once = wire::scrub(text);
    assert_eq!(wire::scrub(&once), once, "scrubbed again, it is different");
    once
}

fn hidden(before: &str, form: &str, secret: &str, behind: &str) {
    let form = match form.rsplit_once("@host") {
        Some((head, _)) => format!("{}@host", head.replace('@', secret)),
        None => form.replace('@', secret),
    };
    // A secret that is repeated where nothing announces it cannot be known.
    if before.contains(secret) || behind.contains(secret) {
        return;
    }
    let whole = stable(&format!("{before}{form}{behind}"));
    assert!(!whole.contains(secret), "{before}{form}{behind}: {whole}");
    // Cut off behind the secret, as a log with a limit does.
    let at = form.rfind(secret).unwrap_or_default() + secret.len();
    // Without its `@` a URL has a host and a port there.
    if !form.starts_with("turn:") {
        let cut = stable(&format!("{before}{}", &form[..at]));
        assert!(!cut.contains(secret), "{before}{}: {cut}", &form[..at]);
    }
}
