//! One TCP connection in bulk over a link of 20 ms that loses packets: through handover over QUIC and over TLS, beside the
//! same connection without any relay, under either of TCP's congestion controls. On a link that loses by itself they are
//! far apart: CUBIC takes each loss for a full queue.

use std::time::Duration;

use anyhow::Result;
use handover_sandbox::Namespace;
use socket2::SockRef;

use super::contender::Contender;
use crate::facility::Facility;
use crate::handover::{Handover, Service};
use crate::link::Conditions;
use crate::measure::throughput;
use crate::scenario::{Carrier, Lab, Scenario};
use crate::servers::Discard;
use crate::sockets::connect;
use crate::stall::undisturbed;
use crate::topology::{Medium, SERVER, Topology};

/// `bench lossy`.
pub const LOSSY: Scenario = Scenario {
    name: "lossy",
    about: "one TCP connection in bulk over 20 ms with 0, 1 and 5 % loss: direct, over TLS, over QUIC",
    needs: &[Facility::Tun],
    run,
};

const MEGABITS: u64 = 200;
const DELAY_MILLISECONDS: u64 = 10;
const LOSSES: [f64; 3] = [0.0, 0.01, 0.05];

const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(4);
const LIMIT: Duration = Duration::from_secs(60);

/// A link whose thread does not run carries nothing; this share of its time makes no difference here.
const TOLERATED_STALLS: f64 = 0.05;

const SERVICE: &str = "discard";
const PORT: u16 = 7101;

fn run(lab: &Lab) -> Result<()> {
    for loss in LOSSES {
        direct(lab, loss)?;
        for carrier in [Carrier::Tls, Carrier::Quic] {
            through_handover(lab, loss, carrier)?;
        }
    }
    Ok(())
}

fn direct(lab: &Lab, loss: f64) -> Result<()> {
    let (topology, server) = world(loss)?;
    let mut contenders =
        ["cubic", "bbr"].map(|control| (control, Contender::new("direct", server.address())));
    for _ in 0..ROUNDS {
        for (control, contender) in &mut contenders {
            let control = Some(*control);
            round(lab, &topology.device, &server, contender, control)?;
        }
    }
    for (control, contender) in &contenders {
        note(lab, loss, contender, control);
    }
    Ok(())
}

fn through_handover(lab: &Lab, loss: f64, carrier: Carrier) -> Result<()> {
    let (topology, server) = world(loss)?;
    let service = Service::tcp(SERVICE, server.address(), PORT);
    let lab = &lab.over(carrier)?;
    let _handover = Handover::start(lab, &topology, &[service], &["wlan0"], "")?;
    let mut contender = Contender::new("handover", service.entrance());
    for _ in 0..ROUNDS {
        round(lab, &topology.device, &server, &mut contender, None)?;
    }
    note(lab, loss, &contender, carrier.name());
    Ok(())
}

fn world(loss: f64) -> Result<(Topology, Discard)> {
    let conditions = Conditions::new(MEGABITS, DELAY_MILLISECONDS).with_loss(loss);
    let topology = Topology::new(&[("wlan0", Medium::Emulated(conditions))])?;
    let server = Discard::start(&topology.server, SERVER.into())?;
    Ok((topology, server))
}

fn round(
    lab: &Lab,
    device: &Namespace,
    server: &Discard,
    contender: &mut Contender,
    control: Option<&str>,
) -> Result<()> {
    contender.add(undisturbed(lab, TOLERATED_STALLS, || {
        let stream = connect(device, None, contender.entrance, LIMIT)?;
        if let Some(control) = control {
            SockRef::from(&stream).set_tcp_congestion(control.as_bytes())?;
        }
        throughput(stream, server, WARM_UP, WINDOW)
    })?);
    Ok(())
}

fn note(lab: &Lab, loss: f64, contender: &Contender, how: &str) {
    let (name, megabits) = (contender.name, contender.median() / 1e6);
    let percent = 100.0 * loss;
    lab.note(&format!(
        "{percent} % lost: {name:<9} {how:<6} {megabits:6.1} Mbit/s of {MEGABITS}"
    ));
}
