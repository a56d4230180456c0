//! A server application that speaks first, to a client application that says nothing until then.

use std::io::{Read, Write};

use anyhow::{Result, ensure};

use super::world::Pair;
use crate::scenario::Lab;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab)?;
    let (mut client, mut server) = pair.connect()?;
    server.write_all(b"220 welcome")?;
    let mut heard = [0; 11];
    client.read_exact(&mut heard)?;
    ensure!(&heard == b"220 welcome", "heard {heard:?}");
    client.write_all(b"HELO")?;
    let mut heard = [0; 4];
    server.read_exact(&mut heard)?;
    ensure!(&heard == b"HELO", "heard {heard:?}");
    Ok(())
}
