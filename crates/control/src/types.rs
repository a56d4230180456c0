//! What the daemons say about themselves, and what they can be told.
//!
//! These types are the JSON of `--json`: names and values here are fixed once they are out, and fields are only added.
//! A value that is not known is `null`, never missing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The answer to `handover status`; `role` tells which daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Status {
    /// From `handover client`.
    Client(ClientStatus),
    /// From `handover server`.
    Server(ServerStatus),
}

/// How it stands with a CNAPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The CNAPT ID, in hexadecimal.
    pub cnapt_id: String,
    /// What it is doing.
    pub state: ClientState,
    /// The current network, while its link is attached and healthy.
    pub network: Option<String>,
    /// The network that carried the traffic last; the current one if there is one.
    pub last_network: Option<String>,
    /// What the current link runs over.
    pub carrier: Option<Carrier>,
    /// Connections of applications that are open.
    pub streams: u64,
    /// UDP associations of applications that are open.
    pub flows: u64,
    /// Datagrams of applications that came to nothing in this module, by reason.
    pub datagrams_dropped: BTreeMap<String, u64>,
    /// The switches so far, oldest first; the oldest are forgotten.
    pub switches: Vec<SwitchEntry>,
    /// The address of this CNAPT at the server, for client services.
    pub virtual_ip: Option<IpAddr>,
    /// The server's address that the current link goes to.
    pub server: Option<SocketAddr>,
    /// The device's own address on the current network.
    pub local_address: Option<IpAddr>,
    /// The server's services, as this device offers them to its applications.
    pub services: Vec<ServiceStatus>,
    /// Bytes taken from applications that the server has not acknowledged.
    pub buffered_bytes: u64,
    /// What went wrong last, in words, while it matters.
    pub error: Option<String>,
}

/// What a CNAPT is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientState {
    /// It has not reached the server yet.
    Connecting,
    /// A link carries the traffic.
    Attached,
    /// It goes from one network to another.
    Switching,
    /// It had a link and has none; the applications' connections wait.
    Detached,
    /// The server has refused it.
    Refused,
}

/// What a link runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// TLS 1.3 over TCP.
    Tls,
    /// QUIC over UDP.
    Quic,
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Packets.
    Udp,
}

/// One service and whether it can be used where it is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name, as the server's configuration gives it.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// The port at which it is found, the first one of a range.
    pub port: u16,
    /// The last port of the range; the same if it is none.
    pub last_port: u16,
    /// Where its application is; known to the server only.
    pub target: Option<SocketAddr>,
    /// Where it is listened for, which a client does.
    pub listening: Vec<SocketAddr>,
    /// Why it cannot be listened for somewhere; tried again by itself.
    pub error: Option<String>,
}

/// The answer to `handover services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Services of the server's applications.
    pub server_services: Vec<ServiceStatus>,
    /// Services of applications on devices: on this one, or on those of the server's clients.
    pub client_services: Vec<ClientServiceStatus>,
}

/// One client service, and whether the server's applications can reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientServiceStatus {
    /// Whose it is, as the server's configuration calls the client; known to the server only.
    pub client: Option<String>,
    /// Its name, as the client's configuration gives it.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// The port at which it is found on the virtual IP, the first one of a range.
    pub port: u16,
    /// The last port of the range; the same if it is none.
    pub last_port: u16,
    /// The address at the server on which it is found.
    pub virtual_ip: Option<IpAddr>,
    /// Where its application is; known to the client only.
    pub target: Option<SocketAddr>,
    /// Whether it can be reached.
    pub state: ClientServiceState,
    /// Why it cannot be reached; tried again by itself.
    pub error: Option<String>,
}

/// Whether the server's applications can reach a client service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientServiceState {
    /// The server has not said yet.
    Waiting,
    /// It is listened for at the server, on all its ports.
    Listening,
    /// It is not, or not on all its ports.
    Failed,
}

/// One switch that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwitchEntry {
    /// Its number in the protocol: a higher one is later. The first attach has one too.
    pub number: u64,
    /// Whether the old network was left in an orderly way.
    pub kind: Kind,
    /// Which steps were taken.
    pub procedure: Procedure,
    /// The network that was left.
    pub from: String,
    /// The network that was gone to.
    pub to: String,
    /// The device's address on the network that was left.
    pub from_address: Option<IpAddr>,
    /// The device's address on the network that was gone to.
    pub to_address: Option<IpAddr>,
    /// When it began.
    pub started: Timestamp,
    /// From the order, or the loss of the network, to the end.
    pub duration_ms: f64,
    /// The longest pause between two deliveries to an application during the switch; none without traffic.
    pub gap_ms: Option<f64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, in words; none if it did not, or nothing is known.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Whether a switch left the old network in an orderly way, whoever ordered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every last message of the old link arrived on it, both ways.
    Planned,
    /// The old network was lost, or died on the way.
    Unexpected,
}

/// Which steps a switch took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Procedure {
    /// The planned steps, one network at a time.
    Stepwise,
    /// The starred steps.
    Starred,
    /// Both networks at once, without a pause.
    Overlapped,
    /// The starred steps, ordered before the old network was known to be dead.
    Rescue,
}

/// How a switch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new network carries the traffic.
    Done,
    /// It does not.
    Failed,
}

/// How it stands with a SNAPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The clients that have a session.
    pub clients: Vec<ServerClient>,
    /// Where it listens for clients.
    pub listen: Vec<SocketAddr>,
    /// Connections to those addresses that were turned away.
    pub turned_away: TurnedAway,
    /// What went wrong last, in words, while it matters.
    pub error: Option<String>,
}

/// How many connections did not become a client's, since the start of the SNAPT, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedAway {
    /// Clients whose key is not in the configuration; the log says the keys.
    pub unknown_key: u64,
    /// They spoke something else, or showed no key.
    pub not_handover: u64,
    /// They did not finish the handshake in time.
    pub timed_out: u64,
    /// They broke during the handshake.
    pub broken: u64,
    /// They gave an unfinished handshake's place to a newcomer.
    pub displaced: u64,
}

impl TurnedAway {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.unknown_key + self.not_handover + self.timed_out + self.broken + self.displaced
    }
}

/// One client's session at the SNAPT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerClient {
    /// The CNAPT ID, in hexadecimal.
    pub cnapt_id: String,
    /// Its name in the server's configuration.
    pub name: String,
    /// How its session stands.
    pub state: ServerClientState,
    /// The address that it was heard from last.
    pub address: Option<IpAddr>,
    /// Its address here, for client services.
    pub virtual_ip: Option<IpAddr>,
    /// Connections of applications that are open.
    pub streams: u64,
    /// UDP associations of applications that are open.
    pub flows: u64,
    /// Datagrams of applications that came to nothing in this module, by reason.
    pub datagrams_dropped: BTreeMap<String, u64>,
}

/// How a client's session stands at the SNAPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerClientState {
    /// A link carries its traffic.
    Attached,
    /// It goes from one network to another.
    Switching,
    /// It is silent; its session is kept until the switch timeout.
    Detached,
}

/// The answer to `handover networks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// In order of preference.
    pub networks: Vec<Network>,
}

/// One network of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What it is called in the configuration; without one, as its interface.
    pub name: String,
    /// The interface that leads to it.
    pub interface: String,
    /// Whether it can be gone to.
    pub state: NetworkState,
    /// The device's address on it.
    pub address: Option<IpAddr>,
    /// Whether it carries the traffic now.
    pub current: bool,
    /// Whether a link is held over it beside the one that carries, ready to take the traffic over.
    #[serde(default)]
    pub standby: bool,
    /// Why it cannot be gone to, in words.
    pub reason: Option<String>,
}

/// Whether a network can be gone to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkState {
    /// It is up, with an address and a route to the server.
    Available,
    /// It is not, but a hook opens it when it is gone to.
    Closed,
    /// It is not; the reason stands beside.
    Unavailable,
}

/// An order: go to this network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRequest {
    /// Its name.
    pub network: String,
}

/// How an order to switch ended, if it was carried out at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwitchReply {
    /// The switch; none if the network was the current one.
    pub entry: Option<SwitchEntry>,
    /// The network was the current one, attached and healthy: nothing was done.
    pub already_there: bool,
}

/// The steps of the last switch, of both modules, in one ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Which switch, as in [`SwitchEntry::number`].
    pub number: u64,
    /// Whether the old network was left in an orderly way.
    pub kind: Kind,
    /// Which steps were taken.
    pub procedure: Procedure,
    /// The steps, merged by cause: a message's sending stands before its receipt, whatever the clocks say.
    pub steps: Vec<TraceStep>,
}

/// One step that a module has taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Who took it.
    pub side: Side,
    /// Its name in the specification, such as `CNAPT-12` or `SNAPT-3*`.
    pub step: String,
    /// When, since this side's own start of the switch.
    pub at_ms: f64,
    /// What it does, in words.
    pub text: String,
}

/// One of the two modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The module beside the client application.
    Cnapt,
    /// The module beside the server application.
    Snapt,
}

/// Why a command could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What happened and what to do, for a person.
    pub message: String,
    /// Whether the command itself was wrong, as with a network that does not exist.
    pub misuse: bool,
}

impl Failure {
    /// The command was right and could not be carried out: exit status 1.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            misuse: false,
        }
    }

    /// The command was wrong: exit status 2.
    #[must_use]
    pub fn misuse(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            misuse: true,
        }
    }

    /// What a server answers to a command that only a client can carry out.
    #[must_use]
    pub fn only_a_client() -> Self {
        Self::misuse(
            "a server answers only `handover status` and `handover services`: \
             run this on the device, or name the client's socket with --control",
        )
    }
}

/// Writes a value as its JSON name: one word for people and programs alike.
macro_rules! display_as_in_json {
    ($($type:ty { $($variant:ident => $word:literal),+ $(,)? })+) => {
        $(impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $word),+
                })
            }
        })+

        #[cfg(test)]
        mod words {
            use super::*;

            #[test]
            fn people_and_programs_read_the_same_word() {
                $($(
                    assert_eq!(serde_json::to_value(<$type>::$variant).unwrap(), $word);
                    assert_eq!(<$type>::$variant.to_string(), $word);
                )+)+
            }
        }
    };
}

display_as_in_json! {
    ClientState {
        Connecting => "connecting",
        Attached => "attached",
        Switching => "switching",
        Detached => "detached",
        Refused => "refused",
    }
    Carrier { Tls => "tls", Quic => "quic" }
    Protocol { Tcp => "tcp", Udp => "udp" }
    ClientServiceState { Waiting => "waiting", Listening => "listening", Failed => "failed" }
    Kind { Planned => "planned", Unexpected => "unexpected" }
    Procedure {
        Stepwise => "stepwise",
        Starred => "starred",
        Overlapped => "overlapped",
        Rescue => "rescue",
    }
    Outcome { Done => "done", Failed => "failed" }
    ServerClientState {
        Attached => "attached",
        Switching => "switching",
        Detached => "detached",
    }
    NetworkState { Available => "available", Closed => "closed", Unavailable => "unavailable" }
    Side { Cnapt => "cnapt", Snapt => "snapt" }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_clients_status_has_the_fixed_fields() {
        let status = Status::Client(ClientStatus {
            cnapt_id: "ab".repeat(32),
            state: ClientState::Detached,
            network: None,
            last_network: Some("wifi".into()),
            carrier: None,
            streams: 3,
            flows: 0,
            datagrams_dropped: BTreeMap::new(),
            switches: vec![entry()],
            virtual_ip: None,
            server: None,
            local_address: None,
            services: Vec::new(),
            buffered_bytes: 0,
            error: None,
        });
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["role"], "client");
        assert_eq!(json["state"], "detached");
        assert_eq!(json["last_network"], "wifi");
        for unknown in ["network", "carrier"] {
            assert!(json.as_object().unwrap().contains_key(unknown), "{unknown}");
            assert!(json[unknown].is_null(), "{unknown}");
        }
        assert_eq!(
            json["switches"][0],
            serde_json::json!({
                "number": 1,
                "kind": "planned",
                "procedure": "stepwise",
                "from": "wifi",
                "to": "lte",
                "from_address": "10.1.0.2",
                "to_address": "10.2.0.2",
                "started": "1970-01-01T00:00:01.000Z",
                "duration_ms": 120.5,
                "gap_ms": null,
                "outcome": "done",
                "reason": null,
            })
        );
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
    }

    #[test]
    fn a_servers_status_has_the_fixed_fields() {
        let status = Status::Server(ServerStatus {
            clients: vec![ServerClient {
                cnapt_id: "ab".repeat(32),
                name: "laptop".into(),
                state: ServerClientState::Attached,
                address: Some("10.1.0.2".parse().unwrap()),
                virtual_ip: Some("127.77.0.10".parse().unwrap()),
                streams: 2,
                flows: 1,
                datagrams_dropped: BTreeMap::from([("late".into(), 3)]),
            }],
            listen: vec!["0.0.0.0:7400".parse().unwrap()],
            turned_away: TurnedAway {
                unknown_key: 2,
                ..TurnedAway::default()
            },
            error: None,
        });
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            json["turned_away"],
            serde_json::json!({
                "unknown_key": 2, "not_handover": 0, "timed_out": 0, "broken": 0, "displaced": 0,
            })
        );
        assert_eq!(
            json["clients"][0],
            serde_json::json!({
                "cnapt_id": "ab".repeat(32),
                "name": "laptop",
                "state": "attached",
                "address": "10.1.0.2",
                "virtual_ip": "127.77.0.10",
                "streams": 2,
                "flows": 1,
                "datagrams_dropped": { "late": 3 },
            })
        );
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
    }

    fn entry() -> SwitchEntry {
        SwitchEntry {
            number: 1,
            kind: Kind::Planned,
            procedure: Procedure::Stepwise,
            from: "wifi".into(),
            to: "lte".into(),
            from_address: Some("10.1.0.2".parse().unwrap()),
            to_address: Some("10.2.0.2".parse().unwrap()),
            started: (SystemTime::UNIX_EPOCH + Duration::from_secs(1)).into(),
            duration_ms: 120.5,
            gap_ms: None,
            outcome: Outcome::Done,
            reason: None,
        }
    }
}
