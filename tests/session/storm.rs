//! Members of one room who all add and remove tracks at random moments. `METERED_TEST_SEED` repeats the moments, as far
//! as the machine does; `METERED_TEST_LONG=1` asks for the long form (`scripts/test soak`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gstmeteredwebrtc::dev_server::{Config, DevServer};

use crate::member::{FRAME, Frames, Member, Trouble};

/// For everybody to agree at the end, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest pause between two steps of one member: some tracks go before anybody has heard them, some do not.
const PAUSE_MS: u64 = 1200;
/// Frames of a track that prove that it flows.
const ENOUGH: u64 = 5;

fn seed() -> u64 {
    let given = std::env::var("METERED_TEST_SEED");
    let seed = given
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    eprintln!("METERED_TEST_SEED={seed}");
    seed
}

fn pause(time: Duration) {
    let moment = Instant::now() + time;
    while let Some(left) = moment.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// Waits until nothing is wrong any more; fails with what still is.
fn until_well(what: &str, wrong: impl Fn() -> Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let wrong = wrong();
        if wrong.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "waited for {what}:\n{}",
            wrong.join("\n")
        );
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// One member, its two sources, and the track that comes and goes.
struct Actor {
    member: Member,
    number: usize,
    steady: Arc<Frames>,
    fleeting: Arc<Frames>,
    /// The track that is there now.
    now: Option<String>,
}

impl Actor {
    fn new(url: &str, number: usize, seed: u64) -> Self {
        let tag = u32::try_from(number).unwrap() * 2;
        Self {
            member: Member::join(url, seed),
            number,
            steady: Arc::new(Frames::new(tag)),
            fleeting: Arc::new(Frames::new(tag + 1)),
            now: None,
        }
    }

    fn steady_name(&self) -> String {
        format!("steady-{}", self.number)
    }

    /// Adds and removes; half of all end with the track there.
    fn storm(&mut self, rounds: usize, mut random: fastrand::Rng) {
        let mut present = None;
        for round in 0..rounds {
            pause(Duration::from_millis(random.u64(..PAUSE_MS)));
            let name = format!("fleeting-{}-{round}", self.number);
            present = Some((self.member.add(&name, &self.fleeting), name));
            pause(Duration::from_millis(random.u64(..PAUSE_MS)));
            let last = round + 1 == rounds;
            if !(last && self.number.is_multiple_of(2)) {
                present
                    .take()
                    .into_iter()
                    .for_each(|(key, _)| self.member.remove(key));
            }
        }
        self.now = present.map(|(_, name)| name);
    }

    /// Names of its tracks, with the tags of their frames.
    fn published(&self) -> Vec<(String, u32)> {
        let tag = u32::try_from(self.number).unwrap() * 2;
        let fleeting = self.now.clone().map(|name| (name, tag + 1));
        [(self.steady_name(), tag)].into_iter().chain(fleeting).collect()
    }
}

/// What this member has to see, and what of it has no media.
fn disagreements(actors: &[Actor], viewer: &Actor) -> Vec<String> {
    let others = actors.iter().filter(|actor| actor.number != viewer.number);
    let expected: BTreeSet<String> = others
        .clone()
        .flat_map(|actor| {
            let id = actor.member.own().unwrap();
            actor
                .published()
                .into_iter()
                .map(move |(name, tag)| format!("{id} {name} {tag}"))
        })
        .collect();
    let seen: BTreeSet<String> = viewer
        .member
        .shown()
        .iter()
        .map(|shown| {
            let tag = shown
                .heard
                .seen()
                .last
                .map_or("silent".into(), |(tag, _)| tag.to_string());
            format!("{} {} {tag}", shown.peer, shown.track)
        })
        .collect();
    expected
        .symmetric_difference(&seen)
        .map(|text| {
            let verb = if seen.contains(text) { "shows" } else { "lacks" };
            format!("{} {verb} {text}", viewer.number)
        })
        .collect()
}

/// Pushes frames until told to end.
fn play(sources: &[Arc<Frames>], end: &AtomicBool) {
    let mut next = Instant::now();
    while !end.load(Ordering::Relaxed) {
        sources.iter().for_each(|source| source.push());
        next += FRAME;
        pause(next.saturating_duration_since(Instant::now()));
    }
}

fn storm(members: usize, rounds: usize) {
    gst::init().unwrap();
    let mut random = fastrand::Rng::with_seed(seed());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(DevServer::start(Config::ephemeral())).unwrap();
    let url = server.ws_url();
    let mut actors: Vec<Actor> = (0..members)
        .map(|number| Actor::new(&url, number, random.u64(..)))
        .collect();
    for actor in &actors {
        actor.member.add(&actor.steady_name(), &actor.steady);
    }
    let sources: Vec<_> = actors
        .iter()
        .flat_map(|actor| [actor.steady.clone(), actor.fleeting.clone()])
        .collect();
    let end = Arc::new(AtomicBool::new(false));
    let player = thread::spawn({
        let end = end.clone();
        move || play(&sources, &end)
    });
    until_well("a room in which everybody hears everybody", || {
        if actors.iter().any(|actor| actor.member.own().is_none()) {
            return vec!["not everybody has joined".into()];
        }
        actors
            .iter()
            .flat_map(|viewer| disagreements(&actors, viewer))
            .collect()
    });
    let connections = |actors: &[Actor]| sum(actors, |trouble| trouble.connections);
    let before = connections(&actors);
    let begin = Instant::now();
    thread::scope(|scope| {
        for actor in &mut actors {
            let random = random.fork();
            scope.spawn(move || actor.storm(rounds, random));
        }
    });
    let stormed = begin.elapsed();
    let calm = Instant::now();
    until_well("everybody to see exactly what the others publish", || {
        actors
            .iter()
            .flat_map(|viewer| disagreements(&actors, viewer))
            .collect()
    });
    let settled = calm.elapsed();
    let heard: Vec<_> = actors.iter().flat_map(|actor| actor.member.shown()).collect();
    let until_now: Vec<u64> = heard.iter().map(|shown| shown.heard.seen().frames).collect();
    until_well("media on all of it", || {
        let silent = heard.iter().zip(&until_now);
        let silent = silent.filter(|(shown, before)| shown.heard.seen().frames < **before + ENOUGH);
        silent.map(|(shown, _)| format!("{shown:?}")).collect()
    });
    let shown: usize = actors.iter().map(|actor| actor.member.history().len()).sum();
    eprintln!(
        "| {members} members, {rounds} rounds each: {:.1} s of storm, agreed {:.1} s later; {shown} tracks shown, \
         {before} connections, {} descriptions applied",
        stormed.as_secs_f64(),
        settled.as_secs_f64(),
        sum(&actors, |trouble| trouble.descriptions)
    );
    let mut wrong: Vec<String> = actors.iter().flat_map(|viewer| check(&actors, viewer)).collect();
    let anew = connections(&actors) - before;
    if anew > 0 {
        wrong.push(format!("{anew} connections were made anew"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    end.store(true, Ordering::Relaxed);
    player.join().unwrap();
    for actor in actors {
        actor.member.leave();
    }
    runtime.block_on(server.shutdown());
}

fn sum(actors: &[Actor], of: impl Fn(&Trouble) -> usize) -> usize {
    actors.iter().map(|actor| actor.member.trouble(&of)).sum()
}

/// What is wrong: trouble, a steady track that was shown twice or is not complete, a track that had another's media.
fn check(actors: &[Actor], viewer: &Actor) -> Vec<String> {
    let mut wrong = Vec::new();
    viewer.member.trouble(|trouble| {
        if trouble.resets + trouble.reconnecting + trouble.problems.len() > 0 {
            wrong.push(format!("{trouble:?}"));
        }
    });
    if viewer.member.connected() != actors.len() - 1 {
        wrong.push(format!("{} connections", viewer.member.connected()));
    }
    let history = viewer.member.history();
    for actor in actors.iter().filter(|actor| actor.number != viewer.number) {
        let name = actor.steady_name();
        let steady: Vec<_> = history.iter().filter(|shown| shown.track == name).collect();
        if steady.len() != 1 {
            wrong.push(format!("{name} was shown {} times", steady.len()));
        }
        let holes = steady.iter().map(|shown| shown.heard.seen());
        let holes = holes.filter(|seen| !seen.breaks.is_empty());
        wrong.extend(holes.map(|seen| format!("{name} has holes: {seen:?}")));
    }
    for shown in &history {
        let seen = shown.heard.seen();
        if seen.breaks.iter().any(|(came, expected)| came.0 != expected.0) {
            wrong.push(format!("{} had another track's media: {seen:?}", shown.track));
        }
    }
    let told = |text: String| format!("member {}: {text}", viewer.number);
    wrong.into_iter().map(told).collect()
}

#[test]
fn tracks_come_and_go_in_a_storm_and_nothing_gets_stuck() {
    match std::env::var_os("METERED_TEST_LONG") {
        Some(_) => storm(8, 100),
        None => storm(4, 10),
    }
}
