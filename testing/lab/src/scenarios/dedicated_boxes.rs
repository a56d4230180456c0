//! The applications' own hosts know nothing of handover: it runs on a box before each of them (R2, R22).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::sky::{Disturbance, Sky, order_other};
use super::world::{LIMIT, NETWORKS, two_networks};
use crate::application::{Application, Stop, converse, enter};
use crate::handover::{Client, Handover, Service};
use crate::neighbour::Neighbour;
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::wait::wait_until;

/// A range that the service's host has a route to, by its box.
const POOL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0));
const POOL_LENGTH: u8 = 16;

const PAUSE: Duration = Duration::from_millis(10);

/// So many more answers show that a conversation goes on.
const SOME: u64 = 20;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let user = Neighbour::new("user", &topology.device, 1)?;
    let provider = Neighbour::new("provider", &topology.server, 2)?;
    topology.server.add_local_range(POOL, POOL_LENGTH)?;
    let echo = Echo::start(&provider.host, provider.address())?;
    let service = Service::tcp("echo", echo.address(), 7000);
    let entrance = SocketAddr::new(user.box_address(), service.port);
    let client = Client {
        bind: &[&user.box_address().to_string()],
        ..Client::named("client", &NETWORKS)
    };
    let pool = format!("virtual_ips = \"{POOL}/{POOL_LENGTH}\"");
    let mut handover = Handover::start_with(lab, &topology, &[service], &client, &pool)?;

    let (stop, answers) = (Stop::default(), Arc::<AtomicU64>::default());
    let (stream, told) = (enter(&user.host, entrance)?, stop.clone());
    let tally = Arc::clone(&answers);
    let talk = move || converse(stream, &told, PAUSE, &tally);
    let mut conversation = Application::start("conversation", talk)?;
    let mut go_on = || {
        let wanted = answers.load(Ordering::Relaxed) + SOME;
        wait_until("more answers", LIMIT, || {
            conversation.ensure_running()?;
            Ok(answers.load(Ordering::Relaxed) >= wanted)
        })
    };
    let mut sky = Sky::over(topology);
    go_on()?;
    order_other(lab, &handover)?;
    go_on()?;
    for disturbance in Disturbance::ALL {
        sky.strike_current(lab, &mut handover, disturbance)?;
        go_on()?;
    }
    stop.stop();
    conversation.finish(LIMIT).map(drop)
}
