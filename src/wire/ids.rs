//! Validated names. A value of these types can be put on the wire as it is.

use std::fmt;
use std::sync::Arc;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    #[error("it is empty")]
    Empty,
    /// The name is longer than the service takes, in bytes.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// The name has a control character (U+0000–U+001F, U+007F–U+009F).
    #[error("it contains a control character")]
    ControlCharacter,
    /// The channel prefix is kept for the service itself.
    #[error("the prefixes _metered/, _internal/ and _system/ are reserved for the service")]
    Reserved,
}

fn check(name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > max {
        return Err(NameError::TooLong(max));
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
}

/// The id under which the service knows a room member (service protocol: `sub` of the token). Compares as the SDKs do: ids are ASCII.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// Longest id, in bytes.
    pub const MAX: usize = 128;

    /// Checks and wraps an id.
    pub fn new(id: &str) -> Result<Self, NameError> {
        check(id, Self::MAX)?;
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a channel, case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Longest name, in bytes.
    pub const MAX: usize = 256;
    const RESERVED: [&'static str; 3] = ["_metered/", "_internal/", "_system/"];

    /// Checks and wraps a name; reserved prefixes are refused whatever their case.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name, Self::MAX)?;
        let reserved = |prefix: &&str| {
            name.get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        };
        if Self::RESERVED.iter().any(reserved) {
            return Err(NameError::Reserved);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}
as_text!(PeerId);
as_text!(ChannelName);

/// Names one request on its way to the server; a random UUID (version 4) on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u128);

impl RequestId {
    /// Makes an id of 128 random bits; the six bits that mark a UUID version 4 are overwritten.
    pub fn from_random(bits: u128) -> Self {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        Self(bits & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62)
    }

    /// Reads what [`fmt::Display`] writes; anything else is not an id of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let groups: Vec<&str> = text.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return None;
        }
        let digits = groups.concat();
        // from_str_radix would take a sign.
        if !digits
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            id >> 96,
            id >> 80 & 0xffff,
            id >> 64 & 0xffff,
            id >> 48 & 0xffff,
            id & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c029_request_ids_are_uuids_and_read_back() {
        let id = RequestId::from_random(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        assert_eq!(id.to_string(), "00112233-4455-4677-8899-aabbccddeeff");
        assert_eq!(RequestId::parse(&id.to_string()), Some(id));
        for text in [
            "",
            "-",
            "00112233-4455-4677-8899-aabbccddeefg",
            "+0112233-4455-4677-8899-aabbccddeeff",
        ] {
            assert_eq!(RequestId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn c030_names_are_checked_in_bytes() {
        assert_eq!(ChannelName::new(""), Err(NameError::Empty));
        assert_eq!(ChannelName::new(&"a".repeat(257)), Err(NameError::TooLong(256)));
        assert!(ChannelName::new(&"a".repeat(256)).is_ok());
        assert_eq!(ChannelName::new(&"ä".repeat(129)), Err(NameError::TooLong(256)));
        assert_eq!(ChannelName::new("a\u{85}b"), Err(NameError::ControlCharacter));
        assert_eq!(PeerId::new(&"a".repeat(129)), Err(NameError::TooLong(128)));
        assert!(PeerId::new(&"a".repeat(128)).is_ok());
        assert_eq!(PeerId::new(""), Err(NameError::Empty));
        assert_eq!(PeerId::new("a\nb"), Err(NameError::ControlCharacter));
    }

    #[test]
    fn c043_reserved_prefixes_are_refused_in_any_case() {
        for name in ["_metered/x", "_INTERNAL/x", "_System/"] {
            assert_eq!(ChannelName::new(name), Err(NameError::Reserved), "{name}");
        }
        assert!(ChannelName::new("_metered").is_ok());
        assert!(ChannelName::new("_meterédx/").is_ok());
    }
}
