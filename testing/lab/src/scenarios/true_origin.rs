//! A server application is told where its clients really are: HAProxy, which takes nothing without a
//! header of the PROXY protocol, answers what its own parser read in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::application::enter;
use crate::facility::{Facility, find_program};
use crate::handover::{Client, Handover, Service};
use crate::program::Program;
use crate::scenario::Lab;
use crate::sockets::wait_for_listener;
use crate::topology::{SERVER, Topology};

pub(super) const NEEDS: [Facility; 3] = [
    Facility::Tun,
    Facility::Program("curl"),
    Facility::Program("haproxy"),
];

/// Where HAProxy listens, on the server.
const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVER), 8000);

/// Where applications find it on the device.
const WEB: Service<'static> = Service::tcp("web", TARGET, 8080);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let _haproxy = start_haproxy(lab, &topology)?;
    let handover = start_handover(lab, &topology)?;

    let mut kept = BufReader::new(enter(&topology.device, WEB.entrance())?);
    let before = ask(&mut kept)?;
    let port = kept.get_ref().local_addr()?.port();
    ensure!(before == told("10.1.0.2", port), "{before}");
    let first = curl(lab, &topology, 50_001)?;
    ensure!(first == told("10.1.0.2", 50_001), "{first}");

    ensure_done(&handover.switch(NETWORKS[1])?, "planned")?;
    let second = curl(lab, &topology, 50_002)?;
    ensure!(second == told("10.2.0.2", 50_002), "{second}");
    // A header in its midst would be no request.
    let after = ask(&mut kept)?;
    ensure!(after == before, "{after} instead of {before}");
    Ok(())
}

/// What HAProxy answers to a client at `source`.
fn told(source: &str, port: u16) -> String {
    format!("{source}:{port} {SERVER}:{}", WEB.port)
}

fn start_haproxy(lab: &Lab, topology: &Topology) -> Result<Program> {
    let file = lab.directory.path().join("haproxy.cfg");
    let configuration = format!(
        "global
    maxconn 100
defaults
    mode http
    timeout client 1m
    timeout connect 10s
    timeout server 1m
frontend web
    bind {TARGET} accept-proxy
    http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port]\"
"
    );
    fs::write(&file, configuration)?;
    let program = find_program("haproxy").context("haproxy is not installed")?;
    let mut command = Command::new(program);
    command.args(["-db", "-f"]).arg(file);
    let haproxy = Program::start(&lab.log, &topology.server, "haproxy", command)?;
    wait_for_listener(&topology.server, TARGET, LIMIT)?;
    Ok(haproxy)
}

fn start_handover(lab: &Lab, topology: &Topology) -> Result<Handover> {
    let client = Client::named("client", &NETWORKS);
    let service = format!(
        "[[service]]
name = \"{}\"
protocol = \"tcp\"
target = \"{TARGET}\"
port = {}
proxy_protocol = \"v2\"
",
        WEB.name, WEB.port
    );
    Handover::start_with(lab, topology, &[], &client, &service)
}

/// One request of curl, from this port of the device.
fn curl(lab: &Lab, topology: &Topology, port: u16) -> Result<String> {
    let file = lab.directory.path().join("answer");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--local-port"]);
    command.arg(port.to_string()).arg("--output").arg(&file);
    command.arg(format!("http://{}/", WEB.entrance()));
    let mut curl = Program::start(&lab.log, &topology.device, "curl", command)?;
    curl.wait_success(LIMIT)?;
    Ok(fs::read_to_string(file)?)
}

/// One request over a connection that stays, and the body of its answer.
fn ask(connection: &mut BufReader<TcpStream>) -> Result<String> {
    (connection.get_mut()).write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        head.push(line);
    }
    let status = head.first().context("the connection ended")?;
    ensure!(status.contains(" 200 "), "{status}");
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}
