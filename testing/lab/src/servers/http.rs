//! As much of an HTTP/1.1 server as curl needs to fetch a large file.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::Result;
use handover_sandbox::Namespace;

use crate::gate::Gate;
use crate::payload::Payload;

/// A server that answers every request with the same payload, one request a connection.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    address: SocketAddr,
}

impl Http {
    /// Starts one on a free port of `address` in `namespace`; `gate` is the pace at which it sends.
    pub fn start(
        namespace: &Namespace,
        address: IpAddr,
        payload: Payload,
        gate: Gate,
    ) -> Result<Self> {
        let answer = move |stream| answer(stream, payload, &gate);
        let address = super::start(namespace, address, "http", answer)?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        self.address
    }
}

fn answer(mut stream: TcpStream, payload: Payload, gate: &Gate) -> io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        // The request's content does not matter; its head ends with an empty line.
        if line?.is_empty() {
            break;
        }
    }
    let length = payload.length;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    payload.write_to(&mut Paced { stream, gate })
}

struct Paced<'a> {
    stream: TcpStream,
    gate: &'a Gate,
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gate.pass();
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
