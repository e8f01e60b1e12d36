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
const PARAMETERS: [&str; 2] = ["token", "key"];
/// Fields of SDP and of ICE servers that carry one.
const FIELDS: [&str; 3] = ["ice-pwd", "ice-ufrag", "credential"];
/// Members of JSON that carry one. Without the quote they are words of sentences.
const MEMBERS: [&str; 3] = ["token", "key", "password"];
/// How a credential itself starts: a JSON web token, publishable and secret keys. Such a text is hidden wherever it
/// stands, since escaping does not change it.
const SHAPES: [&str; 5] = ["eyJ", "pk_live_", "pk_test_", "sk_live_", "sk_secret_"];
/// A shape followed by fewer characters is a word.
const SHAPE_MIN: usize = 4;
/// What follows `Bearer` and is shorter is a word, too.
const BEARER_MIN: usize = 12;

/// Replaces credentials in a text that is about to leave the library: whatever looks like a token or a key, the URL
/// parameters and JSON members `token` and `key`, bearer tokens, the fields `ice-pwd`, `ice-ufrag` and `credential`,
/// and the user part of URLs; plain, escaped in JSON, and percent-encoded once. What stands around a credential
/// cannot hide it: every place of the text is looked at for itself.
pub fn scrub(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        // Hiding can bring a `://` and an `@` together. Each pass hides more, so this ends.
        let next = scrub_once(&text);
        if next == text {
            return text;
        }
        text = next;
    }
}

fn scrub_once(text: &str) -> String {
    let mut spans: Vec<(usize, usize)> = text
        .char_indices()
        .flat_map(|(at, _)| secrets_at(text, at))
        .filter(|(start, end)| start < end)
        .collect();
    spans.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in spans {
        if start > done || (start == 0 && done == 0) {
            out.push_str(&text[done..start]);
            out.push_str(MASK);
        }
        done = done.max(end);
    }
    out.push_str(&text[done..]);
    out
}

/// The secrets that something at this place announces: start and end.
fn secrets_at(text: &str, at: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let rest = &text[at..];
    let bounded = is_boundary(&text[..at]);
    let word = |find: fn(&str) -> Option<&str>| bounded.then(|| find(rest)).flatten();
    let found = [
        shape(rest),
        user_info(rest),
        word(parameter),
        word(field),
        word(member),
        word(bearer),
    ];
    // All of them are slices of the text.
    let span = move |secret: &str| {
        let start = secret.as_ptr() as usize - text.as_ptr() as usize;
        (start, start + secret.len())
    };
    found.into_iter().flatten().map(span)
}

/// Whether a name may start behind this text: not in the middle of a word, but behind an escape.
fn is_boundary(before: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let hex = |text: Option<&str>| text.is_some_and(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
    let tail = |len: usize| before.len().checked_sub(len).and_then(|at| before.get(at..));
    let escaped = |mark: &str, len: usize| {
        tail(len + mark.len()).is_some_and(|text| text.starts_with(mark)) && hex(tail(len))
    };
    !before.ends_with(word) || escaped("%", 2) || escaped("\\u", 4) || is_short_escape(before)
}

/// `\n`, `\r` and `\t`: the next line of an SDP in JSON.
fn is_short_escape(before: &str) -> bool {
    ["\\n", "\\r", "\\t"]
        .iter()
        .any(|escape| before.ends_with(escape))
}

fn strip<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    let start = text.get(..head.len())?;
    start.eq_ignore_ascii_case(head).then(|| &text[head.len()..])
}

fn strip_any<'a>(text: &'a str, heads: &[&str]) -> Option<&'a str> {
    heads.iter().find_map(|head| strip(text, head))
}

fn strip_all<'a>(mut text: &'a str, heads: &[&str]) -> &'a str {
    while let Some(rest) = strip_any(text, heads) {
        text = rest;
    }
    text
}

const QUOTES: [&str; 5] = ["\"", "'", "`", "%22", "%27"];
const ESCAPES: [&str; 2] = ["\\", "%5C"];
const SPACES: [&str; 4] = [" ", "\t", "%20", "+"];

/// The text up to one of these characters or words.
fn until<'a>(text: &'a str, end: impl Fn(char) -> bool, words: &[&str]) -> &'a str {
    let stop = text
        .char_indices()
        .find(|(at, c)| end(*c) || strip_any(&text[*at..], words).is_some());
    stop.map_or(text, |(at, _)| &text[..at])
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

fn shape(rest: &str) -> Option<&str> {
    let after = SHAPES.iter().find_map(|shape| rest.strip_prefix(shape))?;
    let more = until(after, |c| !(c.is_ascii_alphanumeric() || "-_.".contains(c)), &[]);
    let len = rest.len() - after.len() + more.len();
    (more.len() >= SHAPE_MIN).then(|| &rest[..len])
}

fn parameter(rest: &str) -> Option<&str> {
    let after = strip_any(rest, &PARAMETERS)?;
    match after.strip_prefix('=') {
        Some(value) => Some(until(
            value,
            |c| c == '&' || c.is_whitespace() || is_quote(c),
            &[],
        )),
        None => {
            let value = strip(after, "%3D")?;
            Some(until(
                value,
                |c| c == '&' || c.is_whitespace() || is_quote(c),
                &["%26"],
            ))
        }
    }
}

/// `ice-pwd:x`, `credential = 'x'`, `"credential": "x"`, and the escaped forms of the last.
fn field(rest: &str) -> Option<&str> {
    let after = strip_any(rest, &FIELDS)?;
    value(strip_all(strip_all(after, &ESCAPES), &QUOTES))
}

fn member(rest: &str) -> Option<&str> {
    let after = strip_all(strip_any(rest, &MEMBERS)?, &ESCAPES);
    value(strip_any(after, &QUOTES)?)
}

fn value(after_name: &str) -> Option<&str> {
    let after = strip_any(strip_all(after_name, &SPACES), &[":", "=", "%3A", "%3D"])?;
    let start = strip_all(after, &SPACES);
    let opened = strip_all(start, &ESCAPES);
    let escapes = start.len() - opened.len();
    if let Some(quote) = opened.chars().next().filter(|c| is_quote(*c)) {
        return Some(quoted(&opened[quote.len_utf8()..], quote, escapes));
    }
    match strip_any(opened, &["%22", "%27"]) {
        Some(value) => Some(until(
            value,
            |c| c.is_whitespace() || is_quote(c),
            &["%22", "%27"],
        )),
        None => Some(until(
            opened,
            |c| c.is_whitespace() || matches!(c, ',' | ';' | '}' | '\\'),
            &["%0D", "%0A"],
        )),
    }
}

/// Up to the quote that closes; `escapes` backslashes stood before the one that opened. A quote inside the value has
/// more of them.
fn quoted(value: &str, quote: char, escapes: usize) -> &str {
    let mut before = 0;
    for (at, c) in value.char_indices() {
        if c == quote && before >= escapes && (before - escapes).is_multiple_of(2 * (escapes + 1)) {
            return &value[..at - escapes];
        }
        before = if c == '\\' { before + 1 } else { 0 };
    }
    value
}

fn bearer(rest: &str) -> Option<&str> {
    let after = strip(rest, "bearer")?;
    let value = strip_all(after, &SPACES);
    let token = until(value, |c| c.is_whitespace() || is_quote(c) || c == ',', &[]);
    (value.len() < after.len() && token.len() >= BEARER_MIN).then_some(token)
}

/// `turn://user:password@host`, as webrtcbin takes its relays.
fn user_info(rest: &str) -> Option<&str> {
    let after = strip_any(rest, &["://", "%3A%2F%2F"])?;
    let end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#') || is_quote(c);
    let authority = until(after, end, &["%2F", "%3F", "%23"]);
    let at = authority
        .rfind('@')
        .or_else(|| authority.rfind("%40").filter(|_| rest.starts_with('%')))?;
    Some(&authority[..at])
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
            (r#"{\"credential\":\"s3cret\"}"#, r#"{\"credential\":\"***\"}"#),
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
