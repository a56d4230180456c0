//! One CNAPT's session: its machine, its conduits, its connections to applications.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use handover_carrier::{Conduit, PublicKey};
use handover_control::{ServerClient, ServerClientState};
use handover_network::{bound_tcp_socket, now};
use handover_proto::session::{Event, Output, Snapt, SnaptOptions, SnaptPhase};
use handover_proto::stream::{CreditPool, code};
use handover_proto::wire::Hello;
use handover_proto::{ConduitId, StreamId};
use handover_relay::Hub;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::config::{ClientConfig, ServerService};

/// How long a server application may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the daemon holds of a session. Dropping it ends the session's tasks.
pub(crate) struct Session {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    hub: Arc<Hub<Snapt>>,
    client: ClientConfig,
    virtual_ip: IpAddr,
    services: Vec<ServerService>,
    /// Where each conduit comes from.
    peers: Mutex<BTreeMap<ConduitId, SocketAddr>>,
    address: Mutex<Option<SocketAddr>>,
}

impl Session {
    pub(crate) fn start(
        client: ClientConfig,
        options: SnaptOptions,
        pool: CreditPool,
        services: Vec<ServerService>,
        released: mpsc::UnboundedSender<PublicKey>,
    ) -> Self {
        let virtual_ip = options.virtual_ip;
        let (hub, outputs) = Hub::new(Snapt::new(options, pool), now);
        let shared = Arc::new(Shared {
            hub: Arc::clone(&hub),
            client,
            virtual_ip,
            services,
            peers: Mutex::default(),
            address: Mutex::default(),
        });
        let timer = tokio::spawn(async move { hub.run_timer().await });
        let work = tokio::spawn(work(Arc::clone(&shared), outputs, released));
        Self {
            shared,
            tasks: vec![timer, work],
        }
    }

    pub(crate) fn take_conduit(&self, conduit: Conduit, hello: Hello) {
        let hub = &self.shared.hub;
        let id = hub.next_conduit_id();
        let mut peers = self
            .shared
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        peers.insert(id, conduit.peer_addr());
        drop(peers);
        hub.spawn_conduit(id, conduit, |machine, now| {
            machine.conduit_arrived(id, hello, now)
        });
    }

    pub(crate) fn status(&self) -> ServerClient {
        let (phase, streams) = self
            .shared
            .hub
            .with(|machine, _| (machine.phase(), machine.streams().len()));
        let address = *self
            .shared
            .address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ServerClient {
            cnapt_id: handover_proto::CnaptId(self.shared.client.key.id()).to_string(),
            name: self.shared.client.name.clone(),
            state: match phase {
                SnaptPhase::Attached => ServerClientState::Attached,
                SnaptPhase::AwaitMarkers
                | SnaptPhase::AwaitClientServices
                | SnaptPhase::AwaitStep2
                | SnaptPhase::AwaitRenewal(_) => ServerClientState::Switching,
                SnaptPhase::New | SnaptPhase::AwaitUnexpected | SnaptPhase::Released => {
                    ServerClientState::Detached
                }
            },
            address: address.map(|address| address.ip().to_canonical()),
            virtual_ip: Some(self.shared.virtual_ip),
            streams: streams as u64,
            flows: 0,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // Conduit tasks hold the hub; told to close, they let go of it.
        self.shared.hub.close();
    }
}

/// Does what the machine says and the data path cannot do.
async fn work(
    shared: Arc<Shared>,
    mut outputs: mpsc::UnboundedReceiver<Output>,
    released: mpsc::UnboundedSender<PublicKey>,
) {
    while let Some(output) = outputs.recv().await {
        match output {
            Output::Connect { stream, service } => {
                tokio::spawn(connect(Arc::clone(&shared), stream, service));
            }
            Output::Event(event) => {
                let over = matches!(event, Event::Released { .. });
                shared.tell(event);
                // Nobody listens when the daemon is gone.
                if over && released.send(shared.client.key).is_err() {
                    return;
                }
            }
            Output::Wake(_)
            | Output::Look(_)
            | Output::Reset { .. }
            | Output::Close { .. }
            | Output::DialLink { .. }
            | Output::DialConduit { .. }
            | Output::SuspendDecision
            | Output::WakeDecision => {}
        }
    }
}

/// Connects to the server application for a stream that the CNAPT opened.
async fn connect(shared: Arc<Shared>, stream: StreamId, service: String) {
    let target = shared
        .services
        .iter()
        .find(|one| one.name == service)
        .map(|one| one.target);
    let Some(target) = target else {
        shared
            .hub
            .with(|machine, _| machine.streams_mut().abort(stream, code::UNKNOWN_SERVICE));
        return;
    };
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, connect_to(target, shared.virtual_ip));
    let result = connecting
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let served = result.and_then(|socket| shared.hub.spawn_application(stream, socket));
    if let Err(error) = served {
        warn!(client = %shared.client.name, %service, %target, "server application: {error}");
        shared
            .hub
            .with(|machine, _| machine.streams_mut().abort(stream, code::CONNECT_FAILED));
    }
}

/// To a target on this host from the client's virtual IP, so that the server application can tell
/// clients apart; from wherever the system likes if that address is not there.
async fn connect_to(target: SocketAddr, virtual_ip: IpAddr) -> io::Result<TcpStream> {
    if target.ip().is_loopback() && target.is_ipv4() == virtual_ip.is_ipv4() {
        match bound_tcp_socket(None, virtual_ip) {
            Ok(socket) => return socket.connect(target).await,
            Err(error) => debug!(%virtual_ip, "cannot connect from it: {error}"),
        }
    }
    TcpStream::connect(target).await
}

impl Shared {
    fn tell(&self, event: Event) {
        let client = &self.client.name;
        match event {
            //= docs/spec/planned.md#snapt-17
            //= docs/spec/unexpected.md#snapt-star-09
            Event::Redirected { number, link } => {
                let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
                let address = peers.get(&link).copied();
                // Conduits' numbers only grow, and all older than the link's are over.
                peers.retain(|conduit, _| *conduit >= link);
                drop(peers);
                *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
                info!(%client, ?address, switch = number, "redirected");
            }
            Event::Detached => info!(%client, "detached: waits for the client"),
            Event::TakenOver { streams } => {
                warn!(%client, streams, "taken over by a new instance: connections reset");
            }
            Event::Released { streams, left } => {
                info!(%client, streams, left, "released: connections reset");
            }
            Event::Settled { number, gap, .. } => debug!(%client, switch = number, ?gap, "settled"),
            Event::Attached { .. }
            | Event::Lost { .. }
            | Event::Unreachable { .. }
            | Event::Switched(_)
            | Event::Began { .. }
            | Event::SessionLost { .. }
            | Event::Refused { .. } => {}
        }
    }
}
