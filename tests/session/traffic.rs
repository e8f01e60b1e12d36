//! What a session tells about packets that come in.

use std::time::{Duration, Instant};

use gstmeteredwebrtc::core::io::SessionEvent;

use crate::harness::{Call, Note};

/// Reports of the receiving side: at most this long apart, on a busy machine.
const REPORTS: Duration = Duration::from_secs(4);

/// One side receives media, the other nothing but reports on it. Both are told of.
#[test]
fn both_sides_hear_of_each_other() {
    let mut call = Call::media_call();
    call.frames(1, "gv1", 5);
    call.drain();
    let mut before = [(0, false); 2];
    let mut told = [0; 2];
    let mut last = Instant::now();
    call.until("five counts on both sides", |side, note| {
        let Note::Event(SessionEvent::Traffic { received, sending }) = note else {
            return None;
        };
        let now = (*received, *sending);
        assert_ne!(
            std::mem::replace(&mut before[side], now),
            now,
            "told without news"
        );
        assert_eq!(*sending, side == 0);
        told[side] += 1;
        if side == 0 {
            assert!(last.elapsed() < REPORTS, "no report for {:?}", last.elapsed());
            last = Instant::now();
        }
        told.iter().all(|told| *told >= 5).then_some(())
    });
    assert!(before[1].0 > 4 * before[0].0, "media against reports: {before:?}");
    call.end();
}
