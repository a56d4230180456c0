//! Sockets of the lab's own in a namespace, bound to one network.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{io, thread};

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
        .run(move || open(protocol, interface.as_deref(), target, limit))
        .with_context(|| format!("connect to {target}"))
}

/// As [`connect_by`], `count` times at once.
pub fn connect_all(
    protocol: Protocol,
    namespace: &Namespace,
    target: SocketAddr,
    limit: Duration,
    count: usize,
) -> Result<Vec<TcpStream>> {
    // A thread is in the namespace of the one that started it.
    let opened = namespace.run(move || {
        thread::scope(|scope| {
            let open = || open(protocol, None, target, limit);
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|one| one.join().ok())
                .collect::<Vec<_>>()
        })
    });
    let opened = opened
        .into_iter()
        .map(|one| one.context("a thread panicked")?.context("connect"));
    opened.collect()
}

fn open(
    protocol: Protocol,
    interface: Option<&str>,
    target: SocketAddr,
    limit: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(protocol))?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.connect_timeout(&target.into(), limit)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits until somebody accepts connections at `target`.
pub fn wait_for_listener(namespace: &Namespace, target: SocketAddr, limit: Duration) -> Result<()> {
    wait_until(&format!("a listener at {target}"), limit, || {
        Ok(connect(namespace, None, target, limit).is_ok())
    })
}
