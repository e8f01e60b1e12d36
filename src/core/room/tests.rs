//! Rooms in virtual time. Names carry the number of the conformance item they prove.
//!
//! `harness` is one room driven by hand, with the negotiator's model of webrtcbin for sessions. `sim` has several
//! rooms around a server. In both, `ledger` checks the whole history of each room.

mod checklist;
mod data;
mod ending;
mod floods;
mod harness;
mod hosts;
mod joining;
mod keeping;
pub mod ledger;
mod publishing;
mod reconnect;
mod scenarios;
mod signals;
mod sim;
mod words;

use std::time::Duration;

use serde_json::json;

use super::RoomConfig;
use crate::core::client::{ClientConfig, CredentialSource};
use crate::core::negotiator::tests::pair::everything;
use crate::wire::{ChannelName, Endpoint, Metadata, PeerId, Secret};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn id(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

fn bag(label: &str) -> Option<Metadata> {
    json!({"label": label}).as_object().cloned()
}

fn config(seed: u64) -> RoomConfig {
    let key = CredentialSource::ApiKey(Secret::new("pk_live_7Qd2".to_owned()));
    RoomConfig {
        channel: ChannelName::new("studio").unwrap(),
        client: ClientConfig {
            endpoint: Endpoint::parse("wss://a.example").unwrap(),
            ..ClientConfig::new(key, seed)
        },
        receive: everything(),
        include_sender_metadata: true,
        max_peers: 256,
        ice_servers: None,
        relay_only: false,
        departure_grace: Duration::ZERO,
        seed,
    }
}
