//! Networks that hooks open and close (R20): what the scenarios about them have in common.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use caps::{CapSet, Capability};

use super::world::Pair;
use crate::directory::TemporaryDirectory;
use crate::handover::Handover;
use crate::scenario::Lab;
use crate::topology::Topology;

/// A network of the client, with the lines of its hooks' scripts.
pub(super) struct HookedNetwork<'a> {
    pub(super) name: &'a str,
    pub(super) interface: &'a str,
    /// More lines of its table.
    pub(super) options: &'a str,
    /// The keys of its hooks, and their scripts.
    pub(super) hooks: &'a [(&'a str, &'a str)],
}

/// A client application and a server application, over networks with hooks that note when they are run.
pub(super) struct Hooked {
    pub(super) pair: Pair,
    directory: TemporaryDirectory,
}

impl Hooked {
    /// `options` are more lines for the client's configuration.
    pub(super) fn start(
        lab: &Lab,
        topology: Topology,
        networks: &[HookedNetwork<'_>],
        options: &str,
    ) -> Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let mut text = options.to_owned();
        for network in networks {
            write!(
                text,
                "\n[[network]]\nname = \"{}\"\ninterface = \"{}\"\n{}\n",
                network.name, network.interface, network.options
            )?;
            for (key, script) in network.hooks {
                let file = directory.path().join(format!("{}-{key}", network.name));
                fs::write(&file, Self::script(&directory, script))?;
                writeln!(text, "{key} = \"sh {}\"", file.display())?;
            }
        }
        let pair = Pair::start_with(topology, |topology, services| {
            // The daemon needs no right, and passes on to its hooks what it has.
            topology.device.run(|| may_configure_networks(true))?;
            let handover = Handover::start(lab, topology, services, &[], &text);
            topology.device.run(|| may_configure_networks(false))?;
            handover
        })?;
        Ok(Self { pair, directory })
    }

    /// It notes what it is told, fails if it is to, and does its work.
    fn script(directory: &TemporaryDirectory, work: &str) -> String {
        format!(
            "cd {}
echo \"$HANDOVER_HOOK $HANDOVER_NETWORK $HANDOVER_INTERFACE\" >> log
if test -e \"fail-$HANDOVER_HOOK\"; then echo \"no carrier\" >&2; exit 5; fi
set -e
{work}
",
            directory.path().display()
        )
    }

    /// Hooks of this key fail from now on, or do not.
    pub(super) fn set_failing(&self, key: &str, fail: bool) -> Result<()> {
        let file = self.directory.path().join(format!("fail-{key}"));
        if fail {
            fs::write(file, "")?;
        } else {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    /// What hooks have noted since this was asked for the last time: key, network and interface.
    pub(super) fn take_log(&self) -> Result<Vec<String>> {
        let file = self.directory.path().join("log");
        let text = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, "").context("the hooks' log")?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// What this thread starts from now on may configure the networks of its namespace, or may not, whoever it is.
fn may_configure_networks(may: bool) -> Result<()> {
    let set = if may { caps::raise } else { caps::drop };
    // Only what is inheritable can be ambient.
    for which in [CapSet::Inheritable, CapSet::Ambient] {
        set(None, which, Capability::CAP_NET_ADMIN).context("pass CAP_NET_ADMIN on")?;
    }
    Ok(())
}
