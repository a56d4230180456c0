//! A server application that is not there: the client application sees a reset, and soon.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::world::{LIMIT, NETWORKS, two_networks};
use crate::application::{Application, ensure_reset, enter};
use crate::handover::{Handover, Service};
use crate::scenario::Lab;
use crate::topology::SERVER;

/// A hundred round trips of these networks, and less than any wait of either module: only the refusal itself can
/// be so soon.
const SOON: Duration = Duration::from_secs(1);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    // No program of the lab ever listens below 1024.
    let target = SocketAddr::new(SERVER.into(), 9);
    let service = Service::tcp("nobody", target, 7000);
    let handover = Handover::start(lab, &topology, &[service], &NETWORKS, "")?;
    let mut stream = enter(&topology.device, service.entrance())?;
    let since = Instant::now();
    let application = Application::start("client", move || {
        ensure_reset(&mut stream)?;
        Ok(since.elapsed())
    })?;
    let waited = application.finish(LIMIT)?;
    lab.note(&format!("reset after {waited:?}"));
    ensure!(waited < SOON, "the reset came after {waited:?}");
    drop(handover);
    Ok(())
}
