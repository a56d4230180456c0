//! The services of both sides, for the user.

use std::collections::BTreeMap;
use std::net::IpAddr;

use handover_control::{ClientServiceState, ClientServiceStatus, Protocol, ServiceStatus};
use handover_proto::session::Cnapt;
use handover_proto::wire::{OfferedService, TransportProtocol};
use handover_relay::{EmulationSockets, Service};

/// The server's services, each with the places where applications find it.
pub(crate) fn server_services(sockets: &EmulationSockets<Cnapt>) -> Vec<ServiceStatus> {
    let mut services: BTreeMap<(u16, String), ServiceStatus> = BTreeMap::new();
    for socket in sockets.iter() {
        let service = &socket.service;
        let status = services
            .entry((*service.ports.start(), service.name.clone()))
            .or_insert_with(|| ServiceStatus {
                name: service.name.clone(),
                protocol: protocol(service.protocol),
                port: *service.ports.start(),
                last_port: *service.ports.end(),
                target: None,
                listening: Vec::new(),
                error: None,
            });
        match socket.error() {
            None => status.listening.push(socket.address),
            Some(error) => status.error = Some(format!("{}: {error}", socket.address)),
        }
    }
    services.into_values().collect()
}

/// This device's own services, and what the server has said of them.
pub(crate) fn client_services(
    services: &[Service],
    offered: Option<&[OfferedService]>,
    virtual_ip: Option<IpAddr>,
) -> Vec<ClientServiceStatus> {
    let status = |service: &Service| {
        let mut said = offered.into_iter().flatten();
        let said = said.find(|one| one.name == service.name);
        let error = said.and_then(|one| one.state.refusal());
        ClientServiceStatus {
            client: None,
            name: service.name.clone(),
            protocol: protocol(service.protocol),
            port: *service.ports.start(),
            last_port: *service.ports.end(),
            virtual_ip,
            target: Some(service.target),
            state: match (said, &error) {
                (None, _) => ClientServiceState::Waiting,
                (Some(_), None) => ClientServiceState::Listening,
                (Some(_), Some(_)) => ClientServiceState::Failed,
            },
            error,
        }
    };
    services.iter().map(status).collect()
}

const fn protocol(protocol: TransportProtocol) -> Protocol {
    match protocol {
        TransportProtocol::Tcp => Protocol::Tcp,
        TransportProtocol::Udp => Protocol::Udp,
    }
}
