//! A trial as data: what the world is like, and what happens in it, when.
//!
//! A [`Script`] follows from its seed alone ([`Script::of_seed`]), is played ([`Script::play`]) and, if
//! something breaks, made shorter ([`Script::shrink`]). Everything that is left to chance stands in it
//! as a number, and an entry names what it strikes by its place among what is there then, so that any
//! part of a script is a script again. Printed, it reads like this:
//!
//! ```text
//! network 0: 12 ms there, 30 ms back
//! switch timeout 86400s; calm after 0ns; 10 % in two pieces, by 8441
//!   after 14ms                                   Open: client writes 4000, then Fin, reads All; server …
//!   after 3µs                                    Order(0)
//!   at CNAPT-14, within 10s, + 0ns               Cut(Current)
//! ```
//!
//! An entry waits for its time, counted from the entry before, or until a machine waits at a step of
//! the spec; if it does not come there in time, the entry happens all the same.

mod act;
mod generate;
mod play;
mod shrink;

use std::fmt;
use std::time::Duration;

use handover_proto::Side;
use handover_proto::bug::Bug;

pub use shrink::Shrunk;

use crate::application::{Closing, Plan, Reading};
use crate::network::Network;
use crate::wait::Wait;

/// What a trial is.
#[derive(Clone, Debug)]
pub struct Script {
    /// What the world itself leaves to chance: how reads fall into pieces.
    pub seed: u64,
    /// The networks, all up at first.
    pub networks: Vec<Network>,
    /// How long the SNAPT keeps the session of a silent CNAPT.
    pub switch_timeout: Duration,
    /// Whether only one of the networks with hooks can be open at a time.
    pub one_adapter: bool,
    /// Whether planned switches overlap where they can.
    pub overlaps: bool,
    /// Whether links are held beside the one that carries.
    pub standbys: bool,
    /// Whether a silent link is left before it is known to be dead.
    pub rescues: bool,
    /// Whether applications speak over UDP, too.
    pub datagrams: bool,
    /// How often what is written at once travels in two pieces, in percent.
    pub split_percent: u64,
    /// When the world is calmed down, at the earliest.
    pub lasts: Duration,
    /// What happens, one after the other.
    pub entries: Vec<Entry>,
    /// What is left out of the modules, for a check of the checks.
    pub bug: Option<Bug>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
}

/// When an entry happens.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// So long after the one before.
    After(Duration),
    /// As soon as a machine waits there, and a little later; at the latest after the patience.
    At {
        /// Where it has to wait.
        wait: Wait,
        /// How long that is waited for.
        patience: Duration,
        /// How much later.
        later: Duration,
    },
}

/// Which network an entry means.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// The one that carries, or did last.
    Current,
    /// The one that a switch is going to; without a switch the current one.
    Target,
    /// Any, by number.
    Nth(usize),
}

/// Which conduit an entry means.
#[derive(Clone, Copy, Debug)]
pub enum Conduit {
    /// The newest control channel.
    Control,
    /// Any that is open at this side, by number.
    Nth(Side, usize),
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// An application connects.
    Open {
        /// The module that it is beside; the CNAPT, as long as the SNAPT does not listen.
        at: Side,
        /// What it does.
        opener: Plan,
        /// What the application does that offers the service.
        acceptor: Plan,
    },
    /// The user orders a switch to one of the networks that do not carry, by number.
    Order(usize),
    /// Nothing passes over a network, and nobody is told.
    Cut(Which),
    /// Nothing passes to this side.
    HalfCut(Which, Side),
    /// A network goes down, and the device knows it.
    Down(Which),
    /// A network is back; which of those that are not up, by number.
    Restore(usize),
    /// The device's address on a network changes.
    Readdress(Which),
    /// A network goes away and is back with the same address.
    Return {
        /// Which.
        network: Which,
        /// For how long it is away.
        away: Duration,
        /// The device knows it.
        told: bool,
    },
    /// The NAT of a network forgets all connections.
    Forget(Which),
    /// A network becomes another: slower, faster, less steady.
    Weather {
        /// Which.
        network: Which,
        /// From the device to the server.
        there: Duration,
        /// Back.
        back: Duration,
        /// How much longer either may take.
        jitter: Duration,
    },
    /// What comes to this side by a conduit is late.
    Hold(Conduit, Side),
    /// All that is late comes.
    Release,
    /// A conduit dies with what is in it; the CNAPT, the SNAPT, or neither hears of it at once.
    Kill(Conduit, Option<Side>),
    /// All conduits but the control channel die, one after the other.
    KillOneByOne(Duration, Option<Side>),
    /// A module's process ends and a new one begins.
    Restart(Side),
    /// A module's host dies and starts anew, and no connection is ended.
    Crash(Side),
    /// The device sleeps, or the SNAPT's process is stopped.
    Sleep {
        /// Which module stands still.
        side: Side,
        /// For how long.
        length: Duration,
        /// When it goes on, its timers fire before it reads.
        timers_first: bool,
    },
    /// An application resets its connection; which of those so far, by number.
    Reset(usize, Side),
    /// An application closes its connection while bytes are on their way to it.
    Leave(usize, Side),
    /// An application changes how it reads, and how it ends.
    Change(usize, Side, Reading, Closing),
    /// The decision task falls silent, or answers again.
    Silence,
    /// The hooks that run, or else the next, fail.
    FailHooks,
    /// They hang until they are killed.
    HangHooks,
}

impl fmt::Display for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.networks.iter().enumerate() {
            write!(
                formatter,
                "network {index}: {:?} there, {:?} back",
                network.there, network.back
            )?;
            if !network.jitter.is_zero() {
                write!(formatter, ", jitter {:?}", network.jitter)?;
            }
            if let Some(most) = network.forgets {
                write!(formatter, ", its NAT forgets after {most:?}")?;
            }
            if network.late_resets {
                formatter.write_str(", what was sent arrives before a reset")?;
            }
            if let Some(takes) = network.hooks {
                write!(formatter, ", has hooks that take {takes:?}")?;
            }
            writeln!(formatter)?;
        }
        writeln!(
            formatter,
            "switch timeout {:?}; calm after {:?}; {} % in two pieces, by {}",
            self.switch_timeout, self.lasts, self.split_percent, self.seed
        )?;
        if self.datagrams {
            writeln!(formatter, "datagrams both ways")?;
        }
        if self.overlaps {
            writeln!(formatter, "planned switches overlap")?;
        }
        if self.standbys {
            writeln!(formatter, "links stand by")?;
        }
        if self.rescues {
            writeln!(formatter, "silent links are left early")?;
        }
        if self.one_adapter {
            writeln!(formatter, "one adapter for all networks with hooks")?;
        }
        self.entries
            .iter()
            .try_for_each(|entry| writeln!(formatter, "  {entry}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.when {
            When::After(delay) => format!("after {delay:?}"),
            When::At {
                wait,
                patience,
                later,
            } => format!("at {}, within {patience:?}, + {later:?}", wait.full_name()),
        };
        write!(formatter, "{when:<44} {}", self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Open {
            at,
            opener,
            acceptor,
        } = self
        {
            write!(
                formatter,
                "Open at {at:?}: opener {opener}; acceptor {acceptor}"
            )
        } else {
            write!(formatter, "{self:?}")
        }
    }
}
