//! The emulation sockets: where client applications find the server's services.
//!
//! A port that is taken is a line in `status` and is tried again; it never stops the others.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use handover_control::{Protocol, ServiceStatus};
use handover_network::{ensure_spare_descriptors, now};
use handover_proto::session::Cnapt;
use handover_proto::wire::{CatalogueEntry, Request, TransportProtocol};
use handover_relay::{Hub, Seldom};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// After an error of the whole system, such as no descriptor left, accepting pauses: the error would
/// come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Listening {
    service: CatalogueEntry,
    address: SocketAddr,
    state: Result<JoinHandle<()>, String>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Ok(task) = &self.state {
            task.abort();
        }
    }
}

/// One listener for each port of a service and address to bind to.
#[derive(Debug)]
pub(crate) struct Listeners {
    bind: Vec<IpAddr>,
    listening: BTreeMap<(u16, IpAddr), Listening>,
    hub: Arc<Hub<Cnapt>>,
}

impl Listeners {
    pub(crate) fn new(bind: Vec<IpAddr>, hub: Arc<Hub<Cnapt>>) -> Self {
        Self {
            bind,
            listening: BTreeMap::new(),
            hub,
        }
    }

    /// The server's catalogue is this now.
    pub(crate) fn set(&mut self, services: &[CatalogueEntry]) {
        self.listening
            .retain(|_, one| services.contains(&one.service));
        for service in services
            .iter()
            .filter(|one| one.protocol == TransportProtocol::Tcp)
        {
            for key in self.places(service) {
                if !self.listening.contains_key(&key) {
                    let listening = self.listen(service.clone(), key);
                    if let Err(error) = &listening.state {
                        warn!(service = %service.name, address = %listening.address, "cannot listen: {error}");
                    }
                    self.listening.insert(key, listening);
                }
            }
        }
    }

    /// Tries again what could not be listened on. Says whether anything is still missing.
    pub(crate) fn retry(&mut self) -> bool {
        let failed: Vec<(u16, IpAddr)> = self
            .listening
            .iter()
            .filter(|(_, one)| one.state.is_err())
            .map(|(key, _)| *key)
            .collect();
        for key in &failed {
            if let Some(old) = self.listening.remove(key) {
                let listening = self.listen(old.service.clone(), *key);
                self.listening.insert(*key, listening);
            }
        }
        self.listening.values().any(|one| one.state.is_err())
    }

    fn places(&self, service: &CatalogueEntry) -> Vec<(u16, IpAddr)> {
        let ports = service.ports.clone();
        ports
            .flat_map(|port| self.bind.iter().map(move |address| (port, *address)))
            .collect()
    }

    fn listen(&self, service: CatalogueEntry, (port, address): (u16, IpAddr)) -> Listening {
        let address = SocketAddr::new(address, port);
        let state = bind(address).map(|listener| {
            info!(service = %service.name, %address, "listening");
            tokio::spawn(accept(
                listener,
                service.name.clone(),
                port,
                Arc::clone(&self.hub),
            ))
        });
        Listening {
            service,
            address,
            state: state.map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn status(&self) -> Vec<ServiceStatus> {
        let mut services: BTreeMap<(u16, String), ServiceStatus> = BTreeMap::new();
        for one in self.listening.values() {
            let status = services
                .entry((*one.service.ports.start(), one.service.name.clone()))
                .or_insert_with(|| ServiceStatus {
                    name: one.service.name.clone(),
                    protocol: match one.service.protocol {
                        TransportProtocol::Tcp => Protocol::Tcp,
                        TransportProtocol::Udp => Protocol::Udp,
                    },
                    port: *one.service.ports.start(),
                    listening: Vec::new(),
                    error: None,
                });
            match &one.state {
                Ok(_) => status.listening.push(one.address),
                Err(error) => status.error = Some(format!("{}: {error}", one.address)),
            }
        }
        services.into_values().collect()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Every connection becomes a stream.
async fn accept(listener: TcpListener, service: String, port: u16, hub: Arc<Hub<Cnapt>>) {
    let mut refusals = Seldom::default();
    loop {
        let refused = match listener.accept().await {
            Ok((socket, origin)) => {
                let request = Request {
                    service: service.clone(),
                    port,
                    origin,
                };
                serve(&hub, request, socket)
            }
            Err(error) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                Err(error)
            }
        };
        if let Err(error) = refused
            && let Some(unsaid) = refusals.due(now())
        {
            warn!(%service, unsaid, "connection refused: {error}");
        }
    }
}

/// # Errors
///
/// If there is no room for it; the connection is reset then.
fn serve(hub: &Arc<Hub<Cnapt>>, request: Request, socket: TcpStream) -> io::Result<()> {
    // Until it has a task of its own, letting go of it is a reset.
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    ensure_spare_descriptors(&socket)?;
    let stream = hub
        .with(|machine, now| machine.streams_mut().open(request, now))
        .map_err(io::Error::other)?;
    hub.spawn_application(stream, socket)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use handover_proto::stream::{CreditPool, STREAMS, Streams};
    use handover_proto::{CnaptId, Instance, Side};
    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::*;

    /// For what happens at once, on a busy machine.
    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn while_no_network_is_there_connections_wait_up_to_the_limit_of_streams() {
        let streams = Streams::new(Side::Cnapt, &[], CreditPool::default());
        let machine = Cnapt::new(CnaptId([0; 32]), Instance(1), Vec::new(), streams);
        let (hub, _outputs) = Hub::new(machine, now);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 1..STREAMS {
            let request = Request {
                service: "web".into(),
                port: address.port(),
                origin: address,
            };
            hub.with(|machine, now| machine.streams_mut().open(request, now))
                .unwrap();
        }
        let accepting = tokio::spawn(accept(
            listener,
            "web".into(),
            address.port(),
            Arc::clone(&hub),
        ));
        let waiting = TcpStream::connect(address).await.unwrap();
        // The reset may come before the connect is seen to have succeeded.
        let refused = async { TcpStream::connect(address).await?.read_u8().await };
        let reset = timeout(LIMIT, refused).await.unwrap();
        assert_eq!(reset.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(hub.applications(), 1);
        let heard = waiting.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(heard.kind(), io::ErrorKind::WouldBlock);

        SockRef::from(&waiting)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(waiting);
        until_there_are(0, &hub).await;
        let _next = TcpStream::connect(address).await.unwrap();
        until_there_are(1, &hub).await;
        accepting.abort();
    }

    async fn until_there_are(count: usize, hub: &Hub<Cnapt>) {
        timeout(LIMIT, async {
            while hub.applications() != count {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
