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
    resolving: bool,
    resolved_at: Option<Instant>,
    error: Option<String>,
}

impl Servers {
    pub(crate) fn new(configured: Vec<ServerAddress>) -> Self {
        Self {
            addresses: dial::literal_addresses(&configured),
            configured,
            resolving: false,
            resolved_at: None,
            error: None,
        }
    }

    /// All addresses, never none, or why there are none.
    pub(crate) fn addresses(&self) -> Result<&[SocketAddr], String> {
        if !self.addresses.is_empty() {
            return Ok(&self.addresses);
        }
        Err(match &self.error {
            Some(error) => error.clone(),
            None => "the server's name is not resolved yet".to_owned(),
        })
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
        assert_eq!(servers.addresses(), Err("cannot resolve it".into()));
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
        assert_eq!(
            servers.addresses(),
            Ok(&[address(1)][..]),
            "the look-up hangs"
        );
        let much_later = later + 100 * RESOLVE_AGAIN;
        assert!(servers.resolve(much_later).is_none(), "it still hangs");
        servers.resolved(Err("timed out".into()), much_later);
        assert_eq!(servers.addresses(), Ok(&[address(1)][..]));
        assert_eq!(servers.error(), Some("timed out"));
    }
}
