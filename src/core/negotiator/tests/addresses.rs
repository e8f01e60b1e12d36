//! This machine gets other addresses in the middle of a call.

use std::net::IpAddr;
use std::time::Duration;

use super::golden::{CHROMIUM, accept};
use super::pair::{everything, track};
use super::peer::Lone;
use super::silence::lives;
use crate::core::io::{ConnectionState, MediaKind, SessionEvent};
use crate::core::negotiator::NegotiatorInput;
use crate::wire::SdpKind;

fn list(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
}

fn now_there_are(lone: &mut Lone, addresses: &str) {
    lone.handle(NegotiatorInput::AddressesChanged(list(addresses)));
    lone.pass(Duration::from_millis(300));
}

/// Connected from 10.0.0.1; the model has 10.0.0.0 and 10.0.0.2, too.
fn connected(polite: bool) -> Lone {
    let mut lone = Lone::new(polite, everything());
    lone.offer(CHROMIUM);
    lone.event(SessionEvent::Path([10, 0, 0, 1].into()));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lives(&mut lone, &mut 0, 5);
    lone
}

#[test]
fn a_connection_whose_address_has_gone_is_made_anew() {
    for polite in [true, false] {
        let mut lone = connected(polite);
        now_there_are(&mut lone, "10.0.0.2 10.0.0.3");
        assert_eq!(
            (lone.generations, &lone.problems[..]),
            (2, &["address_changed"][..])
        );
        assert_eq!(lone.last().0, SdpKind::Offer);
    }
}

#[test]
fn a_connection_whose_address_is_left_has_to_be_alive() {
    let mut lone = connected(true);
    now_there_are(&mut lone, "10.0.0.1");
    let mut count = 5 * 50;
    lives(&mut lone, &mut count, 60);
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    // An address more is nothing; but the agent cannot use it, so the next alarm leads to a new one.
    now_there_are(&mut lone, "10.0.0.1 10.0.0.9");
    lone.pass(Duration::from_secs(4));
    assert_eq!(
        (lone.generations, &lone.problems[..]),
        (2, &["connection_stalled"][..])
    );
}

#[test]
fn addresses_that_come_disturb_nothing() {
    let mut lone = connected(true);
    now_there_are(&mut lone, "10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3");
    lone.pass(Duration::from_secs(4));
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    // Silence is answered by a restart, as ever.
    lone.pass(Duration::from_secs(3));
    assert_eq!(
        (lone.generations, &lone.problems[..]),
        (1, &["connection_stalled"][..])
    );
    // The path that is looked for may lead over the newest one.
    now_there_are(&mut lone, "10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4");
    assert_eq!(lone.generations, 2);
}

#[test]
fn loopback_and_relays_behind_it_stay() {
    let mut lone = connected(true);
    lone.event(SessionEvent::Path([127, 0, 0, 1].into()));
    now_there_are(&mut lone, "10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3");
    assert_eq!(lone.generations, 1);
    // Its server may have been reached from there.
    now_there_are(&mut lone, "10.0.0.0 10.0.0.1 10.0.0.3");
    lone.pass(Duration::from_secs(3));
    assert_eq!(lone.generations, 2);
}

#[test]
fn a_connection_that_is_being_made_starts_again_with_what_there_is() {
    let mut lone = Lone::new(false, everything());
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(Duration::from_secs(1));
    now_there_are(&mut lone, "10.0.0.1 10.0.0.3");
    let before = lone.generations;
    now_there_are(&mut lone, "10.0.0.3");
    assert_eq!(lone.generations, before + 1);
    lone.answer(&accept(&lone, "Next"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.pass(Duration::from_secs(60));
    assert_eq!(lone.generations, before + 1);
}

#[test]
fn a_peer_that_was_given_up_is_tried_again() {
    let mut lone = connected(false);
    lone.pass(Duration::from_secs(3600));
    assert!(lone.problems.contains(&"IceRestartExhausted"));
    let before = lone.generations;
    now_there_are(&mut lone, "10.0.0.3");
    lone.pass(Duration::from_secs(1));
    assert_eq!(lone.generations, before + 1);
}
