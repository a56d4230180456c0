//! The networks of the measurement, under each of its conditions.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use socket2::Protocol;

use super::event::Event;
use crate::facility::Facility;
use crate::link::Conditions;
use crate::multipath;
use crate::servers::Manual;
use crate::topology::{Medium, SERVER, Topology};
use crate::wait::wait_until;

/// A network of the device.
#[derive(Debug, PartialEq)]
pub(super) struct Path {
    pub(super) name: &'static str,
    /// One way.
    pub(super) delay: Duration,
    jitter: Duration,
}

/// Where the session begins.
pub(super) const WLAN: Path = Path {
    name: "wlan0",
    delay: Duration::from_millis(10),
    jitter: Duration::from_millis(2),
};

/// Where it goes.
pub(super) const WWAN: Path = Path {
    name: "wwan0",
    delay: Duration::from_millis(30),
    jitter: Duration::from_millis(5),
};

const PATHS: [&Path; 2] = [&WLAN, &WWAN];

/// After so long without a packet only a lost one's repetition may come; a connection that ends has few to lose.
const QUIET: Duration = Duration::from_millis(200);

const QUIET_LIMIT: Duration = Duration::from_secs(30);

/// What makes a run harder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::bench) enum Condition {
    /// One connection, no losses
    Clean,
    /// 1,000 connections, 20 of them ticking, no losses
    Crowd,
    /// One connection, 0.5 % of the packets lost
    #[value(name = "loss-0.5")]
    SomeLoss,
    /// One connection, 2 % of the packets lost
    #[value(name = "loss-2")]
    MuchLoss,
}

/// Device, server, networks, and the server application's listeners.
#[derive(Debug)]
pub(super) struct World {
    pub(super) topology: Topology,
    pub(super) server: Manual,
    /// None where the kernel has no Multipath TCP.
    pub(super) multipath_server: Option<Manual>,
    condition: Condition,
    down: Option<&'static Path>,
}

impl Path {
    pub(super) const fn round_trip(&self) -> Duration {
        self.delay.saturating_mul(2)
    }

    fn conditions(&self, condition: Condition) -> Conditions {
        let conditions = Conditions {
            delay: self.delay,
            jitter: self.jitter,
            ..Conditions::PERFECT
        };
        conditions.with_loss(condition.loss())
    }
}

impl Condition {
    pub(in crate::bench) const ALL: [Self; 4] =
        [Self::Clean, Self::Crowd, Self::SomeLoss, Self::MuchLoss];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Crowd => "1,000 connections",
            Self::SomeLoss => "0.5 % loss",
            Self::MuchLoss => "2 % loss",
        }
    }

    /// With losses, what a switch adds is asked, and beside it how it is without one.
    pub(super) fn is_for(self, event: Event) -> bool {
        match self {
            Self::Clean => true,
            Self::Crowd => !event.is_passing(),
            Self::SomeLoss | Self::MuchLoss => matches!(event, Event::None | Event::Planned),
        }
    }

    /// How many connections tick, and how many are there beside them.
    pub(super) const fn connections(self) -> (usize, usize) {
        match self {
            Self::Crowd => (20, 980),
            Self::Clean | Self::SomeLoss | Self::MuchLoss => (1, 0),
        }
    }

    /// With losses a gap is TCP's own at times: there are figures, but no bounds.
    pub(super) const fn has_bounds(self) -> bool {
        matches!(self, Self::Clean | Self::Crowd)
    }

    const fn loss(self) -> f64 {
        match self {
            Self::Clean | Self::Crowd => 0.0,
            Self::SomeLoss => 0.005,
            Self::MuchLoss => 0.02,
        }
    }
}

impl World {
    pub(super) fn new() -> Result<Self> {
        let condition = Condition::Clean;
        let network = |path: &Path| (path.name, Medium::Emulated(path.conditions(condition)));
        let topology = Topology::new(&PATHS.map(network))?;
        let (host, address) = (&topology.server, SERVER.into());
        let multipath_server = match multipath::NEEDS.iter().find_map(|need| need.missing()) {
            None => Some(Manual::start_by(Protocol::MPTCP, host, address)?),
            Some(_) => None,
        };
        Ok(Self {
            server: Manual::start(host, address)?,
            multipath_server,
            topology,
            condition,
            down: None,
        })
    }

    /// Both networks as good as they are under this condition, and nothing of a former run under way on them.
    pub(super) fn begin(&mut self, condition: Condition) -> Result<()> {
        self.condition = condition;
        self.heal()?;
        let (mut last, mut since) = (None, Instant::now());
        wait_until("the end of a former run's packets", QUIET_LIMIT, || {
            let counts = (self.count_packets(&WLAN)?, self.count_packets(&WWAN)?);
            if last.replace(counts) != Some(counts) {
                since = Instant::now();
            }
            Ok(since.elapsed() >= QUIET)
        })
    }

    /// Ends whatever ails a network.
    pub(super) fn heal(&mut self) -> Result<()> {
        for path in PATHS {
            self.topology.restore(path.name)?;
            let conditions = path.conditions(self.condition);
            self.topology.link(path.name)?.set_conditions(conditions)?;
        }
        match self.down.take() {
            Some(path) => self.topology.set_up(path.name),
            None => Ok(()),
        }
    }

    /// How many have crossed a network so far.
    pub(super) fn count_packets(&self, path: &Path) -> Result<u64> {
        Ok(self.topology.link(path.name)?.counts().delivered)
    }

    pub(super) fn set_down(&mut self, path: &'static Path) -> Result<()> {
        self.down = Some(path);
        self.topology.set_down(path.name)
    }

    /// Until [`World::heal`] a packet may be as much later as `extra`, and is half of it on the average.
    pub(super) fn add_jitter(&self, path: &Path, extra: Duration) -> Result<()> {
        let usual = path.conditions(self.condition);
        let conditions = Conditions {
            delay: usual.delay + extra / 2,
            jitter: usual.jitter + extra / 2,
            ..usual
        };
        self.topology.link(path.name)?.set_conditions(conditions)
    }
}

/// Why the measurement cannot be made at all without it.
pub(super) const NEEDS: &[Facility] = &[Facility::Tun];
