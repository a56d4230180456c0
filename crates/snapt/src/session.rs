//! One CNAPT's session: its machine, its conduits, its connections to applications.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use handover_carrier::{Conduit, PublicKey};
use handover_control::{ClientServiceStatus, ServerClient, ServerClientState};
use handover_network::now;
use handover_proto::ConduitId;
use handover_proto::session::{Event, Output, Snapt, SnaptOptions, SnaptPhase};
use handover_proto::stream::CreditPool;
use handover_proto::wire::{Hello, RefusedCode, VERSION};
use handover_relay::{Hub, Seldom, Service, Targets};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use crate::client_services::{ClientServices, RETRY};
use crate::config::ClientConfig;

/// Tells the daemon that this client's session of this number is over.
pub(crate) type Released = mpsc::UnboundedSender<(PublicKey, u64)>;

/// What the daemon holds of a session. Dropping it ends the session's tasks.
pub(crate) struct Session {
    shared: Arc<Shared>,
    versions_said: Mutex<Seldom>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    hub: Arc<Hub<Snapt>>,
    number: u64,
    client: ClientConfig,
    virtual_ip: IpAddr,
    targets: Arc<Targets>,
    /// Where each conduit comes from.
    peers: Mutex<BTreeMap<ConduitId, SocketAddr>>,
    address: Mutex<Option<SocketAddr>>,
    client_services: Mutex<Vec<ClientServiceStatus>>,
}

impl Session {
    pub(crate) fn start(
        client: ClientConfig,
        options: SnaptOptions,
        pool: CreditPool,
        services: Vec<Service>,
        released: Released,
    ) -> Self {
        let (virtual_ip, number) = (options.virtual_ip, options.session);
        let (hub, outputs) = Hub::new(Snapt::new(options, pool), now);
        let whose = format!("{}'s server application", client.name);
        let targets = Targets::new(whose, services, Some(virtual_ip));
        let shared = Arc::new(Shared {
            hub: Arc::clone(&hub),
            number,
            client,
            virtual_ip,
            targets: Arc::new(targets),
            peers: Mutex::default(),
            address: Mutex::default(),
            client_services: Mutex::default(),
        });
        let watch = tokio::spawn(watch(Arc::clone(&shared), released.clone()));
        let timed = Arc::clone(&hub);
        let timer = hub.spawn(async move { timed.run_timer().await });
        let work = hub.spawn(work(Arc::clone(&shared), outputs, released));
        Self {
            shared,
            versions_said: Mutex::default(),
            tasks: vec![watch, timer, work],
        }
    }

    pub(crate) fn take_conduit(&self, conduit: Conduit, hello: Hello) {
        self.tell_version(&hello);
        let hub = &self.shared.hub;
        let id = hub.next_conduit_id();
        lock(&self.shared.peers).insert(id, conduit.peer_addr());
        let arriving = Arc::clone(hub);
        hub.spawn(async move {
            arriving.spawn_conduit(id, conduit, |machine, now| {
                machine.conduit_arrived(id, hello, now)
            });
        });
    }

    /// The machine refuses a client that speaks none of this server's versions; the log says which.
    fn tell_version(&self, hello: &Hello) {
        let (oldest, newest) = (hello.oldest, hello.newest);
        if (oldest..=newest).contains(&VERSION) {
            return;
        }
        let mut said = lock(&self.versions_said);
        if said.due(now()).is_some() {
            let older = if newest < VERSION { "client" } else { "server" };
            warn!(client = %self.shared.client.name, oldest, newest, own = VERSION,
                "refused, it speaks other versions of the protocol: upgrade the {older}");
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.shared.number
    }

    /// It only waits for the daemon to let it go.
    pub(crate) fn is_released(&self) -> bool {
        let hub = &self.shared.hub;
        hub.with(|machine, _| machine.phase() == SnaptPhase::Released)
    }

    /// The client's table in the configuration, and its virtual IP, when the session began.
    pub(crate) fn client(&self) -> (&ClientConfig, &IpAddr) {
        (&self.shared.client, &self.shared.virtual_ip)
    }

    /// The server services are these from now on. Connections that are open live on.
    pub(crate) fn set_services(&self, services: &[Service]) {
        self.shared.targets.set(services.to_vec());
        let catalogue = services.iter().map(Service::catalogue_entry).collect();
        (self.shared.hub).with(|machine, _| machine.set_services(catalogue));
    }

    /// Its connections are reset. The daemon is told when that is done.
    pub(crate) fn end(&self, refused: Option<RefusedCode>) {
        self.shared.hub.with(|machine, _| machine.end(refused));
    }

    pub(crate) fn client_services(&self) -> Vec<ClientServiceStatus> {
        lock(&self.shared.client_services).clone()
    }

    pub(crate) fn status(&self) -> ServerClient {
        let (phase, streams, flows, dropped) = self.shared.hub.with(|machine, _| {
            let streams = machine.streams();
            let flows = streams.flows();
            (machine.phase(), streams.len(), flows.len(), flows.dropped())
        });
        let by_reason = dropped.by_reason();
        let address = *lock(&self.shared.address);
        ServerClient {
            cnapt_id: handover_proto::CnaptId(self.shared.client.key.id()).to_string(),
            name: self.shared.client.name.clone(),
            state: match phase {
                SnaptPhase::Attached | SnaptPhase::AwaitDrained => ServerClientState::Attached,
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
            flows: flows as u64,
            datagrams_dropped: (by_reason.into_iter())
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
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

/// After a panic the session is over, and its client begins another; the other clients notice nothing.
async fn watch(shared: Arc<Shared>, released: Released) {
    shared.hub.broken().await;
    error!(client = %shared.client.name,
        "a defect in handover broke this client's session: connections reset; please report the lines above");
    if released.send(shared.name()).is_err() {
        debug!("the daemon is ending anyway");
    }
}

/// Does what the machine says and the data path cannot do.
async fn work(
    shared: Arc<Shared>,
    mut outputs: mpsc::UnboundedReceiver<Output>,
    released: Released,
) {
    let (client, hub) = (shared.client.clone(), Arc::clone(&shared.hub));
    let mut services = ClientServices::new(client, shared.virtual_ip, hub).await;
    let mut retry = tokio::time::interval(RETRY);
    // It rests while nothing is missing, and is not to make up for that.
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let output = tokio::select! {
            output = outputs.recv() => output,
            _ = retry.tick(), if services.is_incomplete() => {
                if let Some(offered) = services.retry() {
                    *lock(&shared.client_services) = services.status();
                    shared.hub.with(|machine, _| machine.offered(offered));
                }
                continue;
            }
        };
        let Some(output) = output else { return };
        match output {
            Output::Connect { stream, request } => {
                let (hub, targets) = (Arc::clone(&shared.hub), Arc::clone(&shared.targets));
                let device = lock(&shared.address).map(|address| address.ip());
                let connecting =
                    async move { targets.connect(&hub, stream, request, device).await };
                shared.hub.spawn(connecting);
            }
            Output::ConnectFlow { flow, request } => {
                shared.targets.connect_flow(&shared.hub, flow, &request);
            }
            Output::Event(event) => {
                let over = matches!(event, Event::Released { .. });
                shared.tell(event);
                // Nobody listens when the daemon is gone.
                if over && released.send(shared.name()).is_err() {
                    return;
                }
            }
            Output::Offer { services: all } => {
                let offered = services.offer(all);
                *lock(&shared.client_services) = services.status();
                shared.hub.with(|machine, _| machine.offered(offered));
            }
            Output::Wake(_)
            | Output::Look(_)
            | Output::Reset { .. }
            | Output::Close { .. }
            | Output::Deliver { .. }
            | Output::EndFlow(_)
            | Output::DialLink { .. }
            | Output::DialConduit { .. }
            | Output::SuspendDecision
            | Output::WakeDecision
            | Output::CloseNetworks { .. }
            | Output::OpenNetwork { .. }
            | Output::OpenVpn { .. } => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    const fn name(&self) -> (PublicKey, u64) {
        (self.client.key, self.number)
    }

    fn tell(&self, event: Event) {
        let client = &self.client.name;
        match event {
            //= docs/spec/planned.md#snapt-17
            //= docs/spec/unexpected.md#snapt-star-09
            Event::Redirected { number, link } => {
                let mut peers = lock(&self.peers);
                let address = peers.get(&link).copied();
                // Conduits' numbers only grow. Of those that are older only the links that stand by may carry again.
                let hub = &self.hub;
                let lives = |conduit| hub.with(|machine, _| machine.has_link(conduit));
                peers.retain(|conduit, _| *conduit >= link || lives(*conduit));
                drop(peers);
                let before = std::mem::replace(&mut *lock(&self.address), address);
                let address = address.map_or_else(|| "unknown".to_owned(), |one| one.to_string());
                if before.is_none() {
                    info!(%client, address, "attached");
                } else {
                    info!(%client, address, switch = number, "redirected");
                }
            }
            Event::Detached => info!(%client, "detached: waits for the client"),
            Event::TakenOver { streams } => {
                *lock(&self.address) = None;
                warn!(%client, streams, "taken over by a new instance: connections reset");
            }
            Event::Released { streams, left } => {
                info!(%client, streams, left, "released: connections reset");
            }
            Event::Settled { number, gap, .. } => debug!(%client, switch = number, ?gap, "settled"),
            Event::Attached { .. }
            | Event::Offered { .. }
            | Event::Lost { .. }
            | Event::Unreachable { .. }
            | Event::Stalled { .. }
            | Event::Recovered { .. }
            | Event::StandsBy { .. }
            | Event::StandbyLost { .. }
            | Event::Switched(_)
            | Event::Began { .. }
            | Event::SessionLost { .. }
            | Event::Refused { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use handover_carrier::PrivateKey;
    use handover_proto::{CnaptId, Instance};

    use super::*;
    use crate::config::PortSet;

    /// For what happens at once, on a busy machine.
    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_panic_in_one_of_its_tasks_ends_the_session_for_the_daemon() {
        let client = ClientConfig {
            name: "laptop".into(),
            key: PrivateKey::generate().public_key(),
            virtual_ip: None,
            services: PortSet::none(),
        };
        let options = SnaptOptions {
            cnapt: CnaptId(client.key.id()),
            instance: Instance(1),
            session: 1,
            virtual_ip: IpAddr::from([127, 77, 0, 1]),
            services: Vec::new(),
            switch_timeout: LIMIT,
            flow_idle: LIMIT,
        };
        let (released, mut releases) = mpsc::unbounded_channel();
        let key = client.key;
        let pool = CreditPool::default();
        let session = Session::start(client, options, pool, Vec::new(), released);
        let task = session.shared.hub.spawn(async { panic!("a test") });
        assert!(task.await.unwrap_err().is_panic());
        let released = tokio::time::timeout(LIMIT, releases.recv()).await;
        assert_eq!(released, Ok(Some((key, 1))));
    }
}
