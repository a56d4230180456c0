//! The networks of a CNAPT, and the hooks that open and close them.

use std::time::Duration;

use handover_cnapt::config::{
    Cost, HOOK_TIMEOUT, LEAST_KEEPALIVE, LONGEST_HOOK_TIMEOUT, NetworkConfig, Standby, Vpn,
};

use super::document::{ConfigError, Distinct, Table, Value};

pub(super) fn read(root: &Table<'_>) -> Result<Vec<NetworkConfig>, ConfigError> {
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
    let (up, down) = (hook(table, "up")?, hook(table, "down")?);
    if let (None, Some(down)) = (&up, table.get("down")) {
        return Err(down.error("what is taken down has to be brought up again: add the hook `up`"));
    }
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
        keepalive: match table.get("keepalive") {
            Some(keepalive) => Some(duration(&keepalive, LEAST_KEEPALIVE, LONGEST_KEEPALIVE)?),
            None => None,
        },
        up,
        down,
        vpn: vpn(table)?,
    })
}

fn vpn(table: &Table<'_>) -> Result<Option<Vpn>, ConfigError> {
    let interface = table.get("vpn_interface");
    let up = hook(table, "vpn_up")?;
    if let (Some(interface), Some(up)) = (&interface, up) {
        return Ok(Some(Vpn {
            interface: interface.name(INTERFACE_NAME_BYTES)?,
            up,
            down: hook(table, "vpn_down")?,
        }));
    }
    let half = interface
        .or_else(|| table.get("vpn_up"))
        .or_else(|| table.get("vpn_down"));
    match half {
        Some(half) => Err(half.error(
            "a VPN has both `vpn_interface`, to which links are bound while it is up, and `vpn_up`, which brings it up",
        )),
        None => Ok(None),
    }
}

/// A line for `sh -c`.
pub(super) fn hook(table: &Table<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(value) = table.get(key) else {
        return Ok(None);
    };
    let command = value.text("a command for `sh -c`, in quotes")?;
    if command.trim().is_empty() {
        return Err(value.error("the command is empty: remove the key"));
    }
    Ok(Some(command.to_owned()))
}

pub(super) fn hook_timeout(root: &Table<'_>) -> Result<Duration, ConfigError> {
    match root.get("hook_timeout") {
        Some(value) => duration(&value, SHORTEST_HOOK_TIMEOUT, LONGEST_HOOK_TIMEOUT),
        None => Ok(HOOK_TIMEOUT),
    }
}

fn duration(value: &Value<'_>, least: Duration, most: Duration) -> Result<Duration, ConfigError> {
    let expected = format!(
        "a time from {} to {}, such as \"{}\"",
        humantime::format_duration(least),
        humantime::format_duration(most),
        humantime::format_duration(least * 15),
    );
    let duration: Duration = value.parse_as::<humantime::Duration>(&expected)?.into();
    if (least..=most).contains(&duration) {
        Ok(duration)
    } else {
        Err(value.expected(&expected))
    }
}

const NETWORK_KEYS: &[&str] = &[
    "name",
    "interface",
    "address",
    "cost",
    "standby",
    "keepalive",
    "up",
    "down",
    "vpn_interface",
    "vpn_up",
    "vpn_down",
];

/// No process starts and ends in much less on a device that is busy.
const SHORTEST_HOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Beyond it no NAT is kept awake, and a dead link is found by other means.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(60 * 60);

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
