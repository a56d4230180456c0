//! Telling the machine's own stalls from those of what is measured.
//!
//! A small machine, a virtual one above all, stands still now and then for tens or hundreds of
//! milliseconds; whatever is measured meanwhile looks as if it had. So beside a timed run goes a control: a
//! thread that does nothing but sleep, and notes when it is woken late. A run in which it was is no
//! evidence; it is repeated, and counted.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::scenario::Lab;

/// How long the control sleeps at a time.
const SLEEP: Duration = Duration::from_millis(2);

/// Being woken so much later is a stall: other threads' turns explain less.
const STALL: Duration = Duration::from_millis(15);

/// How often a run is repeated before the machine is given up.
pub const TRIES: usize = 30;

/// A control at work.
#[derive(Debug)]
pub struct StallWatch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Stalls>,
}

/// When the machine stood still, and for how long.
#[derive(Debug, Clone, Default)]
pub struct Stalls(Vec<(Instant, Duration)>);

impl StallWatch {
    /// Starts a control.
    pub fn start() -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("stall watch".to_owned())
            .spawn(move || watch(&stopped))
            .context("start the control thread")?;
        Ok(Self { stop, thread })
    }

    /// Ends it and returns what it has seen.
    pub fn finish(self) -> Result<Stalls> {
        drop(self.stop);
        self.thread
            .join()
            .ok()
            .context("the control thread panicked")
    }
}

impl Stalls {
    /// All stalls together.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|(_end, length)| *length).sum()
    }

    /// The longest stall of which some part lay between the two moments.
    pub fn worst_between(&self, from: Instant, to: Instant) -> Duration {
        let lengths = self.0.iter().filter_map(|(end, length)| {
            let overlaps = *end >= from && *end - *length <= to;
            overlaps.then_some(*length)
        });
        lengths.max().unwrap_or_default()
    }
}

/// Runs `run` until the machine did not stall within it for more than `share` of its time, and returns
/// that result. Repetitions are noted.
pub fn undisturbed<T>(lab: &Lab, share: f64, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..TRIES {
        let (watch, began) = (StallWatch::start()?, Instant::now());
        let result = run()?;
        let (total, length) = (watch.finish()?.total(), began.elapsed());
        if total <= length.mul_f64(share) {
            return Ok(result);
        }
        lab.note(&format!(
            "once more: the machine stalled for {total:?} of {length:?}"
        ));
    }
    bail!("the machine stalls too much to measure anything: {TRIES} tries")
}

fn watch(stop: &mpsc::Receiver<()>) -> Stalls {
    let mut stalls = Stalls::default();
    loop {
        let began = Instant::now();
        if stop.recv_timeout(SLEEP) == Err(RecvTimeoutError::Disconnected) {
            return stalls;
        }
        let late = began.elapsed().saturating_sub(SLEEP);
        if late >= STALL {
            stalls.0.push((Instant::now(), late));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_stalls_that_touch_the_window_count() {
        let start = Instant::now();
        let at = |milliseconds| start + milliseconds * MS;
        let stalls = Stalls(vec![(at(100), 50 * MS), (at(300), 20 * MS)]);
        assert_eq!(stalls.total(), 70 * MS);
        assert_eq!(stalls.worst_between(at(0), at(40)), Duration::ZERO);
        assert_eq!(stalls.worst_between(at(0), at(60)), 50 * MS);
        assert_eq!(stalls.worst_between(at(110), at(400)), 20 * MS);
        assert_eq!(stalls.worst_between(at(301), at(400)), Duration::ZERO);
    }

    #[test]
    fn a_watch_ends_when_told_to_and_saw_no_more_than_its_time() -> Result<()> {
        let began = Instant::now();
        let stalls = StallWatch::start()?.finish()?;
        assert!(stalls.total() <= began.elapsed(), "{stalls:?}");
        Ok(())
    }
}
