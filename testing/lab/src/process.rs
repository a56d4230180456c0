//! What a process uses, read from /proc.

use std::fs;

use anyhow::{Context, Result};

/// A process's use of the machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory of its own, in KiB: without the files that are mapped, as its program.
    pub memory_kib: u64,
    /// The most resident memory that it ever had, in KiB, files included.
    pub peak_memory_kib: u64,
}

impl Usage {
    /// Reads it for the process `pid`.
    pub fn of(pid: u32) -> Result<Self> {
        let directory = format!("/proc/{pid}");
        let descriptors = fs::read_dir(format!("{directory}/fd"))
            .with_context(|| format!("read the descriptors of process {pid}"))?
            .count();
        let status = fs::read_to_string(format!("{directory}/status"))
            .with_context(|| format!("read the status of process {pid}"))?;
        Ok(Self {
            descriptors,
            threads: usize::try_from(field(&status, "Threads:")?)?,
            memory_kib: field(&status, "RssAnon:")?,
            peak_memory_kib: field(&status, "VmHWM:")?,
        })
    }
}

/// A number of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let number = number.with_context(|| format!("there is no {name} in the status"))?;
    number.parse().with_context(|| format!("{name} {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_counted() -> Result<()> {
        let pid = std::process::id();
        let files: Vec<_> = (0..100)
            .map(|_| fs::File::open("/dev/null"))
            .collect::<Result<_, _>>()?;
        let with = Usage::of(pid)?;
        assert!(with.descriptors >= files.len(), "{with:?}");
        assert!(with.threads >= 1 && with.memory_kib > 100, "{with:?}");
        Ok(())
    }
}
