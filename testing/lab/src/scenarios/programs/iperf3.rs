//! iperf3 over UDP, both ways at once: a session over TCP, and a flow for each direction on the same port.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Dialogue, live_through};
use crate::handover::{Handover, Service};
use crate::program::Program;
use crate::scenario::Lab;
use crate::scenarios::sky::Sky;
use crate::scenarios::world::{LIMIT, NETWORKS, two_networks};
use crate::topology::SERVER;

const PORT: u16 = 5201;

/// In seconds: both switches take three of them.
const DURATION: &str = "10";

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let mut command = Command::new("iperf3");
    command.args(["--server", "--one-off", "--forceflush"]);
    command.args(["--bind", &SERVER.to_string(), "--port", &PORT.to_string()]);
    let server = Program::start(&lab.log, &topology.server, "iperf3 -s", command)?;
    server.wait_for_line("Server listening", LIMIT)?;
    let target = SocketAddr::new(SERVER.into(), PORT);
    let services = [
        Service::tcp("iperf3", target, PORT),
        Service::udp("iperf3-udp", target, PORT),
    ];
    let mut handover = Handover::start(lab, &topology, &services, &NETWORKS, "")?;

    let entrance = services[0].entrance();
    let mut command = Command::new("iperf3");
    command.args(["--client", &entrance.ip().to_string()]);
    command.args(["--port", &entrance.port().to_string()]);
    command.args(["--udp", "--bidir", "--bitrate", "2M", "--length", "1000"]);
    command.args(["--time", DURATION, "--forceflush"]);
    let mut session = Session {
        iperf3: Program::start(&lab.log, &topology.device, "iperf3", command)?,
        line: 0,
    };
    let mut sky = Sky::over(topology);
    live_through(lab, &mut sky, &mut handover, &mut session)?;
    session.iperf3.wait_success(LIMIT)?;
    for way in ["[TX-C]", "[RX-C]"] {
        let summary = session.receiver(way)?;
        lab.note(&format!("{way} {summary}"));
        ensure!(!summary.contains("-nan%"), "nothing came: {summary}");
    }
    Ok(())
}

struct Session {
    iperf3: Program,
    /// Where the next report begins.
    line: usize,
}

impl Session {
    /// What the receiver of one direction says in the end.
    fn receiver(&self, way: &str) -> Result<String> {
        let lines = self.iperf3.lines();
        let mut of_way = lines.iter().filter(|line| line.contains(way));
        let last = of_way.find(|line| line.ends_with("receiver"));
        Ok(last
            .with_context(|| format!("no summary of {way}"))?
            .clone())
    }
}

impl Dialogue for Session {
    fn ask(&mut self) -> Result<()> {
        self.line = self.iperf3.lines().len();
        Ok(())
    }

    /// A second's report of what came from the server; one in which nothing came says "-nan%".
    fn hear(&mut self) -> Result<()> {
        loop {
            let (found, line) = self
                .iperf3
                .wait_for_line_after(self.line, "[RX-C]", LIMIT)?;
            self.line = found + 1;
            if line.contains("%)") && !line.contains("-nan%") {
                return Ok(());
            }
        }
    }
}
