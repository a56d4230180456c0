//! `handover demo` as anybody runs it: its exit status, its closing table, and that nothing of it stays behind.
//!
//! Where the machine refuses namespaces the demo runs on loopback addresses by itself, so neither test needs any.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may end it")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn both_switches_lose_nothing_between_hosts_of_its_own() {
    loses_nothing("hosts", &["demo"]);
}

#[test]
fn both_switches_lose_nothing_on_loopback_addresses() {
    loses_nothing("loopback", &["demo", "--loopback"]);
}

#[test]
fn an_interrupted_demo_takes_its_daemons_along() {
    let place = Place::new("interrupted");
    let mut demo = place
        .command(&["demo", "--loopback"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let ready = lines
        .find_map(|line| Some(line.ok()?.split_once("ready")?.1.to_owned()))
        .unwrap();
    let numbers = ready.split(|character: char| !character.is_ascii_digit());
    let daemons: Vec<PathBuf> = numbers
        .filter(|number| !number.is_empty())
        .map(|number| Path::new("/proc").join(number))
        .filter(|process| process.exists())
        .collect();
    assert_eq!(daemons.len(), 2, "{ready}");

    kill(Pid::from_raw(demo.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let status = demo.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{status}");
    assert_eq!(daemons.iter().find(|process| process.exists()), None);
    assert_eq!(place.left_behind(), 0);
}

fn loses_nothing(name: &str, arguments: &[&str]) {
    let place = Place::new(name);
    let output = place.command(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    assert_eq!(errors, "");
    let equal = text.lines().filter(|line| line.ends_with("  yes"));
    assert_eq!(equal.count(), 3, "{text}");
    for switch in [
        "planned     overlapped  done",
        "unexpected  rescue      done",
    ] {
        assert!(text.contains(switch), "{text}");
    }
    assert_eq!(place.left_behind(), 0);
}

/// An empty directory in which the demo finds its place for temporary files.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let unique = format!("handover-demo-test-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(unique);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handover"));
        command.args(arguments).env("TMPDIR", &self.0);
        command
    }

    fn left_behind(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
