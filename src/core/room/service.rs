//! What the service tells the room: connection, acknowledgements, presence, data.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::reconcile::{Overdue, Reconcile};
use super::{Purpose, Room};
use crate::core::client::{
    ClientEvent, ClientState, ConnectFailure, Connected, RequestError, SubscribeOptions,
};
use crate::core::events::{DataKind, RoomEvent, RoomState};
use crate::core::negotiator::{Gap, NegotiatorInput};
use crate::core::roster::RosterChange;
use crate::wire::{CloseCode, Metadata, PeerId, RequestId};

/// Uncorrelated server errors that end the room (service protocol §4.8).
const FATAL_SERVER_ERRORS: [&str; 5] = [
    "account_suspended",
    "channel_not_authorized",
    "action_not_permitted",
    "invalid_token",
    "token_expired",
];

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The stable name of a failed request, as the SDKs have it.
pub(super) fn error_code(error: &RequestError) -> String {
    match error {
        RequestError::Server { code, .. } => code.clone(),
        RequestError::Oversized { .. } => "oversized".to_owned(),
        RequestError::NotConnected => "not_connected".to_owned(),
        RequestError::AckTimeout => "ack_timeout".to_owned(),
        RequestError::Disconnected => "disconnected".to_owned(),
        _ => "request_failed".to_owned(),
    }
}

impl Room {
    pub(super) fn on_client(&mut self, now: Instant, event: ClientEvent) {
        if self.state == RoomState::Closed {
            // The client's last words come after the room's.
            return;
        }
        match event {
            ClientEvent::Connected(connected) => self.on_connected(now, connected),
            ClientEvent::Disconnected {
                code,
                will_reconnect,
                delay,
                ..
            } => {
                self.requests.clear();
                self.on_disconnected(now, code, will_reconnect, delay);
            }
            ClientEvent::ConnectFailed { failure, retry_in } => {
                self.on_connect_failed(now, &failure, retry_in)
            }
            ClientEvent::Acked(request) => self.on_acked(&request),
            ClientEvent::Resubscribed(channel) if channel == self.config.channel => self.on_subscribed(),
            ClientEvent::RequestFailed(request, error) => {
                if let Some(purpose) = self.requests.remove(&request) {
                    self.on_request_failed(now, purpose, &error);
                }
            }
            ClientEvent::ResubscribeFailed {
                error,
                will_retry: false,
                ..
            } => self.on_subscription_lost(now, &error),
            ClientEvent::Presence {
                channel,
                joined,
                left,
            } if channel == self.config.channel => {
                self.on_presence(now, joined, left);
            }
            ClientEvent::Message {
                channel,
                from,
                from_metadata,
                data,
            } if channel == self.config.channel => {
                self.on_message(from, data, from_metadata);
            }
            ClientEvent::Direct {
                from,
                from_metadata,
                data,
                size,
            } => {
                self.on_direct(now, from, data, from_metadata, size);
            }
            ClientEvent::ServerError { code, message } => {
                self.on_server_error(now, &code, message.unwrap_or_default());
            }
            ClientEvent::GoingAway { retry_after } => {
                self.event(RoomEvent::GoingAway {
                    retry_after_ms: milliseconds(retry_after),
                });
            }
            ClientEvent::TokenProviderError {
                consecutive_failures,
                error,
            } => {
                self.event(RoomEvent::TokenProviderError {
                    consecutive_failures,
                    text: error,
                });
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, now: Instant, connected: Connected) {
        let Connected {
            peer_id: own_id,
            is_reconnect,
            ice_servers,
            ice_servers_refused,
            ..
        } = connected;
        let before = self.own_id.replace(own_id.clone());
        self.renamed |= before.is_some_and(|before| before != own_id);
        if ice_servers_refused && self.config.ice_servers.is_none() {
            // As in the SDKs; but there nobody hears of it, and calls that need a relay just fail.
            self.event(RoomEvent::Warning {
                text: "the list of ICE servers that the service gave is not used: every entry must have stun:, stuns:, turn: \
                       or turns: URLs, and there may be 16 entries with 64 URLs; see iceServers of the token's metadata"
                    .into(),
            });
        }
        self.roster.set_own(own_id);
        if let (None, Some(servers)) = (&self.config.ice_servers, ice_servers) {
            self.ice_servers = servers;
            let config = self.session_config();
            for peer in self.peers.values_mut() {
                peer.handle(now, NegotiatorInput::SessionConfig(config.clone()));
            }
        }
        if !is_reconnect {
            self.subscribe(now);
            return;
        }
        let alone = self.peers.is_empty();
        if let Some(reconcile) = &mut self.reconcile {
            reconcile.welcomed(now, alone);
        }
        if alone && self.state == RoomState::Reconnecting {
            // Nobody to reconcile with (service protocol §4.6).
            self.renamed = false;
            self.set_state(RoomState::Joined);
        }
    }

    fn subscribe(&mut self, now: Instant) {
        let channel = self.config.channel.clone();
        let options = SubscribeOptions {
            include_sender_metadata: self.config.include_sender_metadata,
        };
        match self.client.subscribe(now, &channel, options) {
            Ok(request) => {
                self.requests.insert(request, Purpose::Join);
            }
            Err(error) => self.fatal(now, "subscribe_failed", error.to_string()),
        }
    }

    fn on_acked(&mut self, request: &RequestId) {
        if self.requests.remove(request) == Some(Purpose::Join) {
            self.on_joined();
            self.on_subscribed();
        }
    }

    fn on_subscribed(&mut self) {
        if let Some(reconcile) = &mut self.reconcile {
            reconcile.subscribed();
        }
    }

    pub(super) fn expire_reconcile(&mut self, now: Instant) {
        let Some(overdue) = self
            .reconcile
            .as_mut()
            .and_then(|reconcile| reconcile.expire(now))
        else {
            return;
        };
        if overdue == Overdue::Complain {
            self.event(RoomEvent::ServerError {
                code: "reconcile_timeout".to_owned(),
                message:
                    "the service does not say who is in the room after a reconnect; calls go on, and it is \
                          asked again and again"
                        .to_owned(),
            });
        }
        // While there is no connection, the next welcome starts over.
        if self.client.state() == ClientState::Connected {
            self.subscribe(now);
        }
    }

    fn on_joined(&mut self) {
        let Some(peer_id) = self.own_id.clone() else {
            return;
        };
        if self.state == RoomState::Joining {
            self.set_state(RoomState::Joined);
            let channel = self.config.channel.as_str().to_owned();
            self.event(RoomEvent::Joined { peer_id, channel });
        }
    }

    fn on_disconnected(
        &mut self,
        now: Instant,
        code: CloseCode,
        will_reconnect: bool,
        delay: Option<Duration>,
    ) {
        if self.is_ending() {
            return self.finish();
        }
        if will_reconnect {
            if self.state == RoomState::Joined {
                self.set_state(RoomState::Reconnecting);
            }
            self.pause_all(now);
            self.reconcile = (self.state == RoomState::Reconnecting).then(Reconcile::default);
            let text = format!("the connection to the service was lost ({code})");
            self.event(RoomEvent::Retrying {
                text,
                delay_ms: milliseconds(delay.unwrap_or_default()),
            });
        } else {
            let text = format!(
                "the connection to the service has ended ({code}): {}",
                code.advice()
            );
            self.fatal(now, code.fatal_name().unwrap_or("connection_lost"), text);
        }
    }

    fn on_connect_failed(&mut self, now: Instant, failure: &ConnectFailure, retry_in: Option<Duration>) {
        if self.is_ending() {
            return;
        }
        match retry_in {
            Some(delay) => {
                self.event(RoomEvent::Retrying {
                    text: failure.to_string(),
                    delay_ms: milliseconds(delay),
                });
            }
            None => self.fatal(
                now,
                failure.fatal_name().unwrap_or("connect_failed"),
                failure.to_string(),
            ),
        }
    }

    fn on_request_failed(&mut self, now: Instant, purpose: Purpose, error: &RequestError) {
        let code = error_code(error);
        match (purpose, code.as_str()) {
            (Purpose::Signal, "action_not_permitted") => self.fatal(
                now,
                &code,
                "the credential lacks the `send` permission, so no call can be set up: allow the `send` action for \
                 the publishable key in the dashboard, or put it into the token's `permissions`"
                    .to_owned(),
            ),
            // A lost connection is followed by a replay of the subscription; its snapshot counts as the ack.
            (Purpose::Join, _) if matches!(error, RequestError::Server { .. }) => self.channel_refused(now, &code),
            (Purpose::Join, "ack_timeout") if self.state == RoomState::Joining => self.subscribe(now),
            (Purpose::Join, _) => {}
            (Purpose::Data, _) => self.event(RoomEvent::ServerError { code, message: error.to_string() }),
            (Purpose::Signal, _) => {}
        }
    }

    fn channel_refused(&mut self, now: Instant, code: &str) {
        let channel = self.config.channel.as_str();
        let text = format!(
            "the service refused channel `{channel}` ({code}): check the channel's name, and the channel patterns and \
             permissions of the key or token"
        );
        self.fatal(now, code, text);
    }

    /// The client has given up subscribing again; without the channel there is no room.
    fn on_subscription_lost(&mut self, now: Instant, error: &RequestError) {
        let code = error_code(error);
        if matches!(error, RequestError::Server { .. }) {
            return self.channel_refused(now, &code);
        }
        self.event(RoomEvent::ServerError {
            code,
            message: error.to_string(),
        });
    }

    fn on_server_error(&mut self, now: Instant, code: &str, message: String) {
        if FATAL_SERVER_ERRORS.contains(&code) {
            let text = format!("the service says {code}: check the key or token and its permissions");
            self.fatal(now, code, text);
        } else {
            self.event(RoomEvent::ServerError {
                code: code.to_owned(),
                message,
            });
        }
    }

    fn on_presence(&mut self, now: Instant, joined: Vec<(PeerId, Option<Metadata>)>, left: Vec<PeerId>) {
        if self.is_ending() {
            return;
        }
        self.on_joined();
        let list = self
            .reconcile
            .take_if(|reconcile| reconcile.is_list(left.is_empty()));
        if list.is_some() {
            self.roster.forget_ghosts(&joined);
        }
        let snapshot = list.is_some_and(|reconcile| reconcile.is_awaited());
        let Self {
            roster,
            peers,
            renamed,
            ..
        } = self;
        // To those who know us by another name we are another: they wait for one who will not come.
        let keep = |id: &PeerId| !*renamed && peers.get(id).is_some_and(|peer| peer.is_keepable(now));
        let changes = match snapshot {
            true => roster.apply_snapshot(joined, &keep),
            false => roster.apply_delta(joined, &left, &keep),
        };
        let refused = changes.iter().filter_map(|change| match change {
            RosterChange::Refused(id) => Some(id),
            _ => None,
        });
        if let Some((first, more)) = refused.clone().next().zip(refused.count().checked_sub(1)) {
            self.refused(&first.clone(), more);
        }
        for change in changes {
            match change {
                RosterChange::Left(id) => self.remove_peer(now, &id),
                RosterChange::Joined(id) => self.add_peer(now, id),
                RosterChange::Kept(id) => self.reconcile_peer(now, &id, Gap::Ours),
                RosterChange::Away(id) => self.wait_for(now, &id),
                RosterChange::Returned(id) => self.reconcile_peer(now, &id, Gap::Theirs),
                RosterChange::MetadataChanged(id) => self.refresh_metadata(&id),
                RosterChange::Refused(_) => {}
            }
        }
        if snapshot {
            self.renamed = false;
        }
        if snapshot && self.state == RoomState::Reconnecting {
            self.set_state(RoomState::Joined);
        }
    }

    /// One event, however many they are.
    fn refused(&mut self, first: &PeerId, more: usize) {
        let others = match more {
            0 => "is".to_owned(),
            more => format!("and {more} more are"),
        };
        let message = format!("peer {first} {others} ignored: the room has more peers than max-peers allows");
        self.event(RoomEvent::ServerError {
            code: "max_peers".to_owned(),
            message,
        });
    }

    fn refresh_metadata(&mut self, id: &PeerId) {
        let metadata = self.roster.metadata(id).cloned();
        if let Some(peer) = self.peers.get_mut(id) {
            peer.metadata.clone_from(&metadata);
            self.event(RoomEvent::PeerMetadata(id.clone(), metadata));
        }
    }

    fn on_message(&mut self, from: String, data: Value, metadata: Option<Metadata>) {
        let own = self.own_id.as_ref().is_some_and(|own| own.as_str() == from);
        if !own && !self.is_ending() {
            let known = self.peers.keys().any(|peer| peer.as_str() == from);
            self.event(RoomEvent::Data {
                from,
                known,
                kind: DataKind::Broadcast,
                data,
                metadata,
            });
        }
    }
}
