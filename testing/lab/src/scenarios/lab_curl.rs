//! The lab itself: curl fetches a file over an emulated link.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::gate::Gate;
use crate::link::Conditions;
use crate::payload::{Payload, digest_of};
use crate::program::Program;
use crate::scenario::Lab;
use crate::servers::Http;
use crate::topology::{Medium, SERVER, Topology};

const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let link = Medium::Emulated(Conditions::new(150, 5));
    let topology = Topology::new(&[("wlan0", link)])?;
    let payload = Payload {
        length: 5_000_000,
        seed: 3,
    };
    let http = Http::start(
        &topology.server,
        SERVER.into(),
        payload,
        Gate::open_already(),
    )?;
    let file = lab.directory.path().join("file");
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--output"])
        .arg(&file);
    command.arg(format!("http://{}/file", http.address()));
    let mut curl = Program::start(&lab.log, &topology.device, "curl", command)?;
    curl.wait_success(LIMIT)?;
    let digest = digest_of(&mut File::open(file)?, &Gate::open_already())?;
    ensure!(digest == payload.digest(), "curl has {digest:?}");
    Ok(())
}
