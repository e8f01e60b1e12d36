//! ICE starts anew while media flows.

use gstmeteredwebrtc::core::io::{ConnectionState, IceCredentials, SessionCommand, SessionEvent};
use gstmeteredwebrtc::wire::SdpKind;

use crate::harness::{Call, Note};

fn ufrag(sdp: &str) -> &str {
    let found: Vec<_> = sdp
        .lines()
        .filter_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .collect();
    assert!(
        !found.is_empty() && found.windows(2).all(|pair| pair[0] == pair[1]),
        "{found:?}"
    );
    found[0]
}

impl Call {
    /// One round that starts ICE anew, as the negotiators do it; returns offer and answer.
    fn restart(&mut self, from: usize) -> (String, String) {
        self.send(from, SessionCommand::CreateOffer(IceCredentials::New));
        let offer = self.event(from, "OfferCreated", |event| match event {
            SessionEvent::OfferCreated(sdp) => Some(sdp.clone()),
            _ => None,
        });
        self.send(1 - from, restart_ice(false));
        self.set(1 - from, SessionCommand::SetRemote(SdpKind::Offer, offer.clone()));
        self.send(1 - from, SessionCommand::CreateAnswer(IceCredentials::New));
        let answer = self.event(1 - from, "AnswerCreated", |event| match event {
            SessionEvent::AnswerCreated(sdp) => Some(sdp.clone()),
            _ => None,
        });
        // webrtcbin answers `active` whatever DTLS has settled.
        let setup = if from == 0 {
            "a=setup:active"
        } else {
            "a=setup:passive"
        };
        let answer = answer.replace("a=setup:active", setup);
        self.set(
            1 - from,
            SessionCommand::SetLocal(SdpKind::Answer, answer.clone()),
        );
        self.send(from, restart_ice(true));
        self.set(from, SessionCommand::SetLocal(SdpKind::Offer, offer.clone()));
        self.set(from, SessionCommand::SetRemote(SdpKind::Answer, answer.clone()));
        for (to, candidates) in [
            (from, self.candidates(1 - from)),
            (1 - from, self.candidates(from)),
        ] {
            for candidate in candidates {
                self.send(to, SessionCommand::AddCandidate { mline: 0, candidate });
            }
        }
        (offer, answer)
    }
}

fn restart_ice(controlling: bool) -> SessionCommand {
    SessionCommand::RestartIce {
        controlling,
        ice_servers: Vec::new(),
    }
}

#[test]
fn media_flows_through_restarts_from_either_side() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 10);
    let first = call.offer(0);
    let mut seen = vec![ufrag(&first).to_owned()];
    for from in [0, 1, 0, 1] {
        let states = call.seen(0, "Connection(Connected)").len();
        let (offer, answer) = call.restart(from);
        for sdp in [&offer, &answer] {
            assert!(!seen.contains(&ufrag(sdp).to_owned()), "{seen:?}");
            seen.push(ufrag(sdp).to_owned());
        }
        if call.seen(0, "Connection(Connected)").len() == states {
            call.until("connected again", |side, note| {
                matches!(note, Note::Event(SessionEvent::Connection(ConnectionState::Connected)) if side == 0)
                    .then_some(())
            });
        }
        call.frames(1, "gv1", 20);
        call.frames(1, "ga1", 50);
    }
    // Nothing above ICE has noticed.
    for what in ["Ended", "Failed", "Disconnected", "Closed"] {
        assert!(
            call.seen(0, what).is_empty() && call.seen(1, what).is_empty(),
            "{what}"
        );
    }
    assert_eq!(call.seen(1, "Media(").len(), 2, "a pad each, for ever");
    // A round after a restart keeps what is in force.
    let later = call.offer(0);
    assert_eq!(
        ufrag(&later),
        ufrag(&first),
        "or the negotiator need not write its own"
    );
    call.end();
}
