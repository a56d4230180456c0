//! The configuration of a CNAPT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use handover_cnapt::Config;
use handover_cnapt::config::{Carrier, Decision, ServerAddress};
use handover_control::{Environment, Role, default_path};

use super::document::{ConfigError, Distinct, Document, Table, Value};
use super::service::services;
use super::{flow_idle, network, private_key, public_key};

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
        decision: decision(&root)?,
        notify: network::hook(&root, "notify")?,
        hook_timeout: network::hook_timeout(&root)?,
        networks: network::read(&root)?,
        flow_idle: flow_idle(root.get("flow_idle"))?,
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
    value.one_of(&[
        ("auto", Carrier::Auto),
        ("tls", Carrier::Tls),
        ("quic", Carrier::Quic),
    ])
}

fn decision(root: &Table<'_>) -> Result<Decision, ConfigError> {
    let single = match root.get("single") {
        Some(single) => single.boolean()?,
        None => false,
    };
    let decision = root.get("decision");
    if single {
        return match decision {
            Some(decision) => Err(decision.error(
                "with single = true every switch is ordered, and there is nothing to decide: remove one of the two",
            )),
            None => Ok(Decision::Single),
        };
    }
    let Some(decision) = decision else {
        return Ok(Decision::Automatic);
    };
    let choices = [
        ("automatic", Some(Decision::Automatic)),
        ("propose", None),
        ("manual", Some(Decision::Manual)),
    ];
    decision.one_of(&choices)?.ok_or_else(|| {
        decision.error("\"propose\" is not possible yet: use \"automatic\" or \"manual\"")
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
    "single",
    "notify",
    "hook_timeout",
    "flow_idle",
    "network",
    "service",
];
