//! The lab itself: an emulated link carries every byte, late and with losses.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::link::Conditions;
use crate::random::Random;
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::sockets::connect;
use crate::topology::{Medium, SERVER, Topology};

/// One way; the answer to anything takes twice as long, on the slowest machine too.
const DELAY_MILLISECONDS: u64 = 10;

/// Enough for the loss to strike some dozen times: each way takes about 1,400 packets.
const BYTES: usize = 2_000_000;

const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let conditions = Conditions::new(150, DELAY_MILLISECONDS).with_loss(0.01);
    let topology = Topology::new(&[("wlan0", Medium::Emulated(conditions))])?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let began = Instant::now();
    let mut stream = connect(&topology.device, None, echo.address(), LIMIT)?;
    let round_trip = began.elapsed();
    lab.note(&format!("connected in {round_trip:?}"));
    ensure!(
        round_trip >= Duration::from_millis(2 * DELAY_MILLISECONDS),
        "connected in {round_trip:?}, faster than the link"
    );

    let mut sent = vec![0; BYTES];
    Random::new(1).fill(&mut sent);
    stream.set_read_timeout(Some(LIMIT))?;
    let mut writer = stream.try_clone()?;
    let payload = sent.clone();
    let upload = thread::spawn(move || -> std::io::Result<()> {
        writer.write_all(&payload)?;
        writer.shutdown(Shutdown::Write)
    });
    let mut received = Vec::new();
    stream
        .read_to_end(&mut received)
        .context("read what comes back")?;
    upload.join().ok().context("the upload panicked")??;
    ensure!(
        received == sent,
        "{} bytes came back, not the same",
        received.len()
    );

    let counts = topology.link("wlan0")?.counts();
    lab.note(&format!("{counts:?}"));
    ensure!(counts.lost > 0, "nothing was lost: {counts:?}");
    Ok(())
}
