//! The one thread that talks to the application: signals, bus messages, pads. Never under a lock, always in order.
//!
//! A handler may be slow, block, call any action, or set the element to NULL: the room goes on, and events wait. They
//! wait also if the element is started anew meanwhile: a notifier does not begin before the one before it has ended.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use crate::core::backlog::Backlog;
use crate::core::events::RoomEvent;

#[derive(Default)]
struct Queue {
    events: Backlog,
    closed: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_ended(&self) {
        let waited = self.changed.wait_while(self.queue(), |queue| !queue.ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// A handle to post with. The thread ends when [`Notifier::close`] was called and the queue is empty.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
    thread: ThreadId,
    before: Option<Arc<Notifier>>,
}

impl Notifier {
    /// Starts the thread. `handler` is called for each event, in the order of posting, once `before` has ended, which
    /// must have been closed. That takes as long as the application's handlers take; there is no deadline to it.
    pub fn spawn(
        name: &str,
        before: Option<Self>,
        handler: impl Fn(RoomEvent) + Send + 'static,
    ) -> std::io::Result<Self> {
        let before = before.filter(|before| !before.shared.queue().ended).map(Arc::new);
        let shared = Arc::new(Shared::default());
        let (queue, earlier) = (shared.clone(), before.clone());
        let handle: JoinHandle<()> = thread::Builder::new()
            .name(format!("metered-notify {name}"))
            .spawn(move || {
                if let Some(earlier) = earlier {
                    earlier.shared.wait_ended();
                }
                while let Some(event) = next(&queue) {
                    handler(event);
                }
                drop(handler);
                queue.queue().ended = true;
                queue.changed.notify_all();
            })?;
        Ok(Self {
            shared,
            thread: handle.thread().id(),
            before,
        })
    }

    /// Whether this thread is the one that is to end, or the one that it waits for.
    fn is_here(&self) -> bool {
        let earlier = self.before.as_ref().filter(|before| !before.shared.queue().ended);
        thread::current().id() == self.thread || earlier.is_some_and(|before| before.is_here())
    }

    /// Queues an event, if there is room ([`Backlog`]); never blocks.
    pub fn post(&self, event: RoomEvent) {
        self.shared.queue().events.push(event);
        self.shared.changed.notify_all();
    }

    /// Data messages lost because a handler was too slow.
    pub fn dropped_data(&self) -> u64 {
        self.shared.queue().events.dropped_data()
    }

    /// Ends the thread after what is queued. Waits for it up to `patience`, unless called from that thread.
    /// Returns whether it has ended.
    pub fn close(&self, patience: Duration) -> bool {
        self.shared.queue().closed = true;
        self.shared.changed.notify_all();
        if self.is_here() {
            return false;
        }
        let deadline = Instant::now() + patience;
        let mut queue = self.shared.queue();
        while !queue.ended {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            queue = self
                .shared
                .changed
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

fn next(shared: &Shared) -> Option<RoomEvent> {
    let mut queue = shared.queue();
    loop {
        if let Some(event) = queue.events.pop() {
            return Some(event);
        }
        if queue.closed {
            return None;
        }
        queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::core::events::DataKind;
    use crate::wire::limits::EVENTS_MAX;

    fn data(n: usize) -> RoomEvent {
        RoomEvent::Data {
            from: n.to_string(),
            known: true,
            kind: DataKind::Direct,
            data: serde_json::Value::Null,
            metadata: None,
        }
    }

    #[test]
    fn order_is_kept_and_close_drains() {
        let (sender, received) = mpsc::channel();
        let notifier = Notifier::spawn("t", None, move |event| drop(sender.send(event))).unwrap();
        for n in 0..100 {
            notifier.post(data(n));
        }
        assert!(notifier.close(Duration::from_secs(10)));
        let all: Vec<RoomEvent> = received.iter().collect();
        assert_eq!(all, (0..100).map(data).collect::<Vec<_>>());
    }

    #[test]
    fn a_blocked_handler_loses_data_but_no_news() {
        let (release, blocked) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let (sender, received) = mpsc::channel();
        let notifier = Notifier::spawn("t", None, move |event| {
            let _ = started.send(());
            let _ = blocked.recv();
            let _ = sender.send(event);
        })
        .unwrap();
        notifier.post(data(0));
        has_started.recv().unwrap();
        for n in 1..EVENTS_MAX + 11 {
            notifier.post(data(n));
        }
        notifier.post(RoomEvent::Left { peer_id: None });
        assert_eq!(notifier.dropped_data(), 10);
        assert!(
            !notifier.close(Duration::from_millis(10)),
            "the handler is still blocked"
        );
        drop(release);
        assert_eq!(received.iter().last(), Some(RoomEvent::Left { peer_id: None }));
    }

    #[test]
    fn closing_from_the_handler_does_not_wait_for_itself() {
        let (sender, received) = mpsc::channel::<Notifier>();
        let (done, is_done) = mpsc::channel();
        let notifier = Notifier::spawn("t", None, move |_| {
            let own = received.recv().unwrap();
            done.send(own.close(Duration::from_secs(60))).unwrap();
        })
        .unwrap();
        sender.send(notifier.clone()).unwrap();
        notifier.post(RoomEvent::Left { peer_id: None });
        assert!(!is_done.recv_timeout(Duration::from_secs(10)).unwrap());
        assert!(notifier.close(Duration::from_secs(10)));
    }

    #[test]
    fn the_next_one_waits_for_the_last() {
        let (sender, received) = mpsc::channel();
        let (release, blocked) = mpsc::channel::<()>();
        let late = sender.clone();
        let first = Notifier::spawn("t", None, move |event| {
            let _ = blocked.recv();
            let _ = late.send(event);
        })
        .unwrap();
        first.post(data(0));
        assert!(!first.close(Duration::from_millis(10)));
        let second = Notifier::spawn("t", Some(first), move |event| drop(sender.send(event))).unwrap();
        second.post(data(1));
        assert!(!second.close(Duration::from_millis(10)));
        drop(release);
        assert!(second.close(Duration::from_secs(10)));
        assert_eq!(received.iter().collect::<Vec<_>>(), [data(0), data(1)]);
    }
}
