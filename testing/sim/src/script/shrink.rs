//! Making a script shorter while it still breaks something.

use std::time::Duration;

use super::{Action, Entry, Script, When};
use crate::world::Broken;

/// How many plays finding a short script may cost: some seconds.
const PLAYS: u32 = 1_500;

/// A script that breaks something, and what.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The script.
    pub script: Script,
    /// What it breaks.
    pub broken: Broken,
    left: u32,
}

impl Script {
    /// A shorter script that breaks something too, not necessarily the same; none if this one breaks
    /// nothing.
    pub fn shrink(self) -> Option<Shrunk> {
        let broken = self.play().err()?;
        let mut shrunk = Shrunk {
            script: self,
            broken,
            left: PLAYS,
        };
        while shrunk.drop_entries() | shrunk.simplify() {}
        Some(shrunk)
    }
}

impl Shrunk {
    /// Takes `script` if it breaks something.
    fn try_out(&mut self, script: Script) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let Err(broken) = script.play() else {
            return false;
        };
        self.script = script;
        self.broken = broken;
        true
    }

    /// Leaves entries out: large parts first, then single ones.
    fn drop_entries(&mut self) -> bool {
        let mut better = false;
        let mut size = self.script.entries.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.script.entries.len() {
                let mut script = self.script.clone();
                let to = (from + size).min(script.entries.len());
                script.entries.drain(from..to);
                if self.try_out(script) {
                    better = true;
                } else {
                    from += size;
                }
            }
            size /= 2;
        }
        better
    }

    /// Makes what is left shorter, smaller and simpler, one thing at a time.
    fn simplify(&mut self) -> bool {
        let mut better = self.change(|script| {
            let ends = !script.lasts.is_zero();
            script.lasts = Duration::ZERO;
            ends
        });
        for index in 0..self.script.networks.len() {
            better |= self.change(|script| {
                let network = &mut script.networks[index];
                let plain = network.jitter.is_zero() && network.forgets.is_none();
                network.jitter = Duration::ZERO;
                network.forgets = None;
                !plain
            });
        }
        for index in 0..self.script.entries.len() {
            while self.change(|script| halve(&mut script.entries[index])) {
                better = true;
            }
        }
        better
    }

    fn change(&mut self, change: impl FnOnce(&mut Script) -> bool) -> bool {
        let mut script = self.script.clone();
        change(&mut script) && self.try_out(script)
    }
}

/// Halves the delay or what is written; says whether there was anything to halve.
fn halve(entry: &mut Entry) -> bool {
    let delay = match &mut entry.when {
        When::After(delay) | When::At { later: delay, .. } => delay,
    };
    if *delay > Duration::from_millis(1) {
        *delay = Duration::from_millis(u64::try_from(delay.as_millis() / 2).unwrap_or(0));
        return true;
    }
    if let Action::Open {
        opener, acceptor, ..
    } = &mut entry.action
    {
        let most = opener.write.max(acceptor.write);
        opener.write /= 2;
        acceptor.write /= 2;
        return most > 1;
    }
    false
}
