//! Networks that hooks open and close (R20): what the scenarios about them have in common.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::world::{LIMIT, Pair};
use crate::directory::TemporaryDirectory;
use crate::handover::Handover;
use crate::scenario::Lab;
use crate::topology::Topology;
use crate::wait::wait_until;

/// A network of the client, with the lines of its hooks' scripts.
pub(super) struct HookedNetwork<'a> {
    pub(super) name: &'a str,
    pub(super) interface: &'a str,
    /// More lines of its table.
    pub(super) options: &'a str,
    /// The keys of its hooks, and their scripts.
    pub(super) hooks: &'a [(&'a str, &'a str)],
}

/// Among the options: the session's own hook notes what it is told.
pub(super) const NOTIFIED: &str = "# notified";

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
        let notify = directory.path().join("notify");
        let mut text = options.to_owned();
        if options.contains(NOTIFIED) {
            fs::write(&notify, Self::script(&directory, ""))?;
            text = text.replace(NOTIFIED, &format!("notify = \"sh {}\"", notify.display()));
        }
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
            // The daemon needs no right itself: it passes it on to its hooks.
            let device = &topology.device;
            device.with_administrators(|| Handover::start(lab, topology, services, &[], &text))?
        })?;
        Ok(Self { pair, directory })
    }

    /// It notes what it is told, fails if it is to, and does its work.
    fn script(directory: &TemporaryDirectory, work: &str) -> String {
        format!(
            "cd {}
echo $HANDOVER_HOOK $HANDOVER_EVENT $HANDOVER_NETWORK $HANDOVER_INTERFACE >> log
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

    /// Fails unless these hooks have run since this was asked for the last time.
    pub(super) fn ensure_log(&self, expected: &[&str]) -> Result<()> {
        let log = self.take_log()?;
        ensure!(log == expected, "{log:?} ran, not {expected:?}");
        Ok(())
    }

    /// As [`Hooked::ensure_log`], of hooks that nothing waits for.
    pub(super) fn await_log(&self, expected: &[&str]) -> Result<()> {
        wait_until("the hooks", LIMIT, || Ok(self.log()? == expected))?;
        self.ensure_log(expected)
    }

    fn log(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// What hooks have noted: key, event if they tell of one, network, and interface if they open or close it.
    fn take_log(&self) -> Result<Vec<String>> {
        let log = self.log()?;
        fs::write(self.directory.path().join("log"), "").context("the hooks' log")?;
        Ok(log)
    }
}
