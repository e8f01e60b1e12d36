//! Work off the streaming threads: short-lived threads, and one timer thread that ends when nothing is due.

use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::CAT;

/// Runs something on its own thread. If there is no thread to be had, it runs here.
pub(crate) fn spawn(name: &str, job: impl FnOnce() + Send + 'static) {
    // The job must survive a failure to spawn, hence the detour.
    let slot = std::sync::Arc::new(Mutex::new(Some(job)));
    let theirs = slot.clone();
    let spawned = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || run(&theirs));
    if let Err(error) = spawned {
        gst::error!(CAT, "no thread for {name}: {error}");
        run(&slot);
    }
}

fn run<F: FnOnce()>(slot: &Mutex<Option<F>>) {
    let job = lock(slot).take();
    if let Some(job) = job {
        job();
    }
}

/// A poisoned mutex means that some thread panicked; its data is still the best there is.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Due {
    at: Instant,
    owner: u64,
    job: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
struct Timer {
    queue: Vec<Due>,
    running: bool,
}

static TIMER: LazyLock<(Mutex<Timer>, Condvar)> = LazyLock::new(Default::default);

/// Runs a short job after `delay`, unless its owner is cancelled before.
pub(crate) fn after(delay: Duration, owner: u64, job: impl FnOnce() + Send + 'static) {
    let (timer, wake) = &*TIMER;
    let mut state = lock(timer);
    state.queue.push(Due {
        at: Instant::now() + delay,
        owner,
        job: Box::new(job),
    });
    let start = !std::mem::replace(&mut state.running, true);
    drop(state);
    wake.notify_one();
    if start {
        spawn("media-timer", run_timer);
    }
}

/// Forgets what an owner has scheduled; the thread ends if nothing is left.
pub(crate) fn cancel(owner: u64) {
    let (timer, wake) = &*TIMER;
    let mut state = lock(timer);
    let before = state.queue.len();
    let (gone, kept) = std::mem::take(&mut state.queue)
        .into_iter()
        .partition(|due| due.owner == owner);
    state.queue = kept;
    let gone: Vec<Due> = gone;
    let changed = state.queue.len() != before;
    drop(state);
    // Jobs may own what takes locks when it is dropped.
    drop(gone);
    if changed {
        wake.notify_one();
    }
}

fn run_timer() {
    let (timer, wake) = &*TIMER;
    let mut state = lock(timer);
    loop {
        let now = Instant::now();
        let Some(next) = (0..state.queue.len()).min_by_key(|index| state.queue[*index].at) else {
            state.running = false;
            return;
        };
        let at = state.queue[next].at;
        if at <= now {
            let due = state.queue.swap_remove(next);
            drop(state);
            (due.job)();
            state = lock(timer);
        } else {
            state = wake
                .wait_timeout(state, at - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
