//! The daemons' configuration files, as a user would write them.

use handover_carrier::PublicKey;

use super::stage::{Network, Stage};

/// A server application that is to be reached through the daemons.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// Its name in the server's configuration.
    pub(super) name: &'static str,
    /// Where it listens, on the server's loopback address.
    pub(super) target: u16,
    /// Where the client's applications find it, at the stage's entrance.
    pub(super) port: u16,
}

/// The server's.
pub(super) fn server(stage: &Stage, client_key: PublicKey, services: &[Service]) -> String {
    let mut text = format!(
        r#"listen = "{}"
key = "server.key"
control = "server.sock"

[[client]]
name = "device"
key = "{client_key}"
"#,
        stage.server()
    );
    for Service { name, target, port } in services {
        text += &format!(
            r#"
[[service]]
name = "{name}"
protocol = "tcp"
target = "127.0.0.1:{target}"
port = {port}
"#
        );
    }
    text
}

/// The client's.
pub(super) fn client(stage: &Stage, server_key: PublicKey) -> String {
    let mut text = format!(
        r#"server = "{}"
server_key = "{server_key}"
key = "client.key"
control = "client.sock"
bind = "{}"
"#,
        stage.server_as_seen_by_the_client(),
        stage.entrance()
    );
    for network in Network::ALL {
        let (interface, address) = stage.path(network);
        text += &format!(
            r#"
[[network]]
name = "{network}"
interface = "{interface}"
address = "{address}"
"#
        );
    }
    text
}
