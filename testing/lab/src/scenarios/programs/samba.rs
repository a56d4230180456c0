//! SMB: one session with Samba, in which files are copied from the server and to it.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};

use anyhow::{Context, Result, ensure};

use super::{Dialogue, live_through};
use crate::account::user_name;
use crate::facility::find_program;
use crate::gate::Gate;
use crate::handover::{Handover, Service};
use crate::payload::{Payload, digest_of};
use crate::program::Program;
use crate::scenario::Lab;
use crate::scenarios::sky::Sky;
use crate::scenarios::world::{LIMIT, NETWORKS, two_networks};
use crate::sockets::wait_for_listener;
use crate::topology::SERVER;
use crate::wait::wait_until;

/// Any port would do; SMB's own needs a privilege.
const PORT: u16 = 4450;

/// Two seconds at the networks' 100 Mbit/s: a switch in the middle takes a part of one.
const FILE: Payload = Payload {
    length: 24_000_000,
    seed: 41,
};

const SHARE: &str = "share";

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let files = lab.directory.path();
    for directory in [SHARE, "private", "lock", "state", "cache", "pid", "ncalrpc"] {
        fs::create_dir(files.join(directory))?;
    }
    let mut file = File::create(files.join(SHARE).join("file"))?;
    FILE.write_to(&mut file)?;
    let configuration = files.join("smb.conf");
    fs::write(&configuration, configure(files, &user_name()?))?;

    let mut command = Command::new(find_program("smbd").context("smbd is not installed")?);
    command.args(["--foreground", "--no-process-group", "--debug-stdout"]);
    command.arg("--configfile").arg(&configuration);
    let _server = Program::start(&lab.log, &topology.server, "smbd", command)?;
    let target = SocketAddr::new(SERVER.into(), PORT);
    wait_for_listener(&topology.server, target, LIMIT)?;
    let service = Service::tcp("files", target, PORT);
    let mut handover = Handover::start(lab, &topology, &[service], &NETWORKS, "")?;

    let entrance = service.entrance();
    let mut command = Command::new("smbclient");
    command.arg(format!("//{}/{SHARE}", entrance.ip()));
    command.args(["-p", &entrance.port().to_string(), "-N", "-s"]);
    command.arg(&configuration);
    let mut client = Program::start(&lab.log, &topology.device, "smbclient", command)?;
    let mut session = Session {
        input: client.take_input()?,
        client,
        files: files.to_owned(),
        copies: 0,
    };
    let mut sky = Sky::over(topology);
    live_through(lab, &mut sky, &mut handover, &mut session)?;
    drop(session.input);
    session.client.wait_success(LIMIT)
}

/// For a user who is not root, and for guests.
fn configure(files: &Path, user: &str) -> String {
    let files = files.display();
    format!(
        "[global]
server role = standalone server
smb ports = {PORT}
interfaces = {SERVER}/32
bind interfaces only = yes
private dir = {files}/private
lock directory = {files}/lock
state directory = {files}/state
cache directory = {files}/cache
pid directory = {files}/pid
ncalrpc dir = {files}/ncalrpc
map to guest = Bad User
guest account = {user}
load printers = no
printing = bsd
disable spoolss = yes

[{SHARE}]
path = {files}/{SHARE}
guest ok = yes
read only = no
"
    )
}

struct Session {
    input: ChildStdin,
    client: Program,
    files: PathBuf,
    copies: u32,
}

impl Session {
    /// Every second copy goes to the server.
    fn copy(&self) -> PathBuf {
        let name = format!("copy{}", self.copies);
        match self.copies % 2 {
            0 => self.files.join(SHARE).join(name),
            _ => self.files.join(name),
        }
    }
}

impl Dialogue for Session {
    fn ask(&mut self) -> Result<()> {
        self.copies += 1;
        let copy = self.copy();
        match self.copies % 2 {
            0 => writeln!(
                self.input,
                "put {}/{SHARE}/file copy{}",
                self.files.display(),
                self.copies
            )?,
            _ => writeln!(self.input, "get file {}", copy.display())?,
        }
        wait_until("the copy to grow", LIMIT, || {
            Ok(fs::metadata(&copy).is_ok_and(|file| file.len() > 0))
        })
    }

    fn hear(&mut self) -> Result<()> {
        let told = match self.copies % 2 {
            0 => format!("as \\copy{} (", self.copies),
            _ => format!("as {} (", self.copy().display()),
        };
        self.client.wait_for_line(&told, LIMIT)?;
        let digest = digest_of(&mut File::open(self.copy())?, &Gate::open_already())?;
        ensure!(digest == FILE.digest(), "the copy has {digest:?}");
        Ok(())
    }
}
