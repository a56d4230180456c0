//! One TCP connection in bulk: over a virtual cable beside a pair of HAProxy, and over a long link
//! beside the same connection without any relay.

use std::time::Duration;

use anyhow::Result;

use super::COMPARISON_NEEDS;
use super::contender::Contender;
use super::{judge, judge_memory};
use crate::facility::Facility;
use crate::handover::{Handover, Service};
use crate::haproxy::HaproxyPair;
use crate::link::Conditions;
use crate::measure::throughput;
use crate::scenario::{Lab, Scenario};
use crate::servers::Discard;
use crate::sockets::connect;
use crate::stall::undisturbed;
use crate::topology::{Medium, SERVER, Topology};

/// `bench throughput`.
pub const THROUGHPUT: Scenario = Scenario {
    name: "throughput",
    about: "one TCP connection in bulk: direct, through a pair of HAProxy with TLS, through handover",
    needs: COMPARISON_NEEDS,
    run,
};

/// Odd, so that the median is a round of its own.
const ROUNDS: usize = 5;

const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(20);

/// handover beside the HAProxy pair.
const LEAST_OF_HAPROXY: f64 = 1.0;

/// The long link: its rate, and half of its round trip.
const MEGABITS: u64 = 200;
const DELAY_MILLISECONDS: u64 = 50;

/// handover beside the direct connection over the long link.
const LEAST_OF_DIRECT: f64 = 0.9;

/// Slow start takes about ten round trips, in each of the connections in a row.
const LONG_WARM_UP: Duration = Duration::from_secs(4);
const LONG_WINDOW: Duration = Duration::from_secs(5);
const LONG_ROUNDS: usize = 3;

/// A link whose thread does not run carries nothing; this share of its time is within the bound.
const TOLERATED_STALLS: f64 = 0.01;

const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

const SERVICE: &str = "discard";
const PORT: u16 = 7101;

fn run(lab: &Lab) -> Result<()> {
    // The host's choice, and much of the figures: BBR paces, CUBIC does not.
    let control = std::fs::read_to_string(CONGESTION_CONTROL)?;
    lab.note(&format!("TCP's congestion control: {}", control.trim()));
    beside_haproxy(lab)?;
    lab.require(Facility::Tun)?;
    over_a_long_link(lab)
}

fn beside_haproxy(lab: &Lab) -> Result<()> {
    let topology = Topology::new(&[("wlan0", Medium::Cable)])?;
    let server = Discard::start(&topology.server, SERVER.into())?;
    let service = Service::tcp(SERVICE, server.address(), PORT);
    let haproxy = HaproxyPair::start(&lab.log, &topology, server.address())?;
    let handover = Handover::start(lab, &topology, &[service], &["wlan0"], "")?;
    let mut contenders = [
        Contender::new("direct", server.address()),
        Contender::new("HAProxy TLS pair", haproxy.entrance()),
        Contender::new("handover", service.entrance()),
    ];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            let stream = connect(&topology.device, None, contender.entrance, LIMIT)?;
            contender.add(throughput(stream, &server, WARM_UP, WINDOW)?);
        }
    }
    for contender in &contenders {
        let gigabits = contender.median() / 1e9;
        lab.note(&format!("{:<20} {gigabits:6.2} Gbit/s", contender.name));
    }
    judge_memory(lab, &handover)?;
    let [_, haproxy, handover] = contenders.map(|contender| contender.median());
    judge(
        lab,
        "handover / HAProxy TLS pair",
        handover / haproxy,
        LEAST_OF_HAPROXY,
    )
}

fn over_a_long_link(lab: &Lab) -> Result<()> {
    let conditions = Conditions::new(MEGABITS, DELAY_MILLISECONDS);
    let topology = Topology::new(&[("wlan0", Medium::Emulated(conditions))])?;
    let server = Discard::start(&topology.server, SERVER.into())?;
    let service = Service::tcp(SERVICE, server.address(), PORT);
    let handover = Handover::start(lab, &topology, &[service], &["wlan0"], "")?;
    let mut contenders = [
        Contender::new("direct", server.address()),
        Contender::new("handover", service.entrance()),
    ];
    for _ in 0..LONG_ROUNDS {
        for contender in &mut contenders {
            contender.add(undisturbed(lab, TOLERATED_STALLS, || {
                let stream = connect(&topology.device, None, contender.entrance, LIMIT)?;
                throughput(stream, &server, LONG_WARM_UP, LONG_WINDOW)
            })?);
        }
    }
    for contender in &contenders {
        let megabits = contender.median() / 1e6;
        let name = contender.name;
        lab.note(&format!(
            "{name:<20} {megabits:6.1} Mbit/s over {MEGABITS} Mbit/s x 100 ms"
        ));
    }
    judge_memory(lab, &handover)?;
    let [direct, handover] = contenders.map(|contender| contender.median());
    judge(
        lab,
        "handover / direct over the long link",
        handover / direct,
        LEAST_OF_DIRECT,
    )
}
