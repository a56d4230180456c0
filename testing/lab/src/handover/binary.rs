//! The binary under test, and how to run it to its end.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// `handover keygen FILE`: returns the public key.
pub(super) fn keygen(binary: &Path, file: &Path) -> Result<String> {
    let output = Command::new(binary).arg("keygen").arg(file).output()?;
    ensure_success(&output, "handover keygen")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// An error with the program's own words unless it succeeded.
pub(super) fn ensure_success(output: &Output, what: &str) -> Result<()> {
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{what} ended with {}: {message}",
        output.status
    );
    Ok(())
}

/// The binary of this same build. Cargo makes sure, once, that it is as new as its source: a test of
/// yesterday's binary would prove nothing.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let binary = BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    binary.clone().map_err(|error| anyhow!(error))
}

fn build() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let directory = own
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"))
        .context("the lab's own binary is in no directory")?;
    let profile = directory.file_name().and_then(|name| name.to_str());
    let (Some(profile), Some(target)) = (profile, directory.parent()) else {
        bail!("{} is not where cargo puts binaries", own.display());
    };
    let binary = directory.join("handover");
    if let Some(cargo) = env::var_os("CARGO") {
        let profile = if profile == "debug" { "dev" } else { profile };
        // The whole workspace, so that dependencies have the features that they have in its tests, and
        // need no second build; what is measured is without the simulator's, which is deliberate bugs.
        let without: &[&str] = match profile {
            "release" => &["--exclude", "handover-sim"],
            _ => &[],
        };
        let output = Command::new(cargo)
            .args(["build", "--offline", "--workspace", "--bin", "handover"])
            .args(without)
            .args(["--profile", profile, "--target-dir"])
            .arg(target)
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
            .output()
            .context("start cargo")?;
        ensure_success(&output, "cargo build of handover")?;
    }
    ensure!(
        binary.exists(),
        "there is no {}: build it first",
        binary.display()
    );
    Ok(binary)
}
