//! The product in the lab: the real binary, its daemons, and its own commands to look at them.

mod binary;
mod configuration;
mod daemon;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub use binary::binary;
pub use configuration::PORT;
use daemon::Launch;
pub use daemon::{Daemon, Refused};

use crate::directory::TemporaryDirectory;
use crate::log::Log;
use crate::scenario::{Carrier, Lab};
use crate::topology::{SERVER, Topology};

/// Until a daemon is there and its first link is attached, on a busy machine.
pub const START_LIMIT: Duration = Duration::from_secs(20);

/// For glibc's allocator: what is freed goes back to the system at once. As it is, it keeps most of it
/// for later: after the main job 10 MB, of which 0.8 MB were in use.
const KEEP_NOTHING_FREED: &str = "glibc.malloc.mmap_threshold=4096:glibc.malloc.mmap_max=100000:\
     glibc.malloc.trim_threshold=4096:glibc.malloc.top_pad=0";

/// Where the SNAPT is.
const SERVER_LISTENS: SocketAddr = SocketAddr::new(IpAddr::V4(SERVER), PORT);

/// The clients that every server of the lab knows, by the names of their key files.
pub const KNOWN_CLIENTS: [&str; 10] = [
    "client", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
];

/// An application that applications at the other side reach.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// Its name in the catalogue.
    pub name: &'a str,
    /// `tcp` or `udp`.
    pub protocol: &'a str,
    /// Where the application listens.
    pub target: SocketAddr,
    /// The port at which the other side's applications find it.
    pub port: u16,
    /// How many ports behind this one belong to it too, each to the next one of the target's.
    pub more_ports: u16,
}

impl<'a> Service<'a> {
    /// A connection-oriented one.
    pub const fn tcp(name: &'a str, target: SocketAddr, port: u16) -> Self {
        Self {
            name,
            protocol: "tcp",
            target,
            port,
            more_ports: 0,
        }
    }

    /// A connectionless one.
    pub const fn udp(name: &'a str, target: SocketAddr, port: u16) -> Self {
        Self {
            protocol: "udp",
            ..Self::tcp(name, target, port)
        }
    }

    /// The same with a range of ports.
    pub const fn with_more_ports(self, more_ports: u16) -> Self {
        Self { more_ports, ..self }
    }

    /// Where an application on the device connects.
    pub fn entrance(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }
}

/// A client to be started.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Names its key, configuration and socket. The server knows [`KNOWN_CLIENTS`].
    pub name: &'a str,
    /// Where it looks for the server.
    pub servers: &'a [SocketAddr],
    /// Where it offers the services.
    pub bind: &'a [&'a str],
    /// Its networks, in order of preference.
    pub networks: &'a [&'a str],
    /// More lines for each of them.
    pub network_options: &'a str,
    /// What it offers to the server's applications.
    pub services: &'a [Service<'a>],
    /// More lines for its configuration.
    pub options: &'a str,
    /// Whether it may change the device's network.
    pub administrator: bool,
}

/// A SNAPT on the server and a CNAPT on the device.
#[derive(Debug)]
pub struct Handover {
    /// `handover server`.
    pub server: Daemon,
    /// `handover client`.
    pub client: Daemon,
    server_key: String,
    site: Site,
}

/// What is said of a server to be started.
#[derive(Debug, Clone, Copy, Default)]
struct Server<'a> {
    options: &'a str,
    administrator: bool,
}

/// The binary and the files of a server and its clients.
#[derive(Debug)]
struct Site {
    binary: PathBuf,
    log: Arc<Log>,
    directory: TemporaryDirectory,
    /// The variable GLIBC_TUNABLES of the daemons.
    tunables: Option<&'static str>,
    /// What the clients' links run over.
    carrier: Option<Carrier>,
}

impl Handover {
    /// Starts both daemons and waits until the client is attached. `networks` are the device's, in order
    /// of preference. `options` are more lines for the client's configuration.
    pub fn start(
        lab: &Lab,
        topology: &Topology,
        services: &[Service<'_>],
        networks: &[&str],
        options: &str,
    ) -> Result<Self> {
        let client = Client {
            options,
            ..Client::named(KNOWN_CLIENTS[0], networks)
        };
        Self::start_with(lab, topology, services, &client, "")
    }

    /// As [`Handover::start`], with daemons that keep no freed memory: what they have is what they hold.
    pub fn start_for_accounting(
        lab: &Lab,
        topology: &Topology,
        services: &[Service<'_>],
        networks: &[&str],
    ) -> Result<Self> {
        let site = Site::new(lab, Some(KEEP_NOTHING_FREED))?;
        let client = Client::named(KNOWN_CLIENTS[0], networks);
        let handover = Self::start_at(site, topology, services, &client, Server::default())?;
        if networks.len() > 1 {
            handover.wait_for_standby()?;
        }
        Ok(handover)
    }

    /// Waits until a link stands by on another network: it is held for as long as the daemons run.
    fn wait_for_standby(&self) -> Result<()> {
        crate::wait::wait_until("a link to stand by", START_LIMIT, || {
            let all = self.client.networks()?;
            let all = all["networks"].as_array().context("no networks")?;
            Ok(all.iter().any(|one| one["standby"] == true))
        })
    }

    /// As [`Handover::start`], with more lines for the server's configuration.
    pub fn start_with(
        lab: &Lab,
        topology: &Topology,
        services: &[Service<'_>],
        client: &Client<'_>,
        server_options: &str,
    ) -> Result<Self> {
        let server = Server {
            options: server_options,
            administrator: false,
        };
        Self::start_at(Site::new(lab, None)?, topology, services, client, server)
    }

    /// As [`Handover::start_with`], with a server that may change its host's network.
    pub fn start_with_administrator(
        lab: &Lab,
        topology: &Topology,
        services: &[Service<'_>],
        client: &Client<'_>,
        server_options: &str,
    ) -> Result<Self> {
        let server = Server {
            options: server_options,
            administrator: true,
        };
        Self::start_at(Site::new(lab, None)?, topology, services, client, server)
    }

    fn start_at(
        site: Site,
        topology: &Topology,
        services: &[Service<'_>],
        client: &Client<'_>,
        server: Server<'_>,
    ) -> Result<Self> {
        let server_key = site.keygen("server")?;
        let mut clients = Vec::new();
        for name in KNOWN_CLIENTS {
            clients.push((name, site.keygen(name)?));
        }
        let configuration = configuration::server(&clients, services, server.options);
        let server = site
            .launch("server", "server", server.administrator)
            .start(&topology.server, &configuration)?;
        // A client that finds nobody on its first network would try the next.
        server.wait_until_up()?;
        let client = site.start_client(topology, client, &server_key)?;
        let mut handover = Self {
            server,
            client,
            server_key,
            site,
        };
        let status = handover.wait_for_status("the first attach", START_LIMIT, |status| {
            status["state"] == "attached"
        })?;
        if let Some(carrier) = handover.site.carrier {
            ensure!(status["carrier"] == carrier.name(), "{status}");
        }
        Ok(handover)
    }

    /// Starts one more client of the same server, and waits for nothing.
    pub fn start_client(&self, topology: &Topology, client: &Client<'_>) -> Result<Daemon> {
        self.site.start_client(topology, client, &self.server_key)
    }

    /// Starts a client that expects another key of the server.
    pub fn start_client_of_another_server(
        &self,
        topology: &Topology,
        client: &Client<'_>,
    ) -> Result<Daemon> {
        let other_key = self.site.keygen("another_server")?;
        self.site.start_client(topology, client, &other_key)
    }

    /// Makes the key of a client that the server does not know.
    pub fn make_stranger(&self, name: &str) -> Result<()> {
        self.site.keygen(name).map(drop)
    }

    /// Gives a client to be started the key of another.
    pub fn copy_key(&self, from: &str, to: &str) -> Result<()> {
        let file = |name| self.site.directory.path().join(name).with_extension("key");
        fs::copy(file(from), file(to))
            .map(drop)
            .context("copy a key")
    }

    /// `handover status --json` of the client.
    pub fn client_status(&self) -> Result<Value> {
        self.client.status()
    }

    /// `handover status --json` of the server.
    pub fn server_status(&self) -> Result<Value> {
        self.server.status()
    }

    /// `handover trace --json` of the client.
    pub fn trace(&self) -> Result<Value> {
        self.client.trace()
    }

    /// `handover switch NETWORK --json`: returns when the switch is done, with its entry.
    pub fn switch(&self, network: &str) -> Result<Value> {
        self.client.switch(network)
    }

    /// Waits until the server's applications find a service of the first client; returns where.
    pub fn wait_until_offered(&self, service: &Service<'_>) -> Result<SocketAddr> {
        let status = self.client_status()?;
        let virtual_ip = status["virtual_ip"].as_str().context("no virtual IP")?;
        let offered = SocketAddr::new(virtual_ip.parse()?, service.port);
        let line = format!("listening service={} address={offered}", service.name);
        self.server.wait_for_line(&line)?;
        Ok(offered)
    }

    /// Waits until the client's status is as `wanted`, and returns it.
    pub fn wait_for_status(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let found = self.client.wait_for_status(what, limit, wanted);
        self.server.program().ensure_running()?;
        found
    }

    /// Waits until the client lists `count` switches, and returns the last.
    pub fn wait_for_switch(&mut self, count: usize, limit: Duration) -> Result<Value> {
        let found = self.client.wait_for_switch(count, limit);
        self.server.program().ensure_running()?;
        found
    }
}

impl<'a> Client<'a> {
    /// One that reaches [`SERVER`] and offers the services on the device's loopback address.
    pub const fn named(name: &'a str, networks: &'a [&'a str]) -> Self {
        Self {
            name,
            servers: &[SERVER_LISTENS],
            bind: &["127.0.0.1"],
            networks,
            network_options: "",
            services: &[],
            options: "",
            administrator: false,
        }
    }
}

impl Site {
    fn new(lab: &Lab, tunables: Option<&'static str>) -> Result<Self> {
        Ok(Self {
            binary: binary()?,
            log: Arc::clone(&lab.log),
            directory: TemporaryDirectory::new()?,
            tunables,
            carrier: lab.carrier,
        })
    }

    fn keygen(&self, name: &str) -> Result<String> {
        let file = self.directory.path().join(name).with_extension("key");
        binary::keygen(&self.binary, &file)
    }

    fn launch(&self, role: &'static str, name: &str, administrator: bool) -> Launch {
        Launch {
            binary: self.binary.clone(),
            log: Arc::clone(&self.log),
            role,
            name: name.to_owned(),
            directory: self.directory.path().to_owned(),
            tunables: self.tunables,
            administrator,
        }
    }

    fn start_client(
        &self,
        topology: &Topology,
        client: &Client<'_>,
        server_key: &str,
    ) -> Result<Daemon> {
        let configuration = configuration::client(client, server_key, self.carrier);
        self.launch("client", client.name, client.administrator)
            .start(&topology.device, &configuration)
    }
}
