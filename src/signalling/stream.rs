//! From one client to any number of listeners. A listener that does not keep up loses the oldest events and can see
//! how many; nobody waits for it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use super::event::Event;
use crate::wire::limits::{EVENT_BYTES_MAX, EVENTS_MAX};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events of one kind since the stream was made. Ends when the client is gone; closing and connecting again does not
/// end it, and it does not keep the client alive.
///
/// At most 4096 events, and 16 MiB of the frames they came in, wait for the application; then the oldest are dropped
/// ([`Events::missed`]). Can be awaited on any executor.
pub struct Events<T> {
    queue: Arc<Mutex<Queue<T>>>,
}

struct Queue<T> {
    /// With the weight of each.
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    missed: u64,
    ended: bool,
    waker: Option<Waker>,
}

impl<T> Queue<T> {
    fn push(&mut self, item: T, weight: usize) {
        self.waiting.push_back((item, weight));
        self.bytes += weight;
        while self.waiting.len() > EVENTS_MAX || (self.bytes > EVENT_BYTES_MAX && self.waiting.len() > 1) {
            self.pop();
            self.missed += 1;
        }
    }

    fn pop(&mut self) -> Option<T> {
        let (item, weight) = self.waiting.pop_front()?;
        self.bytes -= weight;
        Some(item)
    }
}

impl<T> Events<T> {
    /// The next event. `None`: the client is gone, and there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<T> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// The next event if it is here already.
    pub fn try_next(&mut self) -> Option<T> {
        lock(&self.queue).pop()
    }

    /// How many events were dropped because nobody took them in time. After presence was dropped, subscribing again
    /// brings a new snapshot.
    pub fn missed(&self) -> u64 {
        lock(&self.queue).missed
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queue = lock(&self.queue);
        match queue.pop() {
            Some(item) => Poll::Ready(Some(item)),
            None if queue.ended => Poll::Ready(None),
            None => {
                let replaced = queue.waker.replace(context.waker().clone());
                drop(queue);
                // A waker is foreign code.
                drop(replaced);
                Poll::Pending
            }
        }
    }
}

impl<T> Stream for Events<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll(context)
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = lock(&self.queue);
        f.debug_struct("Events")
            .field("waiting", &queue.waiting.len())
            .field("missed", &queue.missed)
            .field("ended", &queue.ended)
            .finish()
    }
}

/// A listener whose type of event has been forgotten.
trait Listener: Send {
    /// False if nobody listens any more.
    fn offer(&self, event: &Event, weight: usize, wake: &mut Vec<Waker>) -> bool;
    fn end(&self, wake: &mut Vec<Waker>);
}

struct Listening<T> {
    queue: Weak<Mutex<Queue<T>>>,
    select: fn(&Event) -> Option<T>,
}

impl<T: Send> Listener for Listening<T> {
    fn offer(&self, event: &Event, weight: usize, wake: &mut Vec<Waker>) -> bool {
        let Some(queue) = self.queue.upgrade() else {
            return false;
        };
        if let Some(item) = (self.select)(event) {
            let mut queue = lock(&queue);
            queue.push(item, weight);
            wake.extend(queue.waker.take());
        }
        true
    }

    fn end(&self, wake: &mut Vec<Waker>) {
        if let Some(queue) = self.queue.upgrade() {
            let mut queue = lock(&queue);
            queue.ended = true;
            wake.extend(queue.waker.take());
        }
    }
}

/// Everybody who listens to one client.
#[derive(Default)]
pub(super) struct Listeners(Mutex<List>);

#[derive(Default)]
struct List {
    listeners: Vec<Box<dyn Listener>>,
    ended: bool,
}

impl Listeners {
    /// A new listener, to what `select` picks.
    pub(super) fn add<T: Send + 'static>(&self, select: fn(&Event) -> Option<T>) -> Events<T> {
        let mut list = lock(&self.0);
        let queue = Arc::new(Mutex::new(Queue {
            waiting: VecDeque::new(),
            bytes: 0,
            missed: 0,
            ended: list.ended,
            waker: None,
        }));
        let listening = Listening {
            queue: Arc::downgrade(&queue),
            select,
        };
        list.listeners.push(Box::new(listening));
        Events { queue }
    }

    /// Tells everybody.
    pub(super) fn tell(&self, event: &Event, weight: usize) {
        let mut wake = Vec::new();
        lock(&self.0)
            .listeners
            .retain(|listener| listener.offer(event, weight, &mut wake));
        wake.into_iter().for_each(Waker::wake);
    }

    /// There will be no more events.
    pub(super) fn end(&self) {
        let mut wake = Vec::new();
        let mut list = lock(&self.0);
        list.ended = true;
        for listener in list.listeners.drain(..) {
            listener.end(&mut wake);
        }
        drop(list);
        wake.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::signalling::GoingAway;

    fn event(seconds: u64) -> Event {
        Event::GoingAway(GoingAway {
            retry_after: Duration::from_secs(seconds),
        })
    }

    fn seconds(event: &Event) -> Option<u64> {
        match event {
            Event::GoingAway(going) => Some(going.retry_after.as_secs()),
            _ => None,
        }
    }

    #[tokio::test]
    async fn each_listener_has_its_own_queue_and_ends_with_the_client() {
        let listeners = Listeners::default();
        let mut first = listeners.add(seconds);
        listeners.tell(&event(1), 10);
        let mut second = listeners.add(seconds);
        listeners.tell(&event(2), 10);
        assert_eq!((first.next().await, first.next().await), (Some(1), Some(2)));
        assert_eq!(second.try_next(), Some(2));
        let waiting = tokio::spawn(async move { second.next().await });
        tokio::task::yield_now().await;
        listeners.end();
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(first.next().await, None);
        assert_eq!(listeners.add(seconds).next().await, None);
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_knows_how_many() {
        let listeners = Listeners::default();
        let mut by_count = listeners.add(seconds);
        for n in 0..EVENTS_MAX as u64 + 5 {
            listeners.tell(&event(n), 1);
        }
        assert_eq!((by_count.try_next(), by_count.missed()), (Some(5), 5));

        let mut by_size = listeners.add(seconds);
        for n in 0..3 {
            listeners.tell(&event(n), EVENT_BYTES_MAX / 2);
        }
        assert_eq!((by_size.try_next(), by_size.missed()), (Some(1), 1));
        listeners.tell(&event(9), 2 * EVENT_BYTES_MAX);
        assert_eq!((by_size.try_next(), by_size.try_next()), (Some(9), None));
    }

    #[test]
    fn listeners_that_are_gone_are_forgotten() {
        let listeners = Listeners::default();
        for _ in 0..100 {
            drop(listeners.add(seconds));
        }
        listeners.tell(&event(1), 1);
        assert!(lock(&listeners.0).listeners.is_empty());
    }

    #[test]
    fn a_waker_may_call_back() {
        struct CallsBack(Arc<Listeners>);
        impl std::task::Wake for CallsBack {
            fn wake(self: Arc<Self>) {
                drop(self.0.add(seconds));
            }
        }
        let listeners = Arc::new(Listeners::default());
        let mut events = listeners.add(seconds);
        let waker = Arc::new(CallsBack(listeners.clone())).into();
        assert!(events.poll(&mut Context::from_waker(&waker)).is_pending());
        listeners.tell(&event(1), 1);
        assert!(events.poll(&mut Context::from_waker(&waker)).is_ready());
    }
}
