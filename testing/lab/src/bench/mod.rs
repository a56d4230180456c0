//! Measurements. Every claim is a ratio from one run: the contenders take turns over the same link, and
//! the median of their rounds counts. The verdict is the exit status.

mod contender;
mod latency;
mod link;
mod throughput;

use anyhow::{Result, ensure};

use crate::facility::Facility;
use crate::scenario::Lab;

pub use latency::LATENCY;
pub use link::LINK;
pub use throughput::THROUGHPUT;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[LINK, THROUGHPUT, LATENCY];

/// What the comparison with HAProxy needs.
const COMPARISON_NEEDS: &[Facility] = &crate::haproxy::NEEDS;

/// Notes a ratio with its bound, and fails if it is below.
fn judge(lab: &Lab, what: &str, ratio: f64, least: f64) -> Result<()> {
    lab.note(&format!("{what}: {ratio:.2} (at least {least:.2})"));
    ensure!(ratio >= least, "{what} is {ratio:.2}, less than {least:.2}");
    Ok(())
}
