//! The protocol, pure: no socket, no clock, no randomness, no runtime.
//!
//! Time and random numbers come in as arguments, effects go out as values, so that the same code
//! runs under the daemons, the simulator, the model checker and the fuzzer. What travels on the
//! wire is in [`wire`]; docs/protocol.md says who may send what, when.
//!
//! | module | what it is |
//! |---|---|
//! | [`bug`] | rules left out on purpose, for the checks of the checks |
//! | [`wire`] | every frame, its bytes, and the incremental decoder |
//! | [`stream`] | one application connection: offsets, credit, replay, ends; and the table of them |
//! | [`flow`] | one UDP association of an application: numbers, buffer, idle time; and the table of them |
//! | [`session`] | the two session machines, [`session::Cnapt`] and [`session::Snapt`]: the spec's steps |
//! | [`step`] | the 97 steps of the spec and the trail that a machine leaves |
//! | [`time`] | time as an argument |

pub mod bug;
pub mod flow;
pub mod session;
pub mod step;
mod step_text;
pub mod stream;
pub mod time;
pub mod wire;

use stream::ServiceKind;
pub use time::Instant;

/// Names a conduit within one process. The shell numbers its conduits and never reuses a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConduitId(pub u64);

/// Names a link within one CNAPT instance: its first is 1, and no number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkNumber(pub u32);

/// The random name of one run of a CNAPT or SNAPT process; compared for equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub u64);

/// The CNAPT ID: the SHA-256 of the CNAPT's public key (R12: no address is an identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CnaptId(pub [u8; 32]);

impl std::fmt::Display for CnaptId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Which module a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The module beside the client application, on the roaming device.
    Cnapt,
    /// The module beside the server application.
    Snapt,
}

impl Side {
    /// The other module.
    pub const fn other(self) -> Self {
        match self {
            Self::Cnapt => Self::Snapt,
            Self::Snapt => Self::Cnapt,
        }
    }
}

/// Names a stream in a session: the opener's counter and, in the lowest bit, the opener's side.
///
/// Ids of one opener only grow and are never used again (design rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The `index`-th stream that `opener` opens.
    pub const fn new(opener: Side, index: u64) -> Self {
        Self(index << 1 | opener as u64)
    }

    /// Who opened it.
    pub const fn opener(self) -> Side {
        if self.0 & 1 == 0 {
            Side::Cnapt
        } else {
            Side::Snapt
        }
    }

    /// The opener's counter.
    pub const fn index(self) -> u64 {
        self.0 >> 1
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match self.opener() {
            Side::Cnapt => 'c',
            Side::Snapt => 's',
        };
        write!(formatter, "{side}{}", self.index())
    }
}

/// Names a flow in a session, as [`StreamId`] names a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

impl FlowId {
    /// The `index`-th flow that `opener` opens.
    pub const fn new(opener: Side, index: u64) -> Self {
        Self(StreamId::new(opener, index).0)
    }

    /// Who opened it.
    pub const fn opener(self) -> Side {
        StreamId(self.0).opener()
    }

    /// The opener's counter.
    pub const fn index(self) -> u64 {
        StreamId(self.0).index()
    }

    /// Whose service it uses.
    pub const fn kind(self) -> ServiceKind {
        ServiceKind::opened_at(self.opener())
    }
}

impl std::fmt::Display for FlowId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        StreamId(self.0).fmt(formatter)
    }
}
