//! The applications' own hosts know nothing of handover: it runs on a box before each of them (R2, R22).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::conversation::Conversation;
use super::sky::{Disturbance, Sky, order_other};
use super::world::{NETWORKS, two_networks};
use crate::application::Stop;
use crate::handover::{Client, Handover, Service};
use crate::neighbour::Neighbour;
use crate::scenario::Lab;
use crate::servers::Echo;

/// A range that the service's host has a route to, by its box.
const POOL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0));
const POOL_LENGTH: u8 = 16;

/// What happens, in turn; `None` is a planned switch.
const CHANGES: [Option<Disturbance>; 4] = [
    None,
    Some(Disturbance::SilentCut),
    Some(Disturbance::LinkDown),
    Some(Disturbance::AddressChange),
];

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let user = Neighbour::new("user", &topology.device, 1)?;
    let provider = Neighbour::new("provider", &topology.server, 2)?;
    topology.server.add_local_range(POOL, POOL_LENGTH)?;
    let at_server = Echo::start(&provider.host, provider.address())?;
    let at_server = Service::tcp("echo", at_server.address(), 7000);
    let at_client = Echo::start(&user.host, user.address())?;
    let at_client = Service::tcp("agent", at_client.address(), 9000);
    let client = Client {
        bind: &[&user.box_address().to_string()],
        services: &[at_client],
        ..Client::named("client", &NETWORKS)
    };
    let pool = format!("virtual_ips = \"{POOL}/{POOL_LENGTH}\"");
    let mut handover = Handover::start_with(lab, &topology, &[at_server], &client, &pool)?;

    let entrance = SocketAddr::new(user.box_address(), at_server.port);
    let offered = handover.wait_until_offered(&at_client)?;
    let stop = Stop::default();
    let mut conversations = [
        Conversation::start(&user.host, entrance, &stop)?,
        Conversation::start(&provider.host, offered, &stop)?,
    ];
    let mut sky = Sky::over(topology);
    for change in CHANGES {
        conversations
            .iter_mut()
            .try_for_each(Conversation::wait_for_more)?;
        match change {
            None => order_other(lab, &handover.client)?,
            Some(disturbance) => sky.strike_current(lab, &mut handover.client, disturbance)?,
        }
    }
    conversations
        .iter_mut()
        .try_for_each(Conversation::wait_for_more)?;
    stop.stop();
    for conversation in conversations {
        conversation.finish()?;
    }
    Ok(())
}
