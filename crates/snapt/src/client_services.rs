//! The client services of one CNAPT, as the server's applications find them on its virtual IP (R5, R6).
//!
//! The CNAPT says what it offers; the server's configuration says on which ports it may. What cannot be
//! listened for is told to the CNAPT, is tried again, and never stops the others. The virtual IP goes
//! with the session (R13).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use handover_control::{ClientServiceState, ClientServiceStatus, Protocol};
use handover_network::LocalAddress;
use handover_proto::session::Snapt;
use handover_proto::wire::{CatalogueEntry, OfferState, OfferedService, TransportProtocol};
use handover_relay::{EmulationSockets, Hub};
use tracing::{info, warn};

use crate::config::ClientConfig;

/// How often what could not be listened for is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(5);

pub(crate) struct ClientServices {
    client: ClientConfig,
    virtual_ip: IpAddr,
    services: Vec<CatalogueEntry>,
    sockets: EmulationSockets<Snapt>,
    told: Vec<OfferedService>,
    _address: Option<LocalAddress>,
}

impl ClientServices {
    /// None yet. The virtual IP is given to the host, where that is needed and may be done.
    pub(crate) async fn new(
        client: ClientConfig,
        virtual_ip: IpAddr,
        hub: Arc<Hub<Snapt>>,
    ) -> Self {
        let address = match LocalAddress::claim(virtual_ip).await {
            Ok(address) => address,
            Err(error) => {
                warn!(client = %client.name, %virtual_ip,
                    "this host does not have the virtual IP and may not add it ({error}): \
                     give the server CAP_NET_ADMIN, or run `{}`", remedy(virtual_ip));
                None
            }
        };
        Self {
            client,
            virtual_ip,
            services: Vec::new(),
            sockets: EmulationSockets::new(vec![virtual_ip], hub),
            told: Vec::new(),
            _address: address,
        }
    }

    /// The CNAPT offers these now. Says what has become of each.
    pub(crate) fn offer(&mut self, services: Vec<CatalogueEntry>) -> Vec<OfferedService> {
        let allowed = services.iter().filter(|one| self.forbidden(one).is_none());
        let allowed: Vec<CatalogueEntry> = allowed.cloned().collect();
        self.services = services;
        let forbidden = |one| Some((one, self.forbidden(one)?));
        let mut forbidden = self.services.iter().filter_map(forbidden);
        // One line, however many a client asks for.
        if let Some((service, port)) = forbidden.next() {
            warn!(client = %self.client.name, service = %service.name, port, more = forbidden.count(),
                "not offered: this client's `services` in the configuration do not contain the port");
        }
        self.sockets.set(&allowed);
        self.told = self.states();
        self.told.clone()
    }

    /// Whether it makes sense to [`Self::retry`] later.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.sockets.is_incomplete()
    }

    /// Tries again what could not be listened for. Says what has become of each service, if that is new.
    pub(crate) fn retry(&mut self) -> Option<Vec<OfferedService>> {
        self.sockets.retry();
        let states = self.states();
        if states == self.told {
            return None;
        }
        info!(client = %self.client.name, "other services of the client are offered than before");
        self.told.clone_from(&states);
        Some(states)
    }

    /// All of them, for the user.
    pub(crate) fn status(&self) -> Vec<ClientServiceStatus> {
        let status = |service: &CatalogueEntry| {
            let error = self.state(service).refusal();
            ClientServiceStatus {
                client: Some(self.client.name.clone()),
                name: service.name.clone(),
                protocol: protocol(service.protocol),
                port: *service.ports.start(),
                last_port: *service.ports.end(),
                virtual_ip: Some(self.virtual_ip),
                target: None,
                state: match error {
                    None => ClientServiceState::Listening,
                    Some(_) => ClientServiceState::Failed,
                },
                error,
            }
        };
        self.services.iter().map(status).collect()
    }

    fn states(&self) -> Vec<OfferedService> {
        let state = |service: &CatalogueEntry| OfferedService {
            name: service.name.clone(),
            state: self.state(service),
        };
        self.services.iter().map(state).collect()
    }

    fn state(&self, service: &CatalogueEntry) -> OfferState {
        if let Some(port) = self.forbidden(service) {
            return OfferState::NotAllowed { port };
        }
        let of_service = self.sockets.iter().filter(|one| one.service == *service);
        let mut failed = of_service.filter_map(|one| Some((one.address.port(), one.error()?)));
        let Some((port, error)) = failed.next() else {
            return OfferState::Listening;
        };
        let kind = error.kind();
        if kind == io::ErrorKind::AddrInUse {
            OfferState::PortTaken { port }
        } else if kind == io::ErrorKind::AddrNotAvailable {
            OfferState::NoAddress { port }
        } else {
            OfferState::Failed { port }
        }
    }

    /// The first port that the configuration does not allow this client.
    fn forbidden(&self, service: &CatalogueEntry) -> Option<u16> {
        let mut ports = service.ports.clone();
        ports.find(|port| !self.client.services.contains(*port))
    }
}

pub(crate) const fn protocol(protocol: TransportProtocol) -> Protocol {
    match protocol {
        TransportProtocol::Tcp => Protocol::Tcp,
        TransportProtocol::Udp => Protocol::Udp,
    }
}

/// How an administrator gives the host a virtual IP. A local route for a whole IPv6 range does not permit to bind.
fn remedy(virtual_ip: IpAddr) -> String {
    match virtual_ip {
        IpAddr::V4(_) => "ip route add local <virtual_ips> dev lo".to_owned(),
        IpAddr::V6(_) => format!("ip address add {virtual_ip} dev lo"),
    }
}
