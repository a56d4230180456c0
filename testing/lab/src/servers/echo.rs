//! A server that sends back whatever it gets, until the end, and then ends too.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::Result;
use handover_sandbox::Namespace;

/// An echo server.
#[derive(Debug, Clone, Copy)]
pub struct Echo {
    address: SocketAddr,
}

/// As much as one read takes.
const BUFFER: usize = 64 * 1024;

impl Echo {
    /// Starts one on a free port of `address` in `namespace`.
    pub fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let address = super::start(namespace, address, "echo", echo)?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        self.address
    }
}

/// Serves one connection, to its end.
pub fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}
