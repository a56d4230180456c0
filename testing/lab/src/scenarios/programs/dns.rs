//! DNS over UDP: one question after the other, each from a port of its own, so each is a flow. A lost one is asked again
//! by the asker itself, as everywhere.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{ChildStdin, Command};

use anyhow::{Context, Result};

use super::{Dialogue, live_through};
use crate::facility::find_program;
use crate::handover::{Handover, Service};
use crate::program::Program;
use crate::scenario::Lab;
use crate::scenarios::sky::Sky;
use crate::scenarios::world::{LIMIT, NETWORKS, two_networks};
use crate::topology::SERVER;

/// Any port would do; DNS's own needs a privilege.
const PORT: u16 = 5300;

/// Asked in one go: some are on their way when a network goes.
const QUESTIONS: u32 = 100;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let mut command = Command::new(find_program("dnsmasq").context("dnsmasq is not installed")?);
    command.args([
        "--keep-in-foreground",
        "--log-facility=-",
        "--bind-interfaces",
    ]);
    command.args([
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--pid-file=",
    ]);
    command.arg(format!("--listen-address={SERVER}"));
    command.arg(format!("--port={PORT}"));
    command.arg("--address=/lab.example/192.0.2.7");
    let server = Program::start(&lab.log, &topology.server, "dnsmasq", command)?;
    server.wait_for_line("started", LIMIT)?;
    let service = Service::udp("dns", SocketAddr::new(SERVER.into(), PORT), PORT);
    let mut handover = Handover::start(lab, &topology, &[service], &NETWORKS, "")?;

    let entrance = service.entrance();
    let mut command = Command::new("dig");
    command.arg(format!("@{}", entrance.ip()));
    command.args(["-p", &entrance.port().to_string(), "-f", "-"]);
    command.args(["+noall", "+answer", "+nocookie", "+time=2", "+tries=5"]);
    let mut dig = Program::start(&lab.log, &topology.device, "dig", command)?;
    let mut session = Session {
        input: dig.take_input()?,
        dig,
        asked: 0,
        heard: 0,
        line: 0,
    };
    let mut sky = Sky::over(topology);
    live_through(lab, &mut sky, &mut handover, &mut session)?;
    drop(session.input);
    session.dig.wait_success(LIMIT)
}

struct Session {
    input: ChildStdin,
    dig: Program,
    asked: u32,
    heard: u32,
    /// Where the next answer begins.
    line: usize,
}

impl Dialogue for Session {
    fn ask(&mut self) -> Result<()> {
        for _ in 0..QUESTIONS {
            self.asked += 1;
            writeln!(self.input, "host{}.lab.example A", self.asked)?;
        }
        Ok(())
    }

    /// Every question has its answer, in their order.
    fn hear(&mut self) -> Result<()> {
        while self.heard < self.asked {
            self.heard += 1;
            let answer = format!("host{}.lab.example.", self.heard);
            let found = self.dig.wait_for_line_after(self.line, &answer, LIMIT)?;
            self.line = found.0 + 1;
        }
        Ok(())
    }
}
