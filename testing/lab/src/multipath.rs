//! Multipath TCP of this kernel, with which handover is compared: each connection goes over one network, and has a
//! backup subflow over the other.
//!
//! Applications have its sockets as `mptcpize` would give them; the subflows are the kernel's path manager's, which is
//! told by `ip mptcp`. Nothing else is tuned, and nobody withdraws the address of a network that goes down.

use std::{fs, io};

use anyhow::{Context, Result};
use handover_sandbox::Namespace;

use crate::facility::Facility;
use crate::program::administer;
use crate::topology::Topology;

/// What it needs.
pub const NEEDS: [Facility; 2] = [Facility::MultipathTcp, Facility::Program("ip")];

/// The kernel's counter of subflows that were joined to a connection, at the side that accepts them.
const JOINED: &str = "MPJoinAckRx";

/// Of the namespace of the thread that reads.
const COUNTERS: &str = "/proc/thread-self/net/netstat";

/// In [`COUNTERS`]: one line of names, and below it one of values.
const PREFIX: &str = "MPTcpExt:";

/// Makes the endpoints of the device anew: connections go over the first network, the second is their backup.
pub fn begin(topology: &Topology, first: &str, backup: &str) -> Result<()> {
    let (first_address, backup_address) = (topology.address(first)?, topology.address(backup)?);
    let orders = format!(
        "mptcp endpoint flush
mptcp limits set subflows 2 add_addr_accepted 0
mptcp endpoint add {first_address} dev {first} subflow
mptcp endpoint add {backup_address} dev {backup} subflow backup
"
    );
    order(topology, &orders)
}

/// Tells both sides of all connections to use the other network: a planned switch.
pub fn switch(topology: &Topology, from: &str, to: &str) -> Result<()> {
    let (from, to) = (topology.address(from)?, topology.address(to)?);
    let orders = format!(
        "mptcp endpoint change {to} nobackup
mptcp endpoint change {from} backup
"
    );
    order(topology, &orders)
}

/// How many backup subflows the server has seen since it was made.
pub fn count_joined(server: &Namespace) -> Result<u64> {
    let counters = server.run(|| -> io::Result<_> { fs::read_to_string(COUNTERS) })?;
    let mut lines = counters.lines().filter(|line| line.starts_with(PREFIX));
    let (names, values) = lines
        .next()
        .zip(lines.next())
        .context("no counters of Multipath TCP")?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs
        .find(|(name, _)| *name == JOINED)
        .with_context(|| format!("no counter {JOINED}"))?;
    Ok(value.parse()?)
}

fn order(topology: &Topology, orders: &str) -> Result<()> {
    administer(&topology.device, "ip", &["-batch", "-"], orders).map(drop)
}
