//! Sockets of the lab's own in a namespace, bound to one network.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use handover_sandbox::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

use crate::wait::wait_until;

/// Connects from `namespace`, leaving by `interface` if one is given, by the best route otherwise.
pub fn connect(
    namespace: &Namespace,
    interface: Option<&str>,
    target: SocketAddr,
    limit: Duration,
) -> Result<TcpStream> {
    connect_by(Protocol::TCP, namespace, interface, target, limit)
}

/// As [`connect`], by TCP or Multipath TCP.
pub fn connect_by(
    protocol: Protocol,
    namespace: &Namespace,
    interface: Option<&str>,
    target: SocketAddr,
    limit: Duration,
) -> Result<TcpStream> {
    let interface = interface.map(str::to_owned);
    namespace
        .run(move || -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(protocol))?;
            if let Some(interface) = &interface {
                socket.bind_device(Some(interface.as_bytes()))?;
            }
            socket.connect_timeout(&target.into(), limit)?;
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true)?;
            Ok(stream)
        })
        .with_context(|| format!("connect to {target}"))
}

/// Waits until somebody accepts connections at `target`.
pub fn wait_for_listener(namespace: &Namespace, target: SocketAddr, limit: Duration) -> Result<()> {
    wait_until(&format!("a listener at {target}"), limit, || {
        Ok(connect(namespace, None, target, limit).is_ok())
    })
}
