//! A reader that stands still through a planned and an unexpected switch holds up neither, nor anybody
//! else; when it goes on it gets every byte.

use anyhow::Result;

use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::application::{Application, ask, download, enter};
use crate::gate::Gate;
use crate::handover::{Handover, Service};
use crate::payload::Payload;
use crate::scenario::Lab;
use crate::servers::{Echo, Source};
use crate::topology::SERVER;

/// More than what all buffers and credits on the way take together.
const PAYLOAD: Payload = Payload {
    length: 24_000_000,
    seed: 42,
};

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let source = Source::start(&topology.server, SERVER.into())?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let files = Service::tcp("files", source.address(), 7000);
    let talk = Service::tcp("talk", echo.address(), 7001);
    let mut handover = Handover::start(lab, &topology, &[files, talk], &NETWORKS, "")?;
    let (stream, gate) = (enter(&topology.device, files.entrance())?, Gate::shut());
    let pace = gate.clone();
    let reader = Application::start("still reader", move || download(stream, PAYLOAD, &pace))?;
    let mut other = enter(&topology.device, talk.entrance())?;
    ask(&mut other, 1)?;

    ensure_done(&handover.switch("wwan0")?, "planned")?;
    ask(&mut other, 2)?;
    topology.set_down("wwan0")?;
    ensure_done(&handover.wait_for_switch(2, LIMIT)?, "unexpected")?;
    ask(&mut other, 3)?;
    lab.note("both switches are done; the reader goes on");
    gate.open();
    reader.finish(LIMIT)
}
