//! A server that sends back whatever it gets, until the end, and then ends too.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};
use handover_sandbox::Namespace;

/// An echo server. It serves as long as the process lives; in a sandbox, that is for ever enough.
#[derive(Debug, Clone, Copy)]
pub struct Echo {
    address: SocketAddr,
}

/// As much as one read takes.
const BUFFER: usize = 64 * 1024;

impl Echo {
    /// Starts one on a free port of `address` in `namespace`.
    pub fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let listener = namespace
            .run(move || TcpListener::bind((address, 0)))
            .context("bind the echo server")?;
        let address = listener.local_addr()?;
        spawn("echo server", move || {
            for stream in listener.incoming() {
                spawn("echo", move || echo(stream?))?;
            }
            Ok(())
        })?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        self.address
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// What ends a connection here shows at its other end, where the scenario looks.
fn spawn(name: &str, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(work()))
        .map(drop)
}
