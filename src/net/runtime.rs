//! The tokio runtime of this library: one per process, made when needed, gone with its last user. It is ours alone,
//! so the host application needs none and ours cannot disturb its own.
//!
//! Nothing is left running. A driver ends when its machine is finished or its last handle is dropped: it closes its
//! sockets within twice [`CLOSE_FLUSH`](crate::wire::limits::CLOSE_FLUSH), drops questions under way, kills a token
//! command, and gives its share back. With the last share go all tasks and all threads of the runtime, which are named
//! `metered-io`. Nobody waits for that: a thread in a call that cannot be interrupted, such as the system's name
//! lookup, goes when the call returns.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Name resolution and token commands share these threads; they exist only while there is such work.
const BLOCKING_THREADS_MAX: usize = 16;

static SHARED: Mutex<Weak<Inner>> = Mutex::new(Weak::new());

/// A share in the runtime. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime(Arc<Inner>);

#[derive(Debug)]
struct Inner(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// The runtime that everybody in this process shares.
    pub fn shared() -> io::Result<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = shared.upgrade() {
            return Ok(Self(inner));
        }
        let runtime = Self::new()?;
        *shared = Arc::downgrade(&runtime.0);
        Ok(runtime)
    }

    /// One of its own.
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("metered-io")
            .enable_all()
            .build()?;
        Ok(Self(Arc::new(Inner(Some(runtime)))))
    }

    /// Runs a task. The runtime does not outlive its last share for a task's sake: a task that must finish holds
    /// one.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // It is only taken on drop.
        if let Some(runtime) = &self.0.0 {
            runtime.spawn(task);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last share may go on the runtime's own thread, which must not wait for itself.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_share_may_be_dropped_on_the_runtimes_own_thread() {
        let runtime = Runtime::new().unwrap();
        let gone = Arc::downgrade(&runtime.0);
        let (done, wait) = std::sync::mpsc::channel();
        let share = runtime.clone();
        let (go, start) = tokio::sync::oneshot::channel::<()>();
        runtime.spawn(async move {
            let _ = start.await;
            drop(share);
            let _ = done.send(());
        });
        drop(runtime);
        go.send(()).unwrap();
        wait.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn one_runtime_at_a_time() {
        let first = Runtime::shared().unwrap();
        let second = Runtime::shared().unwrap();
        assert!(Arc::ptr_eq(&first.0, &second.0));
    }
}
