//! Whether the daemons give back what they took.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::handover::{Daemon, Handover};
use crate::process::Usage;
use crate::scenario::Lab;
use crate::wait::wait_until;

/// Until the last conduit of the last stream is closed: the closing of a link takes some seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// At the start the spare conduits may not be there yet; the control socket may be in use.
const DESCRIPTORS: usize = 4;

/// The runtime may keep a few threads for what blocks, as the resolver.
const THREADS: usize = 2;

/// What the allocator keeps of freed memory for later, in KiB: it returns only what lies at the top of
/// its heaps.
const MEMORY_KIB: u64 = 16 * 1024;

/// The use of both daemons, with a session but no stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    client: Usage,
    server: Usage,
}

impl Before {
    pub(super) fn read(handover: &Handover) -> Result<Self> {
        Ok(Self {
            client: handover.client.usage()?,
            server: handover.server.usage()?,
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
            "bounds: {DESCRIPTORS} descriptors, {THREADS} threads, {MEMORY_KIB} KiB more than before"
        ));
        ensure_restored(lab, "client", self.client, &handover.client)?;
        ensure_restored(lab, "server", self.server, &handover.server)
    }
}

fn ensure_restored(lab: &Lab, name: &str, before: Usage, daemon: &Daemon) -> Result<()> {
    let mut after = before;
    let restored = wait_until("the descriptors to be closed", LIMIT, || {
        after = daemon.usage()?;
        Ok(after.descriptors <= before.descriptors + DESCRIPTORS)
    });
    lab.note(&format!("{name} before: {before:?}"));
    lab.note(&format!("{name} after:  {after:?}"));
    restored.with_context(|| format!("{name}: {after:?} after {before:?}"))?;
    ensure!(
        after.threads <= before.threads + THREADS
            && after.memory_kib <= before.memory_kib + MEMORY_KIB,
        "{name} holds more than before: {after:?} after {before:?}"
    );
    Ok(())
}
