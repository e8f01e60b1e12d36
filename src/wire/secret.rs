//! Values that must never be shown, and the removal of such values from texts that came from elsewhere.

use std::fmt;

/// A value whose `Debug` says nothing. There is no `Display`: showing it takes a visible [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

const MASK: &str = "***";
/// URL parameters that carry a credential.
const PARAMETERS: [&str; 2] = ["token=", "key="];
/// Fields of SDP and of ICE servers that carry one.
const FIELDS: [&str; 3] = ["ice-pwd", "ice-ufrag", "credential"];

/// Replaces credentials in a text that is about to leave the library: the URL parameters `token` and `key`, the
/// fields `ice-pwd`, `ice-ufrag` and `credential`, and the user part of URLs.
pub fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = None;
    while let Some(c) = rest.chars().next() {
        if let Some((kept, skipped)) = secret_at(previous, rest) {
            out.push_str(&rest[..kept]);
            out.push_str(MASK);
            rest = &rest[kept + skipped..];
            previous = Some('*');
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            previous = Some(c);
        }
    }
    out
}

/// If a secret starts here: how many bytes of `rest` come before it and how long it is.
fn secret_at(previous: Option<char>, rest: &str) -> Option<(usize, usize)> {
    parameter(rest)
        .or_else(|| field(previous, rest))
        .or_else(|| user_info(rest))
}

fn starts_with_ignoring_case(text: &str, head: &str) -> bool {
    text.get(..head.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(head))
}

fn run(text: &str, end: impl Fn(char) -> bool) -> usize {
    text.find(end).unwrap_or(text.len())
}

fn parameter(rest: &str) -> Option<(usize, usize)> {
    let after = rest.strip_prefix(['?', '&'])?;
    let name = PARAMETERS
        .iter()
        .find(|name| starts_with_ignoring_case(after, name))?;
    let kept = 1 + name.len();
    let len = run(&rest[kept..], |c| c == '&' || c.is_whitespace() || is_quote(c));
    Some((kept, len))
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

fn field(previous: Option<char>, rest: &str) -> Option<(usize, usize)> {
    if previous.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        return None;
    }
    let name = FIELDS.iter().find(|name| starts_with_ignoring_case(rest, name))?;
    // `ice-pwd:x`, `credential = 'x'`, `"credential": "x"`, and the escaped form of the last.
    let after_name = rest[name.len()..]
        .trim_start_matches(['\\', '"', '\'', '`'])
        .trim_start();
    let value = after_name
        .strip_prefix([':', '='])?
        .trim_start_matches([' ', '\t', '\\']);
    let (value, len) = match value.chars().next().filter(|c| is_quote(*c)) {
        Some(quote) => (
            &value[quote.len_utf8()..],
            run(&value[quote.len_utf8()..], |c| c == quote),
        ),
        None => (
            value,
            run(value, |c| {
                c.is_whitespace() || matches!(c, ',' | ';' | '}' | '\\')
            }),
        ),
    };
    Some((rest.len() - value.len(), len))
}

/// `turn://user:password@host`, as webrtcbin takes its relays.
fn user_info(rest: &str) -> Option<(usize, usize)> {
    let after = rest.strip_prefix("://")?;
    let authority = &after[..run(after, |c| {
        c.is_whitespace() || matches!(c, '/' | '?' | '#') || is_quote(c)
    })];
    authority.rfind('@').map(|len| (3, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn c165_known_secrets_are_masked() {
        for (text, expected) in [
            ("wss://a/v1?token=eyJh.b", "wss://a/v1?token=***"),
            ("GET /v1?x=1&KEY=pk_live'", "GET /v1?x=1&KEY=***'"),
            ("?key=a&b=c", "?key=***&b=c"),
            (
                "a=ice-pwd:abc\r\na=ice-ufrag:xy, z",
                "a=ice-pwd:***\r\na=ice-ufrag:***, z",
            ),
            (
                r#"{"credential": "s3 cret","x":1}"#,
                r#"{"credential": "***","x":1}"#,
            ),
            (r#"{\"credential\":\"s3cret\"}"#, r#"{\"credential\":\"***"}"#),
            ("Credential=abc;d", "Credential=***;d"),
            ("turn://u:p%40@host:3478", "turn://***@host:3478"),
            (
                "credentials are wrong, monkey=banana",
                "credentials are wrong, monkey=banana",
            ),
            ("mycredential=1", "mycredential=1"),
            ("", ""),
        ] {
            assert_eq!(scrub(text), expected);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("pk_live_1")), "***");
    }

    proptest! {
        #[test]
        fn scrub_is_total_and_stable(text in any::<String>()) {
            let once = scrub(&text);
            prop_assert_eq!(scrub(&once), once);
        }

        #[test]
        fn scrub_hides_tokens(head in "[ -~]{0,20}", token in "[A-Za-z0-9_.-]{8,40}", tail in "[ -~]{0,20}") {
            let text = format!("{head} wss://a.example/v1?token={token}&x={tail}");
            let secret = format!("token={token}");
            prop_assert!(!scrub(&text).contains(&secret));
        }
    }
}
