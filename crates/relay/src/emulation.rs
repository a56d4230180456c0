//! The emulation sockets: where applications find the services of the other side.
//!
//! At the CNAPT they are the server's services, on loopback or on the address of a dedicated box; at the
//! SNAPT the client's, on its virtual IP. A port that is taken is told and tried again; it never stops
//! the others.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use handover_network::{bound_udp_socket, ensure_spare_descriptors, now};
use handover_proto::wire::{CatalogueEntry, Request, TransportProtocol};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::flow::serve_datagrams;
use crate::hub::{Hub, Session};
use crate::seldom::Seldom;

/// After an error of the whole system, such as no descriptor left, accepting pauses: the error would
/// come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One emulation socket, or why there is none.
#[derive(Debug)]
pub struct EmulationSocket {
    /// Whose it is.
    pub service: CatalogueEntry,
    /// Where it is.
    pub address: SocketAddr,
    task: io::Result<JoinHandle<()>>,
}

impl EmulationSocket {
    /// Why applications cannot connect, if they cannot.
    pub fn error(&self) -> Option<&io::Error> {
        self.task.as_ref().err()
    }
}

impl Drop for EmulationSocket {
    fn drop(&mut self) {
        if let Ok(task) = &self.task {
            task.abort();
        }
    }
}

/// The same port of one address may serve both protocols.
type Place = (TransportProtocol, u16, IpAddr);

/// One for each port of a service and address to bind to.
#[derive(Debug)]
pub struct EmulationSockets<S> {
    bind: Vec<IpAddr>,
    sockets: BTreeMap<Place, EmulationSocket>,
    hub: Arc<Hub<S>>,
}

impl<S: Session> EmulationSockets<S> {
    /// None yet; they will be on each of the addresses in `bind`.
    pub fn new(bind: Vec<IpAddr>, hub: Arc<Hub<S>>) -> Self {
        Self {
            bind,
            sockets: BTreeMap::new(),
            hub,
        }
    }

    /// The other side's services are these now.
    pub fn set(&mut self, services: &[CatalogueEntry]) {
        self.sockets.retain(|(_, port, _), one| {
            let same = |service: &&CatalogueEntry| {
                (&service.name, service.protocol) == (&one.service.name, one.service.protocol)
                    && service.ports.contains(port)
            };
            let Some(service) = services.iter().find(same) else {
                return false;
            };
            one.service.clone_from(service);
            true
        });
        for service in services {
            for key in self.places(service) {
                if !self.sockets.contains_key(&key) {
                    let socket = self.listen(service.clone(), key);
                    if let Some(error) = socket.error() {
                        warn!(service = %service.name, address = %socket.address, "cannot listen: {error}");
                    }
                    self.sockets.insert(key, socket);
                }
            }
        }
    }

    /// Tries again what could not be listened on. Says whether anything is still missing.
    pub fn retry(&mut self) -> bool {
        let failed: Vec<Place> = self
            .sockets
            .iter()
            .filter(|(_, one)| one.task.is_err())
            .map(|(key, _)| *key)
            .collect();
        for key in &failed {
            if let Some(old) = self.sockets.remove(key) {
                let socket = self.listen(old.service.clone(), *key);
                self.sockets.insert(*key, socket);
            }
        }
        self.is_incomplete()
    }

    /// Whether anything is missing.
    pub fn is_incomplete(&self) -> bool {
        self.sockets.values().any(|one| one.task.is_err())
    }

    /// All of them, by port.
    pub fn iter(&self) -> impl Iterator<Item = &EmulationSocket> {
        self.sockets.values()
    }

    fn places(&self, service: &CatalogueEntry) -> Vec<Place> {
        let (protocol, ports) = (service.protocol, service.ports.clone());
        let on = |port| (self.bind.iter()).map(move |address| (protocol, port, *address));
        ports.flat_map(on).collect()
    }

    fn listen(&self, service: CatalogueEntry, (protocol, port, ip): Place) -> EmulationSocket {
        let address = SocketAddr::new(ip, port);
        let (name, hub) = (service.name.clone(), Arc::clone(&self.hub));
        let task = match protocol {
            TransportProtocol::Tcp => {
                bind(address).map(|listener| self.hub.spawn(accept(listener, name, port, hub)))
            }
            TransportProtocol::Udp => bound_udp_socket(address)
                .map(|socket| self.hub.spawn(serve_datagrams(socket, address, name, hub))),
        };
        if task.is_ok() {
            info!(service = %service.name, %address, ?protocol, "listening");
        }
        EmulationSocket {
            service,
            address,
            task,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Every connection becomes a stream.
async fn accept<S: Session>(listener: TcpListener, service: String, port: u16, hub: Arc<Hub<S>>) {
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
fn serve<S: Session>(hub: &Arc<Hub<S>>, request: Request, socket: TcpStream) -> io::Result<()> {
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

    use handover_proto::session::Cnapt;
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
