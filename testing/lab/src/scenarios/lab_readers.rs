//! The lab itself: readers that stand still, are slow, or have only one direction left get every byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::gate::Gate;
use crate::payload::{DIGEST_LENGTH, Payload, digest_of};
use crate::scenario::Lab;
use crate::servers::{Sink, Source};
use crate::sockets::connect;
use crate::topology::{Medium, SERVER, Topology};
use crate::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(20);

/// More than the kernel's buffers take, so that the writer has to wait for the reader.
const PAYLOAD: Payload = Payload {
    length: 50_000_000,
    seed: 4,
};

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = Topology::new(&[("wlan0", Medium::Cable)])?;
    let gate = Gate::shut();
    let sink = Sink::start(&topology.server, SERVER.into(), gate.clone())?;
    let stream = connect(&topology.device, None, sink.address(), LIMIT)?;
    let upload = thread::spawn(move || upload(stream));

    let source = Source::start(&topology.server, SERVER.into())?;
    let mut half_closed = connect(&topology.device, None, source.address(), LIMIT)?;
    Source::request(&mut half_closed, PAYLOAD)?;
    half_closed.shutdown(Shutdown::Write)?;
    let slow = Gate::slow(Duration::from_millis(1));
    let (reader, pace) = (half_closed, slow.clone());
    let download = thread::spawn(move || digest_of(&mut { reader }, &pace));

    ensure!(sink.received() == 0, "the reader does not stand still");
    lab.note("the readers are let go");
    gate.open();
    slow.open();
    let expected = PAYLOAD.digest();
    let uploaded = upload.join().ok().context("the upload panicked")??;
    ensure!(uploaded == expected.to_bytes(), "the upload differs");
    let downloaded = download.join().ok().context("the download panicked")??;
    ensure!(downloaded == expected, "the download has {downloaded:?}");
    wait_until("all bytes to be counted", LIMIT, || {
        Ok(sink.received() == PAYLOAD.length)
    })
}

fn upload(mut stream: TcpStream) -> Result<[u8; DIGEST_LENGTH]> {
    PAYLOAD.write_to(&mut stream).context("upload")?;
    stream.flush()?;
    stream.shutdown(Shutdown::Write)?;
    let mut digest = [0; DIGEST_LENGTH];
    stream.read_exact(&mut digest).context("read the digest")?;
    Ok(digest)
}
