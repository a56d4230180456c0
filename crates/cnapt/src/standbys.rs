//! Links beside the one that carries: over which networks they are held, and when the traffic may go to one.
//!
//! The machine says what has become of them, and which of them carries; here is what policy has to say. All of it is
//! for networks that are up by themselves: what a hook opens is opened and closed at its place in a switch.

use handover_network::{Snapshot, now};
use handover_proto::ConduitId;
use handover_proto::session::{Loss, NetworkId, Phase};
use tracing::info;

use crate::config::{Cost, Decision};
use crate::daemon::Daemon;
use crate::dial::Path;

/// How many bytes a rescue may send again over a network, where each is paid for or counts: what interactive
/// applications have under way. Who moves more waits until the old link is known to be dead.
const fn rescue_budget(cost: Cost) -> Option<u64> {
    match cost {
        Cost::Free => None,
        Cost::Metered => Some(1024 * 1024),
        Cost::Expensive => Some(64 * 1024),
    }
}

impl Daemon {
    /// Which link carries is the machine's affair: their paths follow.
    pub(crate) fn follow_links(&mut self) {
        let (link, standbys) = (&mut self.link, &mut self.standbys);
        self.hub.with(|machine, _| {
            if let Some(control) = machine.control()
                && let Some(path) = standbys.remove(&control)
                && let Some((old, path)) = link.replace((control, path))
            {
                standbys.insert(old, path);
            }
            standbys.retain(|control, _| machine.is_standby(*control));
        });
    }

    pub(crate) fn path_of(&mut self, control: ConduitId) -> Option<Path> {
        self.follow_links();
        let carries = self.link.as_ref().filter(|(of, _)| *of == control);
        let carries = carries.map(|(_, path)| path);
        carries.or_else(|| self.standbys.get(&control)).cloned()
    }

    pub(crate) fn stands_by(&self, network: NetworkId) -> bool {
        self.hub.with(|machine, _| machine.has_standby(network))
    }

    /// Holds a link over each network that policy wants one on, and none over the others.
    pub(crate) fn hold_standbys(&mut self) {
        let phase = self.hub.with(|machine, _| machine.phase());
        if phase != Phase::Attached {
            return;
        }
        let (snapshot, now) = (self.watch.snapshot(), now());
        for id in self.networks.ids() {
            let wanted = self.may_use_both()
                && self.networks.wants_standby(id)
                && self.is_up_by_itself(id, &snapshot);
            let hub = &self.hub;
            if !wanted {
                hub.with(|machine, _| machine.release_standby(id));
            } else if self.networks.may_stand_by(id, now) {
                hub.with(|machine, now| machine.hold_standby(id, now));
            }
        }
    }

    pub(crate) fn standby_lost(&mut self, network: NetworkId) {
        self.networks.back_off_standby(network, now());
        if self.left_silent.take_if(|left| *left == network).is_some() {
            self.networks.fell_silent(network, now());
            self.tell_loss(network, Loss::Silent);
            return;
        }
        if let Some(error) = self.networks.news(network, now()) {
            info!(network = %self.networks.name(network), "does not stand by: {error}");
        }
    }

    /// Whether a switch to this network from the one that carries need close neither.
    pub(crate) fn may_overlap(&self, network: NetworkId, snapshot: &Snapshot) -> bool {
        let both = [Some(network), self.current()];
        let is_up = |id: Option<NetworkId>| id.is_some_and(|id| self.is_up_by_itself(id, snapshot));
        self.may_use_both() && both.into_iter().all(is_up)
    }

    /// The link over `network` is silent though something should come by it: away from it, without waiting until it
    /// is known to be dead, if the decision is ours.
    pub(crate) fn rescue(&mut self, network: NetworkId) {
        let ours = self.config.decision == Decision::Automatic && self.may_use_both();
        if !ours || self.suspended || !self.networks.opens_by_itself(network) {
            return;
        }
        let snapshot = self.watch.snapshot();
        let other = (self.networks.ids())
            .filter(|id| *id != network && self.is_up_by_itself(*id, &snapshot))
            .min_by_key(|id| (!self.stands_by(*id), self.networks.cost(*id)));
        let Some(other) = other else { return };
        let budget = rescue_budget(self.networks.cost(other));
        let began = self
            .hub
            .with(|machine, now| machine.rescue(other, budget, now));
        if began {
            let name = self.networks.name(network);
            info!(network = %name, to = %self.networks.name(other), "nothing comes by it: left");
        }
    }

    /// A network that a rescue left is well again.
    pub(crate) fn go_back(&mut self, network: NetworkId) {
        let snapshot = self.watch.snapshot();
        if self.is_free() && self.may_overlap(network, &snapshot) {
            info!(network = %self.networks.name(network), "well again");
            self.hub.with(|machine, now| machine.go_back(network, now));
        }
        self.hold_standbys();
    }

    /// Whether two networks may carry something of this client at once.
    fn may_use_both(&self) -> bool {
        self.config.overlap && self.config.decision != Decision::Single
    }

    /// Whether it is there, and no hook opened it.
    fn is_up_by_itself(&self, network: NetworkId, snapshot: &Snapshot) -> bool {
        let is_open = |server| self.networks.open(network, snapshot, server).is_ok();
        self.networks.opens_by_itself(network) && self.server(network, snapshot).is_ok_and(is_open)
    }
}
