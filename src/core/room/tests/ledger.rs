//! What must be true of everything a room has ever said.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::events::{RoomEvent, RoomOutput, RoomState};
use crate::core::io::{Generation, SessionCommand, SessionEvent};
use crate::wire::{PeerId, SdpKind};

/// The history of one room, as far as it matters.
#[derive(Debug, Default)]
pub struct Ledger {
    pub state: RoomState,
    pub present: BTreeSet<PeerId>,
    /// Newest generation of each id, ever.
    newest: BTreeMap<PeerId, Generation>,
    live: BTreeMap<PeerId, Generation>,
    /// Description commands that have no answer yet.
    flying: BTreeMap<(PeerId, Generation), Vec<&'static str>>,
    pub tracks: BTreeSet<(PeerId, Generation, String)>,
    fatal: bool,
    left: bool,
}

fn asks(command: &SessionCommand) -> Option<&'static str> {
    match command {
        SessionCommand::CreateOffer(_) => Some("create-offer"),
        SessionCommand::CreateAnswer(_) => Some("create-answer"),
        SessionCommand::SetLocal(SdpKind::Offer, _) => Some("set-local-offer"),
        SessionCommand::SetLocal(SdpKind::Answer, _) => Some("set-local-answer"),
        SessionCommand::SetRemote(SdpKind::Offer, _) => Some("set-remote-offer"),
        SessionCommand::SetRemote(SdpKind::Answer, _) => Some("set-remote-answer"),
        _ => None,
    }
}

impl Ledger {
    pub fn output(&mut self, output: &RoomOutput) {
        assert!(!self.left, "after Left: {output:?}");
        match output {
            RoomOutput::Session(peer, generation, command) => self.command(peer, *generation, command),
            RoomOutput::Event(event) => self.event(event),
        }
    }

    fn command(&mut self, peer: &PeerId, generation: Generation, command: &SessionCommand) {
        let key = (peer.clone(), generation);
        match command {
            SessionCommand::Create(_) => {
                assert!(self.present.contains(peer), "a session for a stranger: {peer}");
                assert_eq!(self.live.get(peer), None, "two live generations of {peer}");
                let newest = self.newest.insert(peer.clone(), generation);
                assert!(
                    newest.is_none_or(|newest| newest < generation),
                    "generation {generation:?} of {peer} comes again"
                );
                self.live.insert(peer.clone(), generation);
                return;
            }
            SessionCommand::Dispose => {
                let live = self.live.remove(peer);
                assert_eq!(live, Some(generation), "{peer}: not live, but disposed");
                self.flying.remove(&key);
                return;
            }
            _ => {}
        }
        let live = self.live.get(peer);
        assert_eq!(live, Some(&generation), "{peer}: not live, but told {command:?}");
        if let Some(name) = asks(command) {
            let flying = self.flying.entry(key).or_default();
            let late_commit = name == "set-remote-answer" && *flying == ["set-local-offer"];
            assert!(
                flying.is_empty() || late_commit,
                "{name} while {flying:?} of {peer}"
            );
            flying.push(name);
        }
    }

    /// A session is about to report this.
    pub fn report(&mut self, peer: &PeerId, generation: Generation, event: &SessionEvent) {
        let Some(flying) = self.flying.get_mut(&(peer.clone(), generation)) else {
            return;
        };
        let answered = |names: &[&str], flying: &mut Vec<&'static str>| {
            let first = flying.iter().position(|name| names.contains(name));
            flying.remove(first.unwrap_or_else(|| panic!("an answer to nothing: {names:?}")));
        };
        match event {
            SessionEvent::OfferCreated(_) => answered(&["create-offer"], flying),
            SessionEvent::AnswerCreated(_) => answered(&["create-answer"], flying),
            SessionEvent::LocalSet => answered(&["set-local-offer", "set-local-answer"], flying),
            SessionEvent::RemoteSet => answered(&["set-remote-offer", "set-remote-answer"], flying),
            SessionEvent::Failed { .. } => flying.clear(),
            _ => {}
        }
    }

    fn event(&mut self, event: &RoomEvent) {
        match event {
            RoomEvent::StateChanged(from, to) => {
                assert_eq!((*from, from != to), (self.state, true), "{event:?}");
                self.state = *to;
            }
            RoomEvent::PeerJoined(peer, _) => {
                assert!(self.present.insert(peer.clone()), "{peer} joined twice");
            }
            RoomEvent::PeerLeft(peer) => {
                assert!(self.present.remove(peer), "{peer} left twice");
                assert_eq!(self.live.get(peer), None, "{peer} has left, its session has not");
                assert!(
                    !self.tracks.iter().any(|(of, ..)| of == peer),
                    "{peer} has left tracks behind"
                );
            }
            RoomEvent::PeerMetadata(peer, _)
            | RoomEvent::PeerStateChanged(peer, _)
            | RoomEvent::ConnectionReset(peer)
            | RoomEvent::NegotiationError(peer, _) => {
                assert!(self.present.contains(peer), "of nobody: {event:?}");
            }
            RoomEvent::TrackAdded { peer, track, .. } => {
                assert_eq!(self.live.get(peer), Some(&track.generation), "{event:?}");
                let key = (peer.clone(), track.generation, track.mid.clone());
                assert!(self.tracks.insert(key), "twice: {event:?}");
            }
            RoomEvent::TrackRemoved {
                peer,
                generation,
                mid,
            } => {
                let key = (peer.clone(), *generation, mid.clone());
                assert!(self.tracks.remove(&key), "unknown: {event:?}");
            }
            RoomEvent::Fatal { .. } => {
                assert!(!self.fatal, "a second fatal error: {event:?}");
                assert!(
                    !matches!(self.state, RoomState::Leaving | RoomState::Closed),
                    "too late: {event:?}"
                );
                self.fatal = true;
            }
            RoomEvent::Left { .. } => {
                assert_eq!(self.state, RoomState::Closed);
                assert!(
                    self.present.is_empty() && self.live.is_empty(),
                    "left, but not behind: {self:?}"
                );
                self.left = true;
            }
            _ => {}
        }
    }

    /// Something was asked of it.
    pub fn has_begun(&self) -> bool {
        self.state != RoomState::Idle
    }

    pub fn has_left(&self) -> bool {
        self.left
    }

    pub fn live(&self, peer: &PeerId) -> Option<Generation> {
        self.live.get(peer).copied()
    }
}
