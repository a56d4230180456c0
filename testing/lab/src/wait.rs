//! Waiting for something that another program does.
//!
//! A scenario never waits *for a time*: it waits for an event, and gives up at a deadline. Where the
//! event is nothing that one can block on (a line in another program's status, say), it is looked at
//! again and again; that is done here and nowhere else.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long between two looks: short beside what scenarios wait for, long beside one look.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `look` finds something; an error of `look` ends the wait. `what` completes the sentence
/// "waited 5s for …".
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} for {what}");
        }
        pause();
    }
}

/// Waits until `condition` holds.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(what, limit, || Ok(condition()?.then_some(())))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at an event that cannot be blocked on"
)]
fn pause() {
    thread::sleep(INTERVAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_what_was_found() -> Result<()> {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        })?;
        assert_eq!(found, 3);
        Ok(())
    }

    #[test]
    fn it_gives_up_at_the_deadline_and_says_what_for() {
        let error = wait_until("nothing", Duration::ZERO, || Ok(false)).expect_err("no event");
        assert_eq!(error.to_string(), "waited 0ns for nothing");
    }
}
