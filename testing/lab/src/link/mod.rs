//! An emulated link: delay, jitter, loss, rate and a silent cut, on a kernel that has no netem.
//!
//! Each end is a TUN interface in its own namespace; between them a thread of the lab takes packets from
//! one and gives them to the other, as [`Conditions`] say. The interfaces have an MTU of 1500 and no
//! offloads, so what crosses is what crosses a real cable.
//!
//! [`EmulatedLink::cut`] is the silent cut: both interfaces stay up, and nothing arrives any more.

mod conditions;
mod direction;
mod forwarder;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use handover_sandbox::Namespace;

pub use conditions::Conditions;
use forwarder::{Command, Forwarder, Remote};

use crate::tun;

/// How many packets an end may hold until the forwarding thread reads them: about 0.4 s at 300 Mbit/s.
/// The machine's own stalls should delay packets, not lose them.
const INTERFACE_QUEUE: u32 = 10_000;

/// A link between two namespaces, as long as the value lives.
#[derive(Debug)]
pub struct EmulatedLink {
    /// `None` only while it is being dropped.
    remote: Option<Remote>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

/// What became of the packets of a link, both directions together.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    delivered: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
    cut: AtomicU64,
}

/// A reading of a link's counters, in packets of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Arrived at the other end.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because the link was cut.
    pub cut: u64,
}

impl EmulatedLink {
    /// Makes interface `near.1` in namespace `near.0` and `far.1` in `far.0`, both down and without
    /// address, and joins them. `seed` decides which packets are lost.
    pub fn new(
        near: (&Namespace, &str),
        far: (&Namespace, &str),
        conditions: Conditions,
        seed: u64,
    ) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let ends = [open_end(near)?, open_end(far)?];
        let (forwarder, remote) = Forwarder::new(ends, conditions, seed, Arc::clone(&counters))
            .context("make the link's alarm")?;
        let thread = thread::Builder::new()
            .name(format!("link {}", near.1))
            .spawn(move || forwarder.run())
            .context("start the link's thread")?;
        Ok(Self {
            remote: Some(remote),
            thread: Some(thread),
            counters,
        })
    }

    /// Changes the conditions; packets under way keep their time.
    pub fn set_conditions(&self, conditions: Conditions) -> Result<()> {
        self.order(Command::SetConditions(conditions))
    }

    /// From the moment that this returns, nothing arrives at either end; what was under way is lost.
    pub fn cut(&self) -> Result<()> {
        self.order(Command::Cut)
    }

    /// Ends a cut.
    pub fn restore(&self) -> Result<()> {
        self.order(Command::Restore)
    }

    /// How many packets have passed and how many have not, since the link was made.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            delivered: read(&self.counters.delivered),
            lost: read(&self.counters.lost),
            overflowed: read(&self.counters.overflowed),
            cut: read(&self.counters.cut),
        }
    }

    fn order(&self, command: Command) -> Result<()> {
        let remote = self.remote.as_ref();
        remote
            .and_then(|remote| remote.order(command))
            .ok_or_else(|| anyhow!("the link's thread has died"))
    }
}

impl Drop for EmulatedLink {
    fn drop(&mut self) {
        drop(self.remote.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, the message is on stderr already.
            drop(thread.join());
        }
    }
}

fn open_end((namespace, name): (&Namespace, &str)) -> Result<std::fs::File> {
    let interface = name.to_owned();
    let file = namespace
        .run(move || -> io::Result<_> { tun::open(&interface) })
        .with_context(|| format!("open the TUN interface {name}"))?;
    namespace.set_queue_length(name, INTERFACE_QUEUE)?;
    Ok(file)
}
