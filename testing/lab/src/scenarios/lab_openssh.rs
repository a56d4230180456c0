//! The lab itself: OpenSSH runs in it, and a login echoes a counter.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use crate::openssh::Sshd;
use crate::program::Program;
use crate::scenario::Lab;
use crate::topology::{Medium, SERVER, Topology};

const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = Topology::new(&[("wlan0", Medium::Cable)])?;
    let sshd = Sshd::start(&lab.log, &topology.server, SERVER.into())?;
    let login = sshd.login(sshd.address(), "cat");
    let mut ssh = Program::start(&lab.log, &topology.device, "ssh", login)?;
    let mut input = ssh.take_input()?;
    for counter in 0..10 {
        writeln!(input, "count {counter}")?;
        ssh.wait_for_line(&format!("count {counter}"), LIMIT)?;
    }
    drop(input);
    ssh.wait_success(LIMIT)
}
