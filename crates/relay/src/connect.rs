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
        let Some(service) = self.find(&request.service) else {
            hub.with(|machine, _| machine.streams_mut().abort(stream, code::UNKNOWN_SERVICE));
            return;
        };
        let target = service.target_of(request.port);
        let connecting = async {
            let mut socket = connect(target, self.source).await?;
            service.introduce(&mut socket, &request, other).await?;
            Ok(socket)
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let served = connected.and_then(|socket| hub.spawn_application(stream, socket));
        if let Err(error) = served {
            self.warn(&request.service, target, &error);
            hub.with(|machine, _| machine.streams_mut().abort(stream, code::CONNECT_FAILED));
        }
    }

    /// They are these from now on.
    pub fn set(&self, services: Vec<Service>) {
        *lock(&self.services) = services;
    }

    fn find(&self, name: &str) -> Option<Service> {
        let services = lock(&self.services);
        services.iter().find(|one| one.name == name).cloned()
    }

    /// Serves `flow` by a socket to the application that `request` asks for; it is over if there can be none.
    pub fn connect_flow<S: Session>(&self, hub: &Arc<Hub<S>>, flow: FlowId, request: &Request) {
        let service = self.find(&request.service);
        let target = service.map(|service| service.target_of(request.port));
        let socket = target.map(|target| {
            socket_to(target, self.source)
                .inspect_err(|error| self.warn(&request.service, target, error))
        });
        match socket {
            Some(Ok(socket)) => hub.spawn_flow(flow, socket),
            Some(Err(_)) | None => {
                hub.with(|machine, _| machine.streams_mut().flows_mut().unreachable(flow));
            }
        }
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
