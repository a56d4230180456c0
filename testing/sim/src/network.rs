//! Simulated networks, and connections over them: ordered byte pipes with a delay.
//!
//! A cut network stalls its pipes, as TCP's retransmissions would: what was sent arrives when the
//! network is back, unless the connection has been given up by then. Neither end is told.

use std::collections::VecDeque;
use std::time::Duration;

use handover_proto::session::NetworkId;
use handover_proto::stream::Transmit;
use handover_proto::wire::Decoder;
use handover_proto::{Instant, Side};

/// How many bytes one direction of a connection holds, like a socket's buffers: beyond it a writer
/// waits, so that there is something queued when a connection dies.
pub(crate) const PIPE_BYTES: usize = 192 * 1024;

/// When the operating system gives up a connection on which nothing comes through.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkState {
    /// They arrive.
    Up,
    /// They vanish, and nobody says so.
    Cut,
    /// They vanish, and the device knows it.
    Down,
}

/// One way to the server.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// From the device to the server.
    pub there: Duration,
    /// Back.
    pub back: Duration,
    /// What becomes of packets.
    pub state: NetworkState,
    /// Counts the cuts.
    pub(crate) cuts: u64,
}

impl Network {
    /// A network that is up, with the same delay both ways.
    pub const fn new(delay: Duration) -> Self {
        Self {
            there: delay,
            back: delay,
            state: NetworkState::Up,
            cuts: 0,
        }
    }

    pub(crate) const fn delay_to(&self, side: Side) -> Duration {
        match side {
            Side::Cnapt => self.back,
            Side::Snapt => self.there,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// The connection is closed or reset; the machines treat both alike.
    End,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    segments: VecDeque<(Instant, Content)>,
    bytes: usize,
    last: Instant,
    pub(crate) held: bool,
}

impl Pipe {
    pub(crate) const fn room(&self) -> usize {
        PIPE_BYTES.saturating_sub(self.bytes)
    }

    /// Puts something in; says when it is out.
    pub(crate) fn push(&mut self, content: Content, arrives: Instant) -> Instant {
        self.last = self.last.max(arrives);
        if let Content::Bytes(bytes) = &content {
            self.bytes += bytes.len();
        }
        self.segments.push_back((self.last, content));
        self.last
    }

    /// What has arrived.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Content> {
        let (arrives, _) = self.segments.front()?;
        if self.held || *arrives > now {
            return None;
        }
        let (_, content) = self.segments.pop_front()?;
        if let Content::Bytes(bytes) = &content {
            self.bytes -= bytes.len();
        }
        Some(content)
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.segments.front().map(|(arrives, _)| *arrives)
    }

    /// A reset drops what is under way, but for what somebody holds back: it has been sent already.
    pub(crate) fn reset(&mut self) {
        if !self.held {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.segments.clear();
        self.bytes = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// One module's end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) open: bool,
    pub(crate) pending: Transmit,
    pub(crate) decoder: Decoder,
    /// The first frame was read.
    pub(crate) greeted: bool,
    /// Read, but not to be looked at yet.
    pub(crate) inbox: Vec<u8>,
}

/// A connection between the modules: one conduit.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) network: NetworkId,
    pub(crate) control: bool,
    /// Which run of the CNAPT made it.
    pub(crate) run: usize,
    /// Nothing passes any more, whatever the network does.
    pub(crate) dead: bool,
    /// Towards the CNAPT, towards the SNAPT.
    pipes: [Pipe; 2],
    ends: [Endpoint; 2],
}

impl Connection {
    pub(crate) fn new(network: NetworkId, control: bool, run: usize) -> Self {
        Self {
            network,
            control,
            run,
            dead: false,
            pipes: Default::default(),
            ends: Default::default(),
        }
    }

    pub(crate) const fn pipe_to(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }

    pub(crate) const fn end(&mut self, side: Side) -> &mut Endpoint {
        &mut self.ends[side as usize]
    }

    pub(crate) const fn is_open(&self, side: Side) -> bool {
        self.ends[side as usize].open
    }

    pub(crate) const fn has_inbox(&self, side: Side) -> bool {
        !self.ends[side as usize].inbox.is_empty()
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.pipes.iter().all(Pipe::is_empty)
    }
}
