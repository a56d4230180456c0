//! CNAPT-22 to CNAPT-24, and the same in CNAPT-12\*: networks and VPNs are closed and opened by their hooks.
//!
//! The machine asks, hooks are run one after the other in a task of their own, and the answer goes back with the
//! number of the switch. A network without hooks is answered for at once. When a hook that opens has ended, the
//! kernel has to show what it was for, an address and perhaps a route: that has the same time once more.

use handover_network::now;
use handover_proto::Instant;
use handover_proto::session::NetworkId;
use tracing::{info, warn};

use super::daemon::Daemon;
use crate::hooks::{HookError, Kind};

/// What the machine asked for, in the switch of that number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Close { number: u64, next: NetworkId },
    Open { number: u64, network: NetworkId },
    OpenVpn { number: u64, network: NetworkId },
}

/// Hooks have been run: which, for what, and how they ended.
#[derive(Debug)]
pub(crate) struct Ran {
    asked: Asked,
    outcomes: Vec<(NetworkId, Kind, Result<(), HookError>)>,
}

/// What a hook has opened and the kernel has yet to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    asked: Asked,
    pub(crate) until: Instant,
}

impl Daemon {
    //= docs/spec/planned.md#cnapt-22
    //= docs/spec/unexpected.md#cnapt-star-12
    pub(crate) fn close_networks(&mut self, number: u64, next: NetworkId) {
        let hooks = self.networks.closing(Some(next));
        self.run_hooks(Asked::Close { number, next }, hooks);
    }

    //= docs/spec/planned.md#cnapt-23
    pub(crate) fn open_network(&mut self, number: u64, network: NetworkId) {
        let asked = Asked::Open { number, network };
        let hooks = if self.is_there(asked).is_ok() && !self.networks.is_stale(network) {
            Vec::new()
        } else {
            vec![(network, Kind::Up)]
        };
        self.run_hooks(asked, hooks);
    }

    //= docs/spec/planned.md#cnapt-24
    pub(crate) fn open_vpn(&mut self, number: u64, network: NetworkId) {
        let asked = Asked::OpenVpn { number, network };
        let hooks = if self.networks.vpn_is_open(network) {
            Vec::new()
        } else {
            vec![(network, Kind::VpnUp)]
        };
        self.run_hooks(asked, hooks);
    }

    /// Hooks that are not configured have done their work.
    fn run_hooks(&mut self, asked: Asked, kinds: Vec<(NetworkId, Kind)>) {
        let snapshot = self.watch.snapshot();
        let mut hooks = Vec::new();
        for (id, kind) in kinds {
            let server = self.server(id, &snapshot).ok();
            match self.networks.hook(id, kind, &snapshot, server) {
                Some(hook) => hooks.push((id, hook)),
                None => self.networks.done(id, kind),
            }
        }
        if hooks.is_empty() {
            self.hooks_over(asked, true);
            return;
        }
        let (ran, limit) = (self.ran.clone(), self.config.hook_timeout);
        let lost = |id: &NetworkId| self.networks.was_lost(*id);
        let keep_on: Vec<bool> = hooks.iter().map(|(id, _)| lost(id)).collect();
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for ((id, hook), keep_on) in hooks.into_iter().zip(keep_on) {
                let outcome = hook.run(limit).await;
                let stop = outcome.is_err() && !keep_on;
                outcomes.push((id, hook.kind, outcome));
                if stop {
                    break;
                }
            }
            // Nobody listens when the daemon ends.
            drop(ran.send(Ran { asked, outcomes }));
        });
    }

    pub(crate) fn take_ran(&mut self, ran: Ran) {
        let Ran { asked, outcomes } = ran;
        let mut good = true;
        for (id, kind, outcome) in outcomes {
            let (network, hook) = (self.networks.name(id), kind.name());
            match outcome {
                Ok(()) => {
                    info!(%network, hook, "hook done");
                    self.networks.done(id, kind);
                }
                Err(error) => {
                    warn!(%network, hook, "the hook {error}");
                    good = false;
                    let target = asked.network();
                    let error = format!("the hook {hook} of {network} {error}");
                    self.networks.failed(target, error);
                }
            }
        }
        self.hooks_over(asked, good);
    }

    /// The hooks have ended, if there were any.
    fn hooks_over(&mut self, asked: Asked, good: bool) {
        if good && self.config_opens(asked) && self.is_there(asked).is_err() {
            let until = now() + self.config.hook_timeout;
            self.opening = Some(Opening { asked, until });
        } else {
            self.answer(asked, good);
        }
    }

    /// Whether a hook opens what was asked for: else it is there or not, and the dial will say so.
    fn config_opens(&self, asked: Asked) -> bool {
        let Some(config) = self.networks.config(asked.network()) else {
            return false;
        };
        match asked {
            Asked::Close { .. } => false,
            Asked::Open { .. } => config.up.is_some(),
            Asked::OpenVpn { .. } => config.vpn.is_some(),
        }
    }

    /// Looks again whether what was opened is there: the kernel told of a change, or time has passed.
    pub(crate) fn look_for_opening(&mut self) {
        let Some(Opening { asked, until }) = self.opening else {
            return;
        };
        match self.is_there(asked) {
            Ok(()) => {
                self.opening = None;
                self.answer(asked, true);
            }
            Err(reason) if until <= now() => {
                self.opening = None;
                let hook = if let Asked::OpenVpn { .. } = asked {
                    Kind::VpnUp
                } else {
                    Kind::Up
                };
                let error = format!("the hook {} worked, but {reason}", hook.name());
                warn!(network = %self.networks.name(asked.network()), "{error}");
                self.networks.failed(asked.network(), error);
                self.answer(asked, false);
            }
            Err(_) => {}
        }
    }

    fn is_there(&self, asked: Asked) -> Result<(), String> {
        let (networks, snapshot) = (&self.networks, self.watch.snapshot());
        let network = asked.network();
        let server = self.server(network, &snapshot);
        server.and_then(|server| match asked {
            Asked::Close { .. } => Ok(()),
            Asked::Open { .. } => networks.open(network, &snapshot, server).map(drop),
            Asked::OpenVpn { .. } => networks.bound_to(network, &snapshot, server).map(drop),
        })
    }

    fn answer(&mut self, asked: Asked, done: bool) {
        match asked {
            Asked::Close { number, .. } => {
                self.hub
                    .with(|machine, now| machine.networks_closed(number, done, now));
            }
            Asked::Open { number, network } => {
                if done {
                    self.networks.done(network, Kind::Up);
                }
                self.hub
                    .with(|machine, now| machine.network_opened(number, done, now));
            }
            Asked::OpenVpn { number, .. } => {
                self.hub
                    .with(|machine, now| machine.vpn_opened(number, done, now));
            }
        }
    }

    /// The daemon ends: what it opened is closed.
    pub(crate) async fn close_all(&mut self) {
        let snapshot = self.watch.snapshot();
        for (id, kind) in self.networks.closing(None) {
            let server = self.server(id, &snapshot).ok();
            let Some(hook) = self.networks.hook(id, kind, &snapshot, server) else {
                continue;
            };
            if let Err(error) = hook.run(self.config.hook_timeout).await {
                warn!(network = %self.networks.name(id), hook = kind.name(), "the hook {error}");
            }
        }
    }
}

impl Asked {
    /// The network that is to carry.
    const fn network(self) -> NetworkId {
        match self {
            Self::Close { next: network, .. }
            | Self::Open { network, .. }
            | Self::OpenVpn { network, .. } => network,
        }
    }
}
