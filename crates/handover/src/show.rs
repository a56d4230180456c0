//! What the daemons say, for people. Programs use `--json`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;

use handover_control::{
    ClientServiceStatus, ClientStatus, Network, Networks, ServerClient, ServerStatus,
    ServiceStatus, Services, Side, Status, SwitchEntry, SwitchReply, Trace, TraceStep, TurnedAway,
};

use crate::table::Table;

/// `handover status`.
pub(crate) fn status(status: &Status) -> String {
    match status {
        Status::Client(status) => client(status),
        Status::Server(status) => server(status),
    }
}

/// `handover networks`.
pub(crate) fn networks(networks: &Networks) -> String {
    if networks.networks.is_empty() {
        return "this device has no network\n".into();
    }
    Table::new(["", "NETWORK", "INTERFACE", "STATE", "ADDRESS", "REASON"])
        .rows(&networks.networks, network)
        .render()
}

/// `handover services`: those of the server, then those of the device or devices.
pub(crate) fn services(services: &Services) -> String {
    let heading = [
        "SERVER SERVICE",
        "PROTOCOL",
        "PORT",
        "TARGET",
        "LISTENING",
        "ERROR",
    ];
    let mut text = Table::new(heading)
        .rows(&services.server_services, server_service)
        .render();
    if !services.client_services.is_empty() {
        let heading = [
            "CLIENT SERVICE",
            "CLIENT",
            "PROTOCOL",
            "VIRTUAL IP",
            "PORT",
            "TARGET",
            "STATE",
            "ERROR",
        ];
        text += "\n";
        text += &Table::new(heading)
            .rows(&services.client_services, client_service)
            .render();
    }
    text
}

/// `handover switch`.
pub(crate) fn switch(reply: &SwitchReply) -> String {
    match &reply.entry {
        Some(entry) => switches([entry]).render(),
        None => "this network carries the traffic already\n".into(),
    }
}

/// `handover trace`: each side's steps in a column of its own.
pub(crate) fn trace(trace: &Trace) -> String {
    let heading = format!(
        "switch {}, {}, {}; in the order of cause, each side's times from its own first step\n",
        trace.number, trace.kind, trace.procedure
    );
    let ladder = Table::new(["MS", "CNAPT", "SNAPT", ""]).rows(&trace.steps, step);
    heading + &ladder.render()
}

fn client(status: &ClientStatus) -> String {
    let network = match (&status.network, &status.last_network) {
        (Some(network), _) => network.clone(),
        (None, Some(last)) => format!("none (last: {last})"),
        (None, None) => "none".into(),
    };
    let traffic = format!(
        "{} streams, {} flows, {} bytes not acknowledged",
        status.streams, status.flows, status.buffered_bytes
    );
    let mut text = Table::without_heading()
        .row(property("state", status.state))
        .row(property("network", network))
        .row(property("address", or_dash(status.local_address)))
        .row(property("server", or_dash(status.server)))
        .row(property("carrier", or_dash(status.carrier)))
        .row(property("traffic", traffic))
        .rows(&dropped(&status.datagrams_dropped), |text| {
            property("dropped", text)
        })
        .row(property("virtual IP", or_dash(status.virtual_ip)))
        .row(property("CNAPT ID", &status.cnapt_id))
        .rows(&status.error, |error| property("error", error))
        .render();
    if !status.services.is_empty() {
        let table = Table::new(["SERVICE", "PROTOCOL", "PORT", "LISTENING", "ERROR"]);
        text += "\n";
        text += &table.rows(&status.services, service).render();
    }
    if !status.switches.is_empty() {
        text += "\n";
        text += &switches(&status.switches).render();
    }
    text
}

fn server(status: &ServerStatus) -> String {
    let mut text = Table::without_heading()
        .row(property("listening", list(&status.listen)))
        .row(property("clients", status.clients.len()))
        .rows(turned_away(&status.turned_away), |text| {
            property("turned away", text)
        })
        .rows(&status.error, |error| property("error", error))
        .render();
    if !status.clients.is_empty() {
        let heading = [
            "CLIENT",
            "STATE",
            "ADDRESS",
            "VIRTUAL IP",
            "STREAMS",
            "FLOWS",
            "CNAPT ID",
        ];
        text += "\n";
        text += &Table::new(heading)
            .rows(&status.clients, server_client)
            .render();
    }
    text
}

fn turned_away(counts: &TurnedAway) -> Option<String> {
    let TurnedAway {
        unknown_key,
        not_handover,
        timed_out,
        broken,
        displaced,
    } = counts;
    (counts.total() > 0).then(|| {
        format!(
            "{unknown_key} unknown keys, {not_handover} not handover, {timed_out} not in time, \
             {broken} broken, {displaced} displaced"
        )
    })
}

fn switches<'a>(entries: impl IntoIterator<Item = &'a SwitchEntry>) -> Table {
    Table::new([
        "SWITCH",
        "STARTED",
        "KIND",
        "PROCEDURE",
        "FROM",
        "TO",
        "TOOK MS",
        "GAP MS",
        "OUTCOME",
    ])
    .rows(entries, |entry| {
        [
            entry.number.to_string(),
            entry.started.to_string(),
            entry.kind.to_string(),
            entry.procedure.to_string(),
            with_address(&entry.from, entry.from_address),
            with_address(&entry.to, entry.to_address),
            format!("{:.1}", entry.duration_ms),
            or_dash(entry.gap_ms.map(|gap| format!("{gap:.1}"))),
            entry.outcome.to_string(),
        ]
    })
}

/// None if nothing was.
fn dropped(by_reason: &BTreeMap<String, u64>) -> Option<String> {
    let some = by_reason.iter().filter(|(_, count)| **count > 0);
    let reasons: Vec<String> = some
        .map(|(reason, count)| format!("{count} datagrams {}", reason.replace('_', " ")))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

fn service(service: &ServiceStatus) -> [String; 5] {
    let [name, protocol, port, _, listening, error] = server_service(service);
    [name, protocol, port, listening, error]
}

fn server_service(service: &ServiceStatus) -> [String; 6] {
    [
        service.name.clone(),
        service.protocol.to_string(),
        ports(service.port, service.last_port),
        or_dash(service.target),
        listening(service),
        service.error.clone().unwrap_or_default(),
    ]
}

fn client_service(service: &ClientServiceStatus) -> [String; 8] {
    [
        service.name.clone(),
        or_dash(service.client.as_ref()),
        service.protocol.to_string(),
        or_dash(service.virtual_ip),
        ports(service.port, service.last_port),
        or_dash(service.target),
        service.state.to_string(),
        service.error.clone().unwrap_or_default(),
    ]
}

fn ports(first: u16, last: u16) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// Of a range the addresses, each with its number of ports.
fn listening(service: &ServiceStatus) -> String {
    if service.port == service.last_port {
        return list(&service.listening);
    }
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for address in &service.listening {
        *counts.entry(address.ip()).or_default() += 1;
    }
    let lines: Vec<_> = counts
        .iter()
        .map(|(address, count)| format!("{address}: {count} ports"))
        .collect();
    list(&lines)
}

fn server_client(client: &ServerClient) -> [String; 7] {
    [
        client.name.clone(),
        client.state.to_string(),
        or_dash(client.address),
        or_dash(client.virtual_ip),
        client.streams.to_string(),
        client.flows.to_string(),
        client.cnapt_id.clone(),
    ]
}

fn network(network: &Network) -> [String; 6] {
    let mark = match (network.current, network.standby) {
        (true, _) => "*",
        (false, true) => "+",
        (false, false) => "",
    };
    [
        mark.into(),
        network.name.clone(),
        network.interface.clone(),
        network.state.to_string(),
        or_dash(network.address),
        network.reason.clone().unwrap_or_default(),
    ]
}

fn step(step: &TraceStep) -> [String; 4] {
    let (cnapt, snapt) = match step.side {
        Side::Cnapt => (step.step.clone(), String::new()),
        Side::Snapt => (String::new(), step.step.clone()),
    };
    [
        format!("{:.3}", step.at_ms),
        cnapt,
        snapt,
        step.text.clone(),
    ]
}

fn property(name: &str, value: impl Display) -> [String; 2] {
    [name.into(), value.to_string()]
}

fn with_address(network: &str, address: Option<impl Display>) -> String {
    match address {
        Some(address) => format!("{network} ({address})"),
        None => network.into(),
    }
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

fn list(values: &[impl Display]) -> String {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    values.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use handover_control::{
        Carrier, ClientServiceState, ClientState, Kind, NetworkState, Outcome, Procedure, Protocol,
        ServerClientState,
    };

    use super::*;

    #[test]
    fn a_client_that_switched_once() {
        let text = status(&Status::Client(ClientStatus {
            cnapt_id: "3f2a".into(),
            state: ClientState::Attached,
            network: Some("lte".into()),
            last_network: Some("lte".into()),
            carrier: Some(Carrier::Tls),
            streams: 3,
            flows: 2,
            datagrams_dropped: BTreeMap::from([("expired".into(), 4), ("late".into(), 0)]),
            switches: vec![entry()],
            virtual_ip: None,
            server: Some("192.0.2.1:7400".parse().unwrap()),
            local_address: Some("10.2.0.2".parse().unwrap()),
            services: vec![ServiceStatus {
                name: "web".into(),
                protocol: Protocol::Tcp,
                port: 8080,
                last_port: 8080,
                target: None,
                listening: vec!["127.0.0.1:8080".parse().unwrap()],
                error: Some("[::1]:8080: address in use".into()),
            }],
            buffered_bytes: 17,
            error: None,
        }));
        assert_eq!(
            text,
            "\
state       attached
network     lte
address     10.2.0.2
server      192.0.2.1:7400
carrier     tls
traffic     3 streams, 2 flows, 17 bytes not acknowledged
dropped     4 datagrams expired
virtual IP  -
CNAPT ID    3f2a

SERVICE  PROTOCOL  PORT  LISTENING       ERROR
web      tcp       8080  127.0.0.1:8080  [::1]:8080: address in use

SWITCH  STARTED                   KIND        PROCEDURE  FROM             TO              TOOK MS  GAP MS  OUTCOME
1       1970-01-01T00:00:01.000Z  unexpected  starred    wifi (10.1.0.2)  lte (10.2.0.2)  120.5    -       done
"
        );
    }

    #[test]
    fn a_client_that_never_attached() {
        let text = status(&Status::Client(ClientStatus {
            cnapt_id: "3f2a".into(),
            state: ClientState::Connecting,
            network: None,
            last_network: None,
            carrier: None,
            streams: 0,
            flows: 0,
            datagrams_dropped: BTreeMap::from([("late".into(), 0)]),
            switches: Vec::new(),
            virtual_ip: None,
            server: None,
            local_address: None,
            services: Vec::new(),
            buffered_bytes: 0,
            error: Some("no network is up".into()),
        }));
        assert!(text.contains("network     none\n"), "{text}");
        assert!(text.ends_with("error       no network is up\n"), "{text}");
    }

    #[test]
    fn a_server_with_one_client() {
        let text = status(&Status::Server(ServerStatus {
            clients: vec![ServerClient {
                cnapt_id: "3f2a".into(),
                name: "laptop".into(),
                state: ServerClientState::Detached,
                address: Some("10.1.0.2".parse().unwrap()),
                virtual_ip: None,
                streams: 12,
                flows: 0,
                datagrams_dropped: BTreeMap::new(),
            }],
            listen: vec!["0.0.0.0:7400".parse().unwrap()],
            turned_away: TurnedAway {
                unknown_key: 1,
                timed_out: 7,
                ..TurnedAway::default()
            },
            error: None,
        }));
        assert_eq!(
            text,
            "\
listening    0.0.0.0:7400
clients      1
turned away  1 unknown keys, 0 not handover, 7 not in time, 0 broken, 0 displaced

CLIENT  STATE     ADDRESS   VIRTUAL IP  STREAMS  FLOWS  CNAPT ID
laptop  detached  10.1.0.2  -           12       0      3f2a
"
        );
    }

    #[test]
    fn the_services_of_both_sides() {
        let text = services(&Services {
            server_services: vec![ServiceStatus {
                name: "calls".into(),
                protocol: Protocol::Udp,
                port: 10_000,
                last_port: 10_002,
                target: None,
                listening: (10_000..=10_001)
                    .map(|port| (IpAddr::from([127, 0, 0, 1]), port).into())
                    .collect(),
                error: Some("127.0.0.1:10002: address in use".into()),
            }],
            client_services: vec![ClientServiceStatus {
                client: Some("laptop".into()),
                name: "agent".into(),
                protocol: Protocol::Tcp,
                port: 9000,
                last_port: 9000,
                virtual_ip: Some(IpAddr::from([127, 77, 0, 10])),
                target: None,
                state: ClientServiceState::Waiting,
                error: None,
            }],
        });
        assert_eq!(
            text,
            "\
SERVER SERVICE  PROTOCOL  PORT         TARGET  LISTENING           ERROR
calls           udp       10000-10002  -       127.0.0.1: 2 ports  127.0.0.1:10002: address in use

CLIENT SERVICE  CLIENT  PROTOCOL  VIRTUAL IP   PORT  TARGET  STATE    ERROR
agent           laptop  tcp       127.77.0.10  9000  -       waiting
"
        );
    }

    #[test]
    fn the_networks_with_the_current_one_marked() {
        let network = |name: &str, current, state, reason: Option<&str>| Network {
            name: name.into(),
            interface: format!("{name}0"),
            state,
            address: None,
            current,
            standby: !current && reason.is_none(),
            reason: reason.map(str::to_owned),
        };
        let text = networks(&Networks {
            networks: vec![
                network("wlan", true, NetworkState::Available, None),
                network("eth", false, NetworkState::Available, None),
                network("wwan", false, NetworkState::Unavailable, Some("is down")),
            ],
        });
        assert_eq!(
            text,
            "   NETWORK  INTERFACE  STATE        ADDRESS  REASON
*  wlan     wlan0      available    -
+  eth      eth0       available    -
   wwan     wwan0      unavailable  -        is down
"
        );
    }

    #[test]
    fn the_ladder_has_a_column_for_each_side() {
        let step = |side, step: &str, at_ms, text: &str| TraceStep {
            side,
            step: step.into(),
            at_ms,
            text: text.into(),
        };
        let text = trace(&Trace {
            number: 4,
            kind: Kind::Planned,
            procedure: Procedure::Stepwise,
            steps: vec![
                step(Side::Cnapt, "CNAPT-10", 0.25, "send SWITCH_STEP1"),
                step(Side::Snapt, "SNAPT-1", 0.0, "take the CNAPT ID"),
            ],
        });
        assert_eq!(
            text,
            "\
switch 4, planned, stepwise; in the order of cause, each side's times from its own first step
MS     CNAPT     SNAPT
0.250  CNAPT-10           send SWITCH_STEP1
0.000            SNAPT-1  take the CNAPT ID
"
        );
    }

    fn entry() -> SwitchEntry {
        SwitchEntry {
            number: 1,
            kind: Kind::Unexpected,
            procedure: Procedure::Starred,
            from: "wifi".into(),
            to: "lte".into(),
            from_address: Some("10.1.0.2".parse().unwrap()),
            to_address: Some("10.2.0.2".parse().unwrap()),
            started: (SystemTime::UNIX_EPOCH + Duration::from_secs(1)).into(),
            duration_ms: 120.46,
            gap_ms: None,
            outcome: Outcome::Done,
            reason: None,
        }
    }
}
