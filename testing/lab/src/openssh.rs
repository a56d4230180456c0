//! OpenSSH: a server with keys of its own on a port that needs no privilege, and logins to it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use handover_sandbox::Namespace;

use crate::account::user_name;
use crate::directory::TemporaryDirectory;
use crate::facility::{Facility, find_program};
use crate::log::Log;
use crate::program::Program;

/// What a scenario with OpenSSH needs.
pub const NEEDS: [Facility; 4] = [
    Facility::Program("sshd"),
    Facility::Program("ssh"),
    Facility::Program("ssh-keygen"),
    Facility::SshdDirectory,
];

/// Any port would do: the namespace has no other server.
const PORT: u16 = 2222;

/// sshd starts in well under a second, on a busy machine in a few.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running sshd that lets the lab's user in.
#[derive(Debug)]
pub struct Sshd {
    // The program goes before its files.
    _program: Program,
    directory: TemporaryDirectory,
    address: SocketAddr,
    user: String,
}

impl Sshd {
    /// Starts one in `namespace`, listening on `address`.
    pub fn start(log: &Arc<Log>, namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let directory = TemporaryDirectory::new()?;
        generate_key(&directory.path().join("host_key"))?;
        generate_key(&directory.path().join("user_key"))?;
        let configuration = directory.path().join("sshd_config");
        fs::write(&configuration, configure(directory.path(), address))?;
        let mut command = Command::new(find_program("sshd").context("sshd is not installed")?);
        command.args(["-D", "-e", "-f"]).arg(configuration);
        let program = Program::start(log, namespace, "sshd", command)?;
        program.wait_for_line("Server listening on", START_LIMIT)?;
        Ok(Self {
            _program: program,
            directory,
            address: SocketAddr::new(address, PORT),
            user: user_name()?,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A login without a terminal that runs `remote`. `target` is where to connect: the server itself,
    /// or whatever leads to it.
    pub fn login(&self, target: SocketAddr, remote: &str) -> Command {
        let key = self.directory.path().join("user_key");
        let known_hosts = self.directory.path().join("known_hosts");
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-T", "-o", "BatchMode=yes"]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"]);
        command
            .arg("-o")
            .arg(option("UserKnownHostsFile", &known_hosts));
        command.arg("-i").arg(key);
        command.args(["-p", &target.port().to_string()]);
        command.args(["-l", &self.user, &target.ip().to_string(), remote]);
        command
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn generate_key(file: &PathBuf) -> Result<()> {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(file)
        .output()
        .context("start ssh-keygen")?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ssh-keygen: {message}");
    Ok(())
}

/// Without PAM and without a look at the directories' owners: neither is the user's own in a sandbox.
fn configure(directory: &Path, address: IpAddr) -> String {
    let directory = directory.display();
    format!(
        "ListenAddress {address}:{PORT}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
"
    )
}
