//! Where a table was measured: a figure without its machine says little.

use std::num::NonZero;
use std::process::Command;
use std::{fs, thread};

use anyhow::{Context, Result};
use nix::sys::utsname::uname;

/// One line: processor, kernel, TCP, and the source that was built.
pub(super) fn describe() -> Result<String> {
    let cores = thread::available_parallelism().map_or(0, NonZero::get);
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |model| {
        model.trim_matches([' ', '\t', ':'])
    });
    let kernel = uname()?;
    let kernel = kernel.release().to_string_lossy();
    let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
    let (control, commit) = (
        control.trim(),
        commit().unwrap_or_else(|_| "unknown".to_owned()),
    );
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    Ok(format!(
        "{cores} cores, {model}; Linux {kernel}; TCP {control}; commit {commit}, {profile} build"
    ))
}

/// With a sign behind it if the source is not what was committed.
fn commit() -> Result<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .output()?;
    let commit = output.status.success().then_some(output.stdout);
    Ok(String::from_utf8(commit.context("git knows no commit")?)?
        .trim()
        .to_owned())
}
