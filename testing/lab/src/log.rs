//! What happens in a scenario, line by line with its time: what its programs print and what it notes
//! itself. Shown when the scenario fails, or at once with `--verbose`.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// How many lines are kept; the oldest go first. A program that logs in a loop must not fill the memory.
const LINES_KEPT: usize = 5_000;

/// How a daemon's line of that level looks: the level, and the module that says it.
const ERROR: &str = "ERROR handover";

/// The record of one scenario.
#[derive(Debug)]
pub struct Log {
    start: Instant,
    verbose: bool,
    lines: Mutex<VecDeque<String>>,
    /// The first line in which a daemon says that it cannot do what it is for.
    error: OnceLock<String>,
}

impl Log {
    /// An empty record whose clock starts now; `verbose` shows each line at once, on stderr.
    pub fn new(verbose: bool) -> Self {
        Self {
            start: Instant::now(),
            verbose,
            lines: Mutex::default(),
            error: OnceLock::new(),
        }
    }

    /// The first line of a daemon at level error, if there was one.
    pub fn error(&self) -> Option<&str> {
        self.error.get().map(String::as_str)
    }

    /// Adds a line; `source` says whose it is.
    pub fn line(&self, source: &str, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let line = format!("{seconds:8.3}  {source:<12}  {text}");
        if self.verbose {
            // With stderr closed there is nobody to show it to.
            drop(writeln!(std::io::stderr(), "{line}"));
        }
        if line.contains(ERROR) {
            self.error.get_or_init(|| line.clone());
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Everything kept, one line below the other.
    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}
