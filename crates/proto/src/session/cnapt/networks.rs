//! CNAPT-22 to CNAPT-24, and the same in CNAPT-12\*: networks and VPNs are closed and opened, by the shell.
//!
//! The machine asks for one after the other and waits for each answer, which carries the number of the switch.

use super::{Cnapt, Phase};
use crate::Instant;
use crate::session::{Output, Timer, bound};
use crate::step::Step;

impl Cnapt {
    /// What the new network has no use for is closed, or could not be (CNAPT-22, CNAPT-12*).
    pub fn networks_closed(&mut self, number: u64, done: bool, now: Instant) {
        if self.phase == Phase::AwaitClosing && self.is_number(number) {
            self.go_on_closed(done, now);
        }
    }

    /// The new network is open, or could not be opened (CNAPT-23, CNAPT-12*).
    pub fn network_opened(&mut self, number: u64, done: bool, now: Instant) {
        if self.phase == Phase::AwaitOpening && self.is_number(number) {
            if done {
                self.change_address(now);
            } else {
                self.fail_target(now);
            }
        }
    }

    /// The VPN over it is open, or could not be opened (CNAPT-24, CNAPT-12*).
    pub fn vpn_opened(&mut self, number: u64, done: bool, now: Instant) {
        if self.phase == Phase::AwaitVpn && self.is_number(number) {
            if done {
                self.move_sockets(self.switch.map(|switch| switch.to), now);
            } else {
                self.fail_target(now);
            }
        }
    }

    /// CNAPT-22. All of CNAPT-12* begins with it: what is left of a lost network goes before another comes.
    pub(super) fn close_networks(&mut self, now: Instant) {
        let Some(switch) = self.switch else { return };
        //= docs/spec/planned.md#cnapt-22
        //= docs/spec/unexpected.md#cnapt-star-12
        if self.take_by(switch, 22, 12, now) {
            let (number, next) = (switch.number, switch.to);
            let close = Output::CloseNetworks { number, next };
            self.await_networks(Phase::AwaitClosing, close, now);
        } else if switch.is_starred() {
            self.move_sockets(self.network, now);
        } else {
            self.open_network(now);
        }
    }

    /// A network that is lost may be past closing, and the switch away from it has to go on; one that is left by
    /// order can be kept.
    fn go_on_closed(&mut self, done: bool, now: Instant) {
        let Some(switch) = self.switch else { return };
        if done || switch.is_starred() {
            self.open_network(now);
        } else {
            self.fail_target(now);
        }
    }

    fn open_network(&mut self, now: Instant) {
        let Some(switch) = self.switch else { return };
        //= docs/spec/planned.md#cnapt-23
        let opens = switch.is_starred() || self.take(Step::cnapt(23), now);
        if opens {
            let (number, network) = (switch.number, switch.to);
            let open = Output::OpenNetwork { number, network };
            self.await_networks(Phase::AwaitOpening, open, now);
        } else {
            self.change_address(now);
        }
    }

    /// From here on everything is bound to the new network.
    fn change_address(&mut self, now: Instant) {
        let Some(switch) = self.switch else { return };
        //= docs/spec/planned.md#cnapt-24
        let changes = switch.is_starred() || self.take(Step::cnapt(24), now);
        if changes {
            let (number, network) = (switch.number, switch.to);
            let open = Output::OpenVpn { number, network };
            self.await_networks(Phase::AwaitVpn, open, now);
        } else {
            self.move_sockets(self.network, now);
        }
    }

    fn await_networks(&mut self, phase: Phase, asked: Output, now: Instant) {
        self.phase = phase;
        self.timers.set(Timer::Networks, now + bound::NETWORKS);
        self.streams.outputs.push_back(asked);
    }

    /// The shell has no answer.
    pub(super) fn networks_overdue(&mut self, now: Instant) {
        match self.phase {
            Phase::AwaitClosing => self.go_on_closed(false, now),
            Phase::AwaitOpening | Phase::AwaitVpn => self.fail_target(now),
            Phase::Detached
            | Phase::Attached
            | Phase::AwaitSuspension
            | Phase::AwaitAck
            | Phase::AwaitMarkers
            | Phase::AwaitOk
            | Phase::AwaitServerServices
            | Phase::AwaitControl
            | Phase::AwaitRenewal
            | Phase::AwaitAllRedirected
            | Phase::AwaitStandby
            | Phase::AwaitDrained
            | Phase::Refused => {}
        }
    }
}
