//! The thread of a session: one queue, one command at a time, every wait with a deadline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::fingerprint::Promised;
use super::message::{Mailbox, Message, Origin};
use super::nice::Credentials;
use super::registry::Ticket;
use super::transport::Transport;
use super::webrtcbin::Side;
use super::{CAT, SessionContext, ice, rtp};
use crate::core::io::{
    Codec, ConnectionState, IceCredentials, IceServer, Routing, SessionCommand, SessionEvent, SessionOp,
};
use crate::wire::SdpKind;

/// How long webrtcbin may take to answer.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// How long after the first local description gathering may take. Before 1.27.50 webrtcbin may never say that it is
/// complete.
const GATHER_LIMIT: Duration = Duration::from_secs(10);

/// How long after the first local description we wait for a relay before we say that there is none. Gathering itself
/// does not end when a TCP connection to a server is closed at once (libnice 0.1.21).
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

/// How often the room is told how many packets have come in. What is lost here comes on top of the time until a silent
/// path is noticed.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// `GST_FLOW_NOT_NEGOTIATED`
const NOT_NEGOTIATED: i32 = -4;

struct Pending {
    token: u64,
    op: SessionOp,
    deadline: Instant,
}

enum Next {
    Go,
    Stop,
}

/// State of the session's thread.
pub(super) struct Actor {
    context: Arc<SessionContext>,
    mailbox: Mailbox,
    transport: Option<Transport>,
    pending: Option<Pending>,
    tokens: u64,
    /// Commands behind the pending one.
    backlog: VecDeque<SessionCommand>,
    /// Candidates that came while a local description was being set: they belong behind `LocalSet`.
    held: Vec<SessionEvent>,
    gathered: bool,
    /// How many relay candidates there are.
    relays: usize,
    /// So many of them end the gathering of fresh relays; nothing else tells its end on all versions.
    awaited: Option<usize>,
    gather_deadline: Option<Instant>,
    relay_deadline: Option<Instant>,
    /// When packets are counted next, and what the room knows.
    count_at: Option<Instant>,
    counted: (u64, bool),
    routing: Routing,
    promised: Promised,
    /// The peer's newest ICE credentials.
    peer_ice: Option<Credentials>,
    /// The remote offer whose answer is not in place yet.
    answering: Option<String>,
    /// The peer's certificate is the promised one, and the connection is not known to be lost.
    open: bool,
}

impl Actor {
    /// Nothing exists yet.
    pub fn new(context: Arc<SessionContext>, mailbox: Mailbox) -> Self {
        Self {
            context,
            mailbox,
            transport: None,
            pending: None,
            tokens: 0,
            backlog: VecDeque::new(),
            held: Vec::new(),
            gathered: false,
            relays: 0,
            awaited: None,
            gather_deadline: None,
            relay_deadline: None,
            count_at: None,
            counted: (0, false),
            routing: Routing::default(),
            promised: Promised::default(),
            peer_ice: None,
            answering: None,
            open: false,
        }
    }

    /// Until `Dispose`.
    pub fn run(mut self, queue: &Receiver<Message>, ticket: &Ticket) {
        loop {
            let next = match self.deadline() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => queue.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(message) => {
                    if let Next::Stop = self.take(message) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.check_deadlines();
            while self.pending.is_none()
                && let Some(command) = self.backlog.pop_front()
            {
                self.execute(command);
            }
        }
        if let Some(transport) = self.transport.take() {
            transport.dispose(ticket);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let reply = self.pending.as_ref().map(|pending| pending.deadline);
        let receiving = self.receiving_deadline();
        reply
            .into_iter()
            .chain(self.gather_deadline)
            .chain(self.relay_deadline)
            .chain(self.count_at)
            .chain(receiving)
            .min()
    }

    fn receiving_deadline(&self) -> Option<Instant> {
        self.transport.as_ref()?.receivers.deadline()
    }

    fn check_deadlines(&mut self) {
        let now = Instant::now();
        if let Some(pending) = self.pending.take_if(|pending| pending.deadline <= now) {
            self.fail(pending.op, "webrtcbin has not answered in time".into());
        }
        if self.gather_deadline.is_some_and(|deadline| deadline <= now) {
            self.gathering_complete();
        }
        if self.relay_deadline.is_some_and(|deadline| deadline <= now) {
            self.check_relays();
        }
        if self.count_at.is_some_and(|at| at <= now) {
            self.count(now);
        }
        if self.receiving_deadline().is_some_and(|deadline| deadline <= now) {
            self.receive(|transport| transport.receivers.check());
        }
    }

    fn post(&self, event: SessionEvent) {
        (self.context.events)(event);
    }

    fn fail(&self, op: SessionOp, reason: String) {
        gst::warning!(CAT, "peer {}: {op:?} has failed: {reason}", self.context.peer);
        self.post(SessionEvent::Failed { op, reason });
    }

    fn take(&mut self, message: Message) -> Next {
        match message {
            Message::Command(SessionCommand::Dispose) => return Next::Stop,
            Message::Command(command) => self.backlog.push_back(command),
            Message::Timing(timing) => {
                if let Some(transport) = &self.transport {
                    transport.set_timing(&timing);
                }
            }
            Message::Reply { token, reply } => self.reply(token, reply),
            Message::Candidate { mline, candidate } => {
                self.relays += usize::from(ice::is_relayed(&candidate));
                self.hold(SessionEvent::Candidate { mline, candidate });
                if self.awaited.is_some_and(|count| self.relays >= count) {
                    self.gathering_complete();
                }
            }
            Message::Gathered => self.gathering_complete(),
            Message::Path(address) => self.post(SessionEvent::Path(address)),
            Message::Connection(state) => self.connection(state),
            Message::Error { origin, text, flow } => self.error(origin, text, flow),
            Message::Latency => {
                if let Some(transport) = &self.transport {
                    let _ = transport.pipeline.recalculate_latency();
                }
            }
            Message::PadAdded { id, firewall, mline } => {
                if let Some(transport) = &mut self.transport {
                    transport.receivers.pad_added(id, firewall, mline);
                    if transport.receivers.is_crowded() {
                        self.fail(
                            SessionOp::Pipeline,
                            "the peer has sent from too many sources".into(),
                        );
                    }
                }
            }
            Message::FirstPacket { id, packet } => {
                self.receive(|transport| transport.receivers.first_packet(id, packet));
            }
            Message::PadEnded { id } => self.receive(|transport| transport.receivers.pad_ended(id)),
        }
        Next::Go
    }

    fn receive(&mut self, act: impl FnOnce(&mut Transport) -> Vec<(String, Codec)>) {
        let arrived = self.transport.as_mut().map(act).unwrap_or_default();
        if arrived.is_empty() {
            return;
        }
        if let Some(transport) = &self.transport {
            let _ = transport.pipeline.recalculate_latency();
        }
        for (mid, codec) in arrived {
            self.post(SessionEvent::MediaArrived { mid, codec });
        }
    }

    fn hold(&mut self, event: SessionEvent) {
        match &self.pending {
            Some(pending) if pending.op == SessionOp::SetLocal => self.held.push(event),
            _ => self.post(event),
        }
    }

    fn gathering_complete(&mut self) {
        (self.gather_deadline, self.awaited) = (None, None);
        if !std::mem::replace(&mut self.gathered, true) {
            self.check_relays();
            self.hold(SessionEvent::GatheringComplete);
        }
    }

    fn repeat_checks(&self) -> Result<(), String> {
        let transport = self.transport.as_ref().ok_or("there is no webrtcbin")?;
        let peer = self.peer_ice.as_ref().ok_or("the peer has no credentials")?;
        transport.webrtcbin.repeat_checks(peer)
    }

    /// What is refused of the relays is no reason to give up: the other candidates are as good as before.
    fn restart_ice(&mut self, controlling: bool, servers: &[IceServer]) -> Result<(), String> {
        let transport = self.transport.as_mut().ok_or("there is no webrtcbin")?;
        let before = std::mem::replace(&mut transport.plan, ice::plan(servers));
        let relays = &transport.plan.relays;
        let renewed = match before.relays.is_empty() && relays.is_empty() {
            true => None,
            false => Some(relays.as_slice()),
        };
        let taken = transport.restart_ice(controlling, renewed)?;
        for warning in &transport.plan.warnings {
            (self.context.warn)(warning.clone());
        }
        (self.relays, self.gathered) = (0, false);
        if taken > 0 {
            self.awaited = Some(taken);
            self.relay_deadline = Some(Instant::now() + RELAY_PATIENCE);
            self.gather_deadline = self.relay_deadline;
        } else {
            self.gathering_complete();
        }
        Ok(())
    }

    fn count(&mut self, now: Instant) {
        self.count_at = self.open.then(|| now + COUNT_EVERY);
        let Some(transport) = &mut self.transport else {
            return;
        };
        let (received, sending) = (transport.webrtcbin.received(), transport.senders.sending(now));
        if std::mem::replace(&mut self.counted, (received, sending)) != (received, sending) {
            self.post(SessionEvent::Traffic { received, sending });
        }
    }

    /// libnice says nothing about a server that refuses us.
    fn check_relays(&mut self) {
        self.relay_deadline = None;
        let useless = self.transport.as_ref().filter(|_| self.relays == 0);
        if let Some(warning) = useless.and_then(|transport| transport.plan.no_relay()) {
            (self.context.warn)(warning);
        }
    }

    fn connection(&mut self, state: ConnectionState) {
        match state {
            ConnectionState::Connected => {
                if !self.certificate_fits() {
                    self.open = false;
                    self.route();
                    let reason = "the peer's certificate is not the one that was signalled".to_owned();
                    return self.fail(SessionOp::Pipeline, reason);
                }
                self.open = true;
                self.receive(|transport| transport.receivers.trust());
                self.count_at = Some(Instant::now() + COUNT_EVERY);
            }
            ConnectionState::Failed | ConnectionState::Closed => self.open = false,
            ConnectionState::New | ConnectionState::Connecting | ConnectionState::Disconnected => (),
        }
        self.route();
        self.post(SessionEvent::Connection(state));
    }

    fn certificate_fits(&self) -> bool {
        let transport = self.transport.as_ref();
        let certificate = transport.and_then(|transport| transport.webrtcbin.remote_certificate());
        certificate.is_some_and(|pem| self.promised.allows(&pem))
    }

    /// Applies the routing to what exists now.
    fn route(&mut self) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let sending: &[String] = if self.open { &self.routing.sending } else { &[] };
        transport.senders.route(sending, &*self.context.feed);
    }

    fn hide_senders(&self) {
        if let (Some(transport), Some(offer)) = (&self.transport, &self.answering) {
            transport.senders.hide(&transport.webrtcbin, offer);
        }
    }

    fn error(&mut self, origin: Origin, text: String, flow: Option<i32>) {
        gst::warning!(CAT, "peer {}: {origin:?}: {text}", self.context.peer);
        match origin {
            Origin::Receiver(id) => self.receive(|transport| transport.receivers.fail(id)),
            // What the feed gave was not what it promised: the track's fault. Everything else is webrtcbin's.
            Origin::Sender(number) if flow.is_none_or(|flow| flow == NOT_NEGOTIATED) => {
                if let Some(transport) = &mut self.transport {
                    transport.senders.fail(number);
                }
            }
            Origin::Sender(_) | Origin::Transport => self.fail(SessionOp::Pipeline, text),
        }
    }

    fn execute(&mut self, command: SessionCommand) {
        match command {
            SessionCommand::Create(config) => {
                let made = match self.transport {
                    Some(_) => Err("there is a webrtcbin already".into()),
                    None => Transport::start(&self.context, &config, &self.mailbox),
                };
                match made {
                    Ok(transport) => {
                        for warning in &transport.plan.warnings {
                            (self.context.warn)(warning.clone());
                        }
                        let restarts = transport.webrtcbin.can_restart();
                        self.transport = Some(transport);
                        if !restarts {
                            self.post(SessionEvent::CannotRestart);
                        }
                    }
                    Err(reason) => self.fail(SessionOp::Create, reason),
                }
            }
            SessionCommand::AddSender(spec) => {
                let added = self.with(|transport, _| {
                    transport
                        .senders
                        .add(&transport.pipeline, &transport.webrtcbin, spec)
                });
                match added {
                    Ok(()) => {
                        self.hide_senders();
                        self.route();
                    }
                    Err(reason) => self.fail(SessionOp::AddSender, reason),
                }
            }
            SessionCommand::ReuseSender { mid, track } => {
                if let Err(reason) = self.with(|transport, _| transport.senders.reuse(&mid, track)) {
                    self.fail(SessionOp::AddSender, reason);
                }
            }
            SessionCommand::AddReceiver(spec) => {
                let caps = rtp::of(spec.codec).receiver_caps(spec.payload_type, &spec.mid);
                if let Err(reason) = self.with(|transport, _| transport.webrtcbin.add_receiver(&caps)) {
                    self.fail(SessionOp::AddReceiver, reason);
                }
            }
            SessionCommand::HoldData => {
                if let Some(transport) = &mut self.transport {
                    transport.webrtcbin.hold_data();
                }
            }
            SessionCommand::CreateOffer(ice) => self.create(SdpKind::Offer, ice, SessionOp::CreateOffer),
            SessionCommand::CreateAnswer(ice) => self.create(SdpKind::Answer, ice, SessionOp::CreateAnswer),
            SessionCommand::RestartIce {
                controlling,
                ice_servers,
            } => {
                if let Err(reason) = self.restart_ice(controlling, &ice_servers) {
                    self.fail(SessionOp::RestartIce, reason);
                }
            }
            SessionCommand::RepeatChecks => {
                // It only helps: what has become of the path is told by its state.
                if let Err(reason) = self.repeat_checks() {
                    gst::debug!(CAT, "the checks are not repeated: {reason}");
                }
            }
            SessionCommand::SetLocal(kind, sdp) => self.set(Side::Local, kind, &sdp),
            SessionCommand::SetRemote(kind, sdp) => {
                self.peer_ice = Credentials::of(&sdp);
                self.promised = Promised::from_sdp(&sdp);
                if self.open && !self.certificate_fits() {
                    let reason = "a new fingerprint on the old connection is refused".to_owned();
                    return self.fail(SessionOp::SetRemote, reason);
                }
                self.answering = (kind == SdpKind::Offer).then(|| sdp.clone());
                self.hide_senders();
                self.set(Side::Remote, kind, &sdp);
            }
            SessionCommand::AddCandidate { mline, candidate } => {
                if let Some(transport) = &self.transport {
                    transport.webrtcbin.add_candidate(mline, &candidate);
                }
            }
            SessionCommand::Route(routing) => {
                self.routing = routing;
                self.route();
                let receiving = self.routing.receiving.clone();
                self.receive(|transport| transport.receivers.route(receiving));
            }
            SessionCommand::Dispose => (),
        }
    }

    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Transport, &Mailbox) -> Result<T, String>,
    ) -> Result<T, String> {
        let transport = self.transport.as_mut().ok_or("there is no webrtcbin")?;
        act(transport, &self.mailbox)
    }

    fn begin(&mut self, op: SessionOp) -> u64 {
        self.tokens += 1;
        self.pending = Some(Pending {
            token: self.tokens,
            op,
            deadline: Instant::now() + REPLY_LIMIT,
        });
        self.tokens
    }

    fn create(&mut self, kind: SdpKind, ice: IceCredentials, op: SessionOp) {
        let token = self.begin(op);
        let started = self.with(|transport, mailbox| transport.webrtcbin.create(kind, ice, mailbox, token));
        self.started(op, started);
    }

    fn set(&mut self, side: Side, kind: SdpKind, sdp: &str) {
        let op = match side {
            Side::Local => SessionOp::SetLocal,
            Side::Remote => SessionOp::SetRemote,
        };
        let token = self.begin(op);
        let started =
            self.with(|transport, mailbox| transport.webrtcbin.set(side, kind, sdp, mailbox, token));
        self.started(op, started);
    }

    fn started(&mut self, op: SessionOp, started: Result<(), String>) {
        if let Err(reason) = started {
            self.pending = None;
            self.fail(op, reason);
        }
    }

    /// Replies to what was given up are stale and fall through.
    fn reply(&mut self, token: u64, reply: Result<Option<String>, String>) {
        let Some(pending) = self.pending.take_if(|pending| pending.token == token) else {
            return;
        };
        let sdp = match reply {
            Ok(sdp) => sdp.unwrap_or_default(),
            Err(reason) => return self.fail(pending.op, reason),
        };
        match pending.op {
            SessionOp::CreateOffer => self.post(SessionEvent::OfferCreated(sdp)),
            SessionOp::CreateAnswer => self.post(SessionEvent::AnswerCreated(sdp)),
            SessionOp::SetLocal => {
                if !self.gathered && self.gather_deadline.is_none() {
                    self.gather_deadline = Some(Instant::now() + GATHER_LIMIT);
                    self.relay_deadline = Some(Instant::now() + RELAY_PATIENCE);
                }
                // The answer is in place, or an offer, whose senders have their m-lines now: nothing to hide from.
                self.answering = None;
                if let Some(transport) = &self.transport {
                    transport.senders.show(&transport.webrtcbin);
                }
                self.post(SessionEvent::LocalSet);
                for event in std::mem::take(&mut self.held) {
                    self.post(event);
                }
            }
            SessionOp::SetRemote => self.post(SessionEvent::RemoteSet),
            SessionOp::Create
            | SessionOp::AddSender
            | SessionOp::AddReceiver
            | SessionOp::RestartIce
            | SessionOp::Pipeline => (),
        }
    }
}
