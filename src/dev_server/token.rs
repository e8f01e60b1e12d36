//! JSON Web Tokens: verified on connect, minted for `POST /v1/tokens` and for tests.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::codes::Close;
use super::config::{Action, SecretKey};
use super::names;

const PEER_METADATA_BYTES: usize = 4 * 1024;
const METADATA_BYTES: usize = 8 * 1024;
const CHANNEL_CLAIMS: usize = 100;

/// Claims of a token. Build one with [`Claims::new`] and sign it with [`Claims::sign`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Peer id.
    pub sub: String,
    /// End of validity, unix seconds.
    pub exp: u64,
    /// Channel patterns; absent means those of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// Actions; absent means those of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Action>>,
    /// Told to the peer itself in its welcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Told to everybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_metadata: Option<Map<String, Value>>,
}

impl Claims {
    /// Claims for `peer_id`, valid for `seconds` from now, with everything the key covers.
    pub fn new(peer_id: &str, seconds: u64) -> Self {
        Self {
            sub: peer_id.to_owned(),
            exp: unix_seconds().saturating_add(seconds),
            channels: None,
            permissions: None,
            metadata: None,
            peer_metadata: None,
        }
    }

    /// The token, signed with HS256 by `key`. Claims that the server would refuse are signed all the same.
    pub fn sign(&self, key: &SecretKey) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, self, &EncodingKey::from_secret(key.secret.as_bytes()))
    }

    /// Whether the sizes and names are within the service's limits.
    pub(super) fn is_valid(&self) -> bool {
        names::is_token_subject(&self.sub)
            && self
                .channels
                .as_ref()
                .is_none_or(|channels| channels.len() <= CHANNEL_CLAIMS)
            && json_size(self.metadata.as_ref()) <= METADATA_BYTES
            && json_size(self.peer_metadata.as_ref()) <= PEER_METADATA_BYTES
    }
}

/// Why a token does not admit its bearer.
pub(super) enum Refusal {
    /// Not a token at all: HTTP 401 before the upgrade.
    Unparsable,
    /// A token, but not a good one: the socket is closed after the upgrade.
    Close(Close),
}

/// Checks form, key, signature, expiry and limits, in this order.
pub(super) fn verify<'k>(token: &str, keys: &'k [SecretKey]) -> Result<(Claims, &'k SecretKey), Refusal> {
    let invalid = || Refusal::Close(Close::invalid_token());
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Unparsable)?;
    let key = keys
        .iter()
        .find(|key| header.kid.as_deref() == Some(&key.id))
        .ok_or_else(invalid)?;
    let mut validation = Validation::new(Algorithm::HS256);
    // The default leeway of a minute would let expired tokens in.
    validation.leeway = 0;
    validation.validate_aud = false;
    let secret = DecodingKey::from_secret(key.secret.as_bytes());
    let claims = match jsonwebtoken::decode::<Claims>(token, &secret, &validation) {
        Ok(data) => data.claims,
        Err(err) if matches!(err.kind(), ErrorKind::ExpiredSignature) => {
            return Err(Refusal::Close(Close::token_expired()));
        }
        Err(_) => return Err(invalid()),
    };
    if claims.is_valid() {
        Ok((claims, key))
    } else {
        Err(invalid())
    }
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

fn json_size(map: Option<&Map<String, Value>>) -> usize {
    map.and_then(|map| serde_json::to_vec(map).ok())
        .map_or(0, |text| text.len())
}
