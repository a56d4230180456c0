//! Links and conduits over a given network: sockets bound to its interface and its address.
//!
//! The server's name is resolved off the critical path: what was resolved before is used first.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use handover_carrier::{Conduit, Connector, Link};
use handover_network::{bound_path_socket, bound_tcp_socket};
use handover_proto::session::NetworkId;
use handover_proto::{ConduitId, LinkNumber};
use tokio::sync::mpsc;

use crate::config::{Carrier, Host, ServerAddress};

/// From where to where.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) network: NetworkId,
    pub(crate) interface: String,
    pub(crate) source: IpAddr,
    /// The network's own address, where the interface is that of a VPN over it.
    pub(crate) below: Option<IpAddr>,
    pub(crate) server: SocketAddr,
    /// How long nothing may pass on an idle conduit; none: as on every network.
    pub(crate) keepalive: Option<Duration>,
    /// The connection that the link has over QUIC: its further conduits are streams of it.
    pub(crate) quic: Option<Link>,
}

/// How a dial ended.
#[derive(Debug)]
pub(crate) enum Dialled {
    Link {
        link: LinkNumber,
        path: Path,
        result: Result<Conduit, String>,
    },
    Conduit {
        link: ConduitId,
        result: Result<Conduit, String>,
    },
    /// The server's names were resolved anew.
    Resolved(Result<Vec<SocketAddr>, String>),
}

pub(crate) fn link(
    connector: Connector,
    link: LinkNumber,
    mut path: Path,
    carrier: Carrier,
    done: mpsc::UnboundedSender<Dialled>,
) {
    tokio::spawn(async move {
        let result = match carrier {
            Carrier::Auto | Carrier::Tls => connect(&connector, &path).await,
            Carrier::Quic => connect_quic(&connector, &mut path).await,
        };
        // Nobody listens when the daemon ends.
        drop(done.send(Dialled::Link { link, path, result }));
    });
}

pub(crate) fn conduit(
    connector: Connector,
    link: ConduitId,
    path: Path,
    done: mpsc::UnboundedSender<Dialled>,
) {
    tokio::spawn(async move {
        let result = match &path.quic {
            None => connect(&connector, &path).await,
            Some(link) => link.open().await.map_err(|error| error.to_string()),
        };
        drop(done.send(Dialled::Conduit { link, result }));
    });
}

async fn connect(connector: &Connector, path: &Path) -> Result<Conduit, String> {
    //= docs/spec/planned.md#cnapt-24
    //= docs/spec/unexpected.md#cnapt-star-12
    let socket = bound_tcp_socket(Some(&path.interface), path.source)
        .map_err(|error| path.cannot_bind(&error))?;
    path.tuned(connector)
        .connect(socket, path.server)
        .await
        .map_err(|error| error.to_string())
}

async fn connect_quic(connector: &Connector, path: &mut Path) -> Result<Conduit, String> {
    //= docs/spec/planned.md#cnapt-24
    //= docs/spec/unexpected.md#cnapt-star-12
    let socket = bound_path_socket(Some(&path.interface), path.source)
        .map_err(|error| path.cannot_bind(&error))?;
    let (conduit, link) = path
        .tuned(connector)
        .connect_quic(socket, path.server)
        .await
        .map_err(|error| error.to_string())?;
    path.quic = Some(link);
    Ok(conduit)
}

impl Path {
    fn cannot_bind(&self, error: &io::Error) -> String {
        format!(
            "cannot bind to {} on {}: {error}",
            self.source, self.interface
        )
    }

    fn tuned(&self, connector: &Connector) -> Connector {
        let connector = connector.clone();
        match self.keepalive {
            Some(keepalive) => connector.with_keepalive(keepalive),
            None => connector,
        }
    }
}

pub(crate) fn resolve(servers: Vec<ServerAddress>, done: mpsc::UnboundedSender<Dialled>) {
    tokio::spawn(async move {
        let result = resolve_all(&servers).await;
        drop(done.send(Dialled::Resolved(result)));
    });
}

async fn resolve_all(servers: &[ServerAddress]) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    let mut error = None;
    for server in servers {
        match resolve_one(server).await {
            Ok(found) => addresses.extend(found),
            Err(failed) => error = Some(format!("cannot resolve {server}: {failed}")),
        }
    }
    match error.filter(|_| addresses.is_empty()) {
        Some(error) => Err(error),
        None => Ok(addresses),
    }
}

async fn resolve_one(server: &ServerAddress) -> io::Result<Vec<SocketAddr>> {
    let port = server.port.get();
    match &server.host {
        Host::Address(address) => Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => Ok(tokio::net::lookup_host((name.as_str(), port))
            .await?
            .collect()),
    }
}

/// The addresses among `servers` that need no resolver.
pub(crate) fn literal_addresses(servers: &[ServerAddress]) -> Vec<SocketAddr> {
    servers
        .iter()
        .filter_map(|server| match &server.host {
            Host::Address(address) => Some(SocketAddr::new(*address, server.port.get())),
            Host::Name(_) => None,
        })
        .collect()
}
