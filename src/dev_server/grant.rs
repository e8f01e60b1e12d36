//! What a verified credential gives to one connection.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::codes::{Close, ErrorCode};
use super::config::{Action, Config, PublishableKey, SecretKey};
use super::pattern::Pattern;
use super::token::Claims;

/// Identity and rights of a connection.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) peer_id: String,
    /// Unix seconds; `None` never expires.
    pub(super) expires_at: Option<u64>,
    /// Private part of the welcome.
    pub(super) metadata: Option<Map<String, Value>>,
    /// What others are told about this peer.
    pub(super) peer_metadata: Option<Box<RawValue>>,
    /// A channel must match one pattern of every scope: the token's and its key's.
    scopes: Vec<Vec<Pattern>>,
    permissions: Vec<Action>,
}

impl Grant {
    /// The rights of a publishable key, for a peer with a new random id.
    pub(super) fn from_key(key: &PublishableKey, config: &Config) -> Result<Self, Close> {
        if key.suspended {
            return Err(Close::account_suspended());
        }
        Ok(Self {
            peer_id: Uuid::new_v4().to_string(),
            expires_at: None,
            metadata: with_ice_servers(None, config),
            peer_metadata: None,
            scopes: vec![key.channels.clone()],
            permissions: key.permissions.clone(),
        })
    }

    /// The rights of a token, at most those of the key that signed it.
    pub(super) fn from_claims(claims: Claims, key: &SecretKey, config: &Config) -> Result<Self, Close> {
        if key.suspended {
            return Err(Close::account_suspended());
        }
        let mut scopes = vec![key.channels.clone()];
        if let Some(channels) = &claims.channels {
            let scope: Vec<Pattern> = channels.iter().map(|channel| Pattern::new(channel)).collect();
            if !is_within(&scope, &key.channels) {
                return Err(Close::channel_not_authorized());
            }
            scopes.push(scope);
        }
        let permits = |action: &Action| {
            claims
                .permissions
                .as_ref()
                .is_none_or(|list| list.contains(action))
        };
        Ok(Self {
            permissions: key.permissions.iter().copied().filter(permits).collect(),
            scopes,
            peer_metadata: claims
                .peer_metadata
                .as_ref()
                .and_then(|map| serde_json::value::to_raw_value(map).ok()),
            metadata: with_ice_servers(claims.metadata, config),
            expires_at: Some(claims.exp),
            peer_id: claims.sub,
        })
    }

    /// Whether `action` is permitted at all.
    pub(super) fn check_action(&self, action: Action) -> Result<(), ErrorCode> {
        if self.permissions.contains(&action) {
            Ok(())
        } else {
            Err(ErrorCode::ActionNotPermitted)
        }
    }

    /// Whether the channel is one of this credential's.
    pub(super) fn check_scope(&self, channel: &str) -> Result<(), ErrorCode> {
        let covered = |scope: &Vec<Pattern>| scope.iter().any(|pattern| pattern.matches(channel));
        if self.scopes.iter().all(covered) {
            Ok(())
        } else {
            Err(ErrorCode::ChannelNotAuthorized)
        }
    }
}

/// Whether each of `narrow` lies within one of `wide`.
pub(super) fn is_within(narrow: &[Pattern], wide: &[Pattern]) -> bool {
    narrow
        .iter()
        .all(|pattern| wide.iter().any(|outer| outer.contains(pattern)))
}

/// Adds the configured ICE servers to a welcome's metadata; the token's own win.
fn with_ice_servers(metadata: Option<Map<String, Value>>, config: &Config) -> Option<Map<String, Value>> {
    if config.ice_servers.is_empty() {
        return metadata;
    }
    let mut metadata = metadata.unwrap_or_default();
    metadata
        .entry("iceServers")
        .or_insert_with(|| Value::Array(config.ice_servers.clone()));
    Some(metadata)
}
