//! Networks that somebody has to open and close: what the shell's hooks do, and how they fail.
//!
//! A network with hooks can be dialled only while it is open. The shell opens and closes it when the machine says
//! so, each hook takes its time, and one that hangs is killed after [`HOOK_TIMEOUT`]. All networks with hooks may
//! have one adapter between them, which then holds one at a time.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::NetworkId;

use super::{Occurrence, World};
use crate::network::NetworkState;

/// When the shell kills a hook.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// What the machine asked for, in the switch of that number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Close { number: u64, next: NetworkId },
    Open { number: u64, network: NetworkId },
    OpenVpn { number: u64, network: NetworkId },
}

/// What becomes of a hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Works,
    Fails,
    Hangs,
}

/// The hooks of the CNAPT's shell.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// Counts what was asked for; an answer to anything but the last comes from a process that is gone.
    count: u64,
    running: Option<Asked>,
    /// Of those that are to run next.
    next: Fate,
}

impl World {
    /// The shell of a new process knows nothing of the old one's hooks.
    pub(super) fn forget_hooks(&mut self) {
        self.hooks.count += 1;
        self.hooks.running = None;
    }

    /// None of those to come fails or hangs.
    pub(crate) fn let_hooks_work(&mut self) {
        self.hooks.next = Fate::Works;
    }

    /// The hooks that are running, or else the next, fail. Says whether there are any hooks.
    pub fn fail_hooks(&mut self) -> bool {
        self.doom(Fate::Fails, Duration::ZERO)
    }

    /// The hooks that are running, or else the next, hang until they are killed. Says whether there are any.
    pub fn hang_hooks(&mut self) -> bool {
        self.doom(Fate::Hangs, HOOK_TIMEOUT)
    }

    fn doom(&mut self, fate: Fate, after: Duration) -> bool {
        match self.hooks.running {
            Some(asked) => self.schedule_hook(asked, false, after),
            None => self.hooks.next = fate,
        }
        self.networks.iter().any(|network| network.hooks.is_some())
    }

    pub(super) fn run_hooks(&mut self, asked: Asked) {
        if !self.hooks_answer {
            return;
        }
        let takes = self.hooks_take(asked);
        if takes.is_zero() {
            self.answer_hooks(asked, true);
            return;
        }
        match std::mem::take(&mut self.hooks.next) {
            Fate::Works => self.schedule_hook(asked, true, takes),
            Fate::Fails => self.schedule_hook(asked, false, takes),
            Fate::Hangs => self.schedule_hook(asked, false, HOOK_TIMEOUT),
        }
    }

    fn schedule_hook(&mut self, asked: Asked, done: bool, after: Duration) {
        self.hooks.count += 1;
        self.hooks.running = Some(asked);
        let count = self.hooks.count;
        self.schedule(self.now + after, Occurrence::Hook { count, done });
    }

    /// How long it takes; no time without hooks to run.
    fn hooks_take(&self, asked: Asked) -> Duration {
        let of = |id: NetworkId| self.networks.get(id.0).and_then(|network| network.hooks);
        match asked {
            Asked::Close { next, .. } => self.open_but(next).filter_map(of).sum(),
            Asked::Open { network, .. } if self.is_open(network) => Duration::ZERO,
            Asked::Open { network, .. } | Asked::OpenVpn { network, .. } => {
                of(network).unwrap_or_default()
            }
        }
    }

    fn is_open(&self, id: NetworkId) -> bool {
        self.networks.get(id.0).is_some_and(|network| network.open)
    }

    /// The open networks with hooks, but for `next`.
    fn open_but(&self, next: NetworkId) -> impl Iterator<Item = NetworkId> {
        let all = self.networks.iter().enumerate();
        let open = all.filter(|(_, network)| network.hooks.is_some() && network.open);
        open.map(|(index, _)| NetworkId(index))
            .filter(move |id| *id != next)
    }

    /// The hooks that were asked for as number `count` have ended.
    pub(super) fn hooks_end(&mut self, count: u64, done: bool) {
        if let Some(asked) = self.hooks.running.take_if(|_| self.hooks.count == count) {
            let done = done && self.take_effect(asked);
            self.say("world", |_| format!("hooks end, {done}: {asked:?}"));
            self.answer_hooks(asked, done);
        }
    }

    /// Says whether it was possible.
    fn take_effect(&mut self, asked: Asked) -> bool {
        match asked {
            Asked::Close { next, .. } => {
                let open: Vec<NetworkId> = self.open_but(next).collect();
                open.into_iter().for_each(|id| self.close_network(id));
            }
            Asked::Open { network, .. } => {
                let taken = self.one_adapter && self.open_but(network).next().is_some();
                let Some(one) = self.networks.get_mut(network.0) else {
                    return false;
                };
                one.open = !taken && one.state != NetworkState::Down;
                return one.open;
            }
            Asked::OpenVpn { .. } => {}
        }
        true
    }

    /// What the device has not ended on it dies. What it had sent before is under way all the same.
    fn close_network(&mut self, id: NetworkId) {
        if let Some(network) = self.networks.get_mut(id.0) {
            network.open = false;
        }
        for conduit in self.open_conduits(Side::Cnapt) {
            let over = self.connections.get(&conduit);
            if over.is_some_and(|one| one.network == id) {
                self.kill(conduit, &[Side::Cnapt]);
            }
        }
    }

    fn answer_hooks(&mut self, asked: Asked, done: bool) {
        let now = self.now;
        match asked {
            Asked::Close { number, .. } => self.cnapt.networks_closed(number, done, now),
            Asked::Open { number, .. } => self.cnapt.network_opened(number, done, now),
            Asked::OpenVpn { number, .. } => self.cnapt.vpn_opened(number, done, now),
        }
    }
}
