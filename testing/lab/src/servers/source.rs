//! A server that sends what it is asked for: the client names a payload, the server writes it and ends.
//! A client that ends its own direction after the request has a half-closed connection for as long as
//! the payload takes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use anyhow::Result;
use handover_sandbox::Namespace;

use crate::payload::Payload;

/// A download's other end.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    address: SocketAddr,
}

/// The length of a request: the payload's length and seed.
pub const REQUEST_LENGTH: usize = 16;

impl Source {
    /// Starts one on a free port of `address` in `namespace`.
    pub fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let address = super::start(namespace, address, "source", send)?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        self.address
    }

    /// Asks for `payload` on a connection to a source.
    pub fn request(stream: &mut TcpStream, payload: Payload) -> io::Result<()> {
        let mut request = [0; REQUEST_LENGTH];
        request[..8].copy_from_slice(&payload.length.to_be_bytes());
        request[8..].copy_from_slice(&payload.seed.to_be_bytes());
        stream.write_all(&request)
    }
}

fn send(mut stream: TcpStream) -> io::Result<()> {
    let (mut length, mut seed) = ([0; 8], [0; 8]);
    stream.read_exact(&mut length)?;
    stream.read_exact(&mut seed)?;
    let payload = Payload {
        length: u64::from_be_bytes(length),
        seed: u64::from_be_bytes(seed),
    };
    payload.write_to(&mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    // A close while the client still writes would be a reset.
    io::copy(&mut stream, &mut io::sink()).map(drop)
}
