//! What of a measurement is asked for on the command line.

use clap::Args;

use super::gap::{Condition, Event};

/// The runs of which a median is taken.
const RUNS: usize = 10;

/// As many as have a median at all, to see whether a change went the right way.
const QUICK_RUNS: usize = 3;

/// What to measure; nothing said of it is all of it.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Only this event (gap)
    #[arg(long = "event", value_name = "EVENT")]
    pub(super) events: Vec<Event>,
    /// Only under this condition (gap)
    #[arg(long = "condition", value_name = "CONDITION")]
    pub(super) conditions: Vec<Condition>,
    /// Only over this carrier of handover's, beside all others (gap, connect)
    #[arg(long = "carrier", value_name = "CARRIER")]
    pub(super) carriers: Vec<Carrier>,
    /// How often each is measured, instead of 10 times (gap, connect)
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Measure each 3 times only (gap, connect)
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
}

/// What carries a link, as the client's configuration calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Carrier {
    /// TLS 1.3 over TCP
    Tls,
    /// QUIC
    Quic,
}

impl Carrier {
    const ALL: [Self; 2] = [Self::Tls, Self::Quic];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }
}

impl Selection {
    pub(super) fn runs(&self) -> usize {
        let usual = if self.quick { QUICK_RUNS } else { RUNS };
        self.runs.unwrap_or(usual)
    }

    pub(super) fn events(&self) -> Vec<Event> {
        chosen(&self.events, &Event::ALL)
    }

    pub(super) fn conditions(&self) -> Vec<Condition> {
        chosen(&self.conditions, &Condition::ALL)
    }

    pub(super) fn carriers(&self) -> Vec<Carrier> {
        chosen(&self.carriers, &Carrier::ALL)
    }
}

/// In the order of `all`, whatever the order on the command line.
fn chosen<T: Copy + PartialEq>(wanted: &[T], all: &[T]) -> Vec<T> {
    let is_wanted = |one: &&T| wanted.is_empty() || wanted.contains(one);
    all.iter().filter(is_wanted).copied().collect()
}
