//! "Send 5 MB, close, network away": the program has gone, and all 5 MB arrive when the network is back.

use std::net::Shutdown;

use anyhow::{Result, ensure};

use super::world::{LIMIT, Pair};
use crate::application::Application;
use crate::gate::Gate;
use crate::payload::{Payload, digest_of};
use crate::scenario::Lab;

const PAYLOAD: Payload = Payload {
    length: 5_000_000,
    seed: 43,
};

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start_alone(lab)?;
    for direction in ["client", "server"] {
        let (client, server) = pair.connect()?;
        let (mut sender, mut receiver) = match direction {
            "client" => (client, server),
            _ => (server, client),
        };
        PAYLOAD.write_to(&mut sender)?;
        sender.shutdown(Shutdown::Write)?;
        drop(sender);
        pair.topology.cut("wlan0")?;
        lab.note(&format!(
            "the {direction} has sent, closed and lost its network"
        ));
        let reader = Application::start("receiver", move || {
            Ok(digest_of(&mut receiver, &Gate::open_already())?)
        })?;
        pair.handover
            .wait_for_status("the loss", LIMIT, |status| status["state"] == "detached")?;
        pair.topology.restore("wlan0")?;
        let digest = reader.finish(LIMIT)?;
        ensure!(
            digest == PAYLOAD.digest(),
            "of the {direction}'s came {digest:?}"
        );
    }
    Ok(())
}
