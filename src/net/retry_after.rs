//! The `Retry-After` of an HTTP answer (RFC 9110 §10.2.3), in both of its forms.

use std::time::{Duration, SystemTime};

use tokio_tungstenite::tungstenite::http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// How long the server asks us to wait; `None` if it does not say so in a way that can be understood. A date counts
/// from the answer's own `Date`: the clock of this machine, `now`, may be wrong, and stands in only if that is missing.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = text(headers, RETRY_AFTER)?;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // What does not fit is very long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let sent = date(headers).unwrap_or(now);
    Some(until.duration_since(sent).unwrap_or_default())
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, DATE)?).ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::http::header::HeaderValue;

    const NOON: &str = "Sat, 21 Nov 2026 12:00:00 GMT";

    fn wait(headers: &[(HeaderName, &str)], now: &str) -> Option<u64> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        let now = httpdate::parse_http_date(now).unwrap();
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn c068_seconds() {
        for (text, seconds) in [
            ("7", 7),
            (" 120 ", 120),
            ("0", 0),
            ("99999999999999999999999", u64::MAX),
        ] {
            assert_eq!(wait(&[(RETRY_AFTER, text)], NOON), Some(seconds), "{text}");
        }
    }

    #[test]
    fn c068_a_date_counts_from_the_answers_own() {
        // Our clock is a year slow, and an hour fast.
        for now in ["Fri, 21 Nov 2025 12:00:00 GMT", "Sat, 21 Nov 2026 13:00:00 GMT"] {
            let headers = [(RETRY_AFTER, "Sat, 21 Nov 2026 12:01:30 GMT"), (DATE, NOON)];
            assert_eq!(wait(&headers, now), Some(90), "{now}");
        }
        let past = [(RETRY_AFTER, "Sat, 21 Nov 2026 11:00:00 GMT"), (DATE, NOON)];
        assert_eq!(wait(&past, NOON), Some(0));
    }

    #[test]
    fn c068_without_a_date_of_its_own_it_counts_from_our_clock() {
        let until = (RETRY_AFTER, "Sat, 21 Nov 2026 12:00:45 GMT");
        assert_eq!(wait(std::slice::from_ref(&until), NOON), Some(45));
        assert_eq!(wait(&[until, (DATE, "noon")], NOON), Some(45));
        // The two obsolete forms, which must be read too.
        for text in ["Saturday, 21-Nov-26 12:00:45 GMT", "Sat Nov 21 12:00:45 2026"] {
            assert_eq!(wait(&[(RETRY_AFTER, text)], NOON), Some(45), "{text}");
        }
    }

    #[test]
    fn c068_nonsense_is_no_wish() {
        for text in [
            "",
            "-5",
            "+5",
            "1.5",
            "soon",
            "5 seconds",
            "Sat, 32 Nov 2026 12:00:00 GMT",
        ] {
            assert_eq!(wait(&[(RETRY_AFTER, text)], NOON), None, "{text}");
        }
        assert_eq!(wait(&[(DATE, NOON)], NOON), None);
    }
}
