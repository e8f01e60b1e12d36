//! What the service accepts as a channel name, a peer id and a request id. Lengths are bytes.

use super::codes::ErrorCode;

const CHANNEL_BYTES: usize = 256;
const PEER_ID_BYTES: usize = 128;
const REQUEST_ID_BYTES: usize = 128;
const RESERVED: [&str; 3] = ["_metered/", "_internal/", "_system/"];

/// Checks a channel name's form and that it is not one of the service's own.
pub(super) fn check_channel(name: &str) -> Result<(), ErrorCode> {
    if name.is_empty() || name.len() > CHANNEL_BYTES || name.chars().any(char::is_control) {
        return Err(ErrorCode::InvalidChannel);
    }
    if is_reserved(name) {
        return Err(ErrorCode::ChannelReserved);
    }
    Ok(())
}

/// Checks the target of a direct message.
pub(super) fn check_peer_id(id: &str) -> Result<(), ErrorCode> {
    if id.is_empty() || id.len() > PEER_ID_BYTES || id.chars().any(char::is_control) {
        return Err(ErrorCode::InvalidPeerId);
    }
    Ok(())
}

/// Whether a token may name this peer: printable ASCII only.
pub(super) fn is_token_subject(id: &str) -> bool {
    !id.is_empty() && id.len() <= PEER_ID_BYTES && id.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// Whether a request id can be echoed.
pub(super) fn is_request_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| {
        name.as_bytes()
            .get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels() {
        assert_eq!(check_channel("lobby"), Ok(()));
        assert_eq!(check_channel(""), Err(ErrorCode::InvalidChannel));
        assert_eq!(check_channel(&"é".repeat(128)), Ok(()));
        assert_eq!(check_channel(&"é".repeat(129)), Err(ErrorCode::InvalidChannel));
        assert_eq!(check_channel("a\u{85}b"), Err(ErrorCode::InvalidChannel));
        assert_eq!(check_channel("_Metered/x"), Err(ErrorCode::ChannelReserved));
        assert_eq!(check_channel("_metered"), Ok(()));
    }

    #[test]
    fn subjects_are_printable_ascii() {
        assert!(is_token_subject("cam 3~"));
        assert!(!is_token_subject("kamera-ä"));
        assert!(!is_token_subject(""));
        assert!(!is_token_subject(&"x".repeat(129)));
    }
}
