//! Modules that stand still while the rest of the world goes on: a device asleep, a stopped process.
//!
//! What happens to a sleeper is put off until it wakes: then everything happens at once, its timers
//! before or after it. A sleeping device takes its kernel along, so what comes is not acknowledged, and
//! the server's kernel gives such connections up. A stopped process's kernel goes on.

use std::time::Duration;

use handover_proto::{ConduitId, Instant, Side};

use super::{Occurrence, World};
use crate::network::{Content, KEEPALIVE};

/// How a module stands still.
#[derive(Debug, Default)]
pub(super) struct Sleep {
    /// Since when, while it does.
    since: Option<Instant>,
    /// Counts.
    naps: u64,
    put_off: Vec<Occurrence>,
    /// From when to when it did the last time.
    last: (Instant, Instant),
}

impl Sleep {
    /// Whether the module ever slept.
    pub(super) const fn has_been(&self) -> bool {
        self.naps > 0
    }

    /// How much of the time from `began` to `ended` it slept through, the last nap counted.
    pub(super) fn within(&self, began: Instant, ended: Instant) -> Duration {
        let (from, to) = self.last;
        to.min(ended).since(from.max(began))
    }
}

impl World {
    /// Whether the module at `side` stands still.
    pub const fn is_asleep(&self, side: Side) -> bool {
        self.sleeps[side as usize].since.is_some()
    }

    /// The module at `side` stands still for so long. When it wakes, its timers fire before it looks at
    /// what has come, or after. Says whether it fell asleep now: it may stand still already.
    pub fn sleep(&mut self, side: Side, length: Duration, timers_first: bool) -> bool {
        if self.is_asleep(side) {
            return false;
        }
        let sleep = &mut self.sleeps[side as usize];
        sleep.naps += 1;
        sleep.since = Some(self.now);
        let nap = sleep.naps;
        let wake = Occurrence::Wake {
            side,
            nap,
            timers_first,
        };
        self.schedule(self.now + length, wake);
        if side == Side::Cnapt {
            self.schedule(self.now + KEEPALIVE, Occurrence::Unacknowledged { nap });
        }
        true
    }

    pub(super) fn wake_from(&mut self, side: Side, nap: u64, timers_first: bool) {
        if self.sleeps[side as usize].naps == nap {
            self.wake(side, timers_first);
        }
    }

    /// The module at `side` goes on, if it stood still.
    pub fn wake(&mut self, side: Side, timers_first: bool) {
        let now = self.now;
        let sleep = &mut self.sleeps[side as usize];
        let Some(since) = sleep.since.take() else {
            return;
        };
        sleep.last = (since, now);
        let put_off = std::mem::take(&mut sleep.put_off);
        self.say("world", |_| format!("{side:?} wakes"));
        self.watches[side as usize].slept(now.since(since), now);
        if timers_first {
            self.fire_timers(side);
            self.drain(side);
        }
        for what in put_off {
            self.schedule(now, what);
        }
        for conduit in self.open_conduits(side) {
            self.pump(side, conduit);
        }
    }

    /// Whether `what` has to wait until a sleeper wakes; then it does.
    pub(super) fn put_off(&mut self, what: Occurrence) -> bool {
        let [first, second] = what.concerns();
        let sleeper = [first, second]
            .into_iter()
            .flatten()
            .find(|side| self.is_asleep(*side));
        if let Some(side) = sleeper {
            self.sleeps[side as usize].put_off.push(what);
        }
        sleeper.is_some()
    }

    /// The server's kernel gives up what a sleeping device has not acknowledged for so long.
    pub(super) fn unacknowledged(&mut self, nap: u64) {
        if self.sleeps[0].naps != nap || !self.is_asleep(Side::Cnapt) {
            return;
        }
        let waiting: Vec<ConduitId> = self
            .connections
            .iter()
            .filter(|(_, one)| one.is_open(Side::Snapt) && one.is_pending_to(Side::Cnapt))
            .map(|(conduit, _)| *conduit)
            .collect();
        for conduit in waiting {
            self.put(Side::Snapt, conduit, Content::End);
            self.tell_end(conduit, Side::Snapt);
        }
    }
}
