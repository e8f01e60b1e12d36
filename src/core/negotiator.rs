//! One remote peer's negotiation: perfect negotiation over a webrtcbin that has no rollback, and no ICE restart of its own.
//!
//! * **First offer** of a generation: applied at once, so that gathering starts; a colliding offer of the peer makes
//!   the polite side throw its webrtcbin away and answer with a new one.
//! * **Re-offers** are sent but applied only together with their answer: rolling back is forgetting them.
//! * **Own m-lines for own media.** A peer's m-lines are answered `recvonly` or `inactive`; our tracks are offered on
//!   lines of our own, in a follow-up offer if need be. Receivers find a track's metadata only that way.
//! * **A lost connection leaves its layout**: the first offer of the next generation has the m-lines of the last, so
//!   that a peer that kept its end can take it (`layout`).
//! * **No offer without a reason**, with one exception: when we lose a connection on which the peer sends, or thinks
//!   that we send, and have nothing to send, we offer all the same. Where there is no layout to offer, a data section
//!   carries the new transport; the peer offers its media on it, and forgets ours.
//! * **A new path for the connection there is**, when either side restarts ICE or the path is lost.
//! * **A gap of the signalling is no reason** either, where both sides keep the connection over it (`keeping`).
//! * **Every offer has a watchdog**, every failure leads to a new generation, at most `timing::LADDER` times.
//!
//! Submodules: `world` (with `generated` and `wire`) translates between the SDP of the wire and that of webrtcbin,
//! `facts` holds the m-lines, `offering` and `answering` are the two halves of a round, `strays` are answers that come too late,
//! `restart` gives a generation a new path, `recovery` replaces it, `addresses` says when this machine's own are others, `layout` is what passes from one
//! generation to the next, `keeping` what outlives the signalling, `recycling` bounds the m-lines, `bundling` says which
//! a first offer has, `throttle` bounds the offers of the peer, `candidates` and `media` do what their names say, `timing`
//! has every duration with its reason.
//!
//! Later stages: SSRCs are new with every generation.

#![deny(clippy::indexing_slicing)]

mod addresses;
mod answering;
mod bundling;
mod candidates;
mod facts;
mod generated;
mod keeping;
mod layout;
mod media;
mod offering;
mod recovery;
mod recycling;
mod restart;
mod strays;
mod throttle;
mod timing;
mod types;
mod wire;
mod world;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use super::io::{Codec, ConnectionState, Generation, SessionCommand, SessionEvent, TrackKey};
use super::liveness::Liveness;
use crate::sdp::Remote;
use crate::sdp::section::DescriptionId;
use crate::sdp::transport::Transport;
use crate::wire::{IceCandidate, RtcSignal, SdpKind};
use candidates::{Inbox, Outbox};
use facts::Round;
use keeping::Keeping;
use layout::Layout;
use media::Sender;
use recovery::Recovery;
use restart::{Restart, credentials};
use strays::Strays;
use throttle::Throttle;
use world::World;

pub use keeping::Gap;
pub use types::{
    LocalTrack, NegotiatorConfig, NegotiatorInput, NegotiatorOutput, PeerState, Problem, ReceivePolicy,
    RemoteTrack,
};

/// A description of the peer that waits for its turn, with the candidates that belong to it.
#[derive(Debug)]
struct Inbound {
    remote: Remote,
    inbox: Inbox,
}

/// An offer of ours that is on its way or out.
#[derive(Debug)]
struct OwnOffer {
    round: Round,
    /// The internal offer, for the late commit.
    internal: String,
    /// webrtcbin has it already (first offer).
    applied: bool,
    /// What it was called when it was sent first.
    first_id: Option<DescriptionId>,
}

/// What the session is busy with. Nothing else is asked of it meanwhile.
#[derive(Debug)]
enum Phase {
    /// Nothing.
    Stable,
    /// `create-offer`
    CreatingOffer {
        /// With new ICE credentials.
        restarts: bool,
    },
    /// `set-local-description` of a first offer, which is sent afterwards.
    ApplyingOffer(OwnOffer),
    /// Our offer is out.
    OfferOut(OwnOffer),
    /// Its answer is being applied.
    ApplyingAnswer(Round),
    /// `set-remote-description` of the peer's offer.
    ApplyingRemote(Round),
    /// `create-answer`
    CreatingAnswer(Round),
    /// `set-local-description` of our answer, which is sent afterwards.
    ApplyingLocal(Round, String),
}

/// One webrtcbin.
#[derive(Debug)]
struct Session {
    world: World,
    outbox: Outbox,
    inbox: Inbox,
    strays: Strays,
    /// Own tracks this webrtcbin has a sender for.
    senders: Vec<TrackKey>,
    /// Internal mids whose media has come, and what it is.
    arrived: HashMap<String, Codec>,
    /// Tracks the room has been told of.
    announced: Vec<RemoteTrack>,
    /// A data channel of our own keeps `m=application` in its offers.
    holds_data: bool,
    connected: bool,
    /// It has been connected.
    was_connected: bool,
    /// An offer of the peer waits for that, until then.
    connects_by: Option<Instant>,
    /// The address of ours that its packets leave from.
    path: Option<IpAddr>,
    /// An address that its candidates name is ours no more.
    moved: bool,
}

/// See the module. All methods follow the contract of [`super::io`].
#[derive(Debug)]
pub struct Negotiator {
    config: NegotiatorConfig,
    rng: fastrand::Rng,
    out: VecDeque<NegotiatorOutput>,
    generation: Generation,
    session: Option<Session>,
    phase: Phase,
    senders: Vec<Sender>,
    /// Payload types pinned for our own lines.
    own_pts: HashMap<Codec, u8>,
    /// What the peer calls its payload types, and which codecs it takes.
    peer_formats: media::PeerFormats,
    state: PeerState,
    closed: bool,
    throttle: Throttle,
    /// The newest offer of the peer that has not been dealt with.
    pending: Option<Inbound>,
    /// An offer that lost against ours; answered after all if ours stays unanswered.
    ignored: Option<Inbound>,
    /// The peer's end of the last connection we threw away.
    dead_remote: Option<Transport>,
    /// Its m-lines.
    layout: Layout,
    /// The peer makes its connection anew when we do.
    follows: bool,
    /// Candidates that came before anything they could belong to.
    early: Inbox,
    recovery: Recovery,
    restart: Restart,
    liveness: Liveness,
    keeping: Keeping,
    /// When we make an offer, if one is due.
    offer_at: Option<Instant>,
    /// The peer has announced an offer.
    expect_until: Option<Instant>,
    /// When our offer was sent, first time.
    offered_at: Option<Instant>,
    /// When we stop waiting for the answer to it.
    watchdog_at: Option<Instant>,
    /// It has been sent twice.
    resent: bool,
    /// Offers that have given way, and whose answers may still come.
    unanswered: u32,
}

impl Negotiator {
    /// A negotiator that has done nothing yet.
    pub fn new(config: NegotiatorConfig, _now: Instant) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let prefix = rng.u32(..);
        Self {
            config,
            rng,
            out: VecDeque::new(),
            generation: Generation(0),
            session: None,
            phase: Phase::Stable,
            senders: Vec::new(),
            own_pts: HashMap::new(),
            peer_formats: media::PeerFormats::new(prefix),
            state: PeerState::Idle,
            closed: false,
            throttle: Throttle::default(),
            pending: None,
            ignored: None,
            dead_remote: None,
            layout: Layout::default(),
            follows: false,
            early: Inbox::default(),
            recovery: Recovery::default(),
            restart: Restart::default(),
            liveness: Liveness::default(),
            keeping: Keeping::default(),
            offer_at: None,
            expect_until: None,
            offered_at: None,
            watchdog_at: None,
            resent: false,
            unanswered: 0,
        }
    }

    /// Candidates that are kept, wherever: for the tests of bounds.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        let session = self.session.as_ref().map(|session| &session.inbox);
        let inbound = self
            .pending
            .iter()
            .chain(&self.ignored)
            .map(|inbound| &inbound.inbox);
        let boxes = inbound.chain(session).chain([&self.early]);
        boxes.map(Inbox::len).sum::<usize>() + self.throttle.held()
    }

    /// Since when our offer waits for its answer.
    #[cfg(test)]
    pub(crate) fn offer_since(&self) -> Option<Instant> {
        self.offered_at
            .filter(|_| matches!(self.phase, Phase::OfferOut(_)))
    }

    #[cfg(test)]
    pub(crate) fn is_polite(&self) -> bool {
        self.config.polite
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Instant, input: NegotiatorInput) {
        if self.closed {
            return;
        }
        match input {
            NegotiatorInput::Description(SdpKind::Offer, sdp) => self.admit_offer(now, sdp),
            NegotiatorInput::Description(kind, sdp) => self.on_description(now, kind, &sdp),
            NegotiatorInput::Candidate(candidate) => self.admit_candidate(candidate),
            NegotiatorInput::EndOfCandidates => self.admit_candidate(IceCandidate::default()),
            NegotiatorInput::ExpectOffer => self.on_expect_offer(now),
            NegotiatorInput::Session(generation, event) => {
                if generation == self.generation && self.session.is_some() {
                    self.on_session(now, event);
                }
            }
            NegotiatorInput::AddTrack(track) => self.add_track(now, track),
            NegotiatorInput::RemoveTrack(key) => self.remove_track(now, key),
            NegotiatorInput::SessionConfig(session) => self.config.session = session,
            NegotiatorInput::RestartIce => self.on_restart(now),
            NegotiatorInput::AddressesChanged(addresses) => self.on_addresses(now, &addresses),
            NegotiatorInput::Reset => self.reset(now),
            NegotiatorInput::Close => self.close(),
        }
    }

    /// Throws the connection away and starts afresh, with what has changed about the two sides: the peer may be
    /// another program by now, so it may take what it has refused before.
    pub fn renew(&mut self, now: Instant, config: NegotiatorConfig) {
        if self.closed {
            return;
        }
        self.config = config;
        for sender in &mut self.senders {
            (sender.hopeless, sender.codec) = (false, None);
            sender.refused.clear();
        }
        self.early = Inbox::default();
        self.reset(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.throttle_timeout(now);
        self.liveness_timeout(now);
        self.keeping_timeout(now);
        self.checks_timeout(now);
        self.recovery_timeout(now);
        self.watchdog_timeout(now);
        self.yield_timeout(now);
        self.offer_timeout(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<NegotiatorOutput> {
        self.out.pop_front()
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let offer = self.offer_at.filter(|_| self.may_offer());
        let recovery = [
            self.recovery.next(),
            self.liveness.deadline(),
            self.throttle.deadline(),
            self.keeping.deadline(),
            self.restart.next_checks(),
        ];
        [offer, self.watchdog_at, self.yield_at()]
            .into_iter()
            .chain(recovery)
            .flatten()
            .min()
    }

    fn on_session(&mut self, now: Instant, event: SessionEvent) {
        match event {
            SessionEvent::OfferCreated(sdp) => self.offer_created(now, &sdp),
            SessionEvent::AnswerCreated(sdp) => self.answer_created(now, &sdp),
            SessionEvent::LocalSet => self.local_set(now),
            SessionEvent::RemoteSet => self.remote_set(now),
            SessionEvent::Failed { op, reason } => {
                let lost = self
                    .session
                    .as_ref()
                    .is_some_and(|session| session.world.negotiated);
                self.problem(
                    "session_failed",
                    format!("{op:?} failed, the connection is made anew: {reason}"),
                );
                self.recover(now, timing::SESSION_FAILED);
                if !lost {
                    // It may be what webrtcbin cannot do.
                    self.layout = Layout::default();
                }
            }
            SessionEvent::CannotRestart => {
                if let Some(session) = &mut self.session {
                    session.world.can_restart = false;
                }
            }
            SessionEvent::Candidate { candidate, .. } => self.on_local_candidate(&candidate),
            SessionEvent::GatheringComplete => self.on_gathering_complete(),
            SessionEvent::Connection(state) => self.on_connection(now, state),
            SessionEvent::Path(address) => self.on_path(address),
            SessionEvent::Traffic { received, sending } => self.on_traffic(now, received, sending),
            SessionEvent::MediaArrived { mid, codec } => self.on_media(mid, codec),
        }
    }

    fn local_set(&mut self, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Stable) {
            Phase::ApplyingOffer(offer) => self.first_offer_applied(now, offer),
            Phase::ApplyingLocal(round, wire) => self.answer_applied(now, round, wire),
            other => self.phase = other,
        }
    }

    fn remote_set(&mut self, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Stable) {
            Phase::ApplyingRemote(round) => {
                self.command(SessionCommand::CreateAnswer(credentials(round.restarts)));
                self.phase = Phase::CreatingAnswer(round);
            }
            Phase::ApplyingAnswer(round) => self.round_complete(now, round, true),
            other => self.phase = other,
        }
    }

    /// Both descriptions are in place.
    fn round_complete(&mut self, now: Instant, round: Round, offered: bool) {
        if round.restarts {
            self.restarted(now);
        }
        if let Some(session) = &mut self.session {
            session.world.commit(round, offered);
            if !session.connected {
                self.recovery.expect_connection(now);
            }
        }
        // Not before: an asking offer may get lost with its webrtcbin.
        self.recovery.ask = false;
        self.ignored = None;
        self.flush_remote_candidates();
        self.route();
        self.expect_media(now);
        self.report_refused();
        self.follow_moved();
        self.forget_senders();
        if let Some(inbound) = self.pending.take() {
            self.take_offer(now, inbound);
        } else {
            self.check_need(now);
        }
    }

    fn on_connection(&mut self, now: Instant, state: ConnectionState) {
        let Some(session) = &mut self.session else { return };
        match state {
            ConnectionState::Connected => {
                (session.connected, session.was_connected) = (true, true);
                self.recovery.connected();
                self.restart.connected();
                self.keeping.heard(now);
                if self.keeping.is_paused() {
                    // It has come back by itself before the peer could be asked.
                    self.restart.wanted = false;
                }
                self.set_state(PeerState::Connected);
                let patience = self.patience();
                self.liveness.connected(now, patience, self.keeping.capable);
                self.take_pending(now);
            }
            ConnectionState::Disconnected => {
                session.connected = false;
                self.recovery.expect_connection(now);
                self.set_state(PeerState::Reconnecting);
            }
            ConnectionState::Failed => self.path_lost(now),
            ConnectionState::Closed => self.recover(now, timing::CLOSED_GRACE),
            // ICE starts anew; media flows on the old path until it is through, or has given up.
            ConnectionState::New | ConnectionState::Connecting => {
                if std::mem::replace(&mut session.connected, false) {
                    self.recovery.expect_connection(now);
                }
            }
        }
    }

    fn reset(&mut self, now: Instant) {
        let missed = self.will_be_missed();
        self.dispose();
        self.keeping.resume();
        self.recovery = self.recovery.restarted(missed);
        (self.pending, self.ignored, self.expect_until) = (None, None, None);
        self.throttle.clear();
        if !self.needs_offer() {
            self.set_state(PeerState::Idle);
        } else if self.recovery.ever_connected {
            self.set_state(PeerState::Reconnecting);
        }
        self.check_need(now);
        if !self.senders.iter().any(Sender::wants_line) {
            // Only to be asked for: most peers have noticed, and offer by themselves.
            self.offer_at = self.offer_at.map(|_| now + timing::ASK);
        }
    }

    fn close(&mut self) {
        self.dispose();
        self.set_state(PeerState::Closed);
        self.closed = true;
    }

    /// Makes sure that there is a webrtcbin.
    fn ensure_session(&mut self) -> &mut Session {
        if self.session.is_none() {
            self.generation.0 += 1;
            self.out.push_back(NegotiatorOutput::Session(
                self.generation,
                SessionCommand::Create(self.config.session.clone()),
            ));
            let connecting = if self.recovery.ever_connected {
                PeerState::Reconnecting
            } else {
                PeerState::Connecting
            };
            self.set_state(connecting);
        }
        let Self {
            session,
            rng,
            peer_formats,
            config,
            ..
        } = self;
        session
            .get_or_insert_with(|| Session::new(World::new(rng.u64(..), peer_formats.cname(), config.keeps)))
    }

    /// Throws the webrtcbin away, and with it everything that belongs to it.
    fn dispose(&mut self) {
        self.note_unanswered();
        let phase = std::mem::replace(&mut self.phase, Phase::Stable);
        (self.offered_at, self.watchdog_at, self.resent, self.offer_at) = (None, None, false, None);
        self.recovery.disposed();
        self.restart = Restart::default();
        self.keeping.disposed();
        self.liveness.disposed();
        let Some(session) = self.session.take() else {
            return;
        };
        self.keep_layout(&session.world, &phase);
        if session.world.negotiated {
            self.dead_remote = session.world.remote;
        }
        for track in session.announced {
            self.out
                .push_back(NegotiatorOutput::TrackRemoved(track.generation, track.mid));
        }
        self.out.push_back(NegotiatorOutput::Session(
            self.generation,
            SessionCommand::Dispose,
        ));
    }

    fn command(&mut self, command: SessionCommand) {
        self.out
            .push_back(NegotiatorOutput::Session(self.generation, command));
    }

    fn signal(&mut self, signal: RtcSignal) {
        self.out.push_back(NegotiatorOutput::Signal(signal));
    }

    fn problem(&mut self, code: &'static str, text: String) {
        self.out
            .push_back(NegotiatorOutput::Problem(Problem { code, text }));
    }

    /// `connecting` is hidden while reconnecting.
    fn set_state(&mut self, state: PeerState) {
        if self.state != state {
            self.state = state;
            self.out.push_back(NegotiatorOutput::State(state));
        }
    }
}

impl Session {
    fn new(world: World) -> Self {
        Self {
            world,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            strays: Strays::default(),
            senders: Vec::new(),
            arrived: HashMap::new(),
            announced: Vec::new(),
            holds_data: false,
            connected: false,
            was_connected: false,
            connects_by: None,
            path: None,
            moved: false,
        }
    }

    /// An offer of it would have nothing in it.
    fn is_bare(&self) -> bool {
        let World { lines, receivers, .. } = &self.world;
        self.senders.is_empty() && lines.is_empty() && receivers.is_empty() && !self.holds_data
    }
}
