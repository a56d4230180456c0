//! A pair of HAProxy processes with TLS 1.3 between them: the relay that handover is measured against.
//! The one on the device takes plain TCP and speaks TLS to the one on the server, which speaks plain TCP
//! to the application: the same shape as a CNAPT and a SNAPT.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::directory::TemporaryDirectory;
use crate::facility::{Facility, find_program};
use crate::log::Log;
use crate::program::Program;
use crate::sockets::wait_for_listener;
use crate::topology::{SERVER, Topology};

/// What the pair needs.
pub const NEEDS: [Facility; 2] = [Facility::Program("haproxy"), Facility::Program("openssl")];

/// Where the application connects, on the device's loopback interface.
const ENTRANCE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7001);

/// Where the second process listens, on the server.
const MIDDLE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVER), 7002);

const START_LIMIT: Duration = Duration::from_secs(20);

/// A running pair.
#[derive(Debug)]
pub struct HaproxyPair {
    /// The process on the device.
    pub near: Program,
    /// The process on the server.
    pub far: Program,
    _directory: TemporaryDirectory,
}

impl HaproxyPair {
    /// Starts a pair that leads to the server application at `target`.
    pub fn start(log: &Arc<Log>, topology: &Topology, target: SocketAddr) -> Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let certificate = make_certificate(directory.path())?;
        let haproxy = find_program("haproxy").context("haproxy is not installed")?;
        let start = |namespace, name: &str, bind: &str, server: &str| {
            let file = directory.path().join(format!("{name}.cfg"));
            fs::write(&file, configure(bind, server))?;
            let mut command = Command::new(&haproxy);
            command.args(["-db", "-f"]).arg(file);
            Program::start(log, namespace, name, command)
        };
        let tls = "ssl-min-ver TLSv1.3";
        let far = start(
            &topology.server,
            "haproxy-far",
            &format!("{MIDDLE} ssl crt {certificate} {tls}"),
            &target.to_string(),
        )?;
        wait_for_listener(&topology.server, MIDDLE, START_LIMIT)?;
        let near = start(
            &topology.device,
            "haproxy-near",
            &ENTRANCE.to_string(),
            &format!("{MIDDLE} ssl verify required ca-file {certificate} {tls}"),
        )?;
        wait_for_listener(&topology.device, ENTRANCE, START_LIMIT)?;
        Ok(Self {
            near,
            far,
            _directory: directory,
        })
    }

    /// Where the application on the device connects.
    pub fn entrance(&self) -> SocketAddr {
        ENTRANCE
    }
}

/// One file with a key and a certificate for it.
fn make_certificate(directory: &Path) -> Result<String> {
    let (key, certificate) = (directory.join("key.pem"), directory.join("cert.pem"));
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=lab", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .context("start openssl")?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl: {message}");
    let both = directory.join("both.pem");
    let text = fs::read_to_string(certificate)? + &fs::read_to_string(key)?;
    fs::write(&both, text)?;
    Ok(both.display().to_string())
}

/// As HAProxy comes, but for timeouts that no measurement reaches.
fn configure(bind: &str, server: &str) -> String {
    format!(
        "global
    maxconn 1000
defaults
    mode tcp
    timeout connect 10s
    timeout client 10m
    timeout server 10m
frontend entrance
    bind {bind}
    default_backend exit
backend exit
    server exit {server}
"
    )
}
