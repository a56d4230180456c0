//! Lines of the log that applications can cause, as often as they like.

use std::time::Duration;

use handover_proto::Instant;

/// Lets one line a minute through, and counts those that it keeps.
#[derive(Debug, Default)]
pub struct Seldom {
    said: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// One more line. If its time has come: how many were kept since the last.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now < said + SAID_EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Seldom enough for a log that is kept for weeks, often enough for somebody who watches it while mending.
const SAID_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_an_interval_says_how_many_were_kept() {
        let (mut seldom, start) = (Seldom::default(), Instant::from_micros(0));
        assert_eq!(seldom.due(start), Some(0));
        assert_eq!(seldom.due(start), None);
        assert_eq!(seldom.due(start), None);
        assert_eq!(seldom.due(start + SAID_EVERY), Some(2));
        assert_eq!(seldom.due(start + SAID_EVERY), None);
    }
}
