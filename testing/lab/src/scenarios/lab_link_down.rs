//! The lab itself: an interface that is down takes its route with it, and comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::link::Conditions;
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::sockets::connect;
use crate::topology::{Medium, SERVER, Topology};

const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let link = Medium::Emulated(Conditions::new(100, 5));
    let topology = Topology::new(&[("wlan0", link), ("wwan0", link)])?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    ensure_reachable(&topology, "wlan0", &echo)?;

    topology.set_down("wlan0")?;
    let refused = connect(&topology.device, Some("wlan0"), echo.address(), LIMIT);
    let Err(error) = refused else {
        anyhow::bail!("connected over an interface that is down");
    };
    let code = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::raw_os_error);
    ensure!(
        code == Some(Errno::ENETUNREACH as i32),
        "over wlan0: {error:#}"
    );
    lab.note("wlan0 is down");
    // Whoever asks for no interface is on the other one now.
    let target = SocketAddr::new(SERVER.into(), 9);
    let local = topology.device.run(move || -> std::io::Result<_> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        socket.local_addr()
    })?;
    ensure!(
        local.ip() == topology.address("wwan0")?,
        "the route leads over {local}"
    );
    ensure_reachable(&topology, "wwan0", &echo)?;

    topology.set_up("wlan0")?;
    ensure_reachable(&topology, "wlan0", &echo)
}

fn ensure_reachable(topology: &Topology, network: &str, echo: &Echo) -> Result<()> {
    let mut stream = connect(&topology.device, Some(network), echo.address(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut answer = [0; 5];
    stream.write_all(b"hello")?;
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"hello", "over {network} came {answer:?}");
    Ok(())
}
