//! The daemons' configuration files, as a user would write them.

use crate::topology::SERVER;

use super::{Client, Service};

/// Where the SNAPT listens.
pub(super) const PORT: u16 = 7400;

/// `clients` are names and public keys; `options` are more lines before the tables.
pub(super) fn server(
    clients: &[(&str, String)],
    services: &[Service<'_>],
    options: &str,
) -> String {
    let mut text = format!(
        "listen = \"0.0.0.0:{PORT}\"
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
"
        );
    }
    for Service { name, target, port } in services {
        text += &format!(
            "
[[service]]
name = \"{name}\"
protocol = \"tcp\"
target = \"{target}\"
port = {port}
"
        );
    }
    text
}

pub(super) fn client(client: &Client<'_>, server_key: &str) -> String {
    let Client {
        name,
        bind,
        networks,
        options,
    } = client;
    let mut text = format!(
        "server = \"{SERVER}:{PORT}\"
server_key = \"{server_key}\"
key = \"{name}.key\"
control = \"{name}.sock\"
bind = \"{bind}\"
{options}
"
    );
    for network in *networks {
        text += &format!(
            "
[[network]]
name = \"{network}\"
interface = \"{network}\"
"
        );
    }
    text
}
