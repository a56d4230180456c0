//! The scenarios, one file each.

mod all_four;
mod client_services;
mod conversation;
mod copied_key;
mod datagrams;
mod dead_order;
mod dead_target;
mod dedicated_boxes;
mod dial_up;
mod farewell;
mod first_session;
mod forty_switches;
mod half_closed;
mod hooked;
mod hotspots;
mod ipv6;
mod killed;
mod lab_address;
mod lab_curl;
mod lab_cut;
mod lab_link;
mod lab_link_down;
mod lab_openssh;
mod lab_readers;
mod main_job;
mod nat;
mod orders;
mod outage;
mod over_quic;
mod port_taken;
mod programs;
mod refused_target;
mod resets;
mod same_network;
mod server_first;
mod services_change;
mod single;
mod sky;
mod still_reader;
mod stopped;
mod storm;
mod strangers;
mod switch_timeout;
mod talk;
mod ten_clients;
mod true_origin;
mod two_clients;
mod unread;
mod use_of_machine;
mod vpn;
mod workload;
mod world;

use crate::facility::Facility;
use crate::openssh;
use crate::scenario::Scenario;

/// Those in which little but time passes. They may run beside each other; all others alone.
pub const BESIDE_EACH_OTHER: [&str; 5] = [
    "nat_keepalive",
    "stopped",
    "outage_60s",
    "switch_timeout",
    "ten_clients",
];

/// All of them, in the order in which they run: the lab's own first, since the others stand on it.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "lab_link",
        about: "an emulated link carries every byte, late and with losses",
        needs: &[Facility::Tun],
        run: lab_link::run,
    },
    Scenario {
        name: "lab_cut",
        about: "a silent cut stops everything and tells nobody; after it the connection goes on",
        needs: &[Facility::Tun],
        run: lab_cut::run,
    },
    Scenario {
        name: "lab_link_down",
        about: "an interface that is down takes its route with it, and comes back",
        needs: &[Facility::Tun],
        run: lab_link_down::run,
    },
    Scenario {
        name: "lab_address",
        about: "after a change of address the old one is gone and the new one works",
        needs: &[Facility::Tun],
        run: lab_address::run,
    },
    Scenario {
        name: "lab_readers",
        about: "readers that stand still, are slow or half-closed get every byte",
        needs: &[],
        run: lab_readers::run,
    },
    Scenario {
        name: "lab_openssh",
        about: "OpenSSH runs in the lab; a login echoes a counter",
        needs: &openssh::NEEDS,
        run: lab_openssh::run,
    },
    Scenario {
        name: "lab_curl",
        about: "curl fetches a file over an emulated link",
        needs: &[Facility::Tun, Facility::Program("curl")],
        run: lab_curl::run,
    },
    Scenario {
        name: "first_session",
        about: "curl and an echo live through a planned and an unexpected switch, in the spec's order",
        needs: &[Facility::Tun, Facility::Program("curl")],
        run: first_session::run,
    },
    Scenario {
        name: "overlapped",
        about: "the same with both networks at once, without a pause, and a rescue when one falls silent",
        needs: &[Facility::Tun, Facility::Program("curl")],
        run: first_session::run_overlapped,
    },
    Scenario {
        name: "datagrams",
        about: "datagrams of every size live through planned and unexpected switches, none of them twice",
        needs: &[Facility::Tun],
        run: datagrams::run,
    },
    Scenario {
        name: "order_on_a_dead_network",
        about: "an order on a silently dead network goes on with the starred steps",
        needs: &[Facility::Tun],
        run: dead_order::run,
    },
    Scenario {
        name: "order_to_a_dead_network",
        about: "an order to a network that does not reach the server fails and comes back",
        needs: &[Facility::Tun],
        run: dead_target::run,
    },
    Scenario {
        name: "unread_upload",
        about: "an upload whose application reads nothing is held up by no answer",
        needs: &[Facility::Tun],
        run: unread::run,
    },
    Scenario {
        name: "still_reader",
        about: "a reader that stands still holds up no switch and nobody else",
        needs: &[Facility::Tun],
        run: still_reader::run,
    },
    Scenario {
        name: "resets",
        about: "an application's reset stays a reset, with bytes queued and across a switch",
        needs: &[Facility::Tun],
        run: resets::run,
    },
    Scenario {
        name: "farewell",
        about: "send 5 MB, close, network away: all of it arrives",
        needs: &[Facility::Tun],
        run: farewell::run,
    },
    Scenario {
        name: "client_killed",
        about: "a client that is killed and started again resets the old connections",
        needs: &[Facility::Tun],
        run: killed::run_client,
    },
    Scenario {
        name: "server_killed",
        about: "a server that is killed and started again resets the old connections",
        needs: &[Facility::Tun],
        run: killed::run_server,
    },
    Scenario {
        name: "ended",
        about: "a daemon that is told to end resets its connections, and ends well",
        needs: &[Facility::Tun],
        run: killed::run_ended,
    },
    Scenario {
        name: "killed_at_random",
        about: "either daemon is killed at random moments; old connections are reset, nothing is left",
        needs: &[Facility::Tun],
        run: killed::run_at_random,
    },
    Scenario {
        name: "refused_target",
        about: "a server application that is not there is a reset, not a silence",
        needs: &[Facility::Tun],
        run: refused_target::run,
    },
    Scenario {
        name: "half_closed",
        about: "either side closes its half; the other half lives through a switch",
        needs: &[Facility::Tun],
        run: half_closed::run,
    },
    Scenario {
        name: "two_clients",
        about: "two clients switch at one server and do not disturb each other",
        needs: &[Facility::Tun],
        run: two_clients::run,
    },
    Scenario {
        name: "copied_key",
        about: "of two devices with one key the first stops and says so, the second is left in peace",
        needs: &[Facility::Tun],
        run: copied_key::run,
    },
    Scenario {
        name: "client_services",
        about: "the server's applications reach the device's across switches, on the client's virtual IP",
        needs: &[Facility::Tun],
        run: client_services::run,
    },
    Scenario {
        name: "strangers",
        about: "an unknown key and a wrong server key are kept out and say so",
        needs: &[Facility::Tun],
        run: strangers::run,
    },
    Scenario {
        name: "same_network",
        about: "a change of address on the only network is a switch",
        needs: &[Facility::Tun],
        run: same_network::run,
    },
    Scenario {
        name: "dial_up",
        about: "hooks open and close an adapter without MAC address, planned and unexpected; one fails",
        needs: &[Facility::Tun, Facility::Program("ip")],
        run: dial_up::run,
    },
    Scenario {
        name: "hotspots",
        about: "two hotspots on one interface, which a hook leaves by joining the other",
        needs: &[Facility::Tun, Facility::Program("ip")],
        run: hotspots::run,
    },
    Scenario {
        name: "vpn",
        about: "a WireGuard tunnel is closed before the network and opened after the address",
        needs: &vpn::NEEDS,
        run: vpn::run,
    },
    Scenario {
        name: "single",
        about: "with one network at a time every switch is ordered, and a loss is told",
        needs: &[Facility::Tun],
        run: single::run_single,
    },
    Scenario {
        name: "manual",
        about: "with decision = \"manual\" only the same network is attached again by itself",
        needs: &[Facility::Tun],
        run: single::run_manual,
    },
    Scenario {
        name: "server_first",
        about: "a server application may speak first",
        needs: &[Facility::Tun],
        run: server_first::run,
    },
    Scenario {
        name: "port_taken",
        about: "a port that is taken is a line in the status, and retried",
        needs: &[Facility::Tun],
        run: port_taken::run,
    },
    Scenario {
        name: "true_origin",
        about: "a server application is told the address that its client has on the network",
        needs: &true_origin::NEEDS,
        run: true_origin::run,
    },
    Scenario {
        name: "services_change",
        about: "the server takes a service away and adds one; a connection of the first lives on",
        needs: &[Facility::Tun],
        run: services_change::run,
    },
    Scenario {
        name: "orders",
        about: "mistaken and simultaneous orders each get their own answer",
        needs: &[Facility::Tun],
        run: orders::run,
    },
    Scenario {
        name: "dedicated_boxes",
        about: "hosts behind a box on either side use handover's services by the boxes' addresses",
        needs: &[Facility::Tun],
        run: dedicated_boxes::run,
    },
    Scenario {
        name: "nat",
        about: "behind two NATs that forget, and whose outer address changes, no application notices",
        needs: &nat::NEEDS,
        run: nat::run,
    },
    Scenario {
        name: "ipv6",
        about: "from a network of IPv6 only to one of IPv4 only and back, with services of IPv6",
        needs: &[Facility::Tun],
        run: ipv6::run,
    },
    programs::POSTGRESQL,
    programs::SAMBA,
    programs::VNC,
    programs::FTP,
    programs::DNS,
    programs::IPERF3,
    Scenario {
        name: "all_four",
        about: "all four kinds of service at once live through ten planned and ten unexpected switches",
        needs: &[Facility::Tun],
        run: all_four::run,
    },
    Scenario {
        name: "nat_keepalive",
        about: "with a keepalive two NATs that forget early forget nothing",
        needs: &nat::NEEDS,
        run: nat::run_kept,
    },
    Scenario {
        name: "stopped",
        about: "either daemon stands still for 30 s under load; then everything goes on",
        needs: &workload::NEEDS,
        run: stopped::run,
    },
    Scenario {
        name: "outage_60s",
        about: "a producer that never stops waits through an outage of a minute",
        needs: &[Facility::Tun],
        run: outage::run,
    },
    Scenario {
        name: "switch_timeout",
        about: "a client that is silent for too long is released and begins anew",
        needs: &[Facility::Tun],
        run: switch_timeout::run,
    },
    Scenario {
        name: "ten_clients",
        about: "ten clients switch at random for two minutes and do not disturb each other",
        needs: &[Facility::Tun],
        run: ten_clients::run,
    },
    Scenario {
        name: "storm",
        about: "networks come and go at random, faster than switches can follow",
        needs: &[Facility::Tun],
        run: storm::run,
    },
    Scenario {
        name: "quic_first_session",
        about: "the first session, its links over QUIC",
        needs: &[Facility::Tun, Facility::Program("curl")],
        run: over_quic::first_session,
    },
    Scenario {
        name: "quic_datagrams",
        about: "datagrams through switches, their links over QUIC",
        needs: &[Facility::Tun],
        run: over_quic::datagrams,
    },
    Scenario {
        name: "quic_resets",
        about: "resets stay resets over QUIC",
        needs: &[Facility::Tun],
        run: over_quic::resets,
    },
    Scenario {
        name: "quic_farewell",
        about: "send 5 MB, close, network away, over QUIC: all of it arrives",
        needs: &[Facility::Tun],
        run: over_quic::farewell,
    },
    Scenario {
        name: "quic_storm",
        about: "the storm, its links over QUIC",
        needs: &[Facility::Tun],
        run: over_quic::storm,
    },
    Scenario {
        name: "main_job",
        about: "every kind of application lives through six planned and six unexpected switches",
        needs: &workload::NEEDS,
        run: main_job::run,
    },
    Scenario {
        name: "forty_switches",
        about: "every kind of application lives through forty switches at random moments",
        needs: &workload::NEEDS,
        run: forty_switches::run,
    },
];
