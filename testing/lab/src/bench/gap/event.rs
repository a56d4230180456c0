//! What happens to the networks in a run, and what its gap may be.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::Value;

use super::way::{Running, Standby};
use super::world::{Path, WLAN, WWAN, World};
use crate::bench::ticks::TICK;
use crate::gate::Gate;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::bench) enum Event {
    /// Nothing happens: the floor
    None,
    /// An order to the other network, and one back
    Planned,
    /// The interface goes down
    LinkDown,
    /// Nothing arrives any more, and nobody is told
    SilentCut,
    /// A second of 100 ms more jitter
    Jitter,
    /// A silent cut of at most 300 ms
    ShortCut,
    /// The interface goes down for at most 300 ms
    ShortDown,
}

/// One thing that happens, with a gap of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    None,
    There,
    Back,
    LinkDown,
    SilentCut,
    Jitter,
    ShortCut,
    ShortDown,
}

/// Beyond what the paths explain: the machine, and the paths' jitter.
const PLANNED: Duration = Duration::from_millis(10);

/// The system's event and both daemons' work.
const LINK_DOWN: Duration = Duration::from_millis(50);

/// SWITCH_UNEXPECTED and RENEW, and what was lost again.
const LINK_DOWN_STANDBY_RTTS: u32 = 2;

/// Three more for the handshakes of TCP and TLS and for ATTACH; QUIC may take two.
const LINK_DOWN_COLD_RTTS: u32 = 5;

/// Silence that the old path's round trips and jitter do not explain, with the work.
const SILENT_CUT: Duration = Duration::from_millis(150);

const SILENT_CUT_STANDBY_RTTS: u32 = 1;

/// As many more.
const SILENT_CUT_COLD_RTTS: u32 = 4;

/// Beside Multipath TCP's median of the same run.
const SHARE_OF_MULTIPATH: f64 = 0.5;

/// How much later a packet may be while the jitter is extraordinary.
const EXTRA_JITTER: Duration = Duration::from_millis(100);

const JITTER_TIME: Duration = Duration::from_secs(1);

/// For which a network is away that comes back.
const SHORT_OUTAGE: Duration = Duration::from_millis(300);

impl Event {
    pub(in crate::bench) const ALL: [Self; 7] = [
        Self::None,
        Self::Planned,
        Self::LinkDown,
        Self::SilentCut,
        Self::Jitter,
        Self::ShortCut,
        Self::ShortDown,
    ];

    pub(super) const fn legs(self) -> &'static [Leg] {
        match self {
            Self::None => &[Leg::None],
            Self::Planned => &[Leg::There, Leg::Back],
            Self::LinkDown => &[Leg::LinkDown],
            Self::SilentCut => &[Leg::SilentCut],
            Self::Jitter => &[Leg::Jitter],
            Self::ShortCut => &[Leg::ShortCut],
            Self::ShortDown => &[Leg::ShortDown],
        }
    }

    /// Whether the old network is still or again there in the end: which of both carries is then handover's choice.
    pub(super) const fn is_passing(self) -> bool {
        matches!(self, Self::Jitter | Self::ShortCut | Self::ShortDown)
    }

    /// What is wrong with the switches that handover made of it, if anything is.
    pub(super) fn fault(self, switches: &[Value]) -> Option<String> {
        let too_many = self == Self::Jitter && !is_a_rescue_at_most(switches);
        too_many.then(|| format!("more than a rescue and its way back: {switches:?}"))
    }
}

/// A false alarm costs a rescue, and a way back.
fn is_a_rescue_at_most(switches: &[Value]) -> bool {
    match switches {
        [] => true,
        [rescue] => rescue["procedure"] == "rescue",
        [rescue, back] => rescue["procedure"] == "rescue" && back["to"] == rescue["from"],
        _ => false,
    }
}

impl Leg {
    /// Whether it is enough that nothing is lost and nothing comes twice, and no switch is too many.
    pub(super) const fn is_judged_by_bytes(self) -> bool {
        matches!(self, Self::Jitter | Self::ShortCut | Self::ShortDown)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::There => "planned, there",
            Self::Back => "planned, back",
            Self::LinkDown => "link down",
            Self::SilentCut => "silent cut",
            Self::Jitter => "jitter for 1 s",
            Self::ShortCut => "cut <= 300 ms",
            Self::ShortDown => "down <= 300 ms",
        }
    }

    /// Makes it happen. `share` says how much of the longest outage it is, where that is not fixed.
    pub(super) fn strike(self, world: &mut World, way: &mut Running, share: f64) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::There => way.order(world, &WLAN, &WWAN),
            Self::Back => way.order(world, &WWAN, &WLAN),
            Self::LinkDown => world.set_down(&WLAN),
            Self::SilentCut => world.topology.cut(WLAN.name),
            Self::Jitter => {
                world.add_jitter(&WLAN, EXTRA_JITTER)?;
                last(JITTER_TIME);
                world.heal()
            }
            Self::ShortCut => {
                world.topology.cut(WLAN.name)?;
                last(SHORT_OUTAGE.mul_f64(share));
                world.heal()
            }
            Self::ShortDown => {
                world.set_down(&WLAN)?;
                last(SHORT_OUTAGE.mul_f64(share));
                world.heal()
            }
        }
    }

    /// What the median of handover's gaps may be, in the world without losses.
    pub(super) fn bound(self, standby: Standby, multipath: Option<Duration>) -> Option<Duration> {
        match self {
            Self::None | Self::Jitter | Self::ShortCut | Self::ShortDown => None,
            Self::There => Some(planned(&WLAN, &WWAN)),
            Self::Back => Some(planned(&WWAN, &WLAN)),
            Self::LinkDown => Some(match standby {
                Standby::Yes => LINK_DOWN + WWAN.round_trip() * LINK_DOWN_STANDBY_RTTS,
                Standby::No => LINK_DOWN + WWAN.round_trip() * LINK_DOWN_COLD_RTTS,
            }),
            Self::SilentCut => Some(match standby {
                Standby::Yes => {
                    let bound = SILENT_CUT + WWAN.round_trip() * SILENT_CUT_STANDBY_RTTS;
                    multipath.map_or(bound, |gap| bound.min(gap.mul_f64(SHARE_OF_MULTIPATH)))
                }
                Standby::No => SILENT_CUT + WWAN.round_trip() * SILENT_CUT_COLD_RTTS,
            }),
        }
    }
}

/// One tick, and what the new path is longer, are explained.
fn planned(from: &Path, to: &Path) -> Duration {
    TICK + to.delay.saturating_sub(from.delay) + PLANNED
}

/// Nothing is waited for: this is how long what happens lasts.
fn last(time: Duration) {
    Gate::slow(time).pass();
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_bounds_are_those_of_the_paths() {
        let bound = |leg: Leg, standby| leg.bound(standby, None);
        assert_eq!(bound(Leg::There, Standby::No), Some(35 * MS));
        assert_eq!(bound(Leg::Back, Standby::Yes), Some(15 * MS));
        assert_eq!(bound(Leg::LinkDown, Standby::Yes), Some(170 * MS));
        assert_eq!(bound(Leg::LinkDown, Standby::No), Some(350 * MS));
        assert_eq!(bound(Leg::SilentCut, Standby::Yes), Some(210 * MS));
        assert_eq!(bound(Leg::SilentCut, Standby::No), Some(390 * MS));
    }

    #[test]
    fn with_a_standby_a_silent_cut_is_half_of_multipath_tcps_at_most() {
        let beside = |gap| Leg::SilentCut.bound(Standby::Yes, Some(gap));
        assert_eq!(beside(300 * MS), Some(150 * MS));
        assert_eq!(beside(600 * MS), Some(210 * MS));
    }
}
