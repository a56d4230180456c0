//! The configuration of a CNAPT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use handover_cnapt::Config;
use handover_cnapt::config::{Carrier, Cost, Decision, NetworkConfig, ServerAddress, Standby};
use handover_control::{Environment, Role, default_path};

use super::document::{ConfigError, Distinct, Document, Table, Value};
use super::service::services;
use super::{private_key, public_key};

pub(super) fn read(document: &Document, environment: &Environment) -> Result<Config, ConfigError> {
    let root = document.root(KEYS)?;
    let key = private_key(&root.require("key")?)?;
    let server_key = root.require("server_key")?;
    let server_public_key = public_key(&server_key)?;
    if server_public_key == key.public_key() {
        return Err(server_key.error(
            "this is the client's own public key: give the one that `handover keygen` printed for the server",
        ));
    }
    Ok(Config {
        server: server(&root.require("server")?)?,
        server_key: server_public_key,
        key,
        control: match root.get("control") {
            Some(path) => path.path()?,
            None => default_path(Role::Client, environment),
        },
        bind: bind(root.get("bind"))?,
        carrier: carrier(root.get("carrier"))?,
        overlap: match root.get("overlap") {
            Some(overlap) => overlap.boolean()?,
            None => true,
        },
        decision: decision(root.get("decision"))?,
        networks: networks(&root)?,
        services: services(&root)?,
    })
}

fn server(value: &Value<'_>) -> Result<Vec<ServerAddress>, ConfigError> {
    let mut distinct = Distinct::new();
    let mut servers = Vec::new();
    for value in value.one_or_more()? {
        let server: ServerAddress = value.parse()?;
        distinct.insert(server.clone(), &value)?;
        servers.push(server);
    }
    Ok(servers)
}

fn bind(value: Option<Value<'_>>) -> Result<Vec<IpAddr>, ConfigError> {
    let Some(value) = value else {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    };
    let mut distinct = Distinct::new();
    let mut addresses = Vec::new();
    for value in value.one_or_more()? {
        let address = value.parse_as("an IP address of this machine, such as \"127.0.0.1\"")?;
        distinct.insert(address, &value)?;
        addresses.push(address);
    }
    Ok(addresses)
}

fn carrier(value: Option<Value<'_>>) -> Result<Carrier, ConfigError> {
    let Some(value) = value else {
        return Ok(Carrier::Auto);
    };
    let choices = [
        ("auto", Some(Carrier::Auto)),
        ("tls", Some(Carrier::Tls)),
        ("quic", None),
    ];
    value.one_of(&choices)?.ok_or_else(|| {
        value.error("\"quic\" is not possible yet: use \"auto\" or \"tls\", both are TLS over TCP")
    })
}

fn decision(value: Option<Value<'_>>) -> Result<Decision, ConfigError> {
    let Some(value) = value else {
        return Ok(Decision::Automatic);
    };
    let choices = [
        ("automatic", Some(Decision::Automatic)),
        ("propose", None),
        ("manual", Some(Decision::Manual)),
    ];
    value.one_of(&choices)?.ok_or_else(|| {
        value.error("\"propose\" is not possible yet: use \"automatic\" or \"manual\"")
    })
}

fn networks(root: &Table<'_>) -> Result<Vec<NetworkConfig>, ConfigError> {
    let mut names = Distinct::new();
    let mut networks = Vec::new();
    for table in root.tables("network", NETWORK_KEYS)? {
        let name = table.require("name")?;
        let network = network(&table)?;
        names.insert(network.name.clone(), &name)?;
        networks.push(network);
    }
    Ok(networks)
}

fn network(table: &Table<'_>) -> Result<NetworkConfig, ConfigError> {
    Ok(NetworkConfig {
        name: table.require("name")?.name(NETWORK_NAME_BYTES)?,
        interface: table.require("interface")?.name(INTERFACE_NAME_BYTES)?,
        address: match table.get("address") {
            Some(address) => {
                Some(address.parse_as("an IP address on this network, such as \"10.1.0.2\"")?)
            }
            None => None,
        },
        cost: match table.get("cost") {
            Some(cost) => cost.one_of(COSTS)?,
            None => Cost::Free,
        },
        standby: match table.get("standby") {
            Some(standby) => standby.one_of(STANDBYS)?,
            None => Standby::Auto,
        },
    })
}

const KEYS: &[&str] = &[
    "server",
    "server_key",
    "key",
    "control",
    "bind",
    "carrier",
    "overlap",
    "decision",
    "network",
    "service",
];

const NETWORK_KEYS: &[&str] = &["name", "interface", "address", "cost", "standby"];

const COSTS: &[(&str, Cost)] = &[
    ("free", Cost::Free),
    ("metered", Cost::Metered),
    ("expensive", Cost::Expensive),
];

const STANDBYS: &[(&str, Standby)] = &[
    ("auto", Standby::Auto),
    ("yes", Standby::Yes),
    ("no", Standby::No),
];

/// As wide as a column of `handover networks` may become.
const NETWORK_NAME_BYTES: usize = 64;

/// `IFNAMSIZ` is 16, with a zero at the end.
const INTERFACE_NAME_BYTES: usize = 15;
