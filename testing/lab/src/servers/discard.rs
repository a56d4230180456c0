//! A server that takes all it gets as fast as it can, and counts: for measurements, where a digest would
//! cost more than the transport.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use handover_sandbox::Namespace;

/// A bulk measurement's other end: it closes once it has read to the end.
#[derive(Debug, Clone)]
pub struct Discard {
    address: SocketAddr,
    received: Arc<AtomicU64>,
}

/// As large as the kernel cares to fill at once.
const BUFFER: usize = 256 * 1024;

impl Discard {
    /// Starts one on a free port of `address` in `namespace`.
    pub fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let discard = move |stream: TcpStream| discard(stream, &counter);
        let address = super::start(namespace, address, "discard", discard)?;
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

fn discard(mut stream: TcpStream, received: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => received.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}
