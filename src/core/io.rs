//! The vocabularies between the machines of this layer and the layers around them.
//!
//! Contract of every machine: after each `handle_*` call the owner drains all `poll_*` functions to `None`, then
//! asks `poll_timeout` when to call `handle_timeout` next. Calling `handle_timeout` early is harmless.

use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use crate::sdp::codec::{Codec, MediaKind};
pub use crate::wire::IceServer;
use crate::wire::{SdpKind, Secret};

/// A state machine that talks to one signalling server, driven by `net::driver`.
pub trait Machine: Send + 'static {
    /// Commands and facts from the application's side.
    type Input: Send + 'static;
    /// Events and commands for the application's side.
    type Output: Send + 'static;

    /// Takes a fact of the network.
    fn handle_net(&mut self, now: Instant, input: NetInput);
    /// Takes a command or a fact of the application's side.
    fn handle_input(&mut self, now: Instant, input: Self::Input);
    /// Time has passed; see [`Machine::poll_timeout`].
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing to do on the network.
    fn poll_net(&mut self) -> Option<NetOutput>;
    /// The next thing to tell the application's side.
    fn poll_output(&mut self) -> Option<Self::Output>;
    /// When `handle_timeout` is due.
    fn poll_timeout(&self) -> Option<Instant>;
    /// The machine has ended for good: nothing it is given will change anything, and the driver may stop.
    fn is_finished(&self) -> bool;
}

/// One attempt to have a socket. Facts about any other than the newest attempt are stale and are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// What the network tells a machine.
pub enum NetInput {
    /// The WebSocket handshake is done.
    SocketOpened(SocketId),
    /// A text frame came in.
    Text(SocketId, String),
    /// Something that is no text frame came in (WebSocket ping or binary).
    Activity(SocketId),
    /// The socket is gone, or never came to be.
    SocketClosed(SocketId, SocketEnd),
    /// Answer to [`NetOutput::FetchToken`].
    Token(SocketId, Result<Secret<String>, String>),
    /// Answer to [`NetOutput::Resolve`]; empty when the name has no address.
    Resolved(u64, Vec<IpAddr>),
    /// This machine has other addresses than before, and these are all that others may know.
    AddressesChanged(Vec<IpAddr>),
}

/// Why a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketEnd {
    /// With a close frame.
    Closed {
        /// WebSocket close code.
        code: u16,
        /// The server's words. Data, not text to show (protocol §8.1).
        reason: String,
    },
    /// Without one: reset, time-out, end of stream. Counts as 1006.
    Lost {
        /// Scrubbed description of what happened.
        detail: String,
    },
    /// The server answered the upgrade with an HTTP status.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
        /// The `error` member of a JSON body, such as `invalid_token` or `origin_not_allowed`.
        error: Option<String>,
    },
    /// No connection could be made: DNS, TCP or TLS.
    Unreachable {
        /// What failed, with what to do about it.
        detail: String,
        /// The certificate was refused: waiting will not mend it.
        certificate: bool,
    },
}

/// What a machine wants of the network.
pub enum NetOutput {
    /// Connect to this URL (it carries the credential).
    OpenSocket {
        /// Names the attempt.
        id: SocketId,
        /// `wss://…/v1?…`
        url: Secret<String>,
    },
    /// Send a text frame.
    SendText(SocketId, String),
    /// Close with this code; drop the connection after one second whatever the server does.
    CloseSocket {
        /// Names the attempt.
        id: SocketId,
        /// WebSocket close code.
        code: u16,
        /// Reason sent with it.
        reason: &'static str,
    },
    /// Ask the token source; the answer carries the same id.
    FetchToken(SocketId),
    /// Nobody waits for the answer to this [`NetOutput::FetchToken`] any more.
    ForgetToken(SocketId),
    /// Resolve a `.local` host name of an ICE candidate (RFC 8828), within about two seconds.
    Resolve {
        /// Names the question.
        id: u64,
        /// The name.
        host: String,
    },
}

/// Counts the webrtcbins one remote peer has had; whatever is tagged with an older one is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u32);

/// One local track for as long as its pad lives: the same for every peer and over every rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackKey(pub u32);

/// How one local track is sent to one peer: one m-line of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderSpec {
    /// The track whose encoding flows here.
    pub track: TrackKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// The mid that the m-line must get (`a-mid` in the pad's caps).
    pub mid: String,
    /// The one codec of the m-line.
    pub codec: Codec,
    /// RTP payload type, unique in the bundle.
    pub payload_type: u8,
    /// RTP synchronisation source.
    pub ssrc: u32,
}

/// An m-line of the peer that we offer to it: it had it before, on a connection that we have lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverSpec {
    /// The mid that the m-line must get.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The one codec of the m-line.
    pub codec: Codec,
    /// RTP payload type, as the peer knows it.
    pub payload_type: u8,
}

/// What a new webrtcbin is made with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionConfig {
    /// Servers of the newest welcome, or those the application set.
    pub ice_servers: Vec<IceServer>,
    /// Use relays only (`ice-transport-policy=relay`).
    pub relay_only: bool,
}

/// What the room asks of one generation of one peer's session. All SDP in here is of the *internal* world
/// (docs/architecture.md, "Two SDP worlds"). At most one of the four description commands is in flight, except
/// that a late-committed `SetLocal(offer)` is followed at once by `SetRemote(answer)`.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionCommand {
    /// Build a webrtcbin and start it. First command of a generation; no event answers it.
    Create(SessionConfig),
    /// Request a sink pad and give its transceiver this one codec. Nothing flows before `Route` says so.
    AddSender(SenderSpec),
    /// Another track flows on this sender of ours, which carries nothing at the moment: an m-line is used again.
    /// Answered only if that is impossible, by `Failed`.
    ReuseSender {
        /// Mid of the sender.
        mid: String,
        /// What flows from now on, once `Route` says so.
        track: TrackKey,
    },
    /// Add a transceiver that only receives; its m-line comes with the next offer.
    AddReceiver(ReceiverSpec),
    /// Create one pre-negotiated data channel that nobody uses (`negotiated=true`, so the peer never hears of it).
    /// Without a channel of its own webrtcbin leaves the `m=application` it has accepted out of its offers, which
    /// moves all later m-lines. At most once per generation, before SCTP is up; no event answers it.
    HoldData,
    /// Answered by `OfferCreated` or `Failed`.
    CreateOffer(IceCredentials),
    /// Answered by `AnswerCreated` or `Failed`.
    CreateAnswer(IceCredentials),
    /// Start ICE anew on the connection there is: both descriptions that follow have new credentials, and the
    /// candidates that follow them belong to these. Media flows on the old path until there is a better one. Only with
    /// both descriptions in place; no event answers it but `Failed`. New relays may come, then another
    /// `GatheringComplete`.
    RestartIce {
        /// Whether we are the controlling side: the one that offers the restart.
        controlling: bool,
        /// The relays of these servers take the place of those there are: their credentials are fresh. One step with the
        /// restart, because an agent that has lost the relay of the pair in use, and still has its checks, ends the process.
        ice_servers: Vec<IceServer>,
    },
    /// Check all candidates again, with the credentials there are: an agent checks a pair for a moment only.
    RepeatChecks,
    /// Answered by `LocalSet` or `Failed`.
    SetLocal(SdpKind, String),
    /// Answered by `RemoteSet` or `Failed`.
    SetRemote(SdpKind, String),
    /// A candidate for the section with this internal index; empty text ends the candidates.
    AddCandidate {
        /// Internal m-line index.
        mline: u32,
        /// `candidate:…` or empty.
        candidate: String,
    },
    /// Which m-lines carry media from now on. Complete: what is not named here does not flow.
    Route(Routing),
    /// Tear everything down, off-thread, whatever state it is in. Last command of a generation; no event answers it.
    Dispose,
}

/// What a new description of ours says about ICE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceCredentials {
    /// Whatever webrtcbin writes.
    Kept,
    /// New ones, for an ICE restart. webrtcbin hears of them with `SetLocal`.
    New,
}

/// Where media flows after a completed round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routing {
    /// Mids of our own m-lines that the peer wants to receive.
    pub sending: Vec<String>,
    /// The peer's m-lines on which it sends and we take.
    pub receiving: Vec<InboundMedia>,
}

/// One m-line of the peer on which media comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundMedia {
    /// The internal mid.
    pub mid: String,
    /// The internal m-line index.
    pub mline: u32,
    /// Audio or video.
    pub kind: MediaKind,
    /// SSRCs named in its section; may be empty.
    pub ssrcs: Vec<u32>,
    /// Payload types of the section.
    pub payload_types: Vec<u8>,
}

/// What a session tells the room.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// The internal offer, as webrtcbin wrote it.
    OfferCreated(String),
    /// The internal answer, as webrtcbin wrote it.
    AnswerCreated(String),
    /// The local description is in place.
    LocalSet,
    /// The remote description is in place.
    RemoteSet,
    /// An operation failed or timed out. The webrtcbin is in an unknown state: the generation must be disposed.
    Failed {
        /// Which one.
        op: SessionOp,
        /// What webrtcbin said, scrubbed.
        reason: String,
    },
    /// ICE cannot be restarted on this connection; comes, if at all, right after it was created.
    CannotRestart,
    /// A local candidate.
    Candidate {
        /// Internal m-line index.
        mline: u32,
        /// `candidate:…`
        candidate: String,
    },
    /// No more local candidates; once per generation, and once after each `RestartIce`.
    GatheringComplete,
    /// State of the connection (`connection-state` of webrtcbin).
    Connection(ConnectionState),
    /// The address of this machine that packets leave from, when the connection has chosen or changed its path.
    Path(IpAddr),
    /// What goes in and out. While the connection is up, about twice a second, and only when it has changed.
    Traffic {
        /// How many packets have come in since the session was made, STUN not counted.
        received: u64,
        /// Media of ours has gone out in the last seconds.
        sending: bool,
    },
    /// The first packet of an inbound m-line has come: its pad can be exposed.
    MediaArrived {
        /// Internal mid.
        mid: String,
        /// What it carries.
        codec: Codec,
    },
}

/// An operation on webrtcbin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOp {
    /// Building and starting it.
    Create,
    /// Requesting a pad.
    AddSender,
    /// Adding a transceiver.
    AddReceiver,
    /// `create-offer`
    CreateOffer,
    /// `create-answer`
    CreateAnswer,
    /// `set-local-description`
    SetLocal,
    /// `set-remote-description`
    SetRemote,
    /// Restarting ICE.
    RestartIce,
    /// An element inside reported an error.
    Pipeline,
}

/// `RTCPeerConnectionState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Nothing has happened yet.
    New,
    /// ICE or DTLS is under way.
    Connecting,
    /// Media can flow.
    Connected,
    /// ICE has lost its path for now.
    Disconnected,
    /// ICE or DTLS has given up.
    Failed,
    /// The remote or we ended it.
    Closed,
}
