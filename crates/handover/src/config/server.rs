//! The configuration of a SNAPT.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use handover_carrier::PublicKey;
use handover_control::{Environment, Role, default_path};
use handover_snapt::Config;
use handover_snapt::config::{ClientConfig, PortSet, Prefix};

use super::document::{ConfigError, Distinct, Document, Table, Value};
use super::service::services;
use super::{flow_idle, private_key, public_key};

pub(super) fn read(document: &Document, environment: &Environment) -> Result<Config, ConfigError> {
    let root = document.root(KEYS)?;
    let key = private_key(&root.require("key")?)?;
    let virtual_ips = match root.get("virtual_ips") {
        Some(pool) => pool.parse()?,
        None => Prefix::DEFAULT_POOL,
    };
    Ok(Config {
        listen: listen(&root.require("listen")?)?,
        control: match root.get("control") {
            Some(path) => path.path()?,
            None => default_path(Role::Server, environment),
        },
        switch_timeout: match root.get("switch_timeout") {
            Some(timeout) => duration(&timeout)?,
            None => SWITCH_TIMEOUT,
        },
        flow_idle: flow_idle(root.get("flow_idle"))?,
        virtual_ips,
        clients: clients(&root, virtual_ips, key.public_key())?,
        services: services(&root)?,
        key,
    })
}

fn listen(value: &Value<'_>) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut distinct = Distinct::new();
    let mut addresses = Vec::new();
    for value in value.one_or_more()? {
        let address = value.socket_address()?;
        distinct.insert(address, &value)?;
        addresses.push(address);
    }
    Ok(addresses)
}

fn duration(value: &Value<'_>) -> Result<Duration, ConfigError> {
    let expected = "a time such as \"24h\" or \"90s\"";
    let duration = value.parse_as::<humantime::Duration>(expected)?;
    if duration.is_zero() {
        return Err(value.error(format!("expected {expected}, longer than none at all")));
    }
    Ok(duration.into())
}

fn clients(
    root: &Table<'_>,
    pool: Prefix,
    own_key: PublicKey,
) -> Result<Vec<ClientConfig>, ConfigError> {
    let (mut names, mut keys, mut addresses) = (Distinct::new(), Distinct::new(), Distinct::new());
    let mut clients = Vec::new();
    for table in root.tables("client", CLIENT_KEYS)? {
        let name = table.require("name")?;
        let key = table.require("key")?;
        let client = client(&table, pool)?;
        names.insert(client.name.clone(), &name)?;
        if client.key == own_key {
            return Err(key.error(
                "this is the server's own public key: \
                 give the one that `handover keygen` printed for the client",
            ));
        }
        keys.insert(client.key, &key)?;
        if let Some((address, value)) = client.virtual_ip.zip(table.get("virtual_ip")) {
            addresses.insert(address, &value)?;
        }
        clients.push(client);
    }
    Ok(clients)
}

fn client(table: &Table<'_>, pool: Prefix) -> Result<ClientConfig, ConfigError> {
    let virtual_ip: Option<IpAddr> = match table.get("virtual_ip") {
        Some(value) => {
            let expected = "an IP address such as \"127.77.0.10\"";
            let address: IpAddr = value.parse_as(expected)?;
            // On it the client's services would be found at every address of the server.
            if address.is_unspecified() || address.is_multicast() {
                return Err(
                    value.error(format!("expected {expected}, which is the client's alone"))
                );
            }
            Some(address)
        }
        None => None,
    };
    let is_loopback = virtual_ip.map_or(pool.is_loopback(), |address| address.is_loopback());
    Ok(ClientConfig {
        name: table.require("name")?.name(CLIENT_NAME_BYTES)?,
        key: public_key(&table.require("key")?)?,
        virtual_ip,
        services: match table.get("services") {
            Some(ports) => ports.parse()?,
            // Other hosts cannot reach a loopback address: only there is it safe to allow without being asked.
            None if is_loopback => PortSet::unprivileged(),
            None => PortSet::none(),
        },
    })
}

const KEYS: &[&str] = &[
    "listen",
    "key",
    "control",
    "switch_timeout",
    "flow_idle",
    "virtual_ips",
    "client",
    "service",
];

const CLIENT_KEYS: &[&str] = &["name", "key", "virtual_ip", "services"];

/// A laptop that sleeps over night, or a vehicle over a day's stop, finds its sessions again.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// As wide as a column of `handover status` may become.
const CLIENT_NAME_BYTES: usize = 64;
