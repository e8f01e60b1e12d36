//! Requests of connections, applied to the hub. Acks are queued before what they cause, under the same lock, so
//! every socket sees them in order.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::codes::{Close, ErrorCode};
use super::config::Action;
use super::frames::{self, Frame, Parsed, Request};
use super::grant::Grant;
use super::hub::Hub;
use super::rooms::{ConnId, Departure, Listening};
use super::state::State;

/// One connection's request on its way through the state.
struct Turn<'a> {
    hub: &'a Hub,
    state: &'a mut State,
    id: ConnId,
    grant: Arc<Grant>,
    request_id: Option<String>,
}

/// Handles one text message of connection `id`.
pub(super) fn handle(hub: &Hub, id: ConnId, text: &str) {
    let Parsed { request_id, request } = frames::parse(text);
    let mut state = hub.lock();
    let Some(grant) = state
        .connections
        .get(&id)
        .map(|connection| Arc::clone(&connection.grant))
    else {
        return;
    };
    if let Some(code) = state.forced_errors.pop_front() {
        let frame = Frame::Error {
            request_id: request_id.as_deref(),
            code: &code,
            message: "forced by a test",
        };
        state.deliver(id, frame.encode());
        return;
    }
    let mut turn = Turn {
        hub,
        state: &mut state,
        id,
        grant,
        request_id,
    };
    if let Err(code) = request.and_then(|request| turn.apply(request)) {
        turn.refuse(code);
    }
}

/// Answers a binary message, which the protocol does not know.
pub(super) fn refuse_binary(hub: &Hub, id: ConnId) {
    let code = ErrorCode::MalformedMessage;
    let frame = Frame::Error {
        request_id: None,
        code: code.as_str(),
        message: code.message(),
    };
    hub.lock().deliver(id, frame.encode());
}

impl Turn<'_> {
    fn apply(&mut self, request: Request) -> Result<(), ErrorCode> {
        match request {
            Request::Subscribe {
                channel,
                with_metadata,
            } => self.subscribe(channel, with_metadata),
            Request::Unsubscribe { channel } => {
                self.unsubscribe(&channel);
                Ok(())
            }
            Request::Publish { channel, data } => self.publish(&channel, &data),
            Request::Send { to, data } => self.send(&to, &data),
            Request::Ping => {
                self.state.deliver(self.id, Frame::Pong.encode());
                Ok(())
            }
        }
    }

    fn subscribe(&mut self, channel: String, with_metadata: bool) -> Result<(), ErrorCode> {
        self.grant.check_action(Action::Subscribe)?;
        self.grant.check_scope(&channel)?;
        let limit = self.hub.config.limits.channels;
        let Some(connection) = self.state.connections.get_mut(&self.id) else {
            return Ok(());
        };
        if connection.channels.len() >= limit && !connection.channels.contains(&channel) {
            return Err(ErrorCode::ChannelLimitExceeded);
        }
        connection.channels.insert(channel.clone());
        let with_presence = self.grant.check_action(Action::Presence).is_ok();
        let listening = Listening {
            with_metadata,
            with_presence,
        };
        let metadata = self.grant.peer_metadata.as_deref();
        let is_new = self
            .state
            .rooms
            .join(&channel, &self.grant.peer_id, metadata, self.id, listening);
        self.acknowledge();
        if with_presence {
            self.send_snapshot(&channel);
        }
        if is_new {
            self.state.announce_joined(&channel, &self.grant);
        }
        Ok(())
    }

    fn send_snapshot(&self, channel: &str) {
        let text = self.state.rooms.snapshot(channel, &self.grant.peer_id);
        if let Some(connection) = self.state.connections.get(&self.id) {
            connection.deliver_after(text, Duration::from_millis(self.hub.config.snapshot_delay_ms));
        }
    }

    fn unsubscribe(&mut self, channel: &str) {
        let held = self
            .state
            .connections
            .get_mut(&self.id)
            .is_some_and(|c| c.channels.remove(channel));
        self.acknowledge();
        if held
            && self
                .state
                .rooms
                .leave(channel, &self.grant.peer_id, self.id, false)
                == Departure::Left
        {
            self.state.announce_left(channel, &self.grant.peer_id);
        }
    }

    fn publish(&mut self, channel: &str, data: &RawValue) -> Result<(), ErrorCode> {
        self.grant.check_action(Action::Publish)?;
        self.grant.check_scope(channel)?;
        self.state.spend_quota()?;
        self.acknowledge();
        let sender = Sender {
            from: &self.grant.peer_id,
            metadata: self.grant.peer_metadata.as_deref(),
        };
        broadcast(self.state, channel, &sender, data, Some(self.id));
        Ok(())
    }

    fn send(&mut self, to: &str, data: &RawValue) -> Result<(), ErrorCode> {
        self.grant.check_action(Action::Send)?;
        if !self.state.is_online(to) {
            return Err(ErrorCode::PeerNotFound);
        }
        self.state.spend_quota()?;
        self.acknowledge();
        let from_metadata = self.grant.peer_metadata.as_deref();
        let text = Frame::Direct {
            from: &self.grant.peer_id,
            from_metadata,
            data,
        }
        .encode();
        self.state
            .each_of_peer(to, |connection| connection.deliver(text.clone()));
        Ok(())
    }

    fn acknowledge(&self) {
        if let Some(request_id) = &self.request_id {
            self.state.deliver(self.id, Frame::Ack { request_id }.encode());
        }
    }

    fn refuse(&self, code: ErrorCode) {
        let request_id = self.request_id.as_deref();
        let frame = Frame::Error {
            request_id,
            code: code.as_str(),
            message: code.message(),
        };
        self.state.deliver(self.id, frame.encode());
        let closes = code == ErrorCode::ChannelNotAuthorized && self.hub.config.close_on_unauthorized;
        if let Some(connection) = self.state.connections.get(&self.id).filter(|_| closes) {
            connection.request_close(Close::channel_not_authorized());
        }
    }
}

/// Who a broadcast comes from.
pub(super) struct Sender<'a> {
    pub(super) from: &'a str,
    pub(super) metadata: Option<&'a RawValue>,
}

/// Gives a broadcast to everybody who listens to `channel`, except the connection it came from.
pub(super) fn broadcast(
    state: &State,
    channel: &str,
    sender: &Sender<'_>,
    data: &RawValue,
    except: Option<ConnId>,
) {
    let plain = Frame::Message {
        channel,
        from: sender.from,
        from_metadata: None,
        data,
    }
    .encode();
    let with_metadata = Frame::Message {
        channel,
        from: sender.from,
        from_metadata: sender.metadata,
        data,
    }
    .encode();
    for (id, listening) in state.rooms.listeners(channel) {
        if Some(id) != except {
            let text = if listening.with_metadata {
                &with_metadata
            } else {
                &plain
            };
            state.deliver(id, text.clone());
        }
    }
}
