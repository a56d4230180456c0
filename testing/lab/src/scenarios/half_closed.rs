//! A connection half-closed by either side goes on in its other direction, also over a switch.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Result, ensure};

use super::world::{Pair, ensure_done};
use crate::application::ensure_end;
use crate::scenario::Lab;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab)?;
    let (mut by_client, mut answering) = pair.connect()?;
    let (mut answering_client, mut by_server) = pair.connect()?;
    close_half(&mut by_client, &mut answering)?;
    close_half(&mut by_server, &mut answering_client)?;
    lab.note("each side has closed one of the two");

    ensure_done(&pair.handover.switch("wwan0")?, "planned")?;
    end(&mut answering, &mut by_client)?;
    end(&mut answering_client, &mut by_server)
}

/// `closer` says something and ends; `other` gets both.
fn close_half(closer: &mut TcpStream, other: &mut TcpStream) -> Result<()> {
    closer.write_all(b"that is all")?;
    closer.shutdown(Shutdown::Write)?;
    let mut heard = String::new();
    other.read_to_string(&mut heard)?;
    ensure!(heard == "that is all", "heard {heard:?}");
    Ok(())
}

/// The direction that is left carries on and ends too.
fn end(sender: &mut TcpStream, receiver: &mut TcpStream) -> Result<()> {
    for word in [b"one", b"two"] {
        sender.write_all(word)?;
        let mut heard = [0; 3];
        receiver.read_exact(&mut heard)?;
        ensure!(&heard == word, "heard {heard:?}");
    }
    sender.shutdown(Shutdown::Write)?;
    ensure_end(receiver)
}
