//! Simulated applications: what they write and read, and what they saw.
//!
//! What an application writes is a function of the conversation, the direction and the offset, so
//! that the reader can check each byte on arrival and nothing has to be kept.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use handover_proto::wire::{
    CatalogueEntry, OfferState, OfferedService, Request, TransportProtocol,
};
use handover_proto::{Instant, Side, StreamId};

use crate::random::mix;

/// The service that the simulated applications offer to each other.
pub fn service() -> CatalogueEntry {
    CatalogueEntry {
        name: "app".to_owned(),
        protocol: TransportProtocol::Tcp,
        ports: PORT..=PORT,
    }
}

/// What a simulated application asks for.
pub fn request() -> Request {
    Request {
        service: service().name,
        port: PORT,
        origin: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
    }
}

/// What the SNAPT says of client services if each can be listened for.
pub(crate) fn offered(services: Vec<CatalogueEntry>) -> Vec<OfferedService> {
    let listening = |service: CatalogueEntry| OfferedService {
        name: service.name,
        state: OfferState::Listening,
    };
    services.into_iter().map(listening).collect()
}

/// The same for those that speak over UDP.
pub(crate) fn datagram_service() -> CatalogueEntry {
    CatalogueEntry {
        name: "datagrams".to_owned(),
        protocol: TransportProtocol::Udp,
        ports: PORT..=PORT,
    }
}

/// What such an application asks for.
pub(crate) fn datagram_request() -> Request {
    Request {
        service: datagram_service().name,
        ..request()
    }
}

const PORT: u16 = 80;

/// Names a conversation: which run of its opener's module began it, and its stream there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// A run of the CNAPT, or a session of the SNAPT.
    pub(crate) run: usize,
    /// Its stream.
    pub stream: StreamId,
}

/// How an application takes what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Everything at once.
    All,
    /// So many bytes in each interval.
    Slow(u64, Duration),
    /// Nothing: it stands still.
    Still,
}

/// What an application does when it has written everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It closes its half.
    Fin,
    /// It resets its connection, whatever is still queued.
    Reset,
    /// It keeps it open.
    Never,
}

/// What an application is going to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many bytes it writes.
    pub write: u64,
    /// It begins when it has read so many.
    pub after: u64,
    /// It writes as many bytes as it has read, instead.
    pub echo: bool,
    /// So many bytes in each interval; at once without.
    pub pace: Option<(u64, Duration)>,
    /// What it does then.
    pub closing: Closing,
    /// How it reads.
    pub reading: Reading,
}

impl Plan {
    /// Writes `write` bytes at once, closes its half and reads everything.
    pub const fn send(write: u64) -> Self {
        Self {
            write,
            after: 0,
            echo: false,
            pace: None,
            closing: Closing::Fin,
            reading: Reading::All,
        }
    }

    /// Answers with `write` bytes when it has read `after`, closes its half and reads everything.
    pub const fn respond(after: u64, write: u64) -> Self {
        Self {
            after,
            ..Self::send(write)
        }
    }

    /// Writes back as many bytes as come, and closes its half after the other did.
    pub const fn echo() -> Self {
        Self {
            echo: true,
            ..Self::send(0)
        }
    }

    /// The same, with another way of ending.
    #[must_use]
    pub const fn closing(self, closing: Closing) -> Self {
        Self { closing, ..self }
    }

    /// The same, with another way of reading.
    #[must_use]
    pub const fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    pub(crate) const fn hurried(self, reading: Reading, closing: Closing) -> Self {
        Self {
            reading,
            closing,
            pace: None,
            ..self
        }
    }

    /// The same, writing so many bytes in each interval.
    #[must_use]
    pub const fn paced(self, bytes: u64, interval: Duration) -> Self {
        Self {
            pace: Some((bytes, interval)),
            ..self
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.echo {
            formatter.write_str("echoes")?;
        } else {
            write!(formatter, "writes {}", self.write)?;
        }
        if self.after > 0 {
            write!(formatter, " once it has read {}", self.after)?;
        }
        if let Some((bytes, interval)) = self.pace {
            write!(formatter, ", {bytes} in {interval:?}")?;
        }
        write!(
            formatter,
            ", then {:?}, reads {:?}",
            self.closing, self.reading
        )
    }
}

/// How the reading half ended for an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The other application closed its half.
    Clean,
    /// The connection was reset.
    Reset,
}

/// One end of a conversation.
#[derive(Clone, Debug)]
pub struct Application {
    pub(crate) plan: Plan,
    /// Bytes written.
    pub written: u64,
    /// Bytes read, each of which was checked.
    pub received: u64,
    /// How its reading half ended.
    pub ended: Option<Ended>,
    /// How it ended its writing half.
    pub closed: Option<Closing>,
    /// It reset its connection, before or after that.
    pub broken_off: bool,
    /// The module has forgotten its stream.
    pub gone: bool,
    /// It closed its connection and looks at nothing that still comes.
    pub(crate) left: bool,
    /// An interval is running.
    pub(crate) ticking: bool,
    pub(crate) may_write: u64,
    pub(crate) may_read: u64,
}

impl Application {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            written: 0,
            received: 0,
            ended: None,
            closed: None,
            broken_off: false,
            gone: false,
            left: false,
            ticking: false,
            may_write: plan.pace.map_or(u64::MAX, |(bytes, _)| bytes),
            may_read: match plan.reading {
                Reading::All => u64::MAX,
                Reading::Slow(bytes, _) => bytes,
                Reading::Still => 0,
            },
        }
    }

    /// How often it wakes by itself.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let reading = match self.plan.reading {
            Reading::Slow(_, interval) => Some(interval),
            Reading::All | Reading::Still => None,
        };
        let writing = self.plan.pace.map(|(_, interval)| interval);
        reading.into_iter().chain(writing).min()
    }

    /// An interval has passed.
    pub(crate) fn tick(&mut self) {
        self.may_write = self.plan.pace.map_or(u64::MAX, |(bytes, _)| bytes);
        self.may_read = match self.plan.reading {
            Reading::All => u64::MAX,
            Reading::Slow(bytes, _) => bytes,
            Reading::Still => 0,
        };
    }

    /// How much it would write now.
    pub(crate) fn wants_to_write(&self) -> u64 {
        if self.closed.is_some() || self.received < self.plan.after {
            return 0;
        }
        self.goal().saturating_sub(self.written).min(self.may_write)
    }

    fn goal(&self) -> u64 {
        if self.plan.echo {
            self.received
        } else {
            self.plan.write
        }
    }

    /// What it does now that it has written everything, if it has.
    pub(crate) fn wants_to_close(&self) -> Option<Closing> {
        let complete = self.written == self.goal() && self.received >= self.plan.after;
        let heard = !self.plan.echo || self.ended.is_some();
        (self.closed.is_none() && complete && heard && self.plan.closing != Closing::Never)
            .then_some(self.plan.closing)
    }

    /// Nothing more will happen here.
    pub fn is_over(&self) -> bool {
        self.gone || self.ended == Some(Ended::Reset) || self.broken_off
    }
}

/// Both ends of one stream.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The module that the opener is beside: the CNAPT for a server service, the SNAPT for a client service.
    pub(crate) opened_at: Side,
    /// The application that connected.
    pub opener: Application,
    /// The one that offers the service, once the request was run there.
    pub acceptor: Option<Application>,
    pub(crate) acceptor_plan: Plan,
    /// The run of the CNAPT to which the opener's module spoke when it began.
    pub(crate) cnapt_run: usize,
    /// When the opener connected.
    pub(crate) opened: Instant,
    /// How often the request was run.
    pub connects: u32,
    /// Something happened that may reset it: an application did, or a module restarted.
    pub excused: bool,
}

impl Conversation {
    /// The application at `side`.
    pub fn at(&self, side: Side) -> Option<&Application> {
        if side == self.opened_at {
            Some(&self.opener)
        } else {
            self.acceptor.as_ref()
        }
    }

    pub(crate) fn at_mut(&mut self, side: Side) -> Option<&mut Application> {
        if side == self.opened_at {
            Some(&mut self.opener)
        } else {
            self.acceptor.as_mut()
        }
    }

    /// Both applications are through with it.
    pub fn is_over(&self) -> bool {
        let acceptor = self.acceptor.as_ref().is_none_or(Application::is_over);
        self.opener.is_over() && acceptor
    }
}

/// The eight bytes at `index * 8` of what the application at `writer` writes.
const fn word(direction: u64, index: u64) -> [u8; 8] {
    mix(direction.wrapping_add(index)).to_le_bytes()
}

fn direction(key: Key, writer: Side) -> u64 {
    mix(key.stream.0 << 8 | (key.run as u64) << 1 | u64::from(writer == Side::Snapt))
}

/// What the application at `writer` writes from `offset` on.
pub(crate) fn content(key: Key, writer: Side, offset: u64, count: u64) -> Bytes {
    let direction = direction(key, writer);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let within = usize::try_from(offset % 8).unwrap_or(0);
    let mut bytes = Vec::with_capacity(count + 16);
    for index in offset / 8..(offset + count as u64).div_ceil(8) {
        bytes.extend_from_slice(&word(direction, index));
    }
    Bytes::from(bytes).slice(within..within + count)
}

/// The first of `bytes` that is not what the application at `writer` wrote there.
pub(crate) fn first_wrong(key: Key, writer: Side, offset: u64, bytes: &[u8]) -> Option<u64> {
    let expected = content(key, writer, offset, bytes.len() as u64);
    if expected == bytes {
        return None;
    }
    let wrong = expected
        .iter()
        .zip(bytes)
        .position(|(one, other)| one != other);
    wrong.map(|index| offset + index as u64)
}
