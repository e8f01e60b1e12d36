//! Every duration of the negotiation, with its reason.

use std::time::Duration;

/// Before the first offer, polite side: the peer offers at once if it has media, and an offer that meets none of
/// ours is no collision.
pub(super) const FIRST_OFFER_POLITE: Duration = Duration::from_millis(250);

/// The same for the impolite side. Longer: the polite side of the vendor's browser SDK then has offered, and never
/// needs the rollback that some stacks cannot do.
pub(super) const FIRST_OFFER_IMPOLITE: Duration = Duration::from_millis(400);

/// The peer has announced tracks, so its offer is on its way: worth waiting for.
pub(super) const EXPECTED_OFFER_POLITE: Duration = Duration::from_secs(2);

/// The same for the impolite side, for which a polite peer may itself be waiting (up to 2 s).
pub(super) const EXPECTED_OFFER_IMPOLITE: Duration = Duration::from_secs(1);

/// Nothing came in for so long: where signalling does not say who is there, the peer is gone. Elements of ours send
/// reports every 0.5 to 1.5 s, and sessions count once a second, so two counts may be 2 s apart.
pub(super) const SILENCE: Duration = Duration::from_millis(2500);

/// After the peer's gap: it makes an offer as soon as it knows who is there. One that has lost its end without knowing
/// (its program was started anew, and has nothing to offer) is asked.
pub(super) const PROOF: Duration = Duration::from_secs(2);

/// Before we ask a peer for the media it sent until we made the connection anew: one that has noticed offers it.
pub(super) const ASK: Duration = Duration::from_secs(2);

/// Collects the track changes of one turn into one offer.
pub(super) const COALESCE: Duration = Duration::from_millis(30);

/// An offer unanswered for so long was most likely lost: an impolite side gives way to the offer it has ignored.
pub(super) const YIELD: Duration = Duration::from_secs(5);

/// Longest wait for an answer; after it the offer is sent again, after another one the connection is made anew.
/// Answers may wait for a slow server's acknowledgements, so no less.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// The same for a first offer that restarts ICE: nothing flows, and a peer that lives answers at once, so the offer goes
/// out again soon. The wait for the answer to that one stays as long: a peer that stood still for twenty seconds keeps
/// its connection.
pub(super) const RESTART_ANSWER: Duration = Duration::from_secs(5);

/// From both descriptions in place to connected. Candidates that do not answer take libnice 7 s.
pub(super) const CONNECT: Duration = Duration::from_secs(20);

/// Delays in seconds before the attempts of a recovery, those of the vendor's SDKs.
pub(super) const LADDER: [u64; 9] = [0, 1, 2, 4, 8, 16, 30, 30, 30];

/// A restart of ICE that has not led to a path is checked again so often. libnice asks three times, in the first 1.5 s,
/// and then nothing of ours would notice for up to 6 s that a path is back. No less, or an answer over a slow path would
/// find its question forgotten.
pub(super) const CHECKS: Duration = Duration::from_millis(2500);

/// How often they are repeated; then the restart has come to nothing.
pub(super) const REPEATS: u32 = 3;

/// How long a restart may take, from the wish for it and again from both descriptions in place: no alarm meanwhile.
pub(super) const RESTART: Duration = Duration::from_secs(10);

/// Restarts of ICE on one connection before it is made anew. A path that was gone for a moment may be back for the
/// second.
pub(super) const RESTARTS: usize = 2;

/// After a failed operation: the cause may be local and permanent.
pub(super) const SESSION_FAILED: Duration = Duration::from_millis(500);

/// The peer has closed its transport: it leaves or offers anew, usually within this time.
pub(super) const CLOSED_GRACE: Duration = Duration::from_secs(1);

/// Between two replacements because of remote offers, once the burst is used up.
pub(super) const REBUILD_EVERY: Duration = Duration::from_millis(500);

/// How many replacements may follow each other at once.
pub(super) const REBUILD_BURST: u32 = 3;

/// Offers of the peer that may follow each other at once: two who add and remove many tracks at the same time do not
/// come near.
pub(super) const OFFER_BURST: u32 = 20;

/// Between two offers, once the burst is used up. Nobody sees such a delay, and 256 peers who do their worst leave the
/// service's rate to others.
pub(super) const OFFER_EVERY: Duration = Duration::from_millis(200);

/// How long an offer of a peer that must be connected before it is answered waits for that: DTLS takes a moment, and a
/// round trip or two more where a packet is lost.
pub(super) const CONNECT_FIRST: Duration = Duration::from_secs(3);
