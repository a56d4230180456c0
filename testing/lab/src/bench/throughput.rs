//! One TCP connection in bulk over a virtual cable: direct, and through relays.

use std::time::Duration;

use anyhow::Result;

use super::COMPARISON_NEEDS;
use super::contender::Contender;
use crate::haproxy::HaproxyPair;
use crate::measure::throughput;
use crate::scenario::{Lab, Scenario};
use crate::servers::Discard;
use crate::sockets::connect;
use crate::topology::{Medium, SERVER, Topology};

/// `bench throughput`.
pub const THROUGHPUT: Scenario = Scenario {
    name: "throughput",
    about: "one TCP connection in bulk: direct and through a pair of HAProxy with TLS",
    needs: COMPARISON_NEEDS,
    run,
};

/// Odd, so that the median is a round of its own.
const ROUNDS: usize = 5;

const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(20);

fn run(lab: &Lab) -> Result<()> {
    let topology = Topology::new(&[("wlan0", Medium::Cable)])?;
    let server = Discard::start(&topology.server, SERVER.into())?;
    let haproxy = HaproxyPair::start(&lab.log, &topology, server.address())?;
    let mut contenders = [
        Contender::new("direct", server.address()),
        Contender::new("HAProxy TLS pair", haproxy.entrance()),
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
    Ok(())
}
