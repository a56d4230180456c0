//! Round trips of 64 bytes over a virtual cable: direct, and through relays.

use std::time::Duration;

use anyhow::Result;

use super::COMPARISON_NEEDS;
use super::contender::Contender;
use super::{judge_at_most, judge_memory};
use crate::handover::{Handover, Service};
use crate::haproxy::HaproxyPair;
use crate::measure::round_trip_median;
use crate::scenario::{Lab, Scenario};
use crate::servers::Echo;
use crate::sockets::connect;
use crate::topology::{Medium, SERVER, Topology};

/// `bench latency`.
pub const LATENCY: Scenario = Scenario {
    name: "latency",
    about: "64-byte round trips: direct, through a pair of HAProxy with TLS, through handover",
    needs: COMPARISON_NEEDS,
    run,
};

/// Odd, so that the median is a round of its own.
const ROUNDS: usize = 5;

/// Of each contender in each round.
const ROUND_TRIPS: usize = 20_000;

const LIMIT: Duration = Duration::from_secs(20);

/// handover beside the HAProxy pair.
const MOST_OF_HAPROXY: f64 = 1.1;

const PORT: u16 = 7101;

fn run(lab: &Lab) -> Result<()> {
    let topology = Topology::new(&[("wlan0", Medium::Cable)])?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let haproxy = HaproxyPair::start(&lab.log, &topology, echo.address())?;
    let service = Service::tcp("echo", echo.address(), PORT);
    let handover = Handover::start(lab, &topology, &[service], &["wlan0"], "")?;
    let mut contenders = [
        Contender::new("direct", echo.address()),
        Contender::new("HAProxy TLS pair", haproxy.entrance()),
        Contender::new("handover", service.entrance()),
    ];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            let stream = connect(&topology.device, None, contender.entrance, LIMIT)?;
            contender.add(round_trip_median(stream, ROUND_TRIPS)?.as_secs_f64());
        }
    }
    for contender in &contenders {
        let microseconds = contender.median() * 1e6;
        lab.note(&format!("{:<20} {microseconds:6.1} µs", contender.name));
    }
    judge_memory(lab, &handover)?;
    let [_, haproxy, handover] = contenders.map(|contender| contender.median());
    judge_at_most(
        lab,
        "handover / HAProxy TLS pair",
        handover / haproxy,
        MOST_OF_HAPROXY,
    )
}
