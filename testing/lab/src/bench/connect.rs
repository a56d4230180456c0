//! From an application's connect to the first byte of its answer, over a long path: direct TCP needs a round trip for its
//! handshake and one for the question; with handover the device answers the handshake, and the question leaves by a
//! conduit that is there already.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::machine;
use crate::application::{ask, ensure_end, enter};
use crate::facility::Facility;
use crate::gate::Gate;
use crate::handover::{Handover, Refused, Service};
use crate::link::Conditions;
use crate::measure::median;
use crate::scenario::Carrier;
use crate::scenario::{Lab, Scenario};
use crate::servers::Echo;
use crate::stall::undisturbed;
use crate::topology::{Medium, SERVER, Topology};

/// `bench connect`.
pub const CONNECT: Scenario = Scenario {
    name: "connect",
    about: "from connect to the first answered byte over 100 ms: direct TCP, and handover",
    needs: &[Facility::Tun],
    run,
};

const NETWORK: &str = "wlan0";

/// One way.
const DELAY: Duration = Duration::from_millis(50);

const ROUND_TRIP: Duration = DELAY.saturating_mul(2);

/// With a spare conduit, in round trips.
const MOST: f64 = 1.1;

/// The time from one connection of an application to its next: a new spare conduit takes three round trips.
const PACE: Duration = Duration::from_secs(1);

const PORT: u16 = 7101;

const HEAD: &str = "| way           | ms, median / worst | round trips | at most | verdict |
|---------------|--------------------|-------------|---------|---------|";

fn run(lab: &Lab) -> Result<()> {
    let machine = machine::describe()?;
    let conditions = Conditions {
        delay: DELAY,
        ..Conditions::PERFECT
    };
    let topology = Topology::new(&[(NETWORK, Medium::Emulated(conditions))])?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let (_, direct) = row(lab, "direct TCP", None, || {
        first_answer(&topology, echo.address())
    })?;
    let mut rows = vec![direct];
    let mut missed = 0;
    for carrier in lab.selection.carriers() {
        let (holds, row) = through_handover(lab, &topology, echo.address(), carrier)?;
        missed += usize::from(!holds);
        rows.push(row);
    }
    writeln!(
        std::io::stdout(),
        "{machine}\n\n{HEAD}\n{}",
        rows.join("\n")
    )?;
    ensure!(missed == 0, "{missed} rows are not as they must be");
    Ok(())
}

fn through_handover(
    lab: &Lab,
    topology: &Topology,
    target: SocketAddr,
    carrier: Carrier,
) -> Result<(bool, String)> {
    let name = format!("handover {}", carrier.name());
    let service = Service::tcp("echo", target, PORT);
    match Handover::start(&lab.over(carrier)?, topology, &[service], &[NETWORK], "") {
        Ok(_handover) => row(lab, &name, Some(MOST), || {
            first_answer(topology, service.entrance())
        }),
        Err(error) => {
            let reason = error.downcast::<Refused>()?;
            Ok((
                true,
                format!(
                    "| {name:<13} | {:>18} | {:>11} | {MOST:>7} | n/a: {reason} |",
                    "-", "-"
                ),
            ))
        }
    }
}

/// Measures one way as often as is asked for; says whether the bound holds, and its row of the table.
fn row(
    lab: &Lab,
    name: &str,
    most: Option<f64>,
    mut measure: impl FnMut() -> Result<Duration>,
) -> Result<(bool, String)> {
    let mut times = Vec::new();
    for _ in 0..lab.selection.runs() {
        times.push(undisturbed(lab, 0.0, &mut measure)?);
    }
    let median = median(&mut times).unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    let [median, worst] = [median, worst].map(|time| time.as_secs_f64() * 1e3);
    let trips = median / (ROUND_TRIP.as_secs_f64() * 1e3);
    let (bound, holds) = (
        most.map_or_else(String::new, |most| format!("{most:.1}")),
        most.is_none_or(|most| trips <= most),
    );
    let verdict = match most {
        None => "",
        Some(_) if holds => "holds",
        Some(_) => "MISSED",
    };
    let row = format!(
        "| {name:<13} | {median:>8.1} / {worst:>7.1} | {trips:>11.2} | {bound:>7} | {verdict:<7} |"
    );
    Ok((holds, row))
}

fn first_answer(topology: &Topology, entrance: SocketAddr) -> Result<Duration> {
    let began = Instant::now();
    let mut stream = enter(&topology.device, entrance)?;
    ask(&mut stream, 1)?;
    let time = began.elapsed();
    stream.shutdown(Shutdown::Write)?;
    ensure_end(&mut stream)?;
    Gate::slow(PACE).pass();
    Ok(time)
}
