//! What random plans have found, made small. `SIM_TRACE=1` shows what happens.

use super::sim::replay;

/// Media came only in the first second after the connection was up, which counted as part of the handshakes: nobody
/// missed it.
#[test]
fn a_path_that_dies_right_after_its_first_media() {
    replay(
        "seed=0 members=tk deaf=1 delay=60 slow=20
        6000 1 join
        22000 1 add 2
        27000 1 block 0 11100
        35000 0 join
        41000 0 move",
    );
}

/// The same after a restart of ICE, when no handshakes could come.
#[test]
fn a_restored_path_that_dies_right_after_its_first_media() {
    replay(
        "seed=0 members=tk deaf=1 delay=60 slow=20
        2000 0 add 3
        2000 0 join
        6000 1 join
        27000 1 block 0 11100
        41000 0 rebind",
    );
}

/// Between connected and the first media nobody missed anything, since peers may promise media and have none.
#[test]
fn a_path_that_dies_before_any_media() {
    replay(
        "seed=0 members=kk deaf=1 delay=60 slow=20
        2000 0 add 3
        2000 0 join
        6000 1 join
        6670 1 rebind",
    );
}

/// Answers took longer than the impolite side waits for them, so both sides gave way to each other, and took the answers
/// to offers they had dropped for wrong answers to the next.
#[test]
fn answers_that_take_longer_than_an_offer_stands() {
    replay(
        "seed=166 members=kkk delay=2000 slow=20
        1000 1 join
        1000 1 add 3
        4000 2 join
        6000 0 add 1
        17000 0 add 0
        19000 0 join",
    );
}

/// The same after a reconnect, with a slow webrtcbin.
#[test]
fn slow_answers_after_a_reconnect() {
    replay(
        "seed=65 members=kt delay=2000 slow=1500
        0 0 join
        1000 1 join
        3000 0 add 3
        3000 1 add 0
        20000 1 drop 0",
    );
}

/// A late answer to an offer of the connection before had the sections of the offer that was out, and was taken for its
/// answer: both were connected with an end that was gone, again and again.
#[test]
fn an_answer_to_the_connection_before() {
    replay(
        "seed=159 members=tk deaf=0 delay=2000 slow=1500
        17000 1 join
        17000 0 join
        36000 1 add 1
        40200 1 drop 90
        44000 0 add 1",
    );
}

/// An offer was sent twice, to a process that stood still, and gave way to an offer of that one. It was answered all the
/// same, and the track that was in it had gone meanwhile: the peer kept it for ever.
#[test]
fn an_answer_to_an_offer_that_has_given_way() {
    replay(
        "seed=17044 members=tk loss=0 failures=0 hangs=0 unreachable=0 deaf=0 until=0 delay=60 slow=20
        1000 0 join
        1000 0 add 1
        13000 1 join
        16000 1 add 0
        36000 1 freeze 15190
        43000 1 remove 0",
    );
}

/// The same where answers had got lost.
#[test]
fn an_answer_to_an_offer_that_was_sent_twice() {
    replay(
        "seed=29949 members=kktt loss=45 until=32482 delay=120 slow=300
        0 1 join
        600 0 join
        600 2 join
        2000 2 add 2
        4400 1 add 1
        5470 2 server-loses 9870
        7000 3 add 0
        8960 3 join
        21330 3 drop 0
        27457 3 expire
        41000 3 remove 0",
    );
}
