//! Device and server are connected through a VPN (R21), WireGuard in user space: it is closed before the old
//! connection closes, and opened after the address has changed.
//!
//! The tunnel ends at the server's own address, so it is the only way there: the networks' routers are its far ends.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use handover_sandbox::Namespace;
use nix::sys::signal::Signal;

use super::hooked::{Hooked, HookedNetwork};
use super::world::{LIMIT, ensure_done, two_networks};
use crate::application::{Application, ask};
use crate::facility::Facility;
use crate::program::Program;
use crate::scenario::Lab;
use crate::servers::echo;
use crate::topology::Topology;

pub(super) const NEEDS: [Facility; 5] = [
    Facility::Tun,
    Facility::Program("ip"),
    Facility::Program("wg"),
    Facility::Program("wireguard-go"),
    Facility::WireguardDirectory,
];

/// Waits until the interface of that name can be configured: what waits for the script bounds it.
const AWAIT: &str = "await() { until wg show $1 > /dev/null 2>&1; do sleep 0.02; done; }; await";

const MODEM_UP: &str = "ip address add 10.2.0.2/24 dev wwan0
ip link set wwan0 up
ip route add default via 10.2.0.1 dev wwan0 metric 200";

const MODEM_DOWN: &str = "ip link set wwan0 down
ip address flush dev wwan0";

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    topology.device.set_down("wwan0")?;
    topology
        .device
        .remove_address("wwan0", Ipv4Addr::new(10, 2, 0, 2).into(), 24)?;
    let tunnel = Tunnel::new()?;
    let _far_end = tunnel.start_far_end(lab, &topology.server)?;
    let mut world = tunnel.start_client(lab, topology)?;
    world.ensure_log(&["vpn_up wifi wlan0"])?;
    let status = world.pair.handover.client_status()?;
    ensure!(
        status["local_address"] == "10.9.0.2",
        "not through the VPN: {status}"
    );
    let (mut client, server) = world.pair.connect()?;
    let answering = Application::start("echo", move || Ok(echo(server)?))?;
    ask(&mut client, 1)?;

    ensure_done(&world.pair.handover.switch("modem")?, "planned")?;
    world.ensure_log(&[
        "vpn_down wifi wlan0",
        "up modem wwan0",
        "vpn_up modem wwan0",
    ])?;
    ask(&mut client, 2)?;
    ensure_done(&world.pair.handover.switch("wifi")?, "planned")?;
    let left = [
        "vpn_down modem wwan0",
        "down modem wwan0",
        "vpn_up wifi wlan0",
    ];
    world.ensure_log(&left)?;
    ask(&mut client, 3)?;

    world.pair.topology.set_down("wlan0")?;
    ensure_done(
        &world.pair.handover.wait_for_switch(3, LIMIT)?,
        "unexpected",
    )?;
    world.ensure_log(&[
        "vpn_down wifi wlan0",
        "up modem wwan0",
        "vpn_up modem wwan0",
    ])?;
    ask(&mut client, 4)?;
    drop(client);
    answering.finish(LIMIT)?;

    // What it opened it closes when it ends.
    world
        .pair
        .handover
        .client
        .program()
        .signal(Signal::SIGTERM)?;
    world.pair.handover.client.program().wait(LIMIT)?;
    world.ensure_log(&["vpn_down modem wwan0", "down modem wwan0"])
}

/// Both ends of a WireGuard tunnel. Their names are those of sockets that all namespaces see.
struct Tunnel {
    near: String,
    far: String,
    near_keys: Keys,
    far_keys: Keys,
}

struct Keys {
    private: String,
    public: String,
}

impl Tunnel {
    fn new() -> Result<Self> {
        let number = std::process::id() % 1_000_000;
        Ok(Self {
            near: format!("wgn{number}"),
            far: format!("wgf{number}"),
            near_keys: Keys::new()?,
            far_keys: Keys::new()?,
        })
    }

    /// The hook of a network: to its router. No daemon is forgotten, though the scenario fails.
    fn up_script(&self) -> String {
        let Self {
            near,
            near_keys,
            far_keys,
            ..
        } = self;
        format!(
            "timeout 300 wireguard-go -f {near} > /dev/null 2>&1 &
{AWAIT} {near}
echo {} > key
wg set {near} private-key key peer {} endpoint $HANDOVER_GATEWAY:51820 allowed-ips 10.0.0.1/32
ip address add 10.9.0.2/32 dev {near}
ip link set {near} up
ip route add 10.0.0.1/32 dev {near}",
            near_keys.private, far_keys.public
        )
    }

    /// Its process ends with the interface.
    fn down_script(&self) -> String {
        format!("ip link delete {}", self.near)
    }

    /// The device's side: over Wi-Fi that is there and a modem that hooks dial, through the tunnel.
    fn start_client(&self, lab: &Lab, topology: Topology) -> Result<Hooked> {
        let (up, down) = (self.up_script(), self.down_script());
        let options = format!("vpn_interface = \"{}\"", self.near);
        let networks = [
            HookedNetwork {
                name: "wifi",
                interface: "wlan0",
                options: &options,
                hooks: &[("vpn_up", &up), ("vpn_down", &down)],
            },
            HookedNetwork {
                name: "modem",
                interface: "wwan0",
                options: &options,
                hooks: &[
                    ("up", MODEM_UP),
                    ("down", MODEM_DOWN),
                    ("vpn_up", &up),
                    ("vpn_down", &down),
                ],
            },
        ];
        Hooked::start(lab, topology, &networks, "")
    }

    fn start_far_end(&self, lab: &Lab, server: &Namespace) -> Result<Program> {
        let Self {
            far,
            near_keys,
            far_keys,
            ..
        } = self;
        let mut daemon = Command::new("wireguard-go");
        daemon.args(["-f", far]);
        let script = format!(
            "set -e
{AWAIT} {far}
key=$(mktemp)
echo {} > $key
wg set {far} private-key $key listen-port 51820 peer {} allowed-ips 10.9.0.2/32
rm $key
ip link set {far} up
ip route add 10.9.0.2/32 dev {far}",
            far_keys.private, near_keys.public
        );
        let mut setting_up = Command::new("sh");
        setting_up.args(["-c", &script]);
        server.with_administrators(|| {
            let daemon = Program::start(&lab.log, server, "wireguard-go", daemon)?;
            Program::start(&lab.log, server, "set up", setting_up)?.wait_success(LIMIT)?;
            Ok(daemon)
        })?
    }
}

impl Keys {
    fn new() -> Result<Self> {
        let generate = "private=$(wg genkey); echo $private; echo $private | wg pubkey";
        let output = Command::new("sh").args(["-c", generate]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let (private, public) = text.trim().split_once('\n').context("wg makes no keys")?;
        Ok(Self {
            private: private.to_owned(),
            public: public.to_owned(),
        })
    }
}
