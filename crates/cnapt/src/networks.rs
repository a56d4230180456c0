//! The networks of the device, and which of them the decision task takes.
//!
//! The order of the configuration is the order of preference. Without configured networks every
//! usable interface is one, named after itself; it keeps its place when it comes back.
//!
//! A network with an `up` hook may be gone to though it is not there: it is *closed*, and taken after those that are
//! open. Links are bound to its interface, or to its VPN's; whether it is open is asked of its own. Where several
//! networks share an interface, its address tells which of them is there, or else the hook that ran last.
//!
//! A server may have several addresses, of both families. Each network tries them in its own turn: one may lead to
//! some of them only, and what fails on one network says nothing about another.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use handover_control::{Network as NetworkLine, NetworkState};
use handover_network::Snapshot;
use handover_proto::Instant;
use handover_proto::session::NetworkId;

use crate::config::{Cost, NetworkConfig, Standby};
use crate::dial::Path;
use crate::hooks::{Hook, Kind};

/// A network over which the server was not reached is not tried again for so long, unless the
/// operating system reports a change. Short, because applications are waiting; long enough that a
/// server that refuses connections at once is not flooded.
const RETRY: Duration = Duration::from_secs(1);

/// A network that was opened for the attempt costs more to try again: a modem has to dial.
const REOPEN: Duration = Duration::from_secs(10);

/// After the server's own refusal: only somebody who changes one of the two sides can help.
const REFUSED_RETRY: Duration = Duration::from_secs(60);

/// A network on which no link could be held beside the one that carries is tried again after so long, then after
/// twice as long: nobody waits for it, and each attempt wakes a radio.
const STANDBY_PAUSE: Duration = Duration::from_secs(5);

/// The longest of these pauses.
const LONGEST_STANDBY_PAUSE: Duration = Duration::from_secs(300);

/// The same reason is told again only so often: a network that does not lead to the server is tried every second,
/// perhaps for days.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// A network that fails in more ways than this within [`TELL_AGAIN`] is not understood any better by more lines.
const REASONS_TOLD: usize = 4;

/// More interfaces than this are not networks that anybody uses: containers come and go.
const AUTOMATIC_NETWORKS: usize = 64;

#[derive(Debug)]
struct Network {
    config: NetworkConfig,
    /// Not before this.
    retry_at: Option<Instant>,
    /// Why the server was not reached the last time.
    error: Option<String>,
    /// What the log was told of it, and when.
    told: Vec<(String, Instant)>,
    /// The server itself refused this client the last time.
    refused: bool,
    /// When it fell silent while the operating system sees nothing wrong: the others are tried first, or
    /// the applications would wait for one more timeout on it.
    silent_since: Option<Instant>,
    /// It carried or was opened, and has not been closed since.
    used: bool,
    /// Its VPN was opened, and has not been closed since.
    vpn_open: bool,
    /// What is open of it is of no use: it was lost or led nowhere.
    stale: Option<Stale>,
    /// Which of the server's addresses it tries next, if it leads there.
    turn: usize,
    /// How long to wait before another attempt to hold a link here beside the one that carries, and until when.
    standby_pause: Duration,
    standby_retry: Option<Instant>,
}

/// How much of a network is to be opened anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stale {
    /// Its VPN: the link was lost, but the network may be as it was.
    Vpn,
    /// All of it: nothing comes by it.
    All,
}

impl Network {
    const fn new(config: NetworkConfig) -> Self {
        Self {
            config,
            retry_at: None,
            error: None,
            told: Vec::new(),
            refused: false,
            silent_since: None,
            used: false,
            vpn_open: false,
            stale: None,
            turn: 0,
            standby_pause: STANDBY_PAUSE,
            standby_retry: None,
        }
    }
}

/// Of a network that is not there but has a hook that opens it.
const CLOSED: &str = "closed, opened when needed";

/// All networks, by number.
#[derive(Debug)]
pub(crate) struct Networks {
    list: Vec<Network>,
    automatic: bool,
}

impl Networks {
    pub(crate) fn new(configured: Vec<NetworkConfig>) -> Self {
        let automatic = configured.is_empty();
        let list = configured.into_iter().map(Network::new).collect();
        Self { list, automatic }
    }

    /// Something changed: new interfaces may be networks, and all may be tried again at once.
    pub(crate) fn update(&mut self, snapshot: &Snapshot, servers: &[SocketAddr]) {
        for network in &mut self.list {
            // What its own hooks change is not a reason to run them again.
            if network.config.up.is_none() {
                network.retry_at = None;
            }
            network.silent_since = None;
            network.standby_pause = STANDBY_PAUSE;
            network.standby_retry = None;
        }
        if !self.automatic {
            return;
        }
        let leads_to = |server: &SocketAddr| snapshot.candidates(server.ip());
        let candidates: Vec<String> = servers.iter().flat_map(leads_to).collect();
        // In the kernel's order, whichever of the addresses they lead to.
        for name in snapshot.interfaces.iter().map(|one| one.name.clone()) {
            if !candidates.contains(&name) {
                continue;
            }
            if self.by_name(&name).is_none() && self.list.len() < AUTOMATIC_NETWORKS {
                let config = NetworkConfig::of_interface(name.clone(), name);
                self.list.push(Network::new(config));
            }
        }
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<NetworkId> {
        self.list
            .iter()
            .position(|network| network.config.name == name)
            .map(NetworkId)
    }

    pub(crate) fn name(&self, id: NetworkId) -> String {
        self.list
            .get(id.0)
            .map_or_else(String::new, |network| network.config.name.clone())
    }

    pub(crate) fn config(&self, id: NetworkId) -> Option<&NetworkConfig> {
        self.list.get(id.0).map(|network| &network.config)
    }

    /// Which of the server's addresses a network uses now: from its turn on the first that it leads to. While it
    /// leads to none, the one whose turn it is.
    pub(crate) fn server(
        &self,
        id: NetworkId,
        snapshot: &Snapshot,
        servers: &[SocketAddr],
    ) -> Result<SocketAddr, String> {
        let network = self.list.get(id.0);
        let turn = network.and_then(|network| network.turn.checked_rem(servers.len()));
        let (later, first) = servers.split_at(turn.unwrap_or_default());
        let mut all = first.iter().chain(later).copied();
        let leads_there = |server: &SocketAddr| self.bound_to(id, snapshot, *server).is_ok();
        let found = all.clone().find(leads_there).or_else(|| all.next());
        found.ok_or_else(|| "the server has no address".to_owned())
    }

    /// A network did not reach this address of the server: the next one is tried next.
    pub(crate) fn turn(&mut self, id: NetworkId, failed: SocketAddr, servers: &[SocketAddr]) {
        let place = servers.iter().position(|server| *server == failed);
        if let Some((network, place)) = self.list.get_mut(id.0).zip(place) {
            network.turn = place + 1;
        }
    }

    /// Those networks on which an idle link has to show more or less often that it lives.
    pub(crate) fn keepalives(&self) -> impl Iterator<Item = (NetworkId, Duration)> {
        let all = self.list.iter().enumerate();
        all.filter_map(|(index, network)| Some((NetworkId(index), network.config.keepalive?)))
    }

    /// Whether it is there, under any VPN, and its address; else why not.
    pub(crate) fn open(
        &self,
        id: NetworkId,
        snapshot: &Snapshot,
        server: SocketAddr,
    ) -> Result<IpAddr, String> {
        let network = self
            .list
            .get(id.0)
            .ok_or_else(|| "no such network".to_owned())?;
        let NetworkConfig {
            interface,
            address,
            up,
            vpn,
            ..
        } = &network.config;
        if up.is_some() && address.is_none() && !network.used && self.shares_interface(id) {
            return Err(CLOSED.to_owned());
        }
        let there = if vpn.is_some() {
            snapshot.address(interface, *address)
        } else {
            snapshot.usable(interface, *address, server.ip())
        };
        there.map_err(|reason| reason.to_string())
    }

    /// Whether it can be gone to: it is there, or a hook may open it.
    pub(crate) fn usable(
        &self,
        id: NetworkId,
        snapshot: &Snapshot,
        server: SocketAddr,
    ) -> Result<(), String> {
        if self.config(id).is_some_and(|config| config.up.is_some()) {
            return Ok(());
        }
        self.open(id, snapshot, server).map(drop)
    }

    /// The interface and the source address that a link is bound to, or why there are none.
    pub(crate) fn bound_to(
        &self,
        id: NetworkId,
        snapshot: &Snapshot,
        server: SocketAddr,
    ) -> Result<(String, IpAddr), String> {
        let own = self.open(id, snapshot, server)?;
        let config = self
            .config(id)
            .ok_or_else(|| "no such network".to_owned())?;
        let Some(vpn) = &config.vpn else {
            return Ok((config.interface.clone(), own));
        };
        let source = snapshot
            .usable(&vpn.interface, None, server.ip())
            .map_err(|reason| format!("the VPN on {}: {reason}", vpn.interface))?;
        Ok((vpn.interface.clone(), source))
    }

    /// Whether a link along this path can still live.
    pub(crate) fn is_alive(&self, path: &Path, snapshot: &Snapshot) -> bool {
        let server = path.server.ip();
        let bound = snapshot.usable(&path.interface, Some(path.source), server);
        let below =
            self.config(path.network)
                .is_some_and(|config| match (&config.vpn, path.below) {
                    (Some(_), Some(below)) => {
                        snapshot.address(&config.interface, Some(below)).is_ok()
                    }
                    (None, _) | (_, None) => true,
                });
        bound.is_ok() && below
    }

    fn shares_interface(&self, id: NetworkId) -> bool {
        let interface = |network: &Network| network.config.interface.clone();
        let own = self.list.get(id.0).map(interface);
        let same = |network: &&Network| Some(interface(network)) == own;
        self.list.iter().filter(same).count() > 1
    }

    // === What hooks open and close ===

    /// The hooks that close every network but `next`, and what of that one is of no use, in their order. Of a
    /// network that was not lost those behind one that fails are not to be run.
    pub(crate) fn closing(&self, next: Option<NetworkId>) -> Vec<(NetworkId, Kind)> {
        let mut hooks = Vec::new();
        for (index, network) in self.list.iter().enumerate() {
            let (id, config) = (NetworkId(index), &network.config);
            let (vpn, all) = match network.stale {
                _ if next != Some(id) => (true, true),
                None => (false, false),
                Some(Stale::Vpn) => (true, false),
                Some(Stale::All) => (true, true),
            };
            if vpn && network.vpn_open {
                hooks.push((id, Kind::VpnDown));
            }
            if all && network.used && config.up.is_some() {
                hooks.push((id, Kind::Down));
            }
        }
        hooks
    }

    /// A hook has done its work, or there was none to run.
    pub(crate) fn done(&mut self, id: NetworkId, kind: Kind) {
        let shares = self.shares_interface(id);
        let interface = self.config(id).map(|config| config.interface.clone());
        if kind == Kind::Up && shares {
            let same =
                |network: &&mut Network| Some(&network.config.interface) == interface.as_ref();
            self.list
                .iter_mut()
                .filter(same)
                .for_each(|network| network.used = false);
        }
        let Some(network) = self.list.get_mut(id.0) else {
            return;
        };
        match kind {
            Kind::Up => network.used = true,
            Kind::Down => network.used = false,
            Kind::VpnUp => network.vpn_open = true,
            Kind::VpnDown => network.vpn_open = false,
            Kind::Notify => {}
        }
        if matches!(kind, Kind::Up | Kind::VpnUp) {
            network.stale = None;
        }
    }

    /// Whether its VPN was opened, and not closed since.
    pub(crate) fn vpn_is_open(&self, id: NetworkId) -> bool {
        self.list.get(id.0).is_some_and(|network| network.vpn_open)
    }

    /// Whether a link over it was lost, so that a hook that fails to close it holds nothing up.
    pub(crate) fn was_lost(&self, id: NetworkId) -> bool {
        self.list
            .get(id.0)
            .is_some_and(|network| network.stale.is_some())
    }

    /// Whether nothing came by it, so that it is opened anew though it is there.
    pub(crate) fn is_stale(&self, id: NetworkId) -> bool {
        self.list
            .get(id.0)
            .is_some_and(|network| network.stale == Some(Stale::All))
    }

    /// A hook of a network, with all that it is told; none if there is no such hook.
    pub(crate) fn hook(
        &self,
        id: NetworkId,
        kind: Kind,
        snapshot: &Snapshot,
        server: Option<SocketAddr>,
    ) -> Option<Hook> {
        let config = self.config(id)?;
        let vpn = config.vpn.as_ref();
        let command = match kind {
            Kind::Up => config.up.clone(),
            Kind::Down => config.down.clone(),
            Kind::VpnUp => vpn.map(|vpn| vpn.up.clone()),
            Kind::VpnDown => vpn.and_then(|vpn| vpn.down.clone()),
            Kind::Notify => None,
        }?;
        let interface = &config.interface;
        let address = snapshot.address(interface, config.address).ok();
        let gateway = server.and_then(|server| snapshot.gateway(interface, server.ip()));
        let known = [
            ("HANDOVER_NETWORK", Some(config.name.clone())),
            ("HANDOVER_INTERFACE", Some(interface.clone())),
            (
                "HANDOVER_ADDRESS",
                address.or(config.address).map(|one| one.to_string()),
            ),
            ("HANDOVER_GATEWAY", gateway.map(|one| one.to_string())),
            (
                "HANDOVER_VPN_INTERFACE",
                vpn.map(|vpn| vpn.interface.clone()),
            ),
            (
                "HANDOVER_SERVER",
                server.map(|one| one.ip().to_canonical().to_string()),
            ),
            (
                "HANDOVER_SERVER_PORT",
                server.map(|one| one.port().to_string()),
            ),
        ];
        let known = known.into_iter();
        let environment = known
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        Some(Hook {
            kind,
            command,
            environment,
        })
    }

    /// The link over it was lost, or the machine gave it up.
    pub(crate) fn lost(&mut self, id: NetworkId, silent: bool) {
        if let Some(network) = self.list.get_mut(id.0) {
            let all = silent || network.stale == Some(Stale::All);
            network.stale = Some(if all { Stale::All } else { Stale::Vpn });
        }
    }

    // === Links beside the one that carries ===

    pub(crate) fn ids(&self) -> impl Iterator<Item = NetworkId> + use<> {
        (0..self.list.len()).map(NetworkId)
    }

    /// Whether no hook brings it up or takes it down.
    pub(crate) fn opens_by_itself(&self, id: NetworkId) -> bool {
        self.config(id)
            .is_some_and(|config| config.up.is_none() && config.vpn.is_none())
    }

    pub(crate) fn cost(&self, id: NetworkId) -> Cost {
        self.config(id)
            .map_or(Cost::Expensive, |config| config.cost)
    }

    /// Whether its `standby`, and by that its `cost`, allow a link to be held here.
    pub(crate) fn wants_standby(&self, id: NetworkId) -> bool {
        self.config(id).is_some_and(|config| match config.standby {
            Standby::Yes => true,
            Standby::No => false,
            Standby::Auto => config.cost == Cost::Free,
        })
    }

    /// Whether it may be tried now.
    pub(crate) fn may_stand_by(&self, id: NetworkId, now: Instant) -> bool {
        let network = self.list.get(id.0);
        network.is_some_and(|one| one.standby_retry.is_none_or(|at| at <= now))
    }

    pub(crate) fn stands_by(&mut self, id: NetworkId) {
        if let Some(network) = self.list.get_mut(id.0) {
            network.error = None;
            network.told.clear();
            network.standby_pause = STANDBY_PAUSE;
            network.standby_retry = None;
        }
    }

    pub(crate) fn back_off_standby(&mut self, id: NetworkId, now: Instant) {
        if let Some(network) = self.list.get_mut(id.0) {
            network.standby_retry = Some(now + network.standby_pause);
            network.standby_pause = LONGEST_STANDBY_PAUSE.min(2 * network.standby_pause);
        }
    }

    pub(crate) fn next_standby_retry(&self) -> Option<Instant> {
        self.list.iter().filter_map(|one| one.standby_retry).min()
    }

    // === What is known of attempts ===

    pub(crate) fn reached(&mut self, id: NetworkId) {
        if let Some(network) = self.list.get_mut(id.0) {
            network.retry_at = None;
            network.error = None;
            network.told.clear();
            network.refused = false;
            network.silent_since = None;
            network.used = true;
            network.stale = None;
        }
    }

    /// It carried, and nothing comes by it any more.
    pub(crate) fn fell_silent(&mut self, id: NetworkId, now: Instant) {
        if let Some(network) = self.list.get_mut(id.0) {
            network.silent_since = Some(now);
        }
    }

    pub(crate) fn failed(&mut self, id: NetworkId, error: String) {
        if let Some(network) = self.list.get_mut(id.0) {
            network.error = Some(error);
        }
    }

    /// The server was reached, proved who it is, and refused this client.
    pub(crate) fn refused(&mut self, id: NetworkId, error: String) {
        if let Some(network) = self.list.get_mut(id.0) {
            network.error = Some(error);
            network.refused = true;
        }
    }

    /// The machine gave it up.
    pub(crate) fn back_off(&mut self, id: NetworkId, now: Instant) {
        if let Some(network) = self.list.get_mut(id.0) {
            let refused = std::mem::take(&mut network.refused);
            let retry = if network.config.up.is_some() {
                REOPEN
            } else {
                RETRY
            };
            network.retry_at = Some(now + if refused { REFUSED_RETRY } else { retry });
        }
    }

    /// Why the server was not reached, if the log has not been told so already.
    pub(crate) fn news(&mut self, id: NetworkId, now: Instant) -> Option<String> {
        let network = self.list.get_mut(id.0)?;
        let error = network.error.clone()?;
        network.told.retain(|(_, at)| now < *at + TELL_AGAIN);
        let known = network.told.iter().any(|(told, _)| *told == error);
        if known || network.told.len() >= REASONS_TOLD {
            return None;
        }
        network.told.push((error.clone(), now));
        Some(error)
    }

    /// The first usable network that may be tried now, of `only` or of all; one that is closed after those that are
    /// open, and first those on which a link stands by; if all fell silent, the one that did first.
    pub(crate) fn choose(
        &self,
        only: Option<NetworkId>,
        stands_by: impl Fn(NetworkId) -> bool,
        snapshot: &Snapshot,
        servers: &[SocketAddr],
        now: Instant,
    ) -> Option<NetworkId> {
        (0..self.list.len())
            .map(NetworkId)
            .filter(|id| {
                only.is_none_or(|only| only == *id)
                    && self.list[id.0].retry_at.is_none_or(|at| at <= now)
            })
            .filter_map(|id| Some((id, self.server(id, snapshot, servers).ok()?)))
            .filter(|(id, server)| self.usable(*id, snapshot, *server).is_ok())
            .min_by_key(|(id, server)| {
                let closed = self.open(*id, snapshot, *server).is_err();
                (self.list[id.0].silent_since, closed, !stands_by(*id))
            })
            .map(|(id, _)| id)
    }

    /// What may be tried again now is not waited for any more.
    pub(crate) fn forget_retries(&mut self, now: Instant) {
        for network in &mut self.list {
            network.retry_at.take_if(|at| *at <= now);
            network.standby_retry.take_if(|at| *at <= now);
        }
    }

    /// When the next network may be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.list
            .iter()
            .filter_map(|network| network.retry_at)
            .min()
    }

    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self
            .list
            .iter()
            .map(|network| network.config.name.as_str())
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }

    pub(crate) fn lines(
        &self,
        snapshot: &Snapshot,
        servers: &Result<&[SocketAddr], String>,
        current: Option<NetworkId>,
    ) -> Vec<NetworkLine> {
        (0..self.list.len())
            .map(NetworkId)
            .map(|id| {
                let network = &self.list[id.0];
                let open = servers
                    .clone()
                    .and_then(|servers| self.server(id, snapshot, servers))
                    .and_then(|server| self.open(id, snapshot, server));
                let opens = network.config.up.is_some();
                let state = match &open {
                    Ok(_) => NetworkState::Available,
                    Err(_) if opens => NetworkState::Closed,
                    Err(_) => NetworkState::Unavailable,
                };
                let missing = open.as_ref().err().map(|reason| match state {
                    NetworkState::Closed => CLOSED.to_owned(),
                    NetworkState::Available | NetworkState::Unavailable => reason.clone(),
                });
                let failed = network.error.clone();
                let reason = if opens {
                    failed.or(missing)
                } else {
                    missing.or(failed)
                };
                NetworkLine {
                    name: network.config.name.clone(),
                    interface: network.config.interface.clone(),
                    state,
                    address: open.ok(),
                    current: current == Some(id),
                    standby: false,
                    reason: reason.filter(|_| current != Some(id)),
                }
            })
            .collect()
    }

    /// Why the server was not reached over it the last time.
    pub(crate) fn error(&self, id: NetworkId) -> Option<String> {
        self.list.get(id.0)?.error.clone()
    }

    /// What went wrong last on any network that is not in use.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.list.iter().find_map(|network| {
            network
                .error
                .as_ref()
                .map(|error| format!("{}: {error}", network.config.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use handover_network::{Interface, Kind as InterfaceKind, Route};

    use super::*;
    use crate::config::Vpn;

    const NOW: Instant = Instant::from_micros(0);
    const LATER: Instant = Instant::from_micros(1);

    fn server() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 7400))
    }

    fn servers() -> [SocketAddr; 1] {
        [server()]
    }

    /// Two interfaces, each with an address and a route to everywhere.
    fn snapshot() -> Snapshot {
        let interface = |index: u32, name: &str| Interface {
            index,
            name: name.to_owned(),
            up: true,
            addresses: vec![IpAddr::from([10, 1, 0, 2])],
            bridge_or_port: false,
            has_device: true,
            kind: InterfaceKind::Other,
        };
        let route = |interface| Route {
            interface,
            destination: IpAddr::from([0, 0, 0, 0]),
            prefix_length: 0,
            gateway: None,
        };
        Snapshot {
            interfaces: vec![interface(1, "wlan0"), interface(2, "wwan0")],
            routes: vec![route(1), route(2)],
        }
    }

    fn choose(networks: &Networks) -> Option<NetworkId> {
        networks.choose(None, |_| false, &snapshot(), &servers(), NOW)
    }

    #[test]
    fn a_network_that_fell_silent_is_tried_after_the_others_until_it_carries_again() {
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), &servers());
        assert_eq!(choose(&networks), Some(NetworkId(0)));
        networks.fell_silent(NetworkId(0), NOW);
        assert_eq!(choose(&networks), Some(NetworkId(1)));
        networks.fell_silent(NetworkId(1), LATER);
        assert_eq!(choose(&networks), Some(NetworkId(0)), "nothing better");
        networks.reached(NetworkId(1));
        assert_eq!(choose(&networks), Some(NetworkId(1)));
    }

    /// Forty switches, seed 1: the second network fell silent and was well again, then the first fell
    /// silent, and for 4 s it was tried before the second.
    #[test]
    fn of_networks_that_fell_silent_the_one_that_did_last_is_tried_last() {
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), &servers());
        networks.fell_silent(NetworkId(1), NOW);
        networks.fell_silent(NetworkId(0), LATER);
        assert_eq!(choose(&networks), Some(NetworkId(1)));
    }

    #[test]
    fn the_log_is_told_a_reason_once_in_an_interval_and_a_new_one_at_once() {
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), &servers());
        let id = NetworkId(0);
        let mut try_in_vain = |error: &str, now| {
            networks.failed(id, error.to_owned());
            networks.news(id, now).is_some()
        };
        assert!(try_in_vain("no answer", NOW));
        assert!(!try_in_vain("no answer", NOW + RETRY));
        assert!(try_in_vain("refused", NOW + RETRY));
        assert!(!try_in_vain("no answer", NOW + RETRY));
        assert!(!try_in_vain("refused", NOW + TELL_AGAIN));
        assert!(try_in_vain("refused", NOW + RETRY + TELL_AGAIN));
    }

    /// A modem that hooks dial, with a VPN over it, before the Wi-Fi of [`snapshot`].
    fn with_modem() -> Networks {
        let modem = NetworkConfig {
            up: Some("pon".to_owned()),
            down: Some("poff".to_owned()),
            vpn: Some(Vpn {
                interface: "wg0".to_owned(),
                up: "wg-quick up wg0".to_owned(),
                down: Some("wg-quick down wg0".to_owned()),
            }),
            ..NetworkConfig::of_interface("modem".to_owned(), "ppp0".to_owned())
        };
        let wifi = NetworkConfig::of_interface("wifi".to_owned(), "wlan0".to_owned());
        Networks::new(vec![modem, wifi])
    }

    #[test]
    fn a_closed_network_is_taken_after_those_that_are_open() {
        let mut networks = with_modem();
        assert_eq!(choose(&networks), Some(NetworkId(1)));
        networks.back_off(NetworkId(1), NOW);
        assert_eq!(choose(&networks), Some(NetworkId(0)));
        networks.back_off(NetworkId(0), NOW);
        networks.update(&snapshot(), &servers());
        assert_eq!(
            choose(&networks),
            Some(NetworkId(1)),
            "its own hooks change the interfaces: they are no reason to dial again"
        );
    }

    #[test]
    fn what_is_left_is_closed_the_vpn_first() {
        let (modem, wifi) = (NetworkId(0), NetworkId(1));
        let mut networks = with_modem();
        networks.done(modem, Kind::Up);
        networks.done(modem, Kind::VpnUp);
        networks.reached(modem);
        let both = [(modem, Kind::VpnDown), (modem, Kind::Down)];
        assert_eq!(networks.closing(Some(wifi)), both);
        assert_eq!(networks.closing(None), both);
        assert_eq!(networks.closing(Some(modem)), []);
        networks.lost(modem, false);
        assert_eq!(networks.closing(Some(modem)), [(modem, Kind::VpnDown)]);
        networks.lost(modem, true);
        assert_eq!(networks.closing(Some(modem)), both);
        for (id, kind) in both {
            networks.done(id, kind);
        }
        assert_eq!(networks.closing(Some(wifi)), []);
    }

    #[test]
    fn of_two_networks_on_one_interface_the_one_that_was_opened_is_there() {
        let hotspot = |name: &str| NetworkConfig {
            up: Some(format!("join {name}")),
            ..NetworkConfig::of_interface(name.to_owned(), "wlan0".to_owned())
        };
        let mut networks = Networks::new(vec![hotspot("cafe"), hotspot("station")]);
        let open = |networks: &Networks| {
            [NetworkId(0), NetworkId(1)].map(|id| networks.open(id, &snapshot(), server()).is_ok())
        };
        assert_eq!(open(&networks), [false, false]);
        networks.done(NetworkId(0), Kind::Up);
        assert_eq!(open(&networks), [true, false]);
        networks.done(NetworkId(1), Kind::Up);
        assert_eq!(open(&networks), [false, true]);
    }

    #[test]
    fn a_refusal_by_the_server_itself_slows_the_next_attempt() {
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), &servers());
        networks.refused(NetworkId(0), "another version".to_owned());
        networks.back_off(NetworkId(0), NOW);
        networks.back_off(NetworkId(1), NOW);
        assert_eq!(choose(&networks), None);
        let at = |now| networks.choose(None, |_| false, &snapshot(), &servers(), now);
        assert_eq!(at(NOW + RETRY), Some(NetworkId(1)));
        assert_eq!(at(NOW + REFUSED_RETRY), Some(NetworkId(0)));
    }

    /// The laboratory's `ipv6`: the first network had no IPv4, and the server's first address was of IPv4, so the
    /// second network was taken.
    #[test]
    fn a_network_is_not_passed_over_for_the_order_of_the_servers_addresses() {
        let mut snapshot = snapshot();
        let only_ipv6 = IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 2]);
        snapshot.interfaces[0].addresses = vec![only_ipv6];
        snapshot.routes[0].destination = IpAddr::from([0; 16]);
        let ipv6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 7400));
        let both = [server(), ipv6];
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot, &both);
        assert_eq!(networks.names(), "wlan0, wwan0");
        let first = networks
            .choose(None, |_| false, &snapshot, &both, NOW)
            .unwrap();
        assert_eq!(networks.name(first), "wlan0");
        assert_eq!(networks.server(first, &snapshot, &both), Ok(ipv6));
    }

    #[test]
    fn every_network_tries_every_address_in_its_own_turn() {
        let all = [1, 2, 3].map(|last| SocketAddr::from(([10, 0, 0, last], 7400)));
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), &all);
        let mut tried = Vec::new();
        for _ in 0..4 {
            let server = networks.server(NetworkId(0), &snapshot(), &all).unwrap();
            tried.push(server);
            networks.turn(NetworkId(0), server, &all);
        }
        assert_eq!(tried, [all[0], all[1], all[2], all[0]]);
        let other = networks.server(NetworkId(1), &snapshot(), &all);
        assert_eq!(other, Ok(all[0]));
    }
}
