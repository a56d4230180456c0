//! Sockets that stay on one network.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpSocket;

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
}
