//! Where the server is: the addresses that the configuration gives, or that its names had when they were resolved last.
//!
//! A resolver may be slow, wrong or gone, above all on a network that has just come up. So nothing ever waits for
//! one: what was resolved before serves until a new answer is there, and a failure changes nothing but what
//! `status` says. One look-up runs at a time, since one that hangs cannot be stopped.

use std::net::SocketAddr;
use std::time::Duration;

use handover_proto::Instant;

use crate::config::ServerAddress;
use crate::dial;

/// Names are resolved anew at most so often, and only while the server is not reached.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Servers {
    configured: Vec<ServerAddress>,
    addresses: Vec<SocketAddr>,
    /// Which of the addresses is tried next.
    turn: usize,
    resolving: bool,
    resolved_at: Option<Instant>,
    error: Option<String>,
}

impl Servers {
    pub(crate) fn new(configured: Vec<ServerAddress>) -> Self {
        Self {
            addresses: dial::literal_addresses(&configured),
            configured,
            turn: 0,
            resolving: false,
            resolved_at: None,
            error: None,
        }
    }

    /// The address that is tried now, or why there is none.
    pub(crate) fn current(&self) -> Result<SocketAddr, String> {
        self.addresses
            .get(self.turn)
            .copied()
            .ok_or_else(|| match &self.error {
                Some(error) => error.clone(),
                None => "the server's name is not resolved yet".to_owned(),
            })
    }

    /// The current address was not reached.
    pub(crate) fn turn(&mut self) {
        self.turn = (self.turn + 1) % self.addresses.len().max(1);
    }

    /// The first address from the current one on for which `find` finds something becomes the current one.
    pub(crate) fn turn_to<T>(&mut self, find: impl Fn(SocketAddr) -> Option<T>) -> Option<T> {
        let count = self.addresses.len();
        let (turn, found) = (self.turn..self.turn + count)
            .map(|turn| turn % count)
            .find_map(|turn| Some((turn, find(self.addresses[turn])?)))?;
        self.turn = turn;
        Some(found)
    }

    /// What to resolve now, if it is time for it.
    pub(crate) fn resolve(&mut self, now: Instant) -> Option<Vec<ServerAddress>> {
        let fresh = self.resolved_at.is_some_and(|at| now < at + RESOLVE_AGAIN);
        if fresh || self.resolving {
            return None;
        }
        self.resolving = true;
        Some(self.configured.clone())
    }

    /// The look-up has ended.
    pub(crate) fn resolved(&mut self, result: Result<Vec<SocketAddr>, String>, now: Instant) {
        self.resolving = false;
        self.resolved_at = Some(now);
        match result {
            Ok(addresses) => {
                if addresses != self.addresses {
                    self.turn = 0;
                }
                self.addresses = addresses;
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// When to resolve again, if nothing is known yet.
    pub(crate) fn next_resolve(&self) -> Option<Instant> {
        self.resolved_at
            .filter(|_| self.addresses.is_empty() && !self.resolving)
            .map(|at| at + RESOLVE_AGAIN)
    }

    /// Why the names could not be resolved the last time.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_micros(0);

    fn servers() -> Servers {
        Servers::new(vec!["server.example.org:7400".parse().unwrap()])
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 7400))
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_said_and_tried_again() {
        let mut servers = servers();
        assert!(servers.resolve(START).is_some());
        servers.resolved(Err("cannot resolve it".into()), START);
        assert_eq!(servers.current(), Err("cannot resolve it".into()));
        assert_eq!(servers.next_resolve(), Some(START + RESOLVE_AGAIN));
        assert!(servers.resolve(START).is_none(), "too soon");
        assert!(servers.resolve(START + RESOLVE_AGAIN).is_some());
    }

    #[test]
    fn what_was_resolved_once_serves_while_the_resolver_fails_or_hangs() {
        let mut servers = servers();
        assert!(servers.resolve(START).is_some());
        servers.resolved(Ok(vec![address(1)]), START);
        let later = START + RESOLVE_AGAIN;
        assert!(servers.resolve(later).is_some());
        assert_eq!(servers.current(), Ok(address(1)), "the look-up hangs");
        let much_later = later + 100 * RESOLVE_AGAIN;
        assert!(servers.resolve(much_later).is_none(), "it still hangs");
        servers.resolved(Err("timed out".into()), much_later);
        assert_eq!(servers.current(), Ok(address(1)));
        assert_eq!(servers.error(), Some("timed out"));
    }

    #[test]
    fn every_address_has_its_turn() {
        let mut servers = servers();
        servers.resolved(Ok(vec![address(1), address(2)]), START);
        servers.turn();
        assert_eq!(servers.current(), Ok(address(2)));
        servers.turn();
        assert_eq!(servers.current(), Ok(address(1)));
    }

    #[test]
    fn an_address_that_no_network_leads_to_does_not_keep_the_others_from_being_tried() {
        let mut servers = servers();
        servers.resolved(Ok(vec![address(1), address(2), address(3)]), START);
        let found = servers.turn_to(|server| (server == address(2)).then_some("wifi"));
        assert_eq!(found, Some("wifi"));
        assert_eq!(servers.current(), Ok(address(2)));
        assert_eq!(servers.turn_to(|_| None::<()>), None);
        assert_eq!(servers.current(), Ok(address(2)));
    }
}
