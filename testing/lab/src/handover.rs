//! The product in the lab: the real binary, both daemons, and its own commands to look at them.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::directory::TemporaryDirectory;
use crate::program::Program;
use crate::scenario::Lab;
use crate::topology::{SERVER, Topology};
use crate::wait::wait_for;

/// Where the SNAPT listens.
const PORT: u16 = 7400;

/// Until both daemons are there and the first link is attached, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server application that the client's applications reach.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// Its name in the catalogue.
    pub name: &'a str,
    /// Where the application listens, on the server.
    pub target: SocketAddr,
    /// Where the client's applications find it, on the device's loopback address.
    pub port: u16,
}

impl Service<'_> {
    /// Where an application on the device connects.
    pub fn entrance(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }
}

/// A SNAPT on the server and a CNAPT on the device.
#[derive(Debug)]
pub struct Handover {
    /// `handover server`.
    pub server: Program,
    /// `handover client`.
    pub client: Program,
    binary: PathBuf,
    directory: TemporaryDirectory,
}

impl Handover {
    /// Starts both daemons and waits until the client is attached. `networks` are the device's, in order
    /// of preference. `options` are more lines for the client's configuration.
    pub fn start(
        lab: &Lab,
        topology: &Topology,
        services: &[Service<'_>],
        networks: &[&str],
        options: &str,
    ) -> Result<Self> {
        let binary = binary()?;
        let directory = TemporaryDirectory::new()?;
        let path = directory.path();
        let server_key = keygen(&binary, &path.join("server.key"))?;
        let client_key = keygen(&binary, &path.join("client.key"))?;
        fs::write(
            path.join("server.toml"),
            server_configuration(&client_key, services),
        )?;
        let client_configuration = client_configuration(&server_key, networks, options);
        fs::write(path.join("client.toml"), client_configuration)?;

        let start = |namespace, role: &str| {
            let mut command = Command::new(&binary);
            command
                .args([role, "--config"])
                .arg(path.join(format!("{role}.toml")));
            Program::start(&lab.log, namespace, role, command)
        };
        let server = start(&topology.server, "server")?;
        let client = start(&topology.device, "client")?;
        let mut handover = Self {
            server,
            client,
            binary,
            directory,
        };
        handover.wait_for_status("the first attach", START_LIMIT, |status| {
            status["state"] == "attached"
        })?;
        Ok(handover)
    }

    /// `handover status --json` of the client.
    pub fn client_status(&self) -> Result<Value> {
        self.json("client", &["status"])
    }

    /// `handover status --json` of the server.
    pub fn server_status(&self) -> Result<Value> {
        self.json("server", &["status"])
    }

    /// `handover trace --json` of the client.
    pub fn trace(&self) -> Result<Value> {
        self.json("client", &["trace"])
    }

    /// `handover switch NETWORK --json`: returns when the switch is done, with its entry.
    pub fn switch(&self, network: &str) -> Result<Value> {
        self.json("client", &["switch", network])
    }

    /// Waits until the client's status is as `wanted`, and returns it. A daemon that ends meanwhile is an
    /// error; one whose control socket is not there yet is not.
    pub fn wait_for_status(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = None;
        let found = wait_for(what, limit, || {
            self.server.ensure_running()?;
            self.client.ensure_running()?;
            last = self.client_status().ok();
            Ok(last.clone().filter(|status| wanted(status)))
        });
        found.with_context(|| match last {
            Some(status) => format!("the last status was {status}"),
            None => "there was no status".to_owned(),
        })
    }

    /// Runs one of the binary's commands against a daemon, whatever comes of it.
    pub fn command(&self, role: &str, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.binary)
            .args(arguments)
            .arg("--control")
            .arg(self.directory.path().join(format!("{role}.sock")))
            .output()
            .with_context(|| format!("run handover {arguments:?}"))
    }

    fn json(&self, role: &str, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["--json"]].concat();
        let output = self.command(role, &arguments)?;
        ensure_success(&output, &format!("handover {}", arguments.join(" ")))?;
        serde_json::from_slice(&output.stdout).context("what it printed is not JSON")
    }
}

fn keygen(binary: &Path, file: &Path) -> Result<String> {
    let output = Command::new(binary).arg("keygen").arg(file).output()?;
    ensure_success(&output, "handover keygen")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn ensure_success(output: &Output, what: &str) -> Result<()> {
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{what} ended with {}: {message}",
        output.status
    );
    Ok(())
}

fn server_configuration(client_key: &str, services: &[Service<'_>]) -> String {
    let mut text = format!(
        "listen = \"0.0.0.0:{PORT}\"
key = \"server.key\"
control = \"server.sock\"

[[client]]
name = \"device\"
key = \"{client_key}\"
"
    );
    for Service { name, target, port } in services {
        text += &format!(
            "
[[service]]
name = \"{name}\"
protocol = \"tcp\"
target = \"{target}\"
port = {port}
"
        );
    }
    text
}

fn client_configuration(server_key: &str, networks: &[&str], options: &str) -> String {
    let mut text = format!(
        "server = \"{SERVER}:{PORT}\"
server_key = \"{server_key}\"
key = \"client.key\"
control = \"client.sock\"
bind = \"127.0.0.1\"
{options}
"
    );
    for network in networks {
        text += &format!(
            "
[[network]]
name = \"{network}\"
interface = \"{network}\"
"
        );
    }
    text
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
        // need no second build.
        let output = Command::new(cargo)
            .args(["build", "--offline", "--workspace", "--bin", "handover"])
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
