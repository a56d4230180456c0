//! Measurements. Every claim is a ratio from one run: the contenders take turns over the same link, and
//! the median of their rounds counts. The verdict is the exit status.

mod connect;
mod contender;
mod gap;
mod latency;
mod link;
mod lossy;
mod machine;
mod selection;
mod throughput;
mod ticks;

use anyhow::{Result, ensure};

use crate::facility::Facility;
use crate::handover::Handover;
use crate::process::Usage;
use crate::scenario::Lab;

pub use connect::CONNECT;
pub use gap::GAP;
pub use latency::LATENCY;
pub use link::LINK;
pub use lossy::LOSSY;
pub use selection::Selection;
pub use throughput::THROUGHPUT;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[LINK, THROUGHPUT, LATENCY, LOSSY, CONNECT, GAP];

/// What the comparison with HAProxy needs.
const COMPARISON_NEEDS: &[Facility] = &crate::haproxy::NEEDS;

/// Notes a ratio with its bound, and fails if it is below.
fn judge(lab: &Lab, what: &str, ratio: f64, least: f64) -> Result<()> {
    lab.note(&format!("{what}: {ratio:.2} (at least {least:.2})"));
    ensure!(ratio >= least, "{what} is {ratio:.2}, less than {least:.2}");
    Ok(())
}

/// Notes a ratio with its bound, and fails if it is above.
fn judge_at_most(lab: &Lab, what: &str, ratio: f64, most: f64) -> Result<()> {
    lab.note(&format!("{what}: {ratio:.2} (at most {most:.2})"));
    ensure!(ratio <= most, "{what} is {ratio:.2}, more than {most:.2}");
    Ok(())
}

/// What a daemon may hold beyond the credit in use.
const MEMORY_MIB: u64 = 64;

/// Notes how much memory each daemon took at its peak, and fails if it is more than the bound, the credit of
/// the one stream that was measured included.
fn judge_memory(lab: &Lab, handover: &Handover) -> Result<()> {
    for (name, program) in [("CNAPT", &handover.client), ("SNAPT", &handover.server)] {
        let mib = Usage::of(program.pid())?.peak_memory_kib / 1024;
        lab.note(&format!(
            "{name}: {mib} MiB at its peak (at most {MEMORY_MIB}, with the credit)"
        ));
        ensure!(
            mib <= MEMORY_MIB,
            "the {name} took {mib} MiB, more than {MEMORY_MIB}"
        );
    }
    Ok(())
}
