//! Playing a script: everything happens, then nothing disturbs any more and all must come to its end.

use std::time::Duration;

use handover_proto::session::Procedure;
use handover_proto::{Instant, Side};

use super::act::Stage;
use super::{Script, When};
use crate::application::{Closing, Key, Plan, Reading};
use crate::coverage::Coverage;
use crate::fault::Fault;
use crate::network::KEEPALIVE;
use crate::world::{Broken, World};

/// How long everything may take to come to an end once nothing disturbs it any more: the keepalive,
/// some failed dials and retries, and the slowest network.
const CALM: Duration = Duration::from_secs(240);

const SIDES: [Side; 2] = [Side::Cnapt, Side::Snapt];

/// What each conversation sends and gets back across the last switch, in bytes, in about four seconds.
const LAST: u64 = 20_000;

/// A way, and its jitter, by which the first answer of a new link comes within `bound::PROGRESS`: its round
/// trip is not known before.
const FIRST_ANSWER: Duration = Duration::from_millis(400);

/// A way that nobody would call slow, and far below any bound: a switch timeout, too, may be a second.
const QUICK: Duration = Duration::from_millis(30);

/// By then what came before an answer, and once more behind a repeated OPEN, has arrived.
const OPENED: Duration = Duration::from_secs(2);

/// From one question over UDP to the next.
const TICK: Duration = Duration::from_millis(200);

/// The operating systems have given up by then what they will give up.
const LEFTOVERS: Duration = KEEPALIVE.saturating_mul(2);

impl Script {
    /// Plays it.
    ///
    /// # Errors
    ///
    /// If an invariant breaks, or the world does not come to its end.
    pub fn play(&self) -> Result<Coverage, Broken> {
        // A machine that panics has broken an invariant of its own; the script is worth as much as any.
        std::panic::catch_unwind(|| self.play_in(&mut self.stage())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Broken {
                at: Instant::default(),
                what: format!("a panic: {}", text.unwrap_or("without a word")),
            })
        })
    }

    /// Plays it and tells every event, one line each.
    pub fn trace(&self) -> (Vec<String>, Result<Coverage, Broken>) {
        let mut stage = self.stage();
        stage.world.start_trace();
        let outcome = self.play_in(&mut stage);
        (stage.world.take_trace(), outcome)
    }

    fn stage(&self) -> Stage {
        let mut world = World::new(self.seed, self.networks.clone());
        world.set_switch_timeout(self.switch_timeout);
        world.split_percent = self.split_percent;
        world.one_adapter = self.one_adapter;
        world.overlaps = self.overlaps;
        world.standbys = self.standbys;
        world.rescues = self.rescues;
        if self.datagrams {
            world.talk_by_datagrams(TICK);
        }
        if let Some(bug) = self.bug {
            world = world.with_bug(bug);
        }
        world.start();
        Stage {
            world,
            keys: Vec::new(),
        }
    }

    fn play_in(&self, stage: &mut Stage) -> Result<Coverage, Broken> {
        let mut coverage = Coverage::default();
        let began = stage.world.now();
        for entry in &self.entries {
            stage.await_time(entry.when)?;
            let waits = [Side::Cnapt, Side::Snapt].map(|side| stage.world.wait(side));
            stage.world.say("script", |_| entry.action.to_string());
            if stage.act(&entry.action)? {
                coverage.strike(Fault::of(&entry.action), waits);
            }
        }
        let passed = stage.world.now().since(began);
        stage.world.run_for(self.lasts.saturating_sub(passed))?;
        let lasted = stage.world.now().since(began);
        stage.calm_down();
        stage.world.finish(CALM)?;
        stage.world.hear_datagrams(CALM)?;
        stage.world.run_for(LEFTOVERS)?;
        stage.world.check_calm()?;
        stage.world.check_leftovers()?;
        coverage.conclude(&stage.world, lasted);
        stage.switch_once_more()?;
        stage.start_once_more()?;
        Ok(coverage)
    }
}

impl Stage {
    /// Nothing has struck for long, so a switch that is ordered now is planned to its end, and what it
    /// carries over is not sent again. The last conversation begins with the order: its conduit is late.
    fn switch_once_more(&mut self) -> Result<(), Broken> {
        let world = &mut self.world;
        let current = world.cnapt.network().map_or(0, |network| network.0);
        let target = (current + 1) % world.networks.len();
        if target == current {
            return Ok(());
        }
        world.networks[target].be_at_most(FIRST_ANSWER);
        // Jitter alone may look like silence, and what a rescue carries over is sent again.
        world.rescues = false;
        let pace = Duration::from_millis(50);
        let talks = |side| {
            let long = Plan::send(LAST).paced(LAST / 80, pace);
            world.open_at(side, long, Plan::echo())
        };
        let keys: Vec<Key> = SIDES.into_iter().map(talks).collect::<Result<_, _>>()?;
        let answered = keys.clone();
        world.run_until(CALM, "answers", move |world| {
            let mut each = answered.iter();
            each.all(|key| world.received(*key, key.stream.opener()) > 0)
        })?;
        world.run_for(OPENED)?;
        world.watch_resends();
        for side in SIDES {
            world.open_at(side, Plan::send(1), Plan::echo())?;
        }
        let report = world.switch(target)?;
        world.finish(CALM)?;
        let resent: u64 = keys.iter().map(|key| world.resent(*key)).sum();
        // An overlapped switch sends what is little and under way over the new link too.
        let overlapped = report.procedure == Procedure::Overlapped;
        if !report.planned || !report.done || (resent > 0 && !overlapped) {
            let what = format!("though nothing struck, {resent} bytes came again: {report:?}");
            return Err(world.failure(what));
        }
        Ok(())
    }

    /// Nor does anything strike when the CNAPT starts anew, so its first order is followed. It does not know
    /// the round trip yet, so the networks have to be as quick as its bound supposes.
    fn start_once_more(&mut self) -> Result<(), Broken> {
        let world = &mut self.world;
        for network in &mut world.networks {
            network.be_at_most(QUICK);
            network.jitter = Duration::ZERO;
            network.hooks = network.hooks.map(|time| time.min(QUICK));
        }
        world.restart_cnapt();
        world.run_until(CALM, "attached anew", World::is_attached)?;
        if world.followed() != Some(1) {
            let what = format!("a new process was followed at order {:?}", world.followed());
            return Err(world.failure(what));
        }
        Ok(())
    }

    fn await_time(&mut self, when: When) -> Result<(), Broken> {
        match when {
            When::After(delay) => self.world.run_for(delay),
            When::At {
                wait,
                patience,
                later,
            } => {
                let there = move |world: &World| world.wait(wait.side()) == Some(wait);
                self.world.comes_about(patience, there)?;
                self.world.run_for(later)
            }
        }
    }

    /// Nothing disturbs any more, and every application reads all and comes to its end.
    fn calm_down(&mut self) {
        let world = &mut self.world;
        world.say("script", |_| "calm".to_owned());
        world.decision_answers = true;
        world.let_hooks_work();
        for side in [Side::Cnapt, Side::Snapt] {
            world.wake(side, false);
        }
        for network in 0..world.networks.len() {
            world.networks[network].forgets = None;
            world.restore(network);
        }
        world.release_all();
        for key in &self.keys {
            for side in [Side::Cnapt, Side::Snapt] {
                world.change(*key, side, Reading::All, Closing::Fin);
            }
        }
    }
}
