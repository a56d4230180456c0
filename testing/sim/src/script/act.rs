//! What an entry does to the world as it finds it.

use handover_proto::session::NetworkId;
use handover_proto::{ConduitId, Side};

use super::{Action, Conduit, Which};
use crate::application::{Key, Plan};
use crate::network::NetworkState;
use crate::world::{Broken, World};

/// A script that is being played.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: World,
    /// The conversations so far.
    pub(super) keys: Vec<Key>,
}

impl Stage {
    /// Does it, and says whether it changed anything: there may be nothing to strike.
    pub(super) fn act(&mut self, action: &Action) -> Result<bool, Broken> {
        let struck = match *action {
            Action::Open {
                at,
                opener,
                acceptor,
            } => self.open(at, opener, acceptor)?,
            Action::Order(number) => self.order(number),
            Action::Cut(which) => self.with_network(which, World::cut),
            Action::HalfCut(which, side) => {
                self.with_network(which, |world, index| world.half_cut(index, side))
            }
            Action::Down(which) => self.with_network(which, World::link_down),
            Action::Restore(number) => self.restore(number),
            Action::Readdress(which) => self.with_network(which, World::change_address),
            Action::Return {
                network,
                away,
                told,
            } => self.with_network(network, |world, index| {
                world.go_and_return(index, away, told);
            }),
            Action::Forget(which) => self.forget(which),
            Action::Weather {
                network,
                there,
                back,
                jitter,
            } => self.with_network(network, |world, index| {
                world.change_weather(index, there, back, jitter);
            }),
            Action::Hold(conduit, side) => {
                self.with_conduit(conduit, &[side], |world, id| world.hold(id, side))
            }
            Action::Release => self.world.release_all() > 0,
            Action::Kill(conduit, told) => {
                self.with_conduit(conduit, told.as_slice(), |world, id| {
                    world.kill(id, told.as_slice());
                })
            }
            Action::KillOneByOne(interval, told) => self.world.kill_one_by_one(interval, told) > 0,
            Action::Restart(side) => {
                self.world.restart(side);
                true
            }
            Action::Crash(side) => {
                self.world.crash(side);
                true
            }
            Action::Sleep {
                side,
                length,
                timers_first,
            } => self.world.sleep(side, length, timers_first),
            Action::Reset(number, side) => {
                self.with_application(number, side, World::reset_application)
            }
            Action::Leave(number, side) => {
                self.with_application(number, side, World::stop_application)
            }
            Action::Change(number, side, reading, closing) => {
                self.with_application(number, side, |world, key, side| {
                    world.change(key, side, reading, closing);
                })
            }
            Action::Silence => self.silence(),
            Action::FailHooks => self.world.fail_hooks(),
            Action::HangHooks => self.world.hang_hooks(),
        };
        Ok(struck)
    }

    fn open(&mut self, at: Side, opener: Plan, acceptor: Plan) -> Result<bool, Broken> {
        let at = if self.world.is_listening() {
            at
        } else {
            Side::Cnapt
        };
        let awake = !self.world.is_asleep(at);
        if awake {
            self.keys.push(self.world.open_at(at, opener, acceptor)?);
        }
        Ok(awake)
    }

    fn forget(&mut self, which: Which) -> bool {
        let network = self.network(which);
        self.world.forget_all(network) > 0
    }

    fn silence(&mut self) -> bool {
        self.world.decision_answers = !self.world.decision_answers;
        true
    }

    fn order(&mut self, number: usize) -> bool {
        let current = self.world.cnapt.network();
        let others: Vec<usize> = (0..self.world.networks.len())
            .filter(|index| current != Some(NetworkId(*index)))
            .collect();
        let chosen = number.checked_rem(others.len()).map(|index| others[index]);
        let possible = chosen.filter(|_| !self.world.is_asleep(Side::Cnapt));
        if let Some(network) = possible {
            self.world.order(network);
        }
        possible.is_some()
    }

    fn network(&self, which: Which) -> usize {
        let current = self.world.cnapt.network();
        let found = match which {
            Which::Current => current,
            Which::Target => self.world.cnapt.target().or(current),
            Which::Nth(number) => Some(NetworkId(number)),
        };
        let number = found.map_or(0, |network| network.0);
        number.checked_rem(self.world.networks.len()).unwrap_or(0)
    }

    fn is_up(&self, network: usize) -> bool {
        let one = self.world.networks.get(network);
        one.is_some_and(|one| one.state == NetworkState::Up)
    }

    fn restore(&mut self, number: usize) -> bool {
        let away: Vec<usize> = (0..self.world.networks.len())
            .filter(|network| !self.is_up(*network))
            .collect();
        let chosen = number.checked_rem(away.len()).map(|index| away[index]);
        if let Some(network) = chosen {
            self.world.restore(network);
        }
        chosen.is_some()
    }

    /// Strikes a network that is up.
    fn with_network(&mut self, which: Which, act: impl FnOnce(&mut World, usize)) -> bool {
        let network = self.network(which);
        let struck = self.is_up(network);
        if struck {
            act(&mut self.world, network);
        }
        struck
    }

    /// Strikes a conduit that is open at those sides.
    fn with_conduit(
        &mut self,
        conduit: Conduit,
        open_at: &[Side],
        act: impl FnOnce(&mut World, ConduitId),
    ) -> bool {
        let found = match conduit {
            Conduit::Control => self.world.control().ok(),
            Conduit::Nth(side, number) => {
                let all = self.world.open_conduits(side);
                number.checked_rem(all.len()).map(|index| all[index])
            }
        };
        let is_open = |id: &ConduitId| {
            open_at
                .iter()
                .all(|side| self.world.open_conduits(*side).contains(id))
        };
        let struck = found.filter(is_open);
        if let Some(id) = struck {
            act(&mut self.world, id);
        }
        struck.is_some()
    }

    /// Something of an application that lives, unless its module sleeps: then it cannot notice.
    fn with_application(
        &mut self,
        number: usize,
        side: Side,
        act: impl FnOnce(&mut World, Key, Side),
    ) -> bool {
        let lives = |key: &Key| {
            let conversation = self.world.conversation(*key).ok();
            let one = conversation.and_then(|conversation| conversation.at(side));
            one.is_some_and(|application| !application.is_over())
        };
        let living: Vec<Key> = self.keys.iter().copied().filter(lives).collect();
        let key = number.checked_rem(living.len()).map(|index| living[index]);
        let struck = key.filter(|_| !self.world.is_asleep(side));
        if let Some(key) = struck {
            act(&mut self.world, key, side);
        }
        struck.is_some()
    }
}
