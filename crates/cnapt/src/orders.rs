//! The user's orders to switch, and who waits for them.

use std::collections::VecDeque;

use handover_control::{Failure, Reply, SwitchReply};
use handover_proto::Instant;
use handover_proto::session::NetworkId;

/// Where the result of an order goes.
pub(crate) type Waiting = Reply<Result<SwitchReply, Failure>>;

/// How many orders may wait behind the one that is being carried out. People give them one by one.
const ORDERS_WAITING: usize = 16;

#[derive(Debug)]
struct Settling {
    number: u64,
    until: Instant,
    waiting: Vec<Waiting>,
}

#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Those that wait for the switch that is going on, and where it leads.
    running: Option<(NetworkId, Vec<Waiting>)>,
    queue: VecDeque<(NetworkId, Waiting)>,
    /// Those whose switch is done but for its figures; the next one may be done before they are known.
    settling: Vec<Settling>,
}

impl Orders {
    /// Joins the switch to `network`, which is going on or has just begun.
    pub(crate) fn join(&mut self, network: NetworkId, waiting: Waiting) {
        match &mut self.running {
            Some((to, all)) if *to == network => all.push(waiting),
            _ => self.running = Some((network, vec![waiting])),
        }
    }

    /// After the one that is going on.
    pub(crate) fn enqueue(&mut self, network: NetworkId, waiting: Waiting) {
        if self.queue.len() < ORDERS_WAITING {
            self.queue.push_back((network, waiting));
        } else {
            waiting.send(Err(Failure::failed(
                "too many orders are waiting already: wait until a switch is done",
            )));
        }
    }

    /// The next order to carry out, if none is.
    pub(crate) fn next(&mut self) -> Option<(NetworkId, Waiting)> {
        if self.running.is_some() {
            None
        } else {
            self.queue.pop_front()
        }
    }

    /// The switch is over; who waited for it learns the rest when its figures are known.
    pub(crate) fn settle(&mut self, number: u64, until: Instant) {
        if let Some((_, waiting)) = self.running.take() {
            self.settling.push(Settling {
                number,
                until,
                waiting,
            });
        }
    }

    /// Who waited for that switch, or for any whose time is over; one switch at a time.
    pub(crate) fn settled(
        &mut self,
        number: Option<u64>,
        now: Instant,
    ) -> Option<(u64, Vec<Waiting>)> {
        let over = |one: &Settling| number == Some(one.number) || one.until <= now;
        let index = self.settling.iter().position(over)?;
        let settling = self.settling.swap_remove(index);
        Some((settling.number, settling.waiting))
    }

    pub(crate) fn settle_deadline(&self) -> Option<Instant> {
        self.settling.iter().map(|one| one.until).min()
    }

    /// Everyone who waits for the switch to `network`: it will not come about, or needs none.
    pub(crate) fn take_running(&mut self, network: NetworkId) -> Vec<Waiting> {
        self.running
            .take_if(|(to, _)| *to == network)
            .map_or_else(Vec::new, |(_, all)| all)
    }

    /// Nothing will be carried out any more.
    pub(crate) fn take_all(&mut self) -> Vec<Waiting> {
        let mut all: Vec<Waiting> = self.running.take().map_or_else(Vec::new, |(_, all)| all);
        all.extend(self.queue.drain(..).map(|(_, waiting)| waiting));
        all
    }
}
