//! The daemons' configuration files, as a user would write them.

use super::{Client, Service};
use crate::scenario::Carrier;

/// Where the SNAPT listens, over either family.
pub const PORT: u16 = 7400;

/// `clients` are names and public keys; `options` are more lines before the tables.
pub(super) fn server(
    clients: &[(&str, String)],
    services: &[Service<'_>],
    options: &str,
) -> String {
    let mut text = format!(
        "listen = [\"0.0.0.0:{PORT}\", \"[::]:{PORT}\"]
key = \"server.key\"
control = \"server.sock\"
{options}
"
    );
    for (name, key) in clients {
        text += &format!(
            "
[[client]]
name = \"{name}\"
key = \"{key}\"
services = \"1024-65535\"
"
        );
    }
    text + &tables(services)
}

pub(super) fn client(client: &Client<'_>, server_key: &str, carrier: Option<Carrier>) -> String {
    let Client {
        name,
        servers,
        bind,
        networks,
        network_options,
        services,
        options,
        administrator: _,
    } = client;
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "server = {servers:?}
server_key = \"{server_key}\"
key = \"{name}.key\"
control = \"{name}.sock\"
bind = {bind:?}
{options}
"
    );
    if let Some(carrier) = carrier {
        text = format!("carrier = \"{}\"\n{text}", carrier.name());
    }
    for network in *networks {
        text += &format!(
            "
[[network]]
name = \"{network}\"
interface = \"{network}\"
{network_options}
"
        );
    }
    text + &tables(services)
}

fn tables(services: &[Service<'_>]) -> String {
    let mut text = String::new();
    for service in services {
        let Service {
            name,
            protocol,
            target,
            port,
            more_ports,
        } = service;
        let ports = match more_ports {
            0 => port.to_string(),
            more => format!("\"{port}-{}\"", port + more),
        };
        text += &format!(
            "
[[service]]
name = \"{name}\"
protocol = \"{protocol}\"
target = \"{target}\"
port = {ports}
"
        );
    }
    text
}
