//! A service of an application beside this module, and where the application is.
//!
//! The other module's applications ask for it by name and port. Each of its ports leads to a port of the
//! target, in the same order.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use handover_proto::wire::{CatalogueEntry, TransportProtocol};

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_of_a_range_has_its_own_target() {
        let service = Service {
            name: "web".into(),
            protocol: TransportProtocol::Tcp,
            target: "192.0.2.1:65526".parse().unwrap(),
            ports: 8000..=8009,
        };
        for (port, target) in [(8000, 65_526), (8001, 65_527), (8009, 65_535)] {
            let expected = SocketAddr::new(service.target.ip(), target);
            assert_eq!(service.target_of(port), expected);
        }
    }
}
