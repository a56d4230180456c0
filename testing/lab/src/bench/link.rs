//! The lab's own limit: one connection over an emulated link must fill it, or the link says nothing about
//! what is measured over it.

use std::time::Duration;

use anyhow::Result;

use super::contender::Contender;
use super::judge;
use crate::facility::Facility;
use crate::link::Conditions;
use crate::measure::throughput;
use crate::scenario::{Lab, Scenario};
use crate::servers::Discard;
use crate::sockets::connect;
use crate::stall::undisturbed;
use crate::topology::{Medium, SERVER, Topology};

/// `bench link`.
pub const LINK: Scenario = Scenario {
    name: "link",
    about: "one TCP connection fills an emulated link of 300 Mbit/s x 100 ms",
    needs: &[Facility::Tun],
    run,
};

const MEGABITS: u64 = 300;
const DELAY_MILLISECONDS: u64 = 50;

/// Headers take 3.5 %, and TCP's probing for more bandwidth some more.
const LEAST: f64 = 0.85;

/// Odd, so that the median is a round of its own.
const ROUNDS: usize = 3;

/// A link whose thread does not run carries nothing; this share of its time is within the bound.
const TOLERATED_STALLS: f64 = 0.01;

/// Slow start takes about ten round trips.
const WARM_UP: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(20);

fn run(lab: &Lab) -> Result<()> {
    let conditions = Conditions::new(MEGABITS, DELAY_MILLISECONDS);
    let topology = Topology::new(&[("wlan0", Medium::Emulated(conditions))])?;
    let server = Discard::start(&topology.server, SERVER.into())?;
    let mut direct = Contender::new("direct", server.address());
    for _ in 0..ROUNDS {
        direct.add(undisturbed(lab, TOLERATED_STALLS, || {
            let stream = connect(&topology.device, None, direct.entrance, LIMIT)?;
            throughput(stream, &server, WARM_UP, WINDOW)
        })?);
    }
    let rate = direct.median();
    lab.note(&format!(
        "{:.0} Mbit/s, {:?}",
        rate / 1e6,
        topology.link("wlan0")?.counts()
    ));
    judge(
        lab,
        "share of the link's rate",
        rate / (MEGABITS as f64 * 1e6),
        LEAST,
    )
}
