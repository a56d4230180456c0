//! The `[[service]]` tables, the same on both sides: services of applications that this module reaches.

use handover_proto::wire::{CATALOGUE_ENTRIES, CATALOGUE_PORTS, NAME_BYTES, TransportProtocol};
use handover_snapt::config::Service;

use super::document::{ConfigError, Distinct, Table};

pub(super) fn services(root: &Table<'_>) -> Result<Vec<Service>, ConfigError> {
    let (mut names, mut ports) = (Distinct::new(), Distinct::new());
    let mut open = 0;
    let mut services = Vec::new();
    for table in root.tables("service", KEYS)? {
        let name = table.require("name")?;
        let port = table.require("port")?;
        let service = service(&table)?;
        names.insert(service.name.clone(), &name)?;
        if services.len() == CATALOGUE_ENTRIES {
            return Err(table.error(format!(
                "is one too many: there are at most {CATALOGUE_ENTRIES} services"
            )));
        }
        open += service.ports.len();
        if open > CATALOGUE_PORTS {
            return Err(port.error(format!(
                "makes it {open} ports with those above, and all services together have at most \
                 {CATALOGUE_PORTS}, since each takes sockets: give fewer"
            )));
        }
        for one in service.ports.clone() {
            ports.insert_part((service.protocol, one), &port, one)?;
        }
        services.push(service);
    }
    Ok(services)
}

fn service(table: &Table<'_>) -> Result<Service, ConfigError> {
    let target = table.require("target")?;
    let service = Service {
        name: table.require("name")?.name(NAME_BYTES)?,
        protocol: table.require("protocol")?.one_of(PROTOCOLS)?,
        target: target.socket_address()?,
        ports: table.require("port")?.ports()?,
        proxy_protocol: table.get("proxy_protocol").is_some(),
    };
    if let Some(version) = table.get("proxy_protocol") {
        version.one_of(PROXY_PROTOCOLS)?;
        if service.protocol == TransportProtocol::Udp {
            return Err(version.error(
                "is for \"tcp\" services: nothing precedes a datagram here; remove the key, or speak \"tcp\"",
            ));
        }
    }
    let last = usize::from(service.target.port()) + service.ports.len() - 1;
    if last > usize::from(u16::MAX) {
        return Err(target.error(format!(
            "the range of `port` goes on to port {last} here: the highest is {}",
            u16::MAX
        )));
    }
    Ok(service)
}

const KEYS: &[&str] = &["name", "protocol", "target", "port", "proxy_protocol"];

const PROXY_PROTOCOLS: &[(&str, ())] = &[("v2", ())];

const PROTOCOLS: &[(&str, TransportProtocol)] = &[
    ("tcp", TransportProtocol::Tcp),
    ("udp", TransportProtocol::Udp),
];
