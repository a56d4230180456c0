//! VNC: a viewer that takes a picture of the same screen every second, over one connection.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Dialogue, live_through};
use crate::handover::{Handover, Service};
use crate::program::Program;
use crate::scenario::Lab;
use crate::scenarios::sky::Sky;
use crate::scenarios::world::{LIMIT, NETWORKS, two_networks};
use crate::sockets::wait_for_listener;
use crate::topology::SERVER;
use crate::wait::wait_until;

const PORT: u16 = 5907;

/// The second picture after something was asked for after it.
const PICTURES: u32 = 2;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let mut command = Command::new("Xtigervnc");
    // A display that is free, and nothing in the machine's own directory of X servers.
    command.args(["-displayfd", "1", "-listen", "tcp"]);
    command.args(["-nolisten", "unix", "-nolisten", "local"]);
    command.args(["-SecurityTypes", "None", "-geometry", "640x480"]);
    command.args(["-rfbport", &PORT.to_string()]);
    command.env("HOME", lab.directory.path());
    let _server = Program::start(&lab.log, &topology.server, "Xtigervnc", command)?;
    let target = SocketAddr::new(SERVER.into(), PORT);
    wait_for_listener(&topology.server, target, LIMIT)?;
    let service = Service::tcp("screen", target, PORT);
    let mut handover = Handover::start(lab, &topology, &[service], &NETWORKS, "")?;

    let entrance = service.entrance();
    let mut command = Command::new("vncsnapshot");
    command.args(["-allowblank", "-nocursor", "-encodings", "raw"]);
    // Its "fps" are seconds for a frame.
    command.args(["-fps", "1", "-count", "1000"]);
    command.arg(format!("{}::{}", entrance.ip(), entrance.port()));
    command.arg("picture.jpg").current_dir(lab.directory.path());
    command.env("HOME", lab.directory.path());
    let viewer = Program::start(&lab.log, &topology.device, "vncsnapshot", command)?;
    let mut session = Session {
        viewer,
        directory: lab.directory.path().to_owned(),
        wanted: 0,
    };
    let mut sky = Sky::over(topology);
    live_through(lab, &mut sky, &mut handover, &mut session)?;
    session.viewer.ensure_running()
}

struct Session {
    viewer: Program,
    directory: PathBuf,
    wanted: u32,
}

impl Session {
    fn picture(&self, number: u32) -> PathBuf {
        self.directory.join(format!("picture{number:05}.jpg"))
    }
}

impl Dialogue for Session {
    fn ask(&mut self) -> Result<()> {
        self.wanted += PICTURES;
        Ok(())
    }

    /// The screen stands still, so all its pictures are the same. The one behind the last wanted may be half written.
    fn hear(&mut self) -> Result<()> {
        let next = self.picture(self.wanted);
        wait_until("the next picture", LIMIT, || {
            self.viewer.ensure_running()?;
            Ok(next.exists())
        })?;
        let first = fs::read(self.picture(0))?;
        let last = fs::read(self.picture(self.wanted - 1))?;
        ensure!(!first.is_empty() && first == last, "another picture");
        Ok(())
    }
}
