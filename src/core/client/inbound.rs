//! What comes in over a connection.

use std::time::Instant;

use super::{Attempt, Client, ClientEvent, ClientState, Connected, Phase, RequestError};
use crate::core::io::{NetInput, SocketId};
use crate::core::requests::Origin;
use crate::wire::limits::{INBOUND_TEXT_MAX, REPLAY_RETRIES, REPLAY_SPACING};
use crate::wire::{ChannelName, CloseCode, FrameError, RequestId, ServerFrame, Welcome, scrub};

impl Client {
    pub(super) fn handle_net_input(&mut self, now: Instant, input: NetInput) {
        match input {
            NetInput::SocketOpened(id) if self.is_current(id) => self.arm_keepalive(now),
            NetInput::Text(id, text) if self.is_current(id) => self.text(now, &text),
            NetInput::SocketClosed(id, end) if self.is_current(id) => self.socket_ended(now, end),
            NetInput::Token(id, token) => self.token_arrived(now, id, token),
            NetInput::AddressesChanged(_) => self.probe(now),
            // Not liveness: a WebSocket ping shows that some front end lives. The SDKs cannot see it either.
            NetInput::Activity(_) => {}
            // Stale, or not ours: names are resolved for the room.
            NetInput::SocketOpened(_)
            | NetInput::Text(..)
            | NetInput::SocketClosed(..)
            | NetInput::Resolved(..) => {}
        }
    }

    /// Whether there is a socket of this name, and it is the newest.
    fn is_current(&self, id: SocketId) -> bool {
        self.attempt
            .is_some_and(|attempt| attempt.id == id && attempt.has_socket())
    }

    fn text(&mut self, now: Instant, text: &str) {
        if text.len() > INBOUND_TEXT_MAX {
            self.close_socket(CloseCode::TOO_BIG, "message too big");
            return self.lost(now, CloseCode::TOO_BIG, String::new());
        }
        self.arm_keepalive(now);
        let frame = match ServerFrame::parse(text) {
            Ok(frame) => frame,
            Err(error) => {
                return self
                    .events
                    .push_back(ClientEvent::FrameDropped(drop_reason(error)));
            }
        };
        match (frame, self.live_socket().is_some()) {
            (ServerFrame::Welcome(welcome), false) => self.welcome(now, welcome),
            (ServerFrame::Welcome(_), true) => {
                self.events
                    .push_back(ClientEvent::FrameDropped("a second welcome"));
            }
            (
                ServerFrame::Error {
                    code,
                    message,
                    request_id,
                },
                _,
            ) => {
                self.server_error(now, code, message, request_id.as_deref());
            }
            (ServerFrame::GoingAway { retry_after }, _) => {
                self.going_away = Some((now, retry_after));
                self.events.push_back(ClientEvent::GoingAway { retry_after });
            }
            (_, false) => self
                .events
                .push_back(ClientEvent::FrameDropped("a frame before the welcome")),
            (frame, true) => self.dispatch(frame, text.len()),
        }
    }

    fn dispatch(&mut self, frame: ServerFrame, size: usize) {
        let event = match frame {
            ServerFrame::Ack { request_id } => return self.ack(&request_id),
            ServerFrame::Direct {
                from,
                from_metadata,
                data,
            } => ClientEvent::Direct {
                from,
                from_metadata,
                data,
                size,
            },
            ServerFrame::Message {
                channel,
                from,
                from_metadata,
                data,
            } => ClientEvent::Message {
                channel,
                from,
                from_metadata,
                data,
            },
            ServerFrame::Presence {
                channel,
                joined,
                left,
            } => ClientEvent::Presence {
                channel,
                joined,
                left,
            },
            ServerFrame::Pong
            | ServerFrame::Error { .. }
            | ServerFrame::GoingAway { .. }
            | ServerFrame::Welcome(_) => return,
        };
        self.events.push_back(event);
    }

    fn welcome(&mut self, now: Instant, welcome: Welcome) {
        let Some(attempt) = self.attempt else { return };
        self.attempt = Some(Attempt {
            phase: Phase::Live { since: now },
            ..attempt
        });
        let is_reconnect = std::mem::replace(&mut self.welcomed, true);
        self.auth_refusals = 0;
        self.pacer.refill(now);
        self.set_state(ClientState::Connected);
        self.max_message_size = welcome.max_message_size;
        self.peer_id = Some(welcome.peer_id.clone());
        if let Some(servers) = &welcome.ice_servers {
            self.ice_servers.clone_from(servers);
        }
        self.events.push_back(ClientEvent::Connected(Connected {
            peer_id: welcome.peer_id,
            server_time: welcome.server_time,
            expires_at: welcome.expires_at,
            is_reconnect,
            max_message_size: welcome.max_message_size,
            ice_servers: welcome.ice_servers,
            ice_servers_refused: welcome.ice_servers_refused,
            metadata: welcome.metadata,
        }));
        for tracked in self.tracked.values_mut() {
            tracked.failures = 0;
            tracked.retry_at = (is_reconnect && self.config.auto_resubscribe).then_some(now);
        }
        self.retry_replays(now);
    }

    /// Restores the tracked subscriptions whose time has come.
    pub(super) fn retry_replays(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let channels: Vec<ChannelName> = self
            .tracked
            .iter()
            .filter(|(_, tracked)| due(tracked.retry_at))
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in channels {
            let Some(tracked) = self.tracked.get_mut(&channel) else {
                continue;
            };
            tracked.retry_at = None;
            let options = tracked.options;
            if let Err(error) = self.push_subscribe(&channel, options, Origin::Replay(channel.clone())) {
                self.replay_failed(now, channel, error);
            }
        }
    }

    fn ack(&mut self, request_id: &str) {
        let Some(id) = RequestId::parse(request_id) else {
            return;
        };
        match self.requests.settle(id) {
            Some(Origin::Caller) => self.events.push_back(ClientEvent::Acked(id)),
            Some(Origin::Replay(channel)) if self.tracked.contains_key(&channel) => {
                self.events.push_back(ClientEvent::Resubscribed(channel));
            }
            Some(Origin::Replay(_)) | None => {}
        }
    }

    fn server_error(
        &mut self,
        now: Instant,
        code: String,
        message: Option<String>,
        request_id: Option<&str>,
    ) {
        let message = message.as_deref().map(scrub);
        let id = request_id.and_then(RequestId::parse);
        let settled = id.and_then(|id| Some((id, self.requests.settle(id)?)));
        match settled {
            Some((id, origin)) => {
                self.request_failed(now, id, origin, RequestError::Server { code, message })
            }
            // The answer of a server that does not know pings.
            None if request_id.is_none() && code == "unknown_type" => {}
            None => self.events.push_back(ClientEvent::ServerError { code, message }),
        }
    }

    /// A request has failed while its connection lives.
    pub(super) fn request_failed(
        &mut self,
        now: Instant,
        id: RequestId,
        origin: Origin,
        error: RequestError,
    ) {
        match origin {
            Origin::Caller => self.events.push_back(ClientEvent::RequestFailed(id, error)),
            Origin::Replay(channel) => self.replay_failed(now, channel, error),
        }
    }

    fn replay_failed(&mut self, now: Instant, channel: ChannelName, error: RequestError) {
        let Some(tracked) = self.tracked.get_mut(&channel) else {
            return;
        };
        let futile = matches!(error, RequestError::Oversized { .. });
        let will_retry = tracked.failures < REPLAY_RETRIES && !futile;
        tracked.failures += 1;
        tracked.retry_at = will_retry.then_some(now + REPLAY_SPACING);
        self.events.push_back(ClientEvent::ResubscribeFailed {
            channel,
            error,
            will_retry,
        });
    }
}

fn drop_reason(error: FrameError) -> &'static str {
    match error {
        FrameError::Member { frame, .. } => frame,
        FrameError::NotJson => "a text that is not JSON",
        FrameError::NoType => "a JSON value without a type",
        FrameError::UnknownType => "a frame of an unknown type",
    }
}
