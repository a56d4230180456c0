//! The networks of the device, and which of them the decision task takes.
//!
//! The order of the configuration is the order of preference. Without configured networks every
//! usable interface is one, named after itself; it keeps its place when it comes back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use handover_control::{Network as NetworkLine, NetworkState};
use handover_network::Snapshot;
use handover_proto::Instant;
use handover_proto::session::NetworkId;

use crate::config::{Cost, NetworkConfig, Standby};

/// A network over which the server was not reached is not tried again for so long, unless the
/// operating system reports a change. Short, because applications are waiting; long enough that a
/// server that refuses connections at once is not flooded.
const RETRY: Duration = Duration::from_secs(1);

/// After the server's own refusal: only somebody who changes one of the two sides can help.
const REFUSED_RETRY: Duration = Duration::from_secs(60);

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
        }
    }
}

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
    pub(crate) fn update(&mut self, snapshot: &Snapshot, server: Option<SocketAddr>) {
        for network in &mut self.list {
            network.retry_at = None;
            network.silent_since = None;
        }
        let Some(server) = server.filter(|_| self.automatic) else {
            return;
        };
        for name in snapshot.candidates(server.ip()) {
            if self.by_name(&name).is_none() && self.list.len() < AUTOMATIC_NETWORKS {
                let config = NetworkConfig {
                    name: name.clone(),
                    interface: name,
                    address: None,
                    cost: Cost::Free,
                    standby: Standby::Auto,
                };
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

    pub(crate) fn interface(&self, id: NetworkId) -> Option<&str> {
        self.list
            .get(id.0)
            .map(|network| network.config.interface.as_str())
    }

    /// The source address to use on a network, or why there is none.
    pub(crate) fn usable(
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
            interface, address, ..
        } = &network.config;
        snapshot
            .usable(interface, *address, server.ip())
            .map_err(|reason| reason.to_string())
    }

    /// Whether a link from `address` over this network can still live.
    pub(crate) fn is_alive(
        &self,
        id: NetworkId,
        address: IpAddr,
        snapshot: &Snapshot,
        server: SocketAddr,
    ) -> bool {
        self.interface(id).is_some_and(|interface| {
            snapshot
                .usable(interface, Some(address), server.ip())
                .is_ok()
        })
    }

    pub(crate) fn reached(&mut self, id: NetworkId) {
        if let Some(network) = self.list.get_mut(id.0) {
            network.retry_at = None;
            network.error = None;
            network.told.clear();
            network.refused = false;
            network.silent_since = None;
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
            network.retry_at = Some(now + if refused { REFUSED_RETRY } else { RETRY });
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

    /// The first usable network that may be tried now, of `only` or of all; if all fell silent, the one
    /// that did first.
    pub(crate) fn choose(
        &self,
        only: Option<NetworkId>,
        snapshot: &Snapshot,
        server: SocketAddr,
        now: Instant,
    ) -> Option<NetworkId> {
        (0..self.list.len())
            .map(NetworkId)
            .filter(|id| {
                only.is_none_or(|only| only == *id)
                    && self.list[id.0].retry_at.is_none_or(|at| at <= now)
                    && self.usable(*id, snapshot, server).is_ok()
            })
            .min_by_key(|id| self.list[id.0].silent_since)
    }

    /// What may be tried again now is not waited for any more.
    pub(crate) fn forget_retries(&mut self, now: Instant) {
        for network in &mut self.list {
            network.retry_at.take_if(|at| *at <= now);
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
        server: &Result<SocketAddr, String>,
        current: Option<NetworkId>,
    ) -> Vec<NetworkLine> {
        (0..self.list.len())
            .map(NetworkId)
            .map(|id| {
                let network = &self.list[id.0];
                let usable = server
                    .clone()
                    .and_then(|server| self.usable(id, snapshot, server));
                let reason = usable
                    .as_ref()
                    .err()
                    .cloned()
                    .or_else(|| network.error.clone());
                NetworkLine {
                    name: network.config.name.clone(),
                    interface: network.config.interface.clone(),
                    state: match usable {
                        Ok(_) => NetworkState::Available,
                        Err(_) => NetworkState::Unavailable,
                    },
                    address: usable.ok(),
                    current: current == Some(id),
                    reason: reason.filter(|_| current != Some(id)),
                }
            })
            .collect()
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
    use handover_network::{Interface, Kind, Route};

    use super::*;

    const NOW: Instant = Instant::from_micros(0);
    const LATER: Instant = Instant::from_micros(1);

    fn server() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 7400))
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
            kind: Kind::Other,
        };
        let route = |interface| Route {
            interface,
            destination: IpAddr::from([0, 0, 0, 0]),
            prefix_length: 0,
        };
        Snapshot {
            interfaces: vec![interface(1, "wlan0"), interface(2, "wwan0")],
            routes: vec![route(1), route(2)],
        }
    }

    fn choose(networks: &Networks) -> Option<NetworkId> {
        networks.choose(None, &snapshot(), server(), NOW)
    }

    #[test]
    fn a_network_that_fell_silent_is_tried_after_the_others_until_it_carries_again() {
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), Some(server()));
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
        networks.update(&snapshot(), Some(server()));
        networks.fell_silent(NetworkId(1), NOW);
        networks.fell_silent(NetworkId(0), LATER);
        assert_eq!(choose(&networks), Some(NetworkId(1)));
    }

    #[test]
    fn the_log_is_told_a_reason_once_in_an_interval_and_a_new_one_at_once() {
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), Some(server()));
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

    #[test]
    fn a_refusal_by_the_server_itself_slows_the_next_attempt() {
        let mut networks = Networks::new(Vec::new());
        networks.update(&snapshot(), Some(server()));
        networks.refused(NetworkId(0), "another version".to_owned());
        networks.back_off(NetworkId(0), NOW);
        networks.back_off(NetworkId(1), NOW);
        assert_eq!(choose(&networks), None);
        let at = |now| networks.choose(None, &snapshot(), server(), now);
        assert_eq!(at(NOW + RETRY), Some(NetworkId(1)));
        assert_eq!(at(NOW + REFUSED_RETRY), Some(NetworkId(0)));
    }
}
