//! What the owner of a client can ask of it.

use std::time::Instant;

use serde_json::Value;

use super::{Client, ClientEvent, ClientState, InvalidState, RequestError, SubscribeOptions, Tracked};
use crate::core::pacer::{Outbound, Pacer, Priority};
use crate::core::requests::Origin;
use crate::wire::{ChannelName, ClientFrame, CloseCode, PeerId, RequestId};

impl Client {
    /// Starts to connect. Legal in idle and closed; afterwards the client is as if it were new.
    pub fn connect(&mut self, now: Instant) -> Result<(), InvalidState> {
        if !matches!(self.state, ClientState::Idle | ClientState::Closed) {
            return Err(InvalidState(self.state));
        }
        self.backoff.clear();
        self.pacer = Pacer::new(now);
        self.tracked.clear();
        self.going_away = None;
        self.welcomed = false;
        self.token_failures = 0;
        self.auth_refusals = 0;
        self.set_state(ClientState::Connecting);
        self.start_attempt(now);
        Ok(())
    }

    /// Ends at once. Requests under way fail; nothing the network says afterwards changes anything.
    pub fn close(&mut self) {
        match self.state {
            ClientState::Closed => return,
            ClientState::Idle => return self.set_state(ClientState::Closed),
            _ => {}
        }
        self.close_socket(CloseCode::NORMAL, "");
        self.drop_connection();
        self.finish(CloseCode::NORMAL, String::new());
    }

    /// Subscribes, and keeps the channel subscribed over reconnects, also if the server refuses it now. A request
    /// that cannot even be sent changes no more than the options of a channel that is kept already.
    pub fn subscribe(
        &mut self,
        now: Instant,
        channel: &ChannelName,
        options: SubscribeOptions,
    ) -> Result<RequestId, RequestError> {
        if let Some(tracked) = self.tracked.get_mut(channel) {
            tracked.options = options;
        }
        let id = self.push_subscribe(channel, options, Origin::Caller)?;
        self.tracked.insert(
            channel.clone(),
            Tracked {
                options,
                failures: 0,
                retry_at: None,
            },
        );
        self.flush(now);
        Ok(id)
    }

    /// Unsubscribes. The channel is not restored any more, whatever becomes of the request.
    pub fn unsubscribe(&mut self, now: Instant, channel: &ChannelName) -> Result<RequestId, RequestError> {
        self.tracked.remove(channel);
        let request_id = self.rng.request_id();
        let text = self.sendable(ClientFrame::Unsubscribe { channel, request_id })?;
        if !self.pacer.push_control(caller(text, request_id)) {
            return Err(RequestError::QueueFull);
        }
        self.flush(now);
        Ok(request_id)
    }

    /// Stops restoring a channel without telling the server.
    pub fn untrack(&mut self, channel: &ChannelName) {
        self.tracked.remove(channel);
    }

    /// Sends to everybody who has subscribed to a channel.
    pub fn publish(
        &mut self,
        now: Instant,
        channel: &ChannelName,
        data: &Value,
    ) -> Result<RequestId, RequestError> {
        let request_id = self.rng.request_id();
        let text = self.sendable(ClientFrame::Publish {
            channel,
            data,
            request_id,
        })?;
        if !self.pacer.push_data(caller(text, request_id)) {
            return Err(RequestError::QueueFull);
        }
        self.flush(now);
        Ok(request_id)
    }

    /// Sends to one peer. What is sent to the same peer with priorities other than [`Priority::Data`] stays in
    /// order.
    pub fn send(
        &mut self,
        now: Instant,
        to: &PeerId,
        data: &Value,
        priority: Priority,
    ) -> Result<RequestId, RequestError> {
        let request_id = self.rng.request_id();
        let text = self.sendable(ClientFrame::Send { to, data, request_id })?;
        let frame = caller(text, request_id);
        let queued = match priority {
            Priority::Data => self.pacer.push_data(frame),
            _ => self.pacer.push_signal(to, priority, frame),
        };
        if !queued {
            return Err(RequestError::QueueFull);
        }
        self.flush(now);
        Ok(request_id)
    }

    /// Bytes that the frame of a direct message would have: what [`Client::send`] compares with the limit.
    pub fn frame_size(to: &PeerId, data: &Value) -> usize {
        ClientFrame::Send {
            to,
            data,
            request_id: RequestId::from_random(0),
        }
        .to_text()
        .len()
    }

    /// Withdraws signals that still wait to be sent to a peer; their requests fail as cancelled.
    pub fn forget_peer(&mut self, peer: &PeerId) {
        for (id, _) in self
            .pacer
            .drain_peer(peer)
            .into_iter()
            .filter_map(|frame| frame.request)
        {
            self.events
                .push_back(ClientEvent::RequestFailed(id, RequestError::Cancelled));
        }
    }

    /// The server measures the whole frame, so we do.
    pub(super) fn sendable(&self, frame: ClientFrame<'_>) -> Result<String, RequestError> {
        if self.live_socket().is_none() {
            return Err(RequestError::NotConnected);
        }
        let text = frame.to_text();
        if text.len() > self.max_message_size {
            return Err(RequestError::Oversized {
                size: text.len(),
                cap: self.max_message_size,
            });
        }
        Ok(text)
    }

    pub(super) fn push_subscribe(
        &mut self,
        channel: &ChannelName,
        options: SubscribeOptions,
        origin: Origin,
    ) -> Result<RequestId, RequestError> {
        let request_id = self.rng.request_id();
        let include_sender_metadata = options.include_sender_metadata;
        let text = self.sendable(ClientFrame::Subscribe {
            channel,
            request_id,
            include_sender_metadata,
        })?;
        let request = Some((request_id, origin));
        match self.pacer.push_control(Outbound { text, request }) {
            true => Ok(request_id),
            false => Err(RequestError::QueueFull),
        }
    }
}

fn caller(text: String, id: RequestId) -> Outbound {
    Outbound {
        text,
        request: Some((id, Origin::Caller)),
    }
}
