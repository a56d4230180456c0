//! Who writes next where there is room for some only.
//!
//! When room becomes free, the library wakes all writers, and the first to run takes all of it. That may be the same one
//! each time, for minutes: then a bulk transfer keeps every conversation of its link out. So they take turns. Whoever
//! found no room is first in a queue; whoever has written goes to its end.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The writers that wait, each known by a key `K`. One that waits no longer has to [`Turns::leave`].
#[derive(Debug)]
pub(super) struct Turns<K>(Mutex<VecDeque<(K, Waker)>>);

impl<K: Copy + PartialEq> Turns<K> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// Writes if it is this one's turn. The library wakes whoever has found no room.
    pub(super) fn poll<T>(
        &self,
        key: K,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.has_turn(key, cx.waker()) {
            return Poll::Pending;
        }
        let written = write(cx);
        match &written {
            Poll::Ready(_) => self.leave(key),
            Poll::Pending => self.queue_first(key, cx.waker()),
        }
        written
    }

    /// Waits no longer.
    pub(super) fn leave(&self, key: K) {
        let mut queue = self.lock();
        let was_first = queue.front().is_some_and(|(first, _)| *first == key);
        queue.retain(|(one, _)| *one != key);
        if was_first && let Some((_, next)) = queue.front() {
            next.wake_by_ref();
        }
    }

    fn has_turn(&self, key: K, waker: &Waker) -> bool {
        let mut queue = self.lock();
        match queue.iter().position(|(one, _)| *one == key) {
            Some(0) => return true,
            Some(place) => queue[place].1.clone_from(waker),
            None if queue.is_empty() => return true,
            None => queue.push_back((key, waker.clone())),
        }
        false
    }

    fn queue_first(&self, key: K, waker: &Waker) {
        let mut queue = self.lock();
        if queue.iter().all(|(one, _)| *one != key) {
            queue.push_front((key, waker.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(K, Waker)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_first_to_run_does_not_take_all_the_room_each_time() {
        let (turns, room) = (Turns::new(), Cell::new(0));
        let write = |key| {
            let take = |_: &mut Context<'_>| match room.get() {
                0 => Poll::Pending,
                room_now => {
                    room.set(room_now - 1);
                    Poll::Ready(())
                }
            };
            let poll = turns.poll(key, &mut Context::from_waker(Waker::noop()), take);
            poll.is_ready()
        };
        let all = |keys: [u32; 3]| keys.map(write);
        assert_eq!(all([1, 2, 3]), [false; 3]);
        // However they are woken, each has its turn.
        for (first, expected) in [(1, 1), (1, 2), (1, 3), (1, 1)] {
            room.set(1);
            let order = [first, 2, 3];
            let wrote: Vec<u32> = [order, order]
                .concat()
                .into_iter()
                .filter(|key| write(*key))
                .collect();
            assert_eq!(wrote, [expected]);
        }
    }

    #[test]
    fn who_leaves_wakes_the_next() {
        let turns = Turns::new();
        let next = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&next));
        let none = |_: &mut Context<'_>| Poll::<()>::Pending;
        assert!(
            turns
                .poll(1, &mut Context::from_waker(Waker::noop()), none)
                .is_pending()
        );
        assert!(
            turns
                .poll(2, &mut Context::from_waker(&waker), none)
                .is_pending()
        );
        turns.leave(1);
        assert_eq!(next.0.load(Ordering::Relaxed), 1);
        let room = |_: &mut Context<'_>| Poll::Ready(());
        assert!(
            turns
                .poll(2, &mut Context::from_waker(&waker), room)
                .is_ready()
        );
    }
}
