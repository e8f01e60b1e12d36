//! Channel patterns of keys and tokens: `*` is any run without `/`, `**` any run, a backslash takes the next
//! character literally.

use std::fmt;

use serde::{Deserialize, Deserializer};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    Segment,
    Any,
}

/// One compiled channel pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    tokens: Vec<Token>,
}

impl Pattern {
    /// Compiles `source`. Every string is a pattern; a trailing backslash stands for itself.
    pub fn new(source: &str) -> Self {
        let mut tokens = Vec::new();
        let mut chars = source.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '\\' => Token::Literal(chars.next().unwrap_or('\\')),
                '*' if chars.next_if_eq(&'*').is_some() => Token::Any,
                '*' => Token::Segment,
                other => Token::Literal(other),
            });
        }
        Self {
            source: source.to_owned(),
            tokens,
        }
    }

    /// Whether `channel` is one of the names this pattern stands for.
    pub fn matches(&self, channel: &str) -> bool {
        let name: Vec<Token> = channel.chars().map(Token::Literal).collect();
        covers(&self.tokens, &name)
    }

    /// Whether every name that `narrower` matches is matched by this pattern too. Never wrongly true; false for
    /// exotic pairs (`a*` against `*` spelled as several wildcards) whose proof would need a real automaton.
    pub fn contains(&self, narrower: &Self) -> bool {
        covers(&self.tokens, &narrower.tokens)
    }
}

/// Glob matching over tokens, so that the same walk answers both "matches a name" and "contains a pattern".
/// `reachable[i]` says that the pattern's first `i` tokens can consume the input read so far, which keeps the
/// cost at pattern × input also for hostile patterns.
fn covers(pattern: &[Token], input: &[Token]) -> bool {
    let mut reachable = vec![false; pattern.len() + 1];
    reachable[0] = true;
    skip_empty_wildcards(pattern, &mut reachable);
    for token in input {
        let mut next = vec![false; pattern.len() + 1];
        for (i, wanted) in pattern.iter().enumerate() {
            if !reachable[i] {
                continue;
            }
            match (wanted, token) {
                (Token::Any, _) => next[i] = true,
                (Token::Segment, Token::Literal('/') | Token::Any) => {}
                (Token::Segment, _) => next[i] = true,
                (literal, other) if literal == other => next[i + 1] = true,
                _ => {}
            }
        }
        skip_empty_wildcards(pattern, &mut next);
        reachable = next;
    }
    reachable[pattern.len()]
}

fn skip_empty_wildcards(pattern: &[Token], reachable: &mut [bool]) {
    for (i, token) in pattern.iter().enumerate() {
        if reachable[i] && !matches!(token, Token::Literal(_)) {
            reachable[i + 1] = true;
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl From<&str> for Pattern {
    fn from(source: &str) -> Self {
        Self::new(source)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|source| Self::new(&source))
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn wildcards_and_escapes() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);
        assert!(matches("room/*", "room/7"));
        assert!(matches("room/*", "room/"));
        assert!(!matches("room/*", "room/7/a"));
        assert!(matches("room/**", "room/7/a"));
        assert!(matches("**", ""));
        assert!(matches("*/chat", "lobby/chat"));
        assert!(!matches("*/chat", "a/b/chat"));
        assert!(matches(r"a\*b", "a*b"));
        assert!(!matches(r"a\*b", "axb"));
        assert!(matches(r"a\\b", r"a\b"));
        assert!(!matches("Room", "room"));
        assert!(matches("a*b*c", "aXbYc"));
    }

    #[test]
    fn containment_is_never_wrongly_true() {
        let contains = |wide: &str, narrow: &str| Pattern::new(wide).contains(&Pattern::new(narrow));
        assert!(contains("**", "room/*"));
        assert!(contains("room/**", "room/*/chat"));
        assert!(contains("room/*", "room/7*"));
        assert!(!contains("room/*", "room/**"));
        assert!(!contains("room/7", "room/*"));
        assert!(contains(r"a\*", r"a\*"));
        assert!(!contains(r"a\*", "a*"));
    }

    #[test]
    fn a_hostile_pattern_costs_no_exponential_time() {
        assert!(!Pattern::new(&"*a".repeat(60)).matches(&"a".repeat(59)));
    }
}
