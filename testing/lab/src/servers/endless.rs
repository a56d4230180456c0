//! A server that sends until its client ends its own direction, and then the digest of what it sent:
//! a download that lasts as long as the scenario likes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use handover_sandbox::Namespace;

use crate::payload::Producer;

/// A download without end.
#[derive(Debug, Clone, Copy)]
pub struct Endless {
    address: SocketAddr,
}

/// What the bytes are made of.
const SEED: u64 = 21;

impl Endless {
    /// Starts one on a free port of `address` in `namespace`.
    pub fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let address = super::start(namespace, address, "endless", send)?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        self.address
    }
}

fn send(mut stream: TcpStream) -> io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let (told, mut reader) = (Arc::clone(&ended), stream.try_clone()?);
    // The client says nothing: the first read is its end. It ends at the latest with the connection.
    thread::Builder::new()
        .name("endless reader".to_owned())
        .spawn(move || {
            let read = reader.read(&mut [0; 1]);
            told.store(true, Ordering::Relaxed);
            read
        })?;
    let mut producer = Producer::new(SEED);
    while !ended.load(Ordering::Relaxed) {
        stream.write_all(producer.produce())?;
    }
    stream.write_all(&producer.finish().to_bytes())?;
    stream.shutdown(Shutdown::Write)
}
