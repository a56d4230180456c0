//! Sockets that stay on one network, and listeners for several.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

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
    let socket = socket_through(interface, address, Type::STREAM, Protocol::TCP)?;
    // The port is chosen at the connect, when the destination is known: so the limit of local ports
    // holds for each server, not for all connections from this address.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&address.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// A UDP socket that sends through `interface` only and from `source` only, with memory for all that a fast, long
/// path has under way. Without an interface as in [`bound_tcp_socket`].
///
/// # Errors
///
/// As [`bound_tcp_socket`].
pub fn bound_path_socket(
    interface: Option<&str>,
    source: IpAddr,
) -> io::Result<std::net::UdpSocket> {
    let address = SocketAddr::new(source, 0);
    let socket = socket_through(interface, address, Type::DGRAM, Protocol::UDP)?;
    give_memory(&socket, PATH_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket_through(
    interface: Option<&str>,
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    Ok(socket)
}

/// Listens on `address`, one of `all`. `[::]` alone serves both families; beside an IPv4 address with the
/// same port it leaves IPv4 to that one, or neither could have the port.
///
/// # Errors
///
/// If somebody else has the port, or the address is not there.
pub fn tcp_listener(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let socket = socket_through(None, address, Type::STREAM, Protocol::TCP)?;
    leave_ipv4_to(all, address, &socket)?;
    // A server that is started again takes its port back from the connections of the one before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A UDP socket for all that is sent to `address`, one of `all`, beside the TCP listener there. It has the memory of
/// [`bound_path_socket`].
///
/// # Errors
///
/// As [`tcp_listener`].
pub fn udp_listener(address: SocketAddr, all: &[SocketAddr]) -> io::Result<std::net::UdpSocket> {
    let socket = socket_through(None, address, Type::DGRAM, Protocol::UDP)?;
    leave_ipv4_to(all, address, &socket)?;
    give_memory(&socket, PATH_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn leave_ipv4_to(all: &[SocketAddr], address: SocketAddr, socket: &Socket) -> io::Result<()> {
    let mut others = all.iter().filter(|other| other.is_ipv4());
    if address.is_ipv6() && others.any(|other| other.port() == address.port()) {
        socket.set_only_v6(true)?;
    }
    Ok(())
}

fn give_memory(socket: &Socket, bytes: usize) -> io::Result<()> {
    socket.set_recv_buffer_size(bytes)?;
    socket.set_send_buffer_size(bytes)
}

/// How many connections may wait to be accepted: as in tokio's own listeners.
const BACKLOG: i32 = 1024;

/// What a UDP socket may hold in the kernel for a path between the modules: 30 ms at 1 Gbit/s, for which a busy
/// process may sleep. The kernel's own limit (`net.core.rmem_max`, `net.core.wmem_max`) may be lower, and then holds.
const PATH_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What a UDP socket may hold in the kernel: a burst of the largest datagrams. The kernel's own limit
/// (`net.core.rmem_max`) may be lower, and then holds.
const DATAGRAM_BUFFER_BYTES: usize = 1024 * 1024;

/// A UDP socket that takes what is sent to `address`.
///
/// # Errors
///
/// If the address is not there, or the port is taken.
pub fn bound_udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket_through(None, address, Type::DGRAM, Protocol::UDP)?;
    give_memory(&socket, DATAGRAM_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// A UDP socket that speaks with `target` only, from `source` if there is one.
///
/// # Errors
///
/// If the source is not there, the target has no route, or no descriptor is left.
pub fn connected_udp_socket(source: Option<IpAddr>, target: SocketAddr) -> io::Result<UdpSocket> {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = bound_udp_socket(SocketAddr::new(source.unwrap_or(any), 0))?;
    SockRef::from(&socket).connect(&target.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_path_socket_is_bound_to_the_interface_and_the_address() {
        let server = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for interface in [None, Some("lo")] {
            let source = IpAddr::from([127, 0, 0, 9]);
            let socket = bound_path_socket(interface, source).unwrap();
            let device = SockRef::from(&socket).device().unwrap();
            assert_eq!(device.as_deref(), interface.map(str::as_bytes));
            socket.send_to(b"!", server.local_addr().unwrap()).unwrap();
            let (_, peer) = server.recv_from(&mut [0; 4]).unwrap();
            assert_eq!(peer, socket.local_addr().unwrap());
            assert_eq!(peer.ip(), source);
        }
    }

    #[test]
    fn a_udp_listener_shares_its_port_with_tcp_and_with_no_other_of_udp() {
        let [ipv4, ipv6] = ["0.0.0.0", "::"].map(|any| any.parse::<IpAddr>().unwrap());
        let first = udp_listener(SocketAddr::new(ipv4, 0), &[]).unwrap();
        let port = first.local_addr().unwrap().port();
        let all = [ipv4, ipv6].map(|ip| SocketAddr::new(ip, port));
        udp_listener(all[0], &all).unwrap_err();
        udp_listener(all[1], &all[1..]).unwrap_err();
        udp_listener(all[1], &all).unwrap();
    }

    #[tokio::test]
    async fn a_connected_udp_socket_speaks_with_its_target_only_and_from_its_source() {
        let target = bound_udp_socket((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let stranger = bound_udp_socket((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let source = IpAddr::from([127, 0, 0, 9]);
        let address = target.local_addr().unwrap();
        let socket = connected_udp_socket(Some(source), address).unwrap();
        socket.send(b"question").await.unwrap();
        let mut buffer = [0; 16];
        let (_, peer) = target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(peer, socket.local_addr().unwrap());
        assert_eq!(peer.ip(), source);
        stranger.send_to(b"intrusion", peer).await.unwrap();
        target.send_to(b"answer", peer).await.unwrap();
        let length = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"answer");
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
