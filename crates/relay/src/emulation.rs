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
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
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
    /// What applications ask for by it.
    name: watch::Sender<String>,
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

    /// The other side's services are these now. Where another one is found than before, its socket stays: who
    /// sends to it meanwhile is not turned away.
    pub fn set(&mut self, services: &[CatalogueEntry]) {
        let mut wanted = BTreeMap::new();
        for service in services {
            for place in self.places(service) {
                wanted.entry(place).or_insert(service);
            }
        }
        let gone = |place: &Place, one: &mut EmulationSocket| match wanted.get(place) {
            Some(service) => {
                one.service.clone_from(service);
                one.name.send_replace(service.name.clone());
                false
            }
            None => true,
        };
        let gone: Vec<(Place, EmulationSocket)> = self.sockets.extract_if(.., gone).collect();
        for ((protocol, port, ip), socket) in gone {
            drop(socket);
            if protocol == TransportProtocol::Udp {
                // Flows would keep the port.
                let entrance = SocketAddr::new(ip, port);
                (self.hub)
                    .with(|machine, _| machine.streams_mut().flows_mut().close_entrance(entrance));
            }
        }
        for service in services {
            for ip in self.bind.clone() {
                self.open(service, ip);
            }
        }
    }

    /// Listens for `service` on the ports of `ip` that have no socket yet.
    fn open(&mut self, service: &CatalogueEntry, ip: IpAddr) {
        let (mut opened, mut failed) = (Vec::new(), Vec::new());
        for port in service.ports.clone() {
            let place = (service.protocol, port, ip);
            if self.sockets.contains_key(&place) {
                continue;
            }
            let socket = self.listen(service.clone(), place);
            match socket.error() {
                None => opened.push(socket.address),
                Some(error) => failed.push((socket.address, error.to_string())),
            }
            self.sockets.insert(place, socket);
        }
        if let Some(address) = opened.first() {
            info!(service = %service.name, %address, ports = opened.len(), protocol = ?service.protocol, "listening");
        }
        if let Some((address, error)) = failed.first() {
            warn!(service = %service.name, %address, ports = failed.len(), "cannot listen: {error}");
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
                if socket.error().is_none() {
                    info!(service = %socket.service.name, address = %socket.address, "listening");
                }
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
        let (name, named) = watch::channel(service.name.clone());
        let hub = Arc::clone(&self.hub);
        let task = match protocol {
            TransportProtocol::Tcp => {
                bind(address).map(|listener| self.hub.spawn(accept(listener, named, port, hub)))
            }
            TransportProtocol::Udp => bind_udp(address)
                .map(|socket| self.hub.spawn(serve_datagrams(socket, address, named, hub))),
        };
        EmulationSocket {
            service,
            address,
            name,
            task,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    ensure_spare_descriptors(&listener)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bound_udp_socket(address)?;
    ensure_spare_descriptors(&socket)?;
    Ok(socket)
}

/// Every connection becomes a stream.
async fn accept<S: Session>(
    listener: TcpListener,
    service: watch::Receiver<String>,
    port: u16,
    hub: Arc<Hub<S>>,
) {
    let mut refusals = Seldom::default();
    loop {
        let refused = match listener.accept().await {
            Ok((socket, origin)) => {
                let request = Request {
                    service: service.borrow().clone(),
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
            let service = service.borrow().clone();
            warn!(service, unsaid, "connection refused: {error}");
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
        let hub = hub();
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
        let (_name, named) = watch::channel("web".to_owned());
        let accepting = tokio::spawn(accept(listener, named, address.port(), Arc::clone(&hub)));
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

    fn hub() -> Arc<Hub<Cnapt>> {
        let streams = Streams::new(Side::Cnapt, &[], CreditPool::default());
        let machine = Cnapt::new(CnaptId([0; 32]), Instance(1), Vec::new(), streams);
        Hub::new(machine, now).0
    }

    /// On a port that nobody has at this moment.
    async fn free(name: &str, protocol: TransportProtocol) -> CatalogueEntry {
        let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = found.local_addr().unwrap().port();
        CatalogueEntry {
            name: name.to_owned(),
            protocol,
            ports: port..=port,
        }
    }

    #[tokio::test]
    async fn a_service_that_is_renamed_keeps_its_sockets() {
        let mut sockets = EmulationSockets::new(vec![Ipv4Addr::LOCALHOST.into()], hub());
        let old = [
            free("web", TransportProtocol::Tcp).await,
            free("dns", TransportProtocol::Udp).await,
        ];
        sockets.set(&old);
        let new = old.map(|service| CatalogueEntry {
            name: format!("new {}", service.name),
            ..service
        });
        sockets.set(&new);
        assert!(!sockets.is_incomplete());
        let names: Vec<&str> = sockets
            .iter()
            .map(|one| one.service.name.as_str())
            .collect();
        assert_eq!(names, ["new web", "new dns"]);
        for socket in sockets.iter() {
            assert_eq!(*socket.name.borrow(), socket.service.name);
        }
        let web = SocketAddr::from((Ipv4Addr::LOCALHOST, *new[0].ports.start()));
        let _application = TcpStream::connect(web).await.unwrap();
        until_there_are(1, &sockets.hub).await;
    }

    #[tokio::test]
    async fn a_datagram_service_that_is_gone_gives_its_port_back() {
        let mut sockets = EmulationSockets::new(vec![Ipv4Addr::LOCALHOST.into()], hub());
        let service = free("dns", TransportProtocol::Udp).await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *service.ports.start()));
        sockets.set(&[service]);
        let application = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        application.send_to(b"question", address).await.unwrap();
        let flows = |hub: &Hub<Cnapt>| hub.with(|machine, _| machine.streams().flows().len());
        until(|| flows(&sockets.hub) == 1).await;
        sockets.set(&[]);
        until(|| std::net::UdpSocket::bind(address).is_ok()).await;
        assert_eq!(flows(&sockets.hub), 0);
    }

    async fn until_there_are(count: usize, hub: &Hub<Cnapt>) {
        until(|| hub.applications() == count).await;
    }

    async fn until(condition: impl Fn() -> bool) {
        timeout(LIMIT, async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
