//! A service of an application beside this module, where the application is, and who it is told asks.
//!
//! The other module's applications ask for it by name and port. Each of its ports leads to a port of the
//! target, in the same order.
//!
//! The application sees this module as its peer. If it is to know who really connects, the first bytes
//! that it gets say so, in the PROXY protocol's version 2 (doc/proxy-protocol.txt of HAProxy). They are
//! written before the stream has the connection: nothing can be ahead of them, and no switch writes them
//! again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use handover_proto::wire::{CatalogueEntry, Request, TransportProtocol};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// One service of an application beside this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, under which the other module asks for it.
    pub name: String,
    /// What it speaks.
    pub protocol: TransportProtocol,
    /// Where its application listens: for the first of `ports`, and for the others as far behind it. The
    /// last one is not beyond port 65535.
    pub target: SocketAddr,
    /// Where the other side's applications find it: never port 0, and never no port.
    pub ports: RangeInclusive<u16>,
    /// Whether the application is told who connects. Only where the protocol is TCP.
    pub proxy_protocol: bool,
}

impl Service {
    /// The service as the other module hears of it.
    #[must_use]
    pub fn catalogue_entry(&self) -> CatalogueEntry {
        CatalogueEntry {
            name: self.name.clone(),
            protocol: self.protocol,
            ports: self.ports.clone(),
        }
    }

    /// Where the application listens for `port`, which is one of the service's.
    #[must_use]
    pub fn target_of(&self, port: u16) -> SocketAddr {
        let behind = port.saturating_sub(*self.ports.start());
        let target = self.target.port().saturating_add(behind);
        SocketAddr::new(self.target.ip(), target)
    }

    /// Tells the application behind `socket`, fresh from the connect, who asks, if it wants to know. `other`
    /// is where the other module's traffic comes from at this moment.
    ///
    /// # Errors
    ///
    /// If the connection has ended already.
    pub async fn introduce(
        &self,
        socket: &mut TcpStream,
        request: &Request,
        other: Option<IpAddr>,
    ) -> io::Result<()> {
        if !self.proxy_protocol {
            return Ok(());
        }
        let origin = true_origin(request.origin, other);
        let destination = SocketAddr::new(self.target.ip(), request.port);
        let header = proxy_header(origin, destination);
        socket.write_all(&header).await
    }
}

/// An application on the other module's own host has an address that means nothing here: its host's does.
fn true_origin(origin: SocketAddr, other: Option<IpAddr>) -> SocketAddr {
    let host = other.filter(|_| origin.ip().is_loopback());
    let address = host.map_or(origin.ip(), |host| host.to_canonical());
    SocketAddr::new(address, origin.port())
}

/// The header of version 2 for one TCP connection. Two families become the wider one.
fn proxy_header(origin: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(VERSION_2_PROXY);
    match (origin.ip(), destination.ip()) {
        (IpAddr::V4(origin), IpAddr::V4(destination)) => {
            header.extend([TCP_OVER_IPV4, 0, 12]);
            header.extend(origin.octets());
            header.extend(destination.octets());
        }
        (origin, destination) => {
            header.extend([TCP_OVER_IPV6, 0, 36]);
            header.extend(in_ipv6(origin));
            header.extend(in_ipv6(destination));
        }
    }
    header.extend(origin.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

fn in_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// No other protocol begins like this.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, on behalf of somebody else.
const VERSION_2_PROXY: u8 = 0x21;

const TCP_OVER_IPV4: u8 = 0x11;

const TCP_OVER_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn service(target: SocketAddr) -> Service {
        Service {
            name: "web".into(),
            protocol: TransportProtocol::Tcp,
            target,
            ports: 8000..=8009,
            proxy_protocol: true,
        }
    }

    #[test]
    fn each_port_of_a_range_has_its_own_target() {
        let service = service(address("192.0.2.1:65526"));
        for (port, target) in [(8000, 65_526), (8001, 65_527), (8009, 65_535)] {
            let expected = SocketAddr::new(service.target.ip(), target);
            assert_eq!(service.target_of(port), expected);
        }
    }

    #[test]
    fn a_header_between_ipv4_addresses() {
        let header = proxy_header(address("192.0.2.7:50000"), address("127.0.0.1:8080"));
        let expected = [
            b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
            b"\x21\x11\x00\x0c",
            &[192, 0, 2, 7, 127, 0, 0, 1],
            b"\xc3\x50\x1f\x90",
        ];
        assert_eq!(header, expected.concat());
    }

    #[test]
    fn a_header_with_an_ipv6_address_on_either_side_is_of_ipv6() {
        let (v4, v6) = (address("192.0.2.7:50000"), address("[2001:db8::1]:8080"));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
        let own = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let begin = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".as_slice();
        let expected = [begin, &mapped, &own, b"\xc3\x50\x1f\x90"];
        assert_eq!(proxy_header(v4, v6), expected.concat());
        let expected = [begin, &own, &mapped, b"\x1f\x90\xc3\x50"];
        assert_eq!(proxy_header(v6, v4), expected.concat());
    }

    #[test]
    fn only_an_address_that_means_something_here_is_told() {
        let device = IpAddr::from([198, 51, 100, 7]);
        let mapped = "::ffff:198.51.100.7".parse().unwrap();
        for (origin, other, told) in [
            ("127.0.0.1:50000", device, "198.51.100.7:50000"),
            ("[::1]:50000", device, "198.51.100.7:50000"),
            ("127.0.0.1:50000", mapped, "198.51.100.7:50000"),
            ("192.168.1.20:50000", device, "192.168.1.20:50000"),
        ] {
            assert_eq!(true_origin(address(origin), Some(other)), address(told));
        }
    }

    #[tokio::test]
    async fn the_header_is_the_first_that_the_application_reads() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let service = service(listener.local_addr().unwrap());
        let request = Request {
            service: service.name.clone(),
            port: 8000,
            origin: address("127.0.0.1:50000"),
        };
        let mut connected = TcpStream::connect(service.target).await.unwrap();
        let device = IpAddr::from([198, 51, 100, 7]);
        (service
            .introduce(&mut connected, &request, Some(device))
            .await)
            .unwrap();
        connected.write_all(b"hello").await.unwrap();
        drop(connected);
        let (mut accepted, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        accepted.read_to_end(&mut read).await.unwrap();
        let header = proxy_header(address("198.51.100.7:50000"), address("127.0.0.1:8000"));
        assert_eq!(read, [header.as_slice(), b"hello"].concat());
    }
}
