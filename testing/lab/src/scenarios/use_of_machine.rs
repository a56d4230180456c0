//! Whether the daemons give back what they took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::handover::{Daemon, Handover};
use crate::process::Usage;
use crate::scenario::Lab;
use crate::wait::wait_until;

/// Until the last conduit of the last stream is closed: the closing of a link takes some seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// So long without a change means that the spare conduits are there and the control socket is idle.
const STANDSTILL: Duration = Duration::from_secs(2);

/// In KiB. Small pieces lie scattered in the allocator's heap, and some pages stay for them: 0.6 MB were
/// seen.
const MEMORY_KIB: u64 = 1024;

/// The use of both daemons, with a session but no stream. They are to be started for accounting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    client: Usage,
    server: Usage,
}

impl Before {
    pub(super) fn read(handover: &Handover) -> Result<Self> {
        Ok(Self {
            client: usage_at_rest(&handover.client)?,
            server: usage_at_rest(&handover.server)?,
        })
    }

    pub(super) fn ensure_restored(&self, lab: &Lab, handover: &mut Handover) -> Result<()> {
        handover.wait_for_status("no stream at the client", LIMIT, |status| {
            status["streams"] == 0
        })?;
        let what = "no stream at the server";
        handover
            .server
            .wait_for_status(what, LIMIT, |status| status["clients"][0]["streams"] == 0)?;
        lab.note(&format!(
            "bounds: as many descriptors and threads as before, at most {MEMORY_KIB} KiB more"
        ));
        ensure_restored(lab, "client", self.client, &handover.client)?;
        ensure_restored(lab, "server", self.server, &handover.server)
    }
}

/// Waits until descriptors and threads have not changed for [`STANDSTILL`].
fn usage_at_rest(daemon: &Daemon) -> Result<Usage> {
    let (mut last, mut since) = (daemon.usage()?, Instant::now());
    wait_until("the daemon to be at rest", LIMIT, || {
        let now = daemon.usage()?;
        if (now.descriptors, now.threads) != (last.descriptors, last.threads) {
            since = Instant::now();
        }
        last = now;
        Ok(since.elapsed() >= STANDSTILL)
    })?;
    Ok(last)
}

fn ensure_restored(lab: &Lab, name: &str, before: Usage, daemon: &Daemon) -> Result<()> {
    let mut after = before;
    let restored = wait_until("the descriptors to be closed", LIMIT, || {
        after = daemon.usage()?;
        Ok(after.descriptors == before.descriptors && after.threads == before.threads)
    });
    lab.note(&format!("{name} before: {before:?}"));
    lab.note(&format!("{name} after:  {after:?}"));
    restored.with_context(|| format!("{name}: {after:?} after {before:?}"))?;
    ensure!(
        after.memory_kib <= before.memory_kib + MEMORY_KIB,
        "{name} holds more than before: {after:?} after {before:?}"
    );
    Ok(())
}
