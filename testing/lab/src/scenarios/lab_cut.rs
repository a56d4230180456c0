//! The lab itself: a silent cut stops everything and tells nobody; after it the connection goes on.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::link::Conditions;
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::sockets::connect;
use crate::topology::{Medium, SERVER, Topology};
use crate::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(20);

/// Several round trips: an answer that could come would have come.
const SILENCE: Duration = Duration::from_millis(200);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let slow = Medium::Emulated(Conditions::new(100, 5));
    let topology = Topology::new(&[("wlan0", slow), ("wwan0", slow)])?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let mut cut = connect(&topology.device, Some("wlan0"), echo.address(), LIMIT)?;
    let mut other = connect(&topology.device, Some("wwan0"), echo.address(), LIMIT)?;
    let mut answer = [0; 6];
    cut.write_all(b"before")?;
    cut.read_exact(&mut answer)?;

    topology.cut("wlan0")?;
    let delivered = topology.link("wlan0")?.counts().delivered;
    cut.write_all(b"during")?;
    cut.set_read_timeout(Some(SILENCE))?;
    let silence = cut.read(&mut answer).map_err(|error| error.kind());
    ensure!(
        silence == Err(ErrorKind::WouldBlock),
        "the cut link answered: {silence:?}"
    );
    wait_until("packets that the cut swallows", LIMIT, || {
        Ok(topology.link("wlan0")?.counts().cut > 0)
    })?;
    ensure!(
        topology.link("wlan0")?.counts().delivered == delivered,
        "a packet crossed the cut"
    );
    other.write_all(b"beside")?;
    other.read_exact(&mut answer)?;
    lab.note("nothing crossed the cut; the other network works");

    topology.restore("wlan0")?;
    cut.set_read_timeout(Some(LIMIT))?;
    cut.read_exact(&mut answer)?;
    ensure!(&answer == b"during", "after the cut came {answer:?}");
    Ok(())
}
