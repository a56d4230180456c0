//! The thread of an emulated link: it sleeps until a packet comes in, a packet is due, or an order comes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use super::direction::{Direction, Fate, Packet};
use super::{Conditions, Counters};

/// How many packets one end may bring in before the other has its turn: 16 × 1500 bytes are 24 kB, less
/// than 1 ms at 300 Mbit/s.
const BATCH: usize = 16;

/// Packets due within this time go together: at 25,000 packets a second each would wake the thread.
const GRAIN: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) enum Command {
    SetConditions(Conditions),
    Cut,
    Restore,
}

/// The other threads' hold on a [`Forwarder`]; when it is dropped, the forwarder ends.
#[derive(Debug)]
pub(super) struct Remote {
    orders: Option<mpsc::Sender<Order>>,
    alarm: Arc<EventFd>,
}

type Order = (Command, mpsc::Sender<()>);

impl Remote {
    /// Returns once the order has been carried out, or `None` if there is no one to do so.
    pub(super) fn order(&self, command: Command) -> Option<()> {
        let (done, carried_out) = mpsc::channel();
        self.orders.as_ref()?.send((command, done)).ok()?;
        self.alarm.write(1).ok()?;
        carried_out.recv().ok()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.orders.take());
        // This fails only if the counter of an eventfd is full: then the alarm rings already.
        self.alarm.write(1).ok();
    }
}

pub(super) struct Forwarder {
    ends: [File; 2],
    /// `directions[n]` goes from `ends[n]` to the other one.
    directions: [Direction; 2],
    is_cut: bool,
    /// One of the interfaces is no more: the link is over.
    is_removed: bool,
    orders: mpsc::Receiver<Order>,
    alarm: Arc<EventFd>,
    counters: Arc<Counters>,
}

impl Forwarder {
    pub(super) fn new(
        ends: [File; 2],
        conditions: Conditions,
        seed: u64,
        counters: Arc<Counters>,
    ) -> io::Result<(Self, Remote)> {
        let (sender, orders) = mpsc::channel();
        let alarm = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK)?);
        let now = Instant::now();
        let remote = Remote {
            orders: Some(sender),
            alarm: Arc::clone(&alarm),
        };
        let forwarder = Self {
            ends,
            directions: [seed, !seed].map(|seed| Direction::new(conditions, seed, now)),
            is_cut: false,
            is_removed: false,
            orders,
            alarm,
            counters,
        };
        Ok((forwarder, remote))
    }

    pub(super) fn run(mut self) {
        while self.follow_orders() {
            self.deliver(Instant::now());
            let [first, second] = self.sleep();
            let now = Instant::now();
            if first {
                self.accept(0, now);
            }
            if second {
                self.accept(1, now);
            }
        }
    }

    /// False when there is no one left to give orders.
    fn follow_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok((command, done)) => {
                    self.follow(command);
                    // Whoever gave the order may have gone.
                    done.send(()).ok();
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn follow(&mut self, command: Command) {
        match command {
            Command::SetConditions(conditions) => {
                for direction in &mut self.directions {
                    direction.set_conditions(conditions);
                }
            }
            Command::Cut => {
                self.is_cut = true;
                let now = Instant::now();
                let lost: usize = self.directions.iter_mut().map(|way| way.clear(now)).sum();
                self.counters.cut.fetch_add(lost as u64, Ordering::Relaxed);
            }
            Command::Restore => self.is_cut = false,
        }
    }

    /// Hands over all packets that are due.
    fn deliver(&mut self, now: Instant) {
        let [first_end, second_end] = &mut self.ends;
        let [forth, back] = &mut self.directions;
        for (direction, end) in [(forth, second_end), (back, first_end)] {
            while let Some(packet) = direction.take(now) {
                // An interface that is down refuses packets: they are lost, as on a real cable.
                if end.write(packet.bytes()).is_ok() {
                    self.counters.delivered.fetch_add(1, Ordering::Relaxed);
                }
                direction.recycle(packet);
            }
        }
    }

    /// Returns which ends have packets to give.
    fn sleep(&mut self) -> [bool; 2] {
        let next = self.directions.iter().filter_map(Direction::next_out).min();
        let timeout = next.map(|next| {
            let until = next.saturating_duration_since(Instant::now());
            TimeSpec::from_duration(until.max(GRAIN))
        });
        let [first, second] = &self.ends;
        let watch = [self.alarm.as_fd(), first.as_fd(), second.as_fd()];
        let mut watch = watch.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        // An interface that was removed would report its error again and again.
        let watched = if self.is_removed { 1 } else { watch.len() };
        match ppoll(&mut watch[..watched], timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("ppoll on a link's descriptors: {error}"),
        }
        let [alarm, first, second] = watch.map(|place| place.revents().unwrap_or(PollFlags::all()));
        if !alarm.is_empty() {
            // Only its ringing matters, not how often; the orders are in the channel.
            self.alarm.read().ok();
        }
        self.is_removed |= (first | second).contains(PollFlags::POLLERR);
        [first, second].map(|events| events.contains(PollFlags::POLLIN))
    }

    /// Takes a batch of packets from an end.
    fn accept(&mut self, side: usize, now: Instant) {
        for _ in 0..BATCH {
            let mut packet = self.directions[side].buffer();
            match self.ends[side].read(packet.buffer.as_mut_slice()) {
                Ok(length) => {
                    packet.length = length;
                    self.admit(side, packet, now);
                }
                // Usually: there are no more.
                Err(_) => return self.directions[side].recycle(packet),
            }
        }
    }

    fn admit(&mut self, side: usize, packet: Packet, now: Instant) {
        let counter = if self.is_cut {
            self.directions[side].recycle(packet);
            &self.counters.cut
        } else {
            match self.directions[side].put(packet, now) {
                Fate::UnderWay => return,
                Fate::Lost => &self.counters.lost,
                Fate::QueueFull => &self.counters.overflowed,
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
