//! Sockets that stay on one network, and listeners for several.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};

/// A TCP socket, not yet connected, that sends through `interface` only and from `source` only.
///
/// Without an interface the routing table decides where its packets go; that is for servers on the
/// same machine.
///
/// # Errors
///
/// If the interface or the address is not there (any more), or no descriptor is left.
pub fn bound_tcp_socket(interface: Option<&str>, source: IpAddr) -> io::Result<TcpSocket> {
    let address = SocketAddr::new(source, 0);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    // The port is chosen at the connect, when the destination is known: so the limit of local ports
    // holds for each server, not for all connections from this address.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&address.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Listens on `address`, one of `all`. `[::]` alone serves both families; beside an IPv4 address with the
/// same port it leaves IPv4 to that one, or neither could have the port.
///
/// # Errors
///
/// If somebody else has the port, or the address is not there.
pub fn tcp_listener(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    let mut others = all.iter().filter(|other| other.is_ipv4());
    if address.is_ipv6() && others.any(|other| other.port() == address.port()) {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // A server that is started again takes its port back from the connections of the one before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// How many connections may wait to be accepted: as in tokio's own listeners.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_other_side_sees_the_bound_address() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        for interface in [None, Some("lo")] {
            let source = IpAddr::from([127, 0, 0, 9]);
            let socket = bound_tcp_socket(interface, source).unwrap();
            let (connected, accepted) = tokio::join!(socket.connect(server), listener.accept());
            let (_, peer) = accepted.unwrap();
            assert_eq!(peer, connected.unwrap().local_addr().unwrap());
            assert_eq!(peer.ip(), source);
        }
    }

    #[tokio::test]
    async fn what_is_not_there_cannot_be_bound() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let no_interface = bound_tcp_socket(Some("no-such-if"), loopback).unwrap_err();
        assert_eq!(
            no_interface.raw_os_error(),
            Some(nix::errno::Errno::ENODEV as i32)
        );
        let elsewhere = "192.0.2.1".parse().unwrap();
        let no_address = bound_tcp_socket(None, elsewhere).unwrap_err();
        assert_eq!(no_address.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn both_families_may_have_one_port_side_by_side_or_in_one_listener() {
        let [ipv4, ipv6] = ["0.0.0.0", "::"].map(|any| any.parse::<IpAddr>().unwrap());
        let at = |ip: IpAddr, port| SocketAddr::new(ip, port);
        let first = tcp_listener(at(ipv4, 0), &[]).unwrap();
        let port = first.local_addr().unwrap().port();
        let all = [at(ipv4, port), at(ipv6, port)];
        tcp_listener(at(ipv6, port), &all[1..]).unwrap_err();
        tcp_listener(at(ipv6, port), &all).unwrap();
        drop(first);

        let alone = tcp_listener(at(ipv6, 0), &[]).unwrap();
        let port = alone.local_addr().unwrap().port();
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let target = at(loopback, port);
        let (connected, accepted) = tokio::join!(
            bound_tcp_socket(None, loopback).unwrap().connect(target),
            alone.accept()
        );
        connected.unwrap();
        let (_, peer) = accepted.unwrap();
        assert_eq!(peer.ip().to_canonical(), loopback);
    }
}
