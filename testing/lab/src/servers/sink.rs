//! A server that takes an upload, at a pace that the scenario sets, and answers with its digest.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use handover_sandbox::Namespace;

use crate::gate::Gate;
use crate::payload::digest_of;

/// An upload's other end: it reads to the end and then sends the [`crate::payload::Digest`].
#[derive(Debug, Clone)]
pub struct Sink {
    address: SocketAddr,
    received: Arc<AtomicU64>,
}

impl Sink {
    /// Starts one on a free port of `address` in `namespace`; `gate` is the pace of all its connections.
    pub fn start(namespace: &Namespace, address: IpAddr, gate: Gate) -> Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let take = move |stream: TcpStream| take(stream, &gate, &counter);
        let address = super::start(namespace, address, "sink", take)?;
        Ok(Self { address, received })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes have arrived so far, over all connections.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

fn take(mut stream: TcpStream, gate: &Gate, received: &AtomicU64) -> io::Result<()> {
    let mut counted = Counted {
        stream: &stream,
        received,
    };
    let digest = digest_of(&mut counted, gate)?;
    stream.write_all(&digest.to_bytes())
}

struct Counted<'a> {
    stream: &'a TcpStream,
    received: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.received.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
