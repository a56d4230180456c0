//! A reader's pace, under a scenario's control: it can stand still, be slow, and be let go.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How an application takes its bytes; clones share one state.
#[derive(Debug, Clone)]
pub struct Gate {
    shared: Arc<Shared>,
    /// How long each chunk takes while the gate is shut; `None`: for ever.
    pause: Option<Duration>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    passed: u64,
}

impl Gate {
    /// An application that reads as fast as it can.
    pub fn open_already() -> Self {
        let gate = Self::shut();
        gate.open();
        gate
    }

    /// An application that reads nothing until [`Gate::open`].
    pub fn shut() -> Self {
        Self {
            shared: Arc::default(),
            pause: None,
        }
    }

    /// An application that needs `pause` for each chunk until [`Gate::open`].
    pub fn slow(pause: Duration) -> Self {
        Self {
            pause: Some(pause),
            ..Self::shut()
        }
    }

    /// From now on nothing holds the application back.
    pub fn open(&self) {
        self.lock().open = true;
        self.shared.opened.notify_all();
    }

    /// How often the application, or all that share the gate, have been let through.
    pub fn passed(&self) -> u64 {
        self.lock().passed
    }

    /// The application's side: returns when the next chunk may be taken.
    pub fn pass(&self) {
        let (opened, state) = (&self.shared.opened, self.lock());
        let shut = |state: &mut State| !state.open;
        let mut state = match self.pause {
            None => {
                let waited = opened.wait_while(state, shut);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(pause) => {
                let waited = opened.wait_timeout_while(state, pause, shut);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.passed += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;

    use super::*;

    #[test]
    fn who_stands_before_a_shut_gate_goes_on_when_it_opens() {
        let gate = Gate::shut();
        let (passed, has_passed) = channel();
        let walker = gate.clone();
        let thread = thread::spawn(move || {
            walker.pass();
            passed.send(())
        });
        let early = has_passed.recv_timeout(Duration::from_millis(20));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        assert_eq!(gate.passed(), 0);
        gate.open();
        assert_eq!(has_passed.recv(), Ok(()));
        assert_eq!(gate.passed(), 1);
        assert!(matches!(thread.join(), Ok(Ok(()))));
    }

    #[test]
    fn a_slow_gate_lets_one_through_after_its_pause() {
        let gate = Gate::slow(Duration::from_millis(1));
        gate.pass();
        gate.pass();
    }
}
