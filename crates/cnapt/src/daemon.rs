//! The CNAPT's event loop: what the machine asks for, what the user orders, what the system reports.
//!
//! No byte of a stream passes here. The decision task is a part of this loop: which network to take
//! when there is none; it is suspended during a switch (CNAPT-1) and woken after it (CNAPT-34).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use handover_carrier::{Conduit, Connector};
use handover_control::{
    COMMANDS_WAITING, Carrier, ClientState, ClientStatus, Command, Environment, Failure, Listener,
    Networks as NetworkLines, Services, Status, SwitchReply,
};
use handover_network::{Snapshot, Watch, now};
use handover_proto::session::{
    Cnapt, Event, Loss, NetworkId, Ordered, Output, Phase, Procedure, SwitchReport,
};
use handover_proto::stream::{CreditPool, Streams};
use handover_proto::wire::{CatalogueEntry, OfferedService, RefusedCode, VERSION};
use handover_proto::{CnaptId, ConduitId, Instance, Instant, LinkNumber, Side};
use handover_relay::{EmulationSockets, Hub, Seldom, Service, Signals, Targets};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{Config, Decision};
use crate::dial::{self, Dialled, Path};
use crate::history::{Ends, History};
use crate::networks::Networks;
use crate::notices::{Happened, Notices};
use crate::opening::{Opening, Ran};
use crate::orders::{Orders, Waiting};
use crate::servers::Servers;
use crate::services::{client_services, server_services};

/// A port that is taken may be free later.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// How long an order waits for the gap of its switch beyond the switch itself: a second in which the
/// applications may deliver again, and the other module's report.
const SETTLE: Duration = Duration::from_millis(1500);

/// How long the last words of the conduits may take when the daemon ends.
const FAREWELL: Duration = Duration::from_millis(300);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot take its control socket.
    #[error(transparent)]
    Control(#[from] handover_control::BindError),
    /// Its keys are of no use.
    #[error("the key cannot be used for TLS: {0}")]
    Keys(#[from] handover_carrier::SetUpError),
    /// The kernel does not tell about networks.
    #[error("cannot watch the networks: {0}")]
    Watch(io::Error),
    /// The operating system refuses signals.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

pub(crate) struct Daemon {
    pub(crate) config: Config,
    pub(crate) hub: Arc<Hub<Cnapt>>,
    connector: Connector,
    pub(crate) watch: Watch,
    pub(crate) networks: Networks,
    pub(crate) servers: Servers,
    resolver_failures: Seldom,
    /// The decision task rests (CNAPT-1).
    pub(crate) suspended: bool,
    /// The path of the current or the newest link, by its control conduit.
    pub(crate) link: Option<(ConduitId, Path)>,
    /// The paths of the links beside it.
    pub(crate) standbys: BTreeMap<ConduitId, Path>,
    /// The network and address that carried last.
    carried: Option<(NetworkId, IpAddr)>,
    virtual_ip: Option<IpAddr>,
    sockets: EmulationSockets<Cnapt>,
    targets: Arc<Targets>,
    /// What the SNAPT said last of the client services.
    offered: Option<Vec<OfferedService>>,
    listen_retry: Option<Instant>,
    orders: Orders,
    history: History,
    refused: Option<RefusedCode>,
    dialled: mpsc::UnboundedSender<Dialled>,
    pub(crate) ran: mpsc::UnboundedSender<Ran>,
    pub(crate) opening: Option<Opening>,
    notices: Notices,
    /// The network that the last switch left because it was silent: whether it is lost is to be seen yet.
    pub(crate) left_silent: Option<NetworkId>,
    /// What the user is to know of the network that was lost, where every switch is the user's.
    lost: Option<String>,
}

/// Runs a CNAPT until it is told to end by SIGINT or SIGTERM.
///
/// # Errors
///
/// If it cannot begin.
pub async fn run(config: Config) -> Result<(), RunError> {
    let control = Listener::bind(&config.control, &Environment::of_process())?;
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let (dialled, mut dials) = mpsc::unbounded_channel();
    let (ran, mut hooks) = mpsc::unbounded_channel();
    let (mut daemon, mut outputs) = Daemon::new(config, dialled, ran).await?;
    let (commands, mut commanded) = mpsc::channel(COMMANDS_WAITING);
    info!(control = %control.path().display(), key = %daemon.config.key.public_key(), "client up");
    tokio::spawn(control.serve(commands));
    let hub = Arc::clone(&daemon.hub);
    daemon.hub.spawn(async move { hub.run_timer().await });
    daemon.resolve();
    daemon.decide();
    loop {
        let wake = daemon.next_wake();
        tokio::select! {
            Some(output) = outputs.recv() => daemon.carry_out(output),
            Some(result) = dials.recv() => daemon.take_dialled(result),
            Some(result) = hooks.recv() => daemon.take_ran(result),
            Some(command) = commanded.recv() => daemon.command(command),
            () = daemon.watch.changed() => daemon.networks_changed(),
            () = sleep_until(wake) => daemon.woken(),
            () = signals.ended() => break,
        }
    }
    info!("client ends: all connections are reset");
    daemon.hub.with(|machine, _| machine.detach());
    tokio::time::sleep(FAREWELL).await;
    daemon.close_all().await;
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(now())).await,
        None => std::future::pending().await,
    }
}

impl Daemon {
    async fn new(
        config: Config,
        dialled: mpsc::UnboundedSender<Dialled>,
        ran: mpsc::UnboundedSender<Ran>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Output>), RunError> {
        let connector = Connector::new(&config.key, config.server_key)?;
        let watch = Watch::start().await.map_err(RunError::Watch)?;
        let id = CnaptId(config.key.public_key().id());
        let offers = config.services.iter().map(Service::catalogue_entry);
        let offers: Vec<CatalogueEntry> = offers.collect();
        let mut streams = Streams::new(Side::Cnapt, &offers, CreditPool::default());
        streams.flows_mut().set_idle(config.flow_idle);
        let instance = Instance(handover_carrier::random_u64());
        let (hub, outputs) = Hub::new(Cnapt::new(id, instance, offers, streams), now);
        let targets = Targets::new("client application".into(), config.services.clone(), None);
        let mut networks = Networks::new(config.networks.clone());
        let servers = Servers::new(config.server.clone());
        networks.update(&watch.snapshot(), servers.addresses().unwrap_or_default());
        for (network, interval) in networks.keepalives() {
            hub.with(|machine, _| machine.set_keepalive(network, interval));
        }
        let daemon = Self {
            sockets: EmulationSockets::new(config.bind.clone(), Arc::clone(&hub)),
            targets: Arc::new(targets),
            offered: None,
            notices: Notices::new(config.notify.clone(), config.hook_timeout),
            config,
            hub,
            connector,
            watch,
            networks,
            servers,
            resolver_failures: Seldom::default(),
            suspended: false,
            link: None,
            standbys: BTreeMap::new(),
            carried: None,
            virtual_ip: None,
            listen_retry: None,
            orders: Orders::default(),
            history: History::default(),
            refused: None,
            dialled,
            ran,
            opening: None,
            left_silent: None,
            lost: None,
        };
        Ok((daemon, outputs))
    }

    // === The decision task ===

    /// Without a link: takes the first network that may be tried.
    fn decide(&mut self) {
        self.next_order();
        let (phase, last) = self
            .hub
            .with(|machine, _| (machine.phase(), machine.network()));
        if self.suspended || phase != Phase::Detached {
            return;
        }
        let only = match self.config.decision {
            Decision::Automatic => None,
            Decision::Manual => last,
            Decision::Single if self.carried.is_some() => return,
            Decision::Single => None,
        };
        let Ok(servers) = self.servers.addresses() else {
            self.resolve();
            return;
        };
        let snapshot = self.watch.snapshot();
        let stands_by = |id| self.stands_by(id);
        let chosen = (self.networks).choose(only, stands_by, &snapshot, servers, now());
        if let Some(network) = chosen {
            self.hub.with(|machine, now| machine.attach(network, now));
        }
    }

    /// The server's address that a network uses now.
    pub(crate) fn server(
        &self,
        network: NetworkId,
        snapshot: &Snapshot,
    ) -> Result<SocketAddr, String> {
        let servers = self.servers.addresses()?;
        self.networks.server(network, snapshot, servers)
    }

    fn resolve(&mut self) {
        if let Some(servers) = self.servers.resolve(now()) {
            dial::resolve(servers, self.dialled.clone());
        }
    }

    fn networks_changed(&mut self) {
        let snapshot = self.watch.snapshot();
        let servers = self.servers.addresses().unwrap_or_default();
        self.networks.update(&snapshot, servers);
        let lost = self
            .link
            .as_ref()
            .filter(|(_, path)| !self.networks.is_alive(path, &snapshot));
        let idle = self.standbys.values();
        let idle = idle.filter(|path| !self.networks.is_alive(path, &snapshot));
        let lost: Vec<NetworkId> = (lost.map(|(_, path)| path).into_iter().chain(idle))
            .map(|path| path.network)
            .collect();
        for network in lost {
            self.hub
                .with(|machine, now| machine.network_lost(network, now));
        }
        self.look_for_opening();
        self.decide();
        self.hold_standbys();
    }

    fn next_wake(&self) -> Option<Instant> {
        let retry = self.networks.next_retry().filter(|_| {
            let phase = self.hub.with(|machine, _| machine.phase());
            !self.suspended && phase == Phase::Detached
        });
        [
            retry,
            self.servers.next_resolve(),
            self.listen_retry,
            self.opening.map(|opening| opening.until),
            self.orders.settle_deadline(),
            self.networks.next_standby_retry(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn woken(&mut self) {
        let now = now();
        if self.listen_retry.is_some_and(|at| at <= now) {
            self.listen_retry = self.sockets.retry().then(|| now + LISTEN_RETRY);
        }
        self.look_for_opening();
        self.answer_settled(None);
        self.networks.forget_retries(now);
        self.decide();
        self.hold_standbys();
    }

    // === What the machine asks for ===

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::DialLink { link, network } => self.dial_link(link, network),
            Output::DialConduit { link } => match self.path_of(link) {
                Some(path) => {
                    let connector = self.connector.clone();
                    dial::conduit(connector, link, path, self.dialled.clone());
                }
                None => self
                    .hub
                    .with(|machine, now| machine.conduit_failed(link, now)),
            },
            //= docs/spec/planned.md#cnapt-01
            //= docs/spec/unexpected.md#cnapt-star-01
            Output::SuspendDecision => {
                self.suspended = true;
                self.hub
                    .with(|machine, now| machine.decision_suspended(now));
            }
            //= docs/spec/planned.md#cnapt-34
            //= docs/spec/unexpected.md#cnapt-star-23
            Output::WakeDecision => {
                self.suspended = false;
                self.decide();
            }
            Output::CloseNetworks { number, next } => self.close_networks(number, next),
            Output::OpenNetwork { number, network } => self.open_network(number, network),
            Output::OpenVpn { number, network } => self.open_vpn(number, network),
            Output::Event(event) => self.take_event(event),
            Output::Connect { stream, request } => {
                let (hub, targets) = (Arc::clone(&self.hub), Arc::clone(&self.targets));
                let server = self.link.as_ref().map(|(_, path)| path.server.ip());
                let connecting =
                    async move { targets.connect(&hub, stream, request, server).await };
                self.hub.spawn(connecting);
            }
            Output::ConnectFlow { flow, request } => {
                self.targets.connect_flow(&self.hub, flow, &request);
            }
            Output::Offer { .. }
            | Output::Deliver { .. }
            | Output::EndFlow(_)
            | Output::Wake(_)
            | Output::Look(_)
            | Output::Reset { .. }
            | Output::Close { .. } => {}
        }
    }

    fn dial_link(&mut self, link: LinkNumber, network: NetworkId) {
        let snapshot = self.watch.snapshot();
        let path = self.server(network, &snapshot).and_then(|server| {
            let (interface, source) = self.networks.bound_to(network, &snapshot, server)?;
            let below = self.networks.open(network, &snapshot, server).ok();
            Ok(Path {
                network,
                interface,
                source,
                below,
                server,
                keepalive: self.networks.config(network).and_then(|one| one.keepalive),
                quic: None,
            })
        });
        match path {
            Ok(path) => {
                let (connector, carrier) = (self.connector.clone(), self.config.carrier);
                dial::link(connector, link, path, carrier, self.dialled.clone());
            }
            Err(error) => {
                self.not_reached(network, error);
                self.hub
                    .with(|machine, now| machine.control_failed(link, now));
            }
        }
    }

    fn take_dialled(&mut self, dialled: Dialled) {
        match dialled {
            Dialled::Link {
                link,
                path,
                result: Ok(conduit),
            } => self.link_up(link, path, conduit),
            Dialled::Link {
                link,
                path,
                result: Err(error),
            } => {
                self.refused
                    .take_if(|code| *code != RefusedCode::Superseded);
                self.not_reached(path.network, error);
                let servers = self.servers.addresses().unwrap_or_default();
                self.networks.turn(path.network, path.server, servers);
                self.resolve();
                self.hub
                    .with(|machine, now| machine.control_failed(link, now));
            }
            Dialled::Conduit {
                link,
                result: Ok(conduit),
            } => {
                let id = self.hub.next_conduit_id();
                self.hub.spawn_conduit(id, conduit, |machine, now| {
                    machine.conduit_up(link, id, now)
                });
            }
            Dialled::Conduit {
                link,
                result: Err(error),
            } => {
                info!("no conduit: {error}");
                self.hub
                    .with(|machine, now| machine.conduit_failed(link, now));
            }
            Dialled::Resolved(result) => self.take_resolved(result),
        }
    }

    fn take_resolved(&mut self, result: Result<Vec<SocketAddr>, String>) {
        let before = self.servers.addresses().unwrap_or_default().to_vec();
        if let Err(error) = &result
            && self.resolver_failures.due(now()).is_some()
        {
            warn!(cached = ?before, "{error}");
        }
        self.servers.resolved(result, now());
        let servers = self.servers.addresses().unwrap_or_default();
        if servers != before {
            self.networks.update(&self.watch.snapshot(), servers);
            self.decide();
        }
    }

    fn not_reached(&mut self, network: NetworkId, error: String) {
        self.networks.failed(network, error);
        if let Some(error) = self.networks.news(network, now()) {
            info!(network = %self.networks.name(network), "not reached: {error}");
        }
    }

    fn link_up(&mut self, link: LinkNumber, path: Path, conduit: Conduit) {
        let id = self.hub.next_conduit_id();
        // A server that does not know the key hangs up after the handshake, and its alert may be lost with
        // the connection: so this is what went wrong, unless it is the network.
        let key = self.config.key.public_key();
        let error = format!(
            "the server was reached and did not accept this client: unless the network failed in that moment, \
             the server's configuration needs a [[client]] with key = \"{key}\""
        );
        self.networks.failed(path.network, error);
        // Which it becomes, or whether it comes too late, is the machine's affair.
        self.standbys.insert(id, path);
        self.hub.spawn_conduit(id, conduit, |machine, now| {
            machine.control_up(link, id, now)
        });
        self.follow_links();
    }

    fn take_event(&mut self, event: Event) {
        self.follow_links();
        match event {
            Event::Attached {
                virtual_ip,
                services,
            } => {
                self.virtual_ip = Some(virtual_ip);
                self.sockets.set(&services);
                self.listen_retry = Some(now() + LISTEN_RETRY);
            }
            Event::Began { network } => {
                let name = self.networks.name(network);
                info!(network = %name, "attached");
                self.arrived(network);
                self.hold_standbys();
                self.notices.tell(Happened::Attached, name, String::new());
                for waiting in self.orders.take_running(network) {
                    waiting.send(Ok(SwitchReply {
                        entry: None,
                        already_there: true,
                    }));
                }
            }
            Event::Lost { network, reason } => {
                self.link = None;
                let silent = matches!(reason, Loss::Silent | Loss::NoProgress);
                if silent {
                    self.networks.fell_silent(network, now());
                }
                self.networks.lost(network, silent);
                self.tell_loss(network, reason);
                self.decide();
            }
            Event::Unreachable { network } => self.unreachable(network),
            Event::Switched(report) => self.switched(&report),
            Event::Settled { number, gap, trail } => {
                self.history.settle(number, gap, trail);
                self.answer_settled(Some(number));
            }
            Event::SessionLost { streams } => {
                warn!(
                    streams,
                    "the server does not know the session any more: connections reset"
                );
            }
            Event::Refused { code } => self.turned_away(code),
            Event::Offered { services } => self.take_offered(services),
            Event::StandsBy { network } => {
                info!(network = %self.networks.name(network), "stands by");
                self.networks.stands_by(network);
                self.hold_standbys();
            }
            Event::Stalled { network } => self.rescue(network),
            Event::Recovered { network } => self.go_back(network),
            Event::StandbyLost { network } => self.standby_lost(network),
            Event::TakenOver { .. }
            | Event::Detached
            | Event::Redirected { .. }
            | Event::Released { .. } => {}
        }
    }

    /// No link could be made over `network`.
    fn unreachable(&mut self, network: NetworkId) {
        self.link = None;
        self.networks.lost(network, true);
        self.networks.back_off(network, now());
        let name = self.networks.name(network);
        if let Some(error) = self.networks.news(network, now()) {
            warn!(network = %name, "{error}");
        }
        for waiting in self.orders.take_running(network) {
            let error = self.networks.error(network);
            let error = error.unwrap_or_else(|| "nothing answers".to_owned());
            waiting.send(Err(Failure::failed(format!(
                "{name} does not reach the server: {error}"
            ))));
        }
    }

    /// The link over `network` is gone. Where every switch is the user's, nothing else will happen.
    pub(crate) fn tell_loss(&mut self, network: NetworkId, reason: Loss) {
        let (name, why) = (self.networks.name(network), describe_loss(reason));
        if self.config.decision == Decision::Single {
            let what_to_do = format!(
                "{name} is lost: {why}; order `handover switch NETWORK`, to another network or back to {name}"
            );
            warn!(network = %name, "{what_to_do}");
            self.lost = Some(what_to_do);
        } else {
            info!(network = %name, ?reason, "lost");
        }
        self.notices.tell(Happened::Lost, name, why.to_owned());
    }

    /// `network` carries now.
    fn arrived(&mut self, network: NetworkId) {
        self.networks.reached(network);
        self.carried = self.link.as_ref().map(|(_, path)| (network, path.source));
        self.refused = None;
        self.lost = None;
    }

    fn switched(&mut self, report: &SwitchReport) {
        let name = |id| self.networks.name(id);
        let ends = Ends {
            from: report.from.map(name).unwrap_or_default(),
            to: self.networks.name(report.to),
            from_address: self.carried.map(|(_, address)| address),
            to_address: self
                .link
                .as_ref()
                .filter(|_| report.done)
                .map(|(_, path)| path.source),
        };
        info!(from = %ends.from, to = %ends.to, done = report.done, planned = report.planned,
            procedure = ?report.procedure, duration = ?report.ended.since(report.started), "switched");
        let trail = self.hub.with(|machine, _| machine.trail().steps().to_vec());
        let reason = self.networks.error(report.to).filter(|_| !report.done);
        self.tell_switch(report, &ends, reason.clone());
        self.history.add(report, ends, reason, &trail, now());
        let rescue = report.done && report.procedure == Procedure::Rescue;
        self.left_silent = report.from.filter(|_| rescue);
        let carries = self.hub.with(|machine, _| {
            machine
                .network()
                .filter(|_| machine.phase() == Phase::Attached)
        });
        if let Some(network) = carries {
            self.arrived(network);
        }
        self.orders.settle(report.number, now() + SETTLE);
        self.next_order();
        self.hold_standbys();
    }

    fn tell_switch(&self, report: &SwitchReport, ends: &Ends, reason: Option<String>) {
        let kind = if report.planned {
            "planned"
        } else {
            "unexpected"
        };
        let happened = if report.done {
            Happened::Switched
        } else {
            Happened::Failed
        };
        let reason = reason.unwrap_or_else(|| kind.to_owned());
        self.notices.tell(happened, ends.to.clone(), reason);
    }

    fn answer_settled(&mut self, number: Option<u64>) {
        while let Some((number, all)) = self.orders.settled(number, now()) {
            for waiting in all {
                let entry = self.history.entry(number);
                waiting.send(Ok(SwitchReply {
                    entry,
                    already_there: false,
                }));
            }
        }
    }

    fn turned_away(&mut self, code: RefusedCode) {
        self.refused = Some(code);
        let error = format!("the server refused this client: {}", describe(code));
        if let Some((_, path)) = &self.link {
            self.networks.refused(path.network, error.clone());
        }
        if code == RefusedCode::Superseded {
            warn!("{error}");
            self.link = None;
            // An application would wait for minutes for what cannot come.
            self.sockets.set(&[]);
            for waiting in self.orders.take_all() {
                waiting.send(Err(Failure::failed(describe(code))));
            }
        }
    }

    // === What the user asks ===

    fn command(&mut self, command: Command) {
        match command {
            Command::Status(reply) => reply.send(Status::Client(self.status())),
            Command::Networks(reply) => {
                let current = self.current();
                let snapshot = self.watch.snapshot();
                let mut networks =
                    (self.networks).lines(&snapshot, &self.servers.addresses(), current);
                let stands_by = |id| self.hub.with(|machine, _| machine.is_standby_ready(id));
                for (index, line) in networks.iter_mut().enumerate() {
                    line.standby = stands_by(NetworkId(index));
                }
                reply.send(Ok(NetworkLines { networks }));
            }
            Command::Switch { network, reply } => match self.networks.by_name(&network) {
                Some(id) => self.order(id, reply),
                None => reply.send(Err(Failure::misuse(format!(
                    "no network is called \"{network}\"; known: {}",
                    self.networks.names()
                )))),
            },
            Command::Services(reply) => reply.send(Services {
                server_services: server_services(&self.sockets),
                client_services: client_services(
                    &self.config.services,
                    self.offered.as_deref(),
                    self.virtual_ip,
                ),
            }),
            Command::Trace(reply) => reply.send(self.history.trace()),
        }
    }

    /// Carries an order out, lets it wait, or says why not.
    fn order(&mut self, network: NetworkId, waiting: Waiting) {
        let (phase, target) = self
            .hub
            .with(|machine, _| (machine.phase(), machine.target()));
        let snapshot = self.watch.snapshot();
        let server = self.server(network, &snapshot);
        let usable = server.and_then(|server| self.networks.usable(network, &snapshot, server));
        if target == Some(network) {
            self.orders.join(network, waiting);
            return;
        }
        if let Err(reason) = usable {
            let (name, names) = (self.networks.name(network), self.networks.names());
            let message = format!("cannot switch to {name}: {reason}; known: {names}");
            waiting.send(Err(Failure::failed(message)));
            return;
        }
        if phase == Phase::Detached && self.suspended {
            self.orders.enqueue(network, waiting);
            return;
        }
        let overlaps = self.may_overlap(network, &snapshot);
        let ordered = self.hub.with(|machine, now| {
            if overlaps {
                machine.order_overlapped(network, now)
            } else {
                machine.order(network, now)
            }
        });
        match ordered {
            Ordered::AlreadyThere => {
                waiting.send(Ok(SwitchReply {
                    entry: None,
                    already_there: true,
                }));
            }
            Ordered::Began => self.orders.join(network, waiting),
            Ordered::Busy => self.orders.enqueue(network, waiting),
            Ordered::Refused => {
                let why = self.refused.map(describe);
                let why = why.unwrap_or_else(|| "the client is ending".to_owned());
                waiting.send(Err(Failure::failed(why)));
            }
        }
    }

    /// Carries out the next order that waits. Those that cannot be are answered on the way.
    fn next_order(&mut self) {
        while self.is_free()
            && let Some((network, waiting)) = self.orders.next()
        {
            self.order(network, waiting);
        }
    }

    /// Whether no switch is going on, so that the machine takes an order.
    pub(crate) fn is_free(&self) -> bool {
        let phase = self.hub.with(|machine, _| machine.phase());
        !self.suspended && matches!(phase, Phase::Attached | Phase::Detached)
    }

    pub(crate) fn current(&self) -> Option<NetworkId> {
        self.hub
            .with(|machine, _| machine.network().filter(|_| machine.serves()))
    }

    fn take_offered(&mut self, services: Vec<OfferedService>) {
        let virtual_ip = self
            .virtual_ip
            .map_or_else(String::new, |ip| ip.to_string());
        let known = |one: &OfferedService| self.offered.iter().flatten().any(|old| old == one);
        for one in services.iter().filter(|one| !known(one)) {
            match one.state.refusal() {
                None => info!(service = %one.name, virtual_ip, "offered at the server"),
                Some(reason) => {
                    warn!(service = %one.name, virtual_ip, "not offered at the server: {reason}");
                }
            }
        }
        self.offered = Some(services);
    }

    fn state(&self, phase: Phase, searching: bool) -> ClientState {
        let offers = self.config.services.is_empty() || self.offered.is_some();
        if phase == Phase::Attached && offers {
            ClientState::Attached
        } else if phase == Phase::Refused || self.refused.is_some() {
            ClientState::Refused
        } else if self.carried.is_none() {
            ClientState::Connecting
        } else if phase == Phase::Detached || searching {
            ClientState::Detached
        } else {
            ClientState::Switching
        }
    }

    fn carrier(&self) -> Carrier {
        let quic = self.link.as_ref().and_then(|(_, path)| path.quic.as_ref());
        quic.map_or(Carrier::Tls, |_| Carrier::Quic)
    }

    fn status(&self) -> ClientStatus {
        let (phase, searching, streams, flows, dropped, buffered) = self.hub.with(|machine, _| {
            let streams = machine.streams();
            (
                machine.phase(),
                machine.is_searching(),
                streams.len(),
                streams.flows().len(),
                streams.flows().dropped(),
                streams.buffered(),
            )
        });
        let by_reason = dropped.by_reason();
        let network = self.current().map(|id| self.networks.name(id));
        let refused = self.refused.map(describe);
        let unreached = || {
            let unresolved = self.servers.error().map(str::to_owned);
            self.networks.last_error().or(unresolved)
        };
        ClientStatus {
            cnapt_id: CnaptId(self.config.key.public_key().id()).to_string(),
            state: self.state(phase, searching),
            carrier: network.as_ref().map(|_| self.carrier()),
            last_network: self.carried.map(|(id, _)| self.networks.name(id)),
            error: refused.or_else(|| {
                let lost = self.lost.clone().or_else(unreached);
                lost.filter(|_| network.is_none())
            }),
            network,
            streams: streams as u64,
            flows: flows as u64,
            datagrams_dropped: (by_reason.into_iter())
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
            switches: self.history.entries(),
            virtual_ip: self.virtual_ip,
            server: self.link.as_ref().map(|(_, path)| path.server),
            local_address: self.link.as_ref().map(|(_, path)| path.source),
            services: server_services(&self.sockets),
            buffered_bytes: buffered,
        }
    }
}

const fn describe_loss(reason: Loss) -> &'static str {
    match reason {
        Loss::ControlLost => "the connection to the server ended",
        Loss::NetworkGone => "its interface, its address or its route is gone",
        Loss::Silent => "nothing comes by it any more",
        Loss::NoProgress => "a switch over it made no progress",
    }
}

fn describe(code: RefusedCode) -> String {
    match code {
        RefusedCode::Superseded => {
            "another client with the same key has taken the session over: \
             give every device a key of its own, then start this client again"
        }
        RefusedCode::Version => {
            return format!(
                "the server does not speak version {VERSION} of the protocol, as this client does: \
                 upgrade the older of the two (the server's log says both versions)"
            );
        }
        RefusedCode::Full => "the server has no room for another session",
        RefusedCode::Protocol => "the server says that this client broke the protocol",
        RefusedCode::Revoked => "the server does not allow this client's key any more",
    }
    .to_owned()
}
