//! Active FTP: for each file the server connects back to the client, to an address and a port that the client names
//! in the session. That is the client's virtual IP, where a client service has a range of ports; and the server, which
//! sends nobody's files to somebody else, sees the session come from the same address.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Dialogue, live_through};
use crate::account::user_name;
use crate::facility::find_program;
use crate::gate::Gate;
use crate::handover::{Client, Handover, Service};
use crate::payload::{Payload, digest_of};
use crate::program::Program;
use crate::scenario::Lab;
use crate::scenarios::sky::Sky;
use crate::scenarios::world::{LIMIT, NETWORKS, two_networks};
use crate::sockets::wait_for_listener;
use crate::wait::wait_until;

/// Any port would do; FTP's own needs a privilege.
const PORT: u16 = 2121;

/// Where the device takes files.
const DATA_PORT: u16 = 9100;
const MORE_DATA_PORTS: u16 = 9;

/// The device does not have these addresses, so its client names one and listens elsewhere.
const POOL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0));
const POOL_LENGTH: u8 = 16;

/// A second at the networks' 100 Mbit/s: a switch in the middle takes a part of it.
const FILE: Payload = Payload {
    length: 12_000_000,
    seed: 43,
};

/// So many are asked for in one session.
const FILES: u32 = 3;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    topology.server.add_local_range(POOL, POOL_LENGTH)?;
    let target = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
    let configuration = lab.directory.path().join("vsftpd.conf");
    let root = lab.directory.path().join("root");
    make_root(&root)?;
    fs::write(&configuration, configure(&root, target, &user_name()?))?;
    let mut command = Command::new(find_program("vsftpd").context("vsftpd is not installed")?);
    command.arg(&configuration);
    let _server = Program::start(&lab.log, &topology.server, "vsftpd", command)?;
    wait_for_listener(&topology.server, target, LIMIT)?;

    let service = Service::tcp("ftp", target, PORT);
    let data = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DATA_PORT);
    let data = Service::tcp("ftp-data", data, DATA_PORT).with_more_ports(MORE_DATA_PORTS);
    let client = Client {
        services: &[data],
        ..Client::named("client", &NETWORKS)
    };
    let pool = format!("virtual_ips = \"{POOL}/{POOL_LENGTH}\"");
    let mut handover = Handover::start_with(lab, &topology, &[service], &client, &pool)?;
    let offered = handover.wait_until_offered(&data)?.ip();

    let last = DATA_PORT + MORE_DATA_PORTS;
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--ftp-port"]);
    command.arg(format!("{offered}:{DATA_PORT}-{last}"));
    for number in 1..=FILES {
        command
            .arg("--output")
            .arg(copy(lab.directory.path(), number));
        command.arg(format!("ftp://{}/file", service.entrance()));
    }
    let mut session = Session {
        curl: Program::start(&lab.log, &topology.device, "curl", command)?,
        directory: lab.directory.path().to_owned(),
        files: 0,
    };
    let mut sky = Sky::over(topology);
    live_through(lab, &mut sky, &mut handover, &mut session)?;
    session.curl.wait_success(LIMIT)
}

fn make_root(root: &Path) -> Result<()> {
    fs::create_dir(root)?;
    FILE.write_to(&mut File::create(root.join("file"))?)?;
    // vsftpd shows guests no directory that they could write to.
    let mut permissions = fs::metadata(root)?.permissions();
    permissions.set_readonly(true);
    Ok(fs::set_permissions(root, permissions)?)
}

/// For a user who is not root, and for guests.
fn configure(root: &Path, listen: SocketAddr, user: &str) -> String {
    format!(
        "listen=YES
listen_address={}
listen_port={}
background=NO
run_as_launching_user=YES
anonymous_enable=YES
local_enable=NO
anon_root={}
ftp_username={user}
nopriv_user={user}
pasv_enable=NO
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
xferlog_enable=NO
",
        listen.ip(),
        listen.port(),
        root.display()
    )
}

fn copy(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("copy{number}"))
}

struct Session {
    curl: Program,
    directory: PathBuf,
    files: u32,
}

impl Dialogue for Session {
    fn ask(&mut self) -> Result<()> {
        self.files += 1;
        let copy = copy(&self.directory, self.files);
        wait_until("the file to grow", LIMIT, || {
            if !copy.exists() {
                self.curl.ensure_running()?;
            }
            Ok(fs::metadata(&copy).is_ok_and(|file| file.len() > 0))
        })
    }

    fn hear(&mut self) -> Result<()> {
        let copy = copy(&self.directory, self.files);
        wait_until("the whole file", LIMIT, || {
            Ok(fs::metadata(&copy)?.len() >= FILE.length)
        })?;
        let digest = digest_of(&mut File::open(copy)?, &Gate::open_already())?;
        ensure!(digest == FILE.digest(), "the file has {digest:?}");
        Ok(())
    }
}
