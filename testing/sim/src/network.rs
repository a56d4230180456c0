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
    /// Those to this side vanish, and nobody says so.
    HalfCut(Side),
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
    /// How much longer either may take.
    pub jitter: Duration,
    /// The NAT on the way forgets a connection on which nothing passed for so long.
    pub forgets: Option<Duration>,
    /// What was sent before a reset still arrives before it, instead of being dropped.
    pub late_resets: bool,
    /// It has to be opened and closed by hooks, each of which takes so long.
    pub hooks: Option<Duration>,
    /// It is open.
    pub open: bool,
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
            jitter: Duration::ZERO,
            forgets: None,
            late_resets: false,
            hooks: None,
            open: true,
            state: NetworkState::Up,
            cuts: 0,
        }
    }

    /// The same, but closed until hooks open it, each of which takes so long.
    #[must_use]
    pub const fn with_hooks(self, takes: Duration) -> Self {
        Self {
            hooks: Some(takes),
            open: false,
            ..self
        }
    }

    /// No way, and no jitter, is longer from now on.
    pub(crate) fn be_at_most(&mut self, most: Duration) {
        self.there = self.there.min(most);
        self.back = self.back.min(most);
        self.jitter = self.jitter.min(most);
    }

    pub(crate) const fn delay_to(&self, side: Side) -> Duration {
        match side {
            Side::Cnapt => self.back,
            Side::Snapt => self.there,
        }
    }

    /// Whether what goes to `side` arrives.
    pub(crate) fn passes_to(&self, side: Side) -> bool {
        match self.state {
            NetworkState::Up => true,
            NetworkState::HalfCut(deaf) => deaf != side,
            NetworkState::Cut | NetworkState::Down => false,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// The connection is closed or reset; the machines treat both alike.
    End,
}

#[derive(Debug)]
struct Segment {
    sent: Instant,
    arrives: Instant,
    content: Content,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    segments: VecDeque<Segment>,
    bytes: usize,
    last: Instant,
    pub(crate) held: bool,
}

impl Pipe {
    pub(crate) const fn room(&self) -> usize {
        PIPE_BYTES.saturating_sub(self.bytes)
    }

    /// Puts something in; says when it is out.
    pub(crate) fn push(&mut self, content: Content, sent: Instant, delay: Duration) -> Instant {
        self.last = self.last.max(sent + delay);
        let arrives = self.last;
        if let Content::Bytes(bytes) = &content {
            self.bytes += bytes.len();
        }
        self.segments.push_back(Segment {
            sent,
            arrives,
            content,
        });
        arrives
    }

    /// What has arrived, and when it was sent.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, Content)> {
        if self.held || self.next_arrival()? > now {
            return None;
        }
        let Segment { sent, content, .. } = self.segments.pop_front()?;
        if let Content::Bytes(bytes) = &content {
            self.bytes -= bytes.len();
        }
        Some((sent, content))
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.segments.front().map(|segment| segment.arrives)
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
    /// Which session of the SNAPT it belongs to.
    pub(crate) session: u64,
    /// Nothing passes any more, whatever the network does.
    pub(crate) dead: bool,
    /// When something was sent on it last, by either side.
    pub(crate) used: Instant,
    /// Towards the CNAPT, towards the SNAPT.
    pipes: [Pipe; 2],
    ends: [Endpoint; 2],
}

impl Connection {
    pub(crate) fn new(network: NetworkId, control: bool, run: usize, now: Instant) -> Self {
        Self {
            network,
            control,
            run,
            session: 0,
            dead: false,
            used: now,
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

    pub(crate) const fn is_held(&self) -> bool {
        self.pipes[0].held || self.pipes[1].held
    }

    /// Whether something is under way to `side`.
    pub(crate) fn is_pending_to(&self, side: Side) -> bool {
        !self.pipes[side as usize].is_empty()
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.pipes.iter().all(Pipe::is_empty)
    }
}
