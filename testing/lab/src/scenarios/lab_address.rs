//! The lab itself: after a change of address the old one is gone and the new one works.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::link::Conditions;
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::sockets::connect;
use crate::topology::{Medium, SERVER, Topology};

const LIMIT: Duration = Duration::from_secs(20);

const NEW_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 7, 2);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let link = Medium::Emulated(Conditions::new(100, 5));
    let mut topology = Topology::new(&[("wlan0", link)])?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let old = topology.address("wlan0")?;
    let before = connect(&topology.device, Some("wlan0"), echo.address(), LIMIT)?;
    ensure!(
        before.local_addr()?.ip() == old,
        "connected from {before:?}"
    );

    topology.change_address("wlan0", NEW_ADDRESS)?;
    lab.note("wlan0 has moved");
    let bound = topology.device.run(move || TcpListener::bind((old, 0)));
    let bound = bound.map(drop).map_err(|error| error.kind());
    ensure!(
        bound == Err(ErrorKind::AddrNotAvailable),
        "the old address: {bound:?}"
    );
    let mut after = connect(&topology.device, Some("wlan0"), echo.address(), LIMIT)?;
    ensure!(
        after.local_addr()?.ip() == NEW_ADDRESS,
        "connected from {after:?}"
    );
    after.set_read_timeout(Some(LIMIT))?;
    let mut answer = [0; 5];
    after.write_all(b"hello")?;
    after.read_exact(&mut answer)?;
    ensure!(&answer == b"hello", "over the new address came {answer:?}");
    Ok(())
}
