//! The SNAPT's event loop: arrivals, sessions, commands, and the configuration when it is read again.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use handover_carrier::{Acceptor, AllowedKeys, Conduit, PublicKey, QuicListener, serve};
use handover_control::{
    COMMANDS_WAITING, Command, Environment, Failure, Listener, ServerStatus, ServiceStatus,
    Services, Status, TurnedAway,
};
use handover_network::{tcp_listener, udp_listener};
use handover_proto::stream::CreditPool;
use handover_proto::wire::{CatalogueEntry, Hello, RefusedCode};
use handover_proto::{CnaptId, Instance};
use handover_relay::{Service, read_hello};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::client_services::protocol;
use crate::config::{ClientConfig, Config};
use crate::session::{Released, Session};
use crate::virtual_ips::{self, PoolIsFull};

/// How long an authenticated connection has for its first frame.
const HELLO_TIMEOUT: Duration = Duration::from_secs(4);

/// Connections whose first frame has been read and that wait for the loop, which does nothing slow.
const ARRIVALS_WAITING: usize = 64;

/// How long the last words of the conduits may take when the daemon ends.
const FAREWELL: Duration = Duration::from_millis(300);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot listen for clients.
    #[error("cannot listen on {address} over {protocol}: {error}; {remedy}", remedy = remedy(error))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: &'static str,
        /// What the operating system said.
        error: io::Error,
    },
    /// It cannot take its control socket.
    #[error(transparent)]
    Control(#[from] handover_control::BindError),
    /// Its keys are of no use.
    #[error("the key cannot be used for TLS: {0}")]
    Keys(#[from] handover_carrier::SetUpError),
    /// Too few virtual IPs.
    #[error(transparent)]
    Pool(#[from] PoolIsFull),
    /// The operating system refuses signals.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

fn remedy(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        "another program has this port (`ss -ltunp` shows which): stop it, or set another `listen`"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "this machine does not have this address (`ip address` shows those it has): correct `listen`"
    } else if kind == io::ErrorKind::PermissionDenied {
        "a port below 1024 needs CAP_NET_BIND_SERVICE: grant it, or set another `listen`"
    } else {
        "correct `listen`"
    }
}

/// A connection of a known client, and its first frame.
struct Arrival {
    conduit: Conduit,
    key: PublicKey,
    hello: Hello,
}

struct Daemon {
    config: Config,
    instance: Instance,
    pool: CreditPool,
    virtual_ips: BTreeMap<PublicKey, IpAddr>,
    allowed: AllowedKeys,
    sessions: BTreeMap<PublicKey, Session>,
    listen: Vec<SocketAddr>,
    acceptor: Arc<Acceptor>,
    /// Sessions tell that they are released.
    released: Released,
}

/// Runs a SNAPT until it is told to end by SIGINT or SIGTERM. At SIGHUP its clients and services become
/// those that `read_again` gives; its error is logged, and everything stays as it is.
///
/// # Errors
///
/// If it cannot listen, or its configuration cannot work.
pub async fn run<E: Display>(
    config: Config,
    read_again: impl Fn() -> Result<Config, E>,
) -> Result<(), RunError> {
    let control = Listener::bind(&config.control, &Environment::of_process())?;
    let virtual_ips = virtual_ips::assign(config.virtual_ips, &config.clients)?;
    let allowed = AllowedKeys::new(config.clients.iter().map(|client| client.key));
    let acceptor = Arc::new(Acceptor::new(&config.key, allowed.clone())?);
    let (arrivals, mut arrived) = mpsc::channel(ARRIVALS_WAITING);
    let mut listen = Vec::new();
    for address in &config.listen {
        listen.push(open_doors(*address, &config.listen, &acceptor, &arrivals)?);
    }
    let (commands, mut commanded) = mpsc::channel(COMMANDS_WAITING);
    info!(listen = ?listen, control = %control.path().display(), key = %config.key.public_key(), "server up");
    tokio::spawn(control.serve(commands));
    let (released, mut releases) = mpsc::unbounded_channel();
    let mut daemon = Daemon::new(config, virtual_ips, allowed, (listen, acceptor), released);
    let mut signals = handover_relay::Signals::new().map_err(RunError::Signals)?;
    let mut reloads = handover_relay::Reloads::new().map_err(RunError::Signals)?;
    loop {
        tokio::select! {
            Some(arrival) = arrived.recv() => daemon.arrive(arrival),
            Some(command) = commanded.recv() => daemon.command(command),
            Some((key, number)) = releases.recv() => daemon.let_go(key, number),
            () = reloads.asked() => match read_again() {
                Ok(config) => daemon.reload(config),
                Err(error) => warn!("the configuration stays as it was: {error}"),
            },
            () = signals.ended() => break,
        }
    }
    info!("server ends: every client's connections are reset");
    drop(daemon);
    tokio::time::sleep(FAREWELL).await;
    Ok(())
}

/// Listens at one address, for TLS over TCP and for QUIC over UDP at the same port; says which port that is.
fn open_doors(
    address: SocketAddr,
    all: &[SocketAddr],
    acceptor: &Arc<Acceptor>,
    arrivals: &mpsc::Sender<Arrival>,
) -> Result<SocketAddr, RunError> {
    let failed = |protocol| {
        move |error| RunError::Listen {
            address,
            protocol,
            error,
        }
    };
    let tcp = tcp_listener(address, all).map_err(failed("TCP"))?;
    let address = tcp.local_addr().map_err(failed("TCP"))?;
    let udp = udp_listener(address, all).map_err(failed("UDP"))?;
    let quic = QuicListener::new(udp, Arc::clone(acceptor)).map_err(failed("UDP"))?;
    let (over_tcp, over_quic) = (arrivals.clone(), arrivals.clone());
    tokio::spawn(serve(tcp, Arc::clone(acceptor), move |conduit, key| {
        tokio::spawn(greet(conduit, key, over_tcp.clone()));
    }));
    tokio::spawn(quic.serve(move |conduit, key| {
        tokio::spawn(greet(conduit, key, over_quic.clone()));
    }));
    Ok(address)
}

async fn greet(mut conduit: Conduit, key: PublicKey, arrivals: mpsc::Sender<Arrival>) {
    let peer = conduit.peer_addr();
    match tokio::time::timeout(HELLO_TIMEOUT, read_hello(&mut conduit)).await {
        Ok(Ok(hello)) => {
            let arrival = Arrival {
                conduit,
                key,
                hello,
            };
            // The receiver is gone only when the daemon ends.
            drop(arrivals.send(arrival).await);
        }
        Ok(Err(error)) => debug!(%peer, "no HELLO: {error}"),
        Err(_) => debug!(%peer, "no HELLO in time"),
    }
}

impl Daemon {
    fn new(
        config: Config,
        virtual_ips: BTreeMap<PublicKey, IpAddr>,
        allowed: AllowedKeys,
        (listen, acceptor): (Vec<SocketAddr>, Arc<Acceptor>),
        released: Released,
    ) -> Self {
        Self {
            config,
            allowed,
            instance: Instance(handover_carrier::random_u64()),
            pool: CreditPool::default(),
            virtual_ips,
            sessions: BTreeMap::new(),
            listen,
            acceptor,
            released,
        }
    }

    /// The session that a conduit belongs to comes from its key alone.
    fn arrive(&mut self, arrival: Arrival) {
        let Arrival {
            conduit,
            key,
            hello,
        } = arrival;
        let Some(client) = self.config.clients.iter().find(|client| client.key == key) else {
            return;
        };
        let Some(virtual_ip) = self.virtual_ips.get(&key) else {
            return;
        };
        if self.sessions.get(&key).is_none_or(Session::is_released) {
            let session = self.make_session(client, *virtual_ip);
            self.sessions.insert(key, session);
        }
        if let Some(session) = self.sessions.get(&key) {
            session.take_conduit(conduit, hello);
        }
    }

    /// Unless another session has followed it already.
    fn let_go(&mut self, key: PublicKey, number: u64) {
        let session = self.sessions.get(&key);
        if session.is_some_and(|session| session.number() == number) {
            self.sessions.remove(&key);
        }
    }

    fn make_session(&self, client: &ClientConfig, virtual_ip: IpAddr) -> Session {
        let options = handover_proto::session::SnaptOptions {
            cnapt: CnaptId(client.key.id()),
            instance: self.instance,
            session: handover_carrier::random_u64(),
            virtual_ip,
            services: catalogue(&self.config.services),
            switch_timeout: self.config.switch_timeout,
            flow_idle: self.config.flow_idle,
        };
        Session::start(
            client.clone(),
            options,
            self.pool.clone(),
            self.config.services.clone(),
            self.released.clone(),
        )
    }

    /// The clients and services are those of `config` from now on. What else it says needs a restart.
    fn reload(&mut self, config: Config) {
        let virtual_ips = match virtual_ips::assign(self.config.virtual_ips, &config.clients) {
            Ok(virtual_ips) => virtual_ips,
            Err(error) => {
                warn!("the configuration stays as it was: {error}");
                return;
            }
        };
        self.tell_what_needs_a_restart(&config);
        self.allowed
            .replace(config.clients.iter().map(|client| client.key));
        self.virtual_ips = virtual_ips;
        self.config.clients = config.clients;
        let services_differ = self.config.services != config.services;
        self.config.services = config.services;
        for (key, session) in &self.sessions {
            let client = self.config.clients.iter().find(|client| client.key == *key);
            let virtual_ip = self.virtual_ips.get(key);
            match client.zip(virtual_ip) {
                None => session.end(Some(RefusedCode::Revoked)),
                Some(now) if now != session.client() => session.end(None),
                Some(_) if services_differ => session.set_services(&self.config.services),
                Some(_) => {}
            }
        }
        let (clients, services) = (self.config.clients.len(), self.config.services.len());
        info!(clients, services, "configuration read again");
    }

    fn tell_what_needs_a_restart(&self, config: &Config) {
        let own = &self.config;
        for (key, differs) in [
            ("listen", own.listen != config.listen),
            ("key", own.key.public_key() != config.key.public_key()),
            ("control", own.control != config.control),
            (
                "switch_timeout",
                own.switch_timeout != config.switch_timeout,
            ),
            ("flow_idle", own.flow_idle != config.flow_idle),
            ("virtual_ips", own.virtual_ips != config.virtual_ips),
        ] {
            if differs {
                warn!("`{key}` stays as it was: it changes with a restart only");
            }
        }
    }

    fn turned_away(&self) -> TurnedAway {
        let handover_carrier::TurnedAway {
            unknown_key,
            not_handover,
            timed_out,
            broken,
            displaced,
        } = self.acceptor.turned_away();
        TurnedAway {
            unknown_key,
            not_handover,
            timed_out,
            broken,
            displaced,
        }
    }

    fn command(&self, command: Command) {
        match command {
            Command::Status(reply) => reply.send(Status::Server(ServerStatus {
                clients: self.sessions.values().map(Session::status).collect(),
                listen: self.listen.clone(),
                turned_away: self.turned_away(),
                error: None,
            })),
            Command::Services(reply) => reply.send(Services {
                server_services: self.config.services.iter().map(service_status).collect(),
                client_services: (self.sessions.values())
                    .flat_map(Session::client_services)
                    .collect(),
            }),
            Command::Networks(reply) => reply.send(Err(Failure::only_a_client())),
            Command::Switch { reply, .. } => reply.send(Err(Failure::only_a_client())),
            Command::Trace(reply) => reply.send(Err(Failure::only_a_client())),
        }
    }
}

fn catalogue(services: &[Service]) -> Vec<CatalogueEntry> {
    services.iter().map(Service::catalogue_entry).collect()
}

fn service_status(service: &Service) -> ServiceStatus {
    ServiceStatus {
        name: service.name.clone(),
        protocol: protocol(service.protocol),
        port: *service.ports.start(),
        last_port: *service.ports.end(),
        target: Some(service.target),
        listening: Vec::new(),
        error: None,
    }
}
