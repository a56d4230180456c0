//! An outage of a minute while a producer never stops: it waits, the daemons stay within their bound, and
//! then everything arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::world::{LIMIT, NETWORKS, one_network};
use crate::application::{Application, Stop, enter, upload_until};
use crate::gate::Gate;
use crate::handover::{Handover, Service};
use crate::scenario::Lab;
use crate::servers::Sink;
use crate::topology::SERVER;
use crate::wait::wait_until;

/// How long the network is away.
const OUTAGE: Duration = Duration::from_secs(60);

/// Each daemon at its peak, the credit of the one stream included.
const MEMORY_KIB: u64 = 64 * 1024;

/// So long without a byte taken means that the producer waits.
const STANDSTILL: Duration = Duration::from_secs(5);

/// What must arrive before the outage and after it.
const SOME: u64 = 2_000_000;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = one_network()?;
    let sink = Sink::start(&topology.server, SERVER.into(), Gate::open_already())?;
    let service = Service::tcp("sink", sink.address(), 7000);
    let mut handover = Handover::start(lab, &topology, &[service], &NETWORKS[..1], "")?;
    let (stop, sent) = (Stop::default(), Arc::<AtomicU64>::default());
    let stream = enter(&topology.device, service.entrance())?;
    let (told, tally) = (stop.clone(), Arc::clone(&sent));
    let producer = Application::start("producer", move || upload_until(stream, &told, &tally))?;
    wait_until("the upload to run", LIMIT, || Ok(sink.received() > SOME))?;

    topology.cut(NETWORKS[0])?;
    let cut = Instant::now();
    wait_for_standstill(&sent)?;
    lab.note(&format!("the producer waits after {:?}", cut.elapsed()));
    handover.wait_for_status("the loss", LIMIT, |status| status["state"] == "detached")?;
    let waiting = sent.load(Ordering::Relaxed);
    wait_until("the end of the outage", 2 * OUTAGE, || {
        Ok(cut.elapsed() >= OUTAGE)
    })?;
    ensure!(
        sent.load(Ordering::Relaxed) == waiting,
        "the producer did not wait"
    );
    ensure_within_bound(lab, &handover)?;

    topology.restore(NETWORKS[0])?;
    let before = sink.received();
    wait_until("the upload to go on", LIMIT, || {
        Ok(sink.received() > before + SOME)
    })?;
    stop.stop();
    let length = producer.finish(LIMIT)?;
    lab.note(&format!("{length} bytes arrived"));
    ensure_within_bound(lab, &handover)
}

/// Waits until the count has not changed for [`STANDSTILL`].
fn wait_for_standstill(count: &AtomicU64) -> Result<()> {
    let (mut last, mut since) = (count.load(Ordering::Relaxed), Instant::now());
    wait_until("the producer to wait", LIMIT, || {
        let now = count.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok(since.elapsed() >= STANDSTILL)
    })
}

fn ensure_within_bound(lab: &Lab, handover: &Handover) -> Result<()> {
    for (name, daemon) in [("CNAPT", &handover.client), ("SNAPT", &handover.server)] {
        let peak = daemon.usage()?.peak_memory_kib;
        lab.note(&format!(
            "{name}: {peak} KiB at its peak (at most {MEMORY_KIB})"
        ));
        ensure!(peak <= MEMORY_KIB, "the {name} took {peak} KiB");
    }
    Ok(())
}
