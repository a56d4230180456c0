//! Connections to the applications beside this module, for streams that the other side has opened.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handover_network::{bound_tcp_socket, connected_udp_socket, ensure_spare_descriptors, now};
use handover_proto::stream::code;
use handover_proto::wire::Request;
use handover_proto::{FlowId, StreamId};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::hub::{Hub, Session};
use crate::seldom::Seldom;
use crate::service::Service;

/// How long an application may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The services of the applications beside this module.
#[derive(Debug)]
pub struct Targets {
    /// Whose they are, for the log: "server application", say.
    whose: String,
    services: Mutex<Vec<Service>>,
    source: Option<IpAddr>,
    /// Failures to connect, by service.
    failures: Mutex<BTreeMap<String, Seldom>>,
}

impl Targets {
    /// `services` of the applications that the log calls `whose`. They see connections from `source`, as
    /// far as they can answer to it and the host has it.
    pub fn new(whose: String, services: Vec<Service>, source: Option<IpAddr>) -> Self {
        Self {
            whose,
            services: Mutex::new(services),
            source,
            failures: Mutex::default(),
        }
    }

    /// Serves `stream` by a connection to the application that `request` asks for; aborts it if there is
    /// none within ten seconds. `other` is where the other module's traffic comes from at this moment.
    pub async fn connect<S: Session>(
        &self,
        hub: &Arc<Hub<S>>,
        stream: StreamId,
        request: Request,
        other: Option<IpAddr>,
    ) {
        let failure = match self.find(&request) {
            Some(service) => {
                let target = service.target_of(request.port);
                let connecting = async {
                    let mut socket = connect(target, self.source).await?;
                    service.introduce(&mut socket, &request, other).await?;
                    Ok(socket)
                };
                let connected = timeout(CONNECT_TIMEOUT, connecting).await;
                let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let served =
                    connected.and_then(|socket| hub.spawn_requested(stream, &request, socket));
                served.err().map(|error| {
                    self.warn(&request.service, target, &error);
                    code::CONNECT_FAILED
                })
            }
            None => Some(code::UNKNOWN_SERVICE),
        };
        hub.with_core(|core, _| {
            core.connect_over();
            let streams = core.machine.streams_mut();
            if let Some(code) = failure.filter(|_| streams.awaits(stream, &request)) {
                streams.abort(stream, code);
            }
        });
    }

    /// They are these from now on.
    pub fn set(&self, services: Vec<Service>) {
        *lock(&self.services) = services;
    }

    /// The services may be others than when the stream or the flow was let in.
    fn find(&self, request: &Request) -> Option<Service> {
        let services = lock(&self.services);
        let asked =
            |one: &&Service| one.name == request.service && one.ports.contains(&request.port);
        services.iter().find(asked).cloned()
    }

    /// Serves `flow` by a socket to the application that `request` asks for; it is over if there can be none.
    pub fn connect_flow<S: Session>(&self, hub: &Arc<Hub<S>>, flow: FlowId, request: &Request) {
        let target = (self.find(request)).map(|service| service.target_of(request.port));
        let socket = target.map(|target| {
            socket_to(target, self.source)
                .inspect_err(|error| self.warn(&request.service, target, error))
        });
        if let Some(Ok(socket)) = socket {
            hub.spawn_flow(flow, request, socket);
        }
        hub.with_core(|core, _| {
            core.connect_over();
            let flows = core.machine.streams_mut().flows_mut();
            if flows.awaits(flow, request) {
                flows.unreachable(flow);
            }
        });
    }

    fn warn(&self, service: &str, target: SocketAddr, error: &io::Error) {
        let mut failures = lock(&self.failures);
        let of_service = failures.entry(service.to_owned()).or_default();
        if let Some(unsaid) = of_service.due(now()) {
            warn!(service, %target, unsaid, "{}: {error}", self.whose);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From `source`, if the target can answer to it, so that the application can tell clients apart and
/// connect back; from wherever the system likes if that address is not there.
async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    if let Some(source) = source.filter(|source| answers(target, *source)) {
        match bound_tcp_socket(None, source) {
            Ok(socket) => {
                ensure_spare_descriptors(&socket)?;
                return socket.connect(target).await;
            }
            Err(error) => debug!(%source, "cannot connect from it: {error}"),
        }
    }
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    ensure_spare_descriptors(&socket)?;
    socket.connect(target).await
}

/// The same for datagrams.
fn socket_to(target: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let source = source.filter(|source| answers(target, *source));
    let socket = connected_udp_socket(source, target).or_else(|error| {
        debug!(?source, "cannot send from it: {error}");
        connected_udp_socket(None, target)
    })?;
    ensure_spare_descriptors(&socket)?;
    Ok(socket)
}

/// Whether the target can answer to this source.
const fn answers(target: SocketAddr, source: IpAddr) -> bool {
    let reaches = target.ip().is_loopback() || !source.is_loopback();
    reaches && target.is_ipv4() == source.is_ipv4()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use handover_proto::flow::DEFAULT_FLOW_IDLE;
    use handover_proto::session::{Cnapt, Output, Snapt, SnaptOptions};
    use handover_proto::stream::{CreditPool, INITIAL_LIMIT, STREAMS, Streams};
    use handover_proto::wire::{
        Attach, CatalogueEntry, Frame, Hello, Move, OldLink, Role, TransportProtocol, VERSION,
    };
    use handover_proto::{CnaptId, ConduitId, Instance, LinkNumber, Side};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::hub::CONNECTS;

    fn request(origin_port: u16) -> Request {
        Request {
            service: "web".into(),
            port: 80,
            origin: (Ipv4Addr::LOCALHOST, origin_port).into(),
        }
    }

    fn service() -> CatalogueEntry {
        CatalogueEntry {
            name: "web".into(),
            protocol: TransportProtocol::Tcp,
            ports: 80..=80,
        }
    }

    /// Of a CNAPT that has the service.
    fn hub() -> (Arc<Hub<Cnapt>>, UnboundedReceiver<Output>) {
        let streams = Streams::new(Side::Cnapt, &[service()], CreditPool::default());
        let machine = Cnapt::new(CnaptId([0; 32]), Instance(1), Vec::new(), streams);
        Hub::new(machine, now)
    }

    /// The other side opens a stream, and forgets it at once if it is said to be over.
    fn open(hub: &Hub<Cnapt>, index: u64, over: bool) -> StreamId {
        let stream = StreamId::new(Side::Snapt, index);
        let open = Frame::Open {
            stream,
            floor: index,
            request: request(50_000),
        };
        hub.with(|machine, now| {
            let streams = machine.streams_mut();
            streams.handle_frame(&open, now).unwrap();
            if over {
                let settled = Frame::Settled { stream };
                streams.handle_frame(&settled, now).unwrap();
            }
        });
        stream
    }

    fn targets(target: SocketAddr) -> Targets {
        let service = Service {
            name: "web".into(),
            protocol: TransportProtocol::Tcp,
            target,
            ports: 80..=80,
            proxy_protocol: false,
        };
        Targets::new("somebody's application".into(), vec![service], None)
    }

    #[tokio::test]
    async fn who_gives_up_what_it_asks_for_has_no_more_under_way_than_anybody() {
        let (hub, outputs) = hub();
        let many = CONNECTS as u64;
        for index in 0..many + 10 {
            open(&hub, index, true);
        }
        let asked = outputs.len();
        assert_eq!(asked, CONNECTS);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let targets = targets(listener.local_addr().unwrap());
        let over = StreamId::new(Side::Snapt, 0);
        targets.connect(&hub, over, request(50_000), None).await;
        assert_eq!(hub.applications(), 0, "nobody waits for it");
        open(&hub, many + 10, false);
        assert_eq!(outputs.len(), CONNECTS + 1, "there is room for one");
    }

    #[tokio::test]
    async fn what_was_connected_for_another_stream_of_the_same_id_is_not_taken() {
        let (hub, _outputs) = hub();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let targets = targets(listener.local_addr().unwrap());
        let stream = open(&hub, 0, false);
        targets.connect(&hub, stream, request(49_999), None).await;
        assert_eq!(hub.applications(), 0);
        hub.with(|machine, _| assert!(machine.streams().awaits(stream, &request(50_000))));
    }

    /// A process of a CNAPT attaches to this SNAPT and opens its first stream.
    fn begin(hub: &Hub<Snapt>, process: u64, request: &Request) -> StreamId {
        let (cnapt, control) = (CnaptId([0; 32]), ConduitId(process));
        let stream = StreamId::new(Side::Cnapt, 0);
        let hello = Hello {
            oldest: VERSION,
            newest: VERSION,
            role: Role::Control,
            instance: Instance(process),
            link: LinkNumber(1),
        };
        let attach = Attach {
            cnapt,
            session: 0,
            snapt: Instance(0),
            initial_limit: INITIAL_LIMIT,
            streams: STREAMS,
            flow_idle: DEFAULT_FLOW_IDLE,
            services: Vec::new(),
        };
        let order = Frame::SwitchUnexpected(Move::new(1, cnapt, OldLink::Dead));
        let open = Frame::Open {
            stream,
            floor: 0,
            request: request.clone(),
        };
        let lives = Frame::ProbeReply { token: 1 };
        hub.with(|machine, now| {
            machine.conduit_arrived(control, hello, now);
            for frame in [Frame::Attach(attach), order, lives, open] {
                machine.handle_frame(control, &frame, now).unwrap();
            }
        });
        stream
    }

    #[tokio::test]
    async fn an_application_of_one_process_is_reset_though_the_next_has_a_stream_of_its_id() {
        let options = SnaptOptions {
            cnapt: CnaptId([0; 32]),
            instance: Instance(9),
            session: 1,
            virtual_ip: Ipv4Addr::LOCALHOST.into(),
            services: vec![service()],
            switch_timeout: CONNECT_TIMEOUT,
            flow_idle: DEFAULT_FLOW_IDLE,
        };
        let (hub, _outputs) = Hub::new(Snapt::new(options, CreditPool::default()), now);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (old, new) = (request(50_000), request(50_001));
        let stream = begin(&hub, 1, &old);
        let targets = targets(address);
        targets.connect(&hub, stream, old, None).await;
        let (mut served, _) = listener.accept().await.unwrap();
        let next = TcpStream::connect(address).await.unwrap();

        // Before the old one's task has its turn.
        begin(&hub, 2, &new);
        hub.spawn_requested(stream, &new, next).unwrap();
        let read = timeout(CONNECT_TIMEOUT, served.read_u8()).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(hub.applications(), 1, "the new one");
    }
}
