//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Keeps TCP sessions alive while the device under them changes networks.
///
/// Beside the server application runs `handover server`, on the roaming device `handover client`. Applications
/// connect to 127.0.0.1 on the device, on the ports that the server's configuration lists, and never notice that the
/// network below changes, planned or not.
#[derive(Debug, Parser)]
#[command(name = "handover", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a private key and print its public key.
    ///
    /// The file has mode 0600 and is never overwritten. The public key, one line, goes into the other side's
    /// configuration: the client's as `key` of a `[[client]]` at the server, the server's as `server_key` at the client.
    Keygen {
        /// The file to write.
        file: PathBuf,
    },
    /// Run the server side (the SNAPT), in the foreground.
    ///
    /// It logs to standard error; HANDOVER_LOG says how much (error, warn, info, debug, trace). SIGHUP lets it read
    /// its clients and services again.
    #[command(after_help = SERVER_EXAMPLE)]
    Server(DaemonArgs),
    /// Run the device's side (the CNAPT), in the foreground.
    ///
    /// It logs to standard error; HANDOVER_LOG says how much (error, warn, info, debug, trace).
    #[command(after_help = CLIENT_EXAMPLE)]
    Client(DaemonArgs),
    /// Show how the running client or server stands.
    Status(QueryArgs),
    /// List the device's networks and whether each can be switched to.
    Networks(QueryArgs),
    /// List the services of both sides: where each is found, and what is wrong with it.
    ///
    /// On the device: the server's services, and where its applications find them; the device's own services, and
    /// whether the server's applications can reach them. At the server: its own, and those of all clients.
    Services(QueryArgs),
    /// Switch to another network, now.
    ///
    /// Returns when the switch is done (exit status 0) or has failed (1). A network that does not exist is a misuse
    /// (2). Run it before you unplug the cable: nothing then needs to be sent twice.
    Switch {
        /// The network's name, as `handover networks` lists it.
        network: String,
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Show the steps of the last switch, of both sides, in one ladder.
    Trace(QueryArgs),
    /// See it work: two networks, a transfer and two switches, on this machine alone.
    ///
    /// It needs no privileges and no configuration, takes less than 30 seconds and leaves nothing behind. Exit status
    /// 1 if a single byte differs.
    Demo(DemoArgs),
}

/// What the demo takes.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Use loopback addresses even where hosts of the demo's own are possible.
    #[arg(long, hide = true)]
    pub(crate) loopback: bool,
}

/// What the daemons take.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The configuration; relative paths in it start at its own directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// What the commands to a running daemon take.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The daemon's control socket.
    ///
    /// Without it: $HANDOVER_CONTROL, else client.sock or server.sock in $XDG_RUNTIME_DIR/handover, else in
    /// /run/handover.
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Print exactly one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 failed, 2 misuse.

To begin, on the server and on the device:
  handover keygen server.key            handover keygen client.key
  handover server --config server.toml  handover client --config client.toml
`handover server --help` and `handover client --help` show a configuration.";

const SERVER_EXAMPLE: &str = r#"A configuration:
  listen = "0.0.0.0:7400"
  key = "server.key"

  [[client]]                      # who may attach
  name = "laptop"
  key = "<what keygen printed on the laptop>"

  [[service]]                     # what clients may reach
  name = "web"
  protocol = "tcp"
  target = "127.0.0.1:8080"       # where the server application listens
  port = 8080                     # where the device's applications find it"#;

const CLIENT_EXAMPLE: &str = r#"A configuration:
  server = "server.example.org:7400"
  server_key = "<what keygen printed on the server>"
  key = "client.key"

  [[network]]                     # optional; the first is preferred
  name = "wifi"
  interface = "wlan0"

  [[network]]
  name = "lte"
  interface = "wwan0"
  cost = "metered""#;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
