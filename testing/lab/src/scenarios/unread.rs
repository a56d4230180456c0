//! An upload whose application never reads, while the server application also writes: each direction
//! has its own credit, so the one that nobody reads does not hold up the other; nor does a switch.

use std::net::TcpStream;

use anyhow::{Result, ensure};

use super::world::{LIMIT, Pair, ensure_done};
use crate::application::Application;
use crate::gate::Gate;
use crate::payload::{Payload, digest_of};
use crate::scenario::Lab;

/// More than what all buffers and credits on the way take together.
const EACH_WAY: Payload = Payload {
    length: 24_000_000,
    seed: 41,
};

pub(super) fn run(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab)?;
    let (client, server) = pair.connect()?;
    let answer = send(&server)?;
    let upload = send(&client)?;
    let reader = server.try_clone()?;
    let taken = Application::start("server reader", move || receive(reader))?;

    let entry = pair.handover.switch("wwan0")?;
    ensure_done(&entry, "planned")?;
    upload.finish(LIMIT)?;
    taken.finish(LIMIT)?;
    lab.note("the upload is there; the client has read nothing yet");
    ensure!(!answer.is_finished(), "nothing held the answer back");

    let entry = pair.handover.switch("wlan0")?;
    ensure_done(&entry, "planned")?;
    receive(client)?;
    answer.finish(LIMIT)
}

fn send(stream: &TcpStream) -> Result<Application> {
    let mut writer = stream.try_clone()?;
    Application::start("writer", move || {
        EACH_WAY.write_to(&mut writer)?;
        Ok(writer.shutdown(std::net::Shutdown::Write)?)
    })
}

fn receive(mut stream: TcpStream) -> Result<()> {
    let digest = digest_of(&mut stream, &Gate::open_already())?;
    ensure!(digest == EACH_WAY.digest(), "what came differs: {digest:?}");
    Ok(())
}
