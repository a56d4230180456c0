//! What the user sees while it runs: a line for each event, with the time since the start.

use std::fmt::Display;
use std::time::Instant;

use anyhow::anyhow;

use crate::output::print;

/// Writes the lines.
#[derive(Debug)]
pub(super) struct Lines {
    start: Instant,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Writes a line for something that happens now.
    pub(super) fn event(&self, what: &str, details: impl Display) -> anyhow::Result<()> {
        let seconds = self.start.elapsed().as_secs_f64();
        self.say(&event(seconds, what, &details.to_string()))
    }

    /// Writes a text as it is.
    pub(super) fn say(&self, text: &str) -> anyhow::Result<()> {
        print(&format!("{text}\n")).map_err(|failure| anyhow!("{failure}"))
    }
}

fn event(seconds: f64, what: &str, details: &str) -> String {
    format!("{seconds:7.2} s  {what:<9}  {details}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_the_lines_are_aligned() {
        assert_eq!(event(0.5, "cut", "wwan0"), "   0.50 s  cut        wwan0");
        assert_eq!(event(12.25, "attached", "x"), "  12.25 s  attached   x");
    }
}
