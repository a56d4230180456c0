//! A server application in the scenario's own hands: it accepts, and the scenario does the rest.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use handover_sandbox::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

use crate::application::PATIENCE;
use crate::wait::wait_for;

/// How many connections may wait to be taken.
const BACKLOG: i32 = 128;

/// A listener whose connections the scenario takes one by one.
#[derive(Debug)]
pub struct Manual {
    listener: TcpListener,
    address: SocketAddr,
}

impl Manual {
    /// Listens on a free port of `address` in `namespace`.
    pub fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        Self::start_by(Protocol::TCP, namespace, address)
    }

    /// As [`Manual::start`], by TCP or Multipath TCP.
    pub fn start_by(protocol: Protocol, namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let bound = namespace.run(move || -> io::Result<_> {
            let address = SocketAddr::new(address, 0);
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = bound.context("bind a manual server")?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    pub fn accept(&self, limit: Duration) -> Result<TcpStream> {
        let stream = wait_for("a connection at the server", limit, || {
            match self.listener.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}
