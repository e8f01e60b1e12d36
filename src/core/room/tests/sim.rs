//! Several rooms around a server, in all weathers. CONTRIBUTING.md says how to run it and what to do with a failure.
//!
//! `plan` is what happens, as data; `world` makes it happen: rooms, the model of the service in `server`, that of ICE,
//! DTLS and packets in `media`, with the negotiator's model of webrtcbin for each session. `steps` are the things that
//! are done, `outcome` says what must be true, `shrink` makes a failing plan small.

mod media;
mod outcome;
pub mod plan;
mod server;
mod shrink;
mod steps;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::ms;
use plan::Plan;
use world::World;

/// Everything must be right so long after the last bad thing.
const SETTLED: Duration = Duration::from_secs(60);

/// And so long after it has become right, and is taken for settled.
const STEADY: Duration = Duration::from_secs(4);

/// Every so many plans are watched for the whole time, whether what is right stays right.
const WATCHED: u64 = 8;

/// Plans that are tried to make a failing one small.
const TRIES: usize = 1500;

thread_local! {
    /// The panics of this thread are caught and told.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// How a plan has ended.
#[derive(Debug, Clone, Copy, Default)]
struct Report {
    gave_up: bool,
}

/// Runs a plan.
fn execute(plan: &Plan, trace: bool) -> Result<Report, String> {
    let mut world = World::new(plan, trace);
    let quiet = ms(plan.quiet());
    world.run(quiet);
    let mut right = None;
    let mut last = Ok(());
    for second in 0..=SETTLED.as_secs() {
        let at = quiet + Duration::from_secs(second);
        world.run(at);
        last = world.verdict();
        right = match last {
            Ok(()) => right.or(Some(at)),
            Err(_) => None,
        };
        let steady = right.is_some_and(|since| at >= since + STEADY);
        if steady && !plan.seed.is_multiple_of(WATCHED) {
            break;
        }
    }
    last?;
    let report = Report {
        gave_up: world.gave_up(),
    };
    world.everybody_leaves();
    Ok(report)
}

/// The same, with the word of a panic.
fn attempt(plan: &Plan) -> Result<Report, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| execute(plan, false)));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| {
            panic
                .downcast_ref::<&str>()
                .copied()
                .unwrap_or("panic")
                .to_owned()
        }))
    })
}

/// What kind of failure it is: its words without names and numbers.
fn kind(why: &str) -> String {
    let words = why.split([' ', ':', ',']).filter(|word| {
        word.len() > 1
            && word
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '\'')
    });
    words.take(6).collect::<Vec<_>>().join(" ")
}

/// Makes a failing plan small, and says what it is.
fn complain(plan: Plan, why: &str) -> String {
    let wanted = kind(why);
    let mut fails = |plan: &Plan| attempt(plan).is_err_and(|why| kind(&why) == wanted);
    let seed = plan.seed;
    let small = shrink::minimise(plan, TRIES, &mut fails);
    let why = attempt(&small).err().unwrap_or_else(|| why.to_owned());
    format!("seed {seed}: {why}\nfor scenarios.rs:\n{small}\n")
}

/// Random plans on all processors. Panics with the first that fails, made small.
fn sweep(first: u64, count: u64) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (next, failed, gave_up) = (AtomicU64::new(first), AtomicBool::new(false), AtomicU64::new(0));
    let all = std::env::var_os("SIM_ALL").is_some();
    let work = || {
        let mut complaints = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || (failed.load(Ordering::Relaxed) && !all) {
                return complaints;
            }
            let plan = Plan::random(seed);
            match attempt(&plan) {
                Ok(report) => {
                    gave_up.fetch_add(u64::from(report.gave_up), Ordering::Relaxed);
                }
                Err(why) if all => complaints.push(format!("seed {seed}: {why}")),
                Err(why) => {
                    failed.store(true, Ordering::Relaxed);
                    complaints.push(complain(plan, &why));
                }
            }
        }
    };
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    println!(
        "{count} plans, {} with a peer given up",
        gave_up.load(Ordering::Relaxed)
    );
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A plan that is written down.
#[track_caller]
pub fn replay(text: &str) {
    let plan: Plan = text.parse().unwrap();
    if let Err(why) = execute(&plan, std::env::var_os("SIM_TRACE").is_some()) {
        panic!("{why}");
    }
}

/// `SIM_SEED` runs one, `SIM_PLAN` a file, `SIM_TRACE` prints what happens; `SIM_FIRST` and `SIM_PLANS` are a range, and with `SIM_ALL`
/// all its failures are printed as they are.
#[test]
fn random_plans() {
    if let Ok(file) = std::env::var("SIM_PLAN") {
        return replay(&std::fs::read_to_string(file).unwrap());
    }
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let plan = Plan::random(seed.parse().unwrap());
        println!("{plan}");
        replay(&plan.to_string());
        return;
    }
    sweep(number("SIM_FIRST", 0), number("SIM_PLANS", 100));
}

#[test]
fn a_plan_survives_being_written_down() {
    for seed in 0..500 {
        let plan = Plan::random(seed);
        assert_eq!(plan.to_string().parse(), Ok(plan));
    }
}

#[test]
fn a_failing_plan_becomes_small() {
    // Fails while somebody moves after somebody else has joined.
    let mut fails = |plan: &Plan| {
        let at = |wanted| plan.steps.iter().position(|step| step.action == wanted);
        at(plan::Action::Join).is_some_and(|join| at(plan::Action::Move).is_some_and(|moved| join < moved))
    };
    let mut found = (0..200).map(Plan::random).filter(|plan| fails(plan));
    let plan = found.next().unwrap();
    let small = shrink::minimise(plan, TRIES, &mut fails);
    assert_eq!((small.steps.len(), small.members.len()), (2, 2), "{small}");
}
