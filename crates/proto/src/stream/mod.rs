//! Streams: one for each connection of an application.
//!
//! Every byte of a direction has an absolute offset from 0, and the end takes one more, virtual,
//! offset behind the last byte. The sending half keeps what the other module has not acknowledged
//! and can go back to it at any time; the receiving half merges by offset whatever conduit a byte
//! came through. So a switch, a lost conduit or a duplicate are all the same to a stream: something
//! is sent again, and what is there already is dropped.
//!
//! Two numbers flow back, both only growing: `arrived`, up to which everything is in the receiver's
//! memory, and `limit`, up to which the sender may go. A slow reader is `arrived = sent = limit`, a
//! sick path is `arrived < sent`.
//!
//! [`Streams`] is the table of one session: it decides which conduit carries which frame. The session
//! machines tell it which link is current, under which switch number conduits are used, and when to
//! stop and go on forwarding.

mod conduit;
mod credit;
mod gap;
mod lane;
mod receive;
mod record;
mod seen;
mod send;
mod table;

pub(crate) use conduit::{BATCH_BYTES, Conduit};
pub use conduit::{MAX_CONDUITS, SPARE_CONDUITS, SPARE_PAUSE, Transmit};
pub use credit::CreditPool;
pub use lane::ServiceKind;
pub use receive::{Accepted, PIECE_BYTES};
pub(crate) use table::{ACKNOWLEDGE_DELAY, ports_of};
pub use table::{OpenError, Streams, View};

/// The credit that every stream begins with, in bytes. Small, because it is promised for every
/// stream that may be opened; it doubles within a round trip where there is demand.
pub const INITIAL_LIMIT: u32 = 16 * 1024;

/// The most credit of one stream, in bytes: 1 Gbit/s at 100 ms is 12.5 MB.
pub const STREAM_CREDIT: u64 = 16 * 1024 * 1024;

/// How many streams one side takes from the other in a session.
pub const STREAMS: u32 = 16 * 1024;

/// How much of an application's data may wait unsent, in bytes: enough to fill the pipe while the
/// application's task sleeps, little enough that a switch of pace is felt by the producer.
pub const UNSENT_BYTES: u64 = 4 * crate::wire::DATA_PAYLOAD_BYTES as u64;

/// How a direction of a stream ended, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The application closed its half after `last` bytes.
    Fin {
        /// The number of bytes before the end.
        last: u64,
    },
    /// The direction was broken off; delivered bytes may be fewer.
    Abort {
        /// The highest offset ever sent.
        last: u64,
        /// Why: one of [`code`].
        code: u16,
    },
}

impl End {
    /// The offset that the end itself takes.
    pub const fn last(self) -> u64 {
        match self {
            Self::Fin { last } | Self::Abort { last, .. } => last,
        }
    }
}

/// Why a direction was broken off, stopped or refused.
pub mod code {
    /// The application reset its connection.
    pub const RESET: u16 = 1;
    /// The server application did not accept the connection.
    pub const CONNECT_FAILED: u16 = 2;
    /// There is no service of that name.
    pub const UNKNOWN_SERVICE: u16 = 3;
    /// More streams than the receiver takes.
    pub const TOO_MANY: u16 = 4;
    /// The application takes no more bytes: a write to it failed.
    pub const CANNOT_DELIVER: u16 = 5;
    /// The session that the stream belonged to is gone.
    pub const SESSION_LOST: u16 = 6;
    /// The stream could not be opened in time.
    pub const TIMED_OUT: u16 = 7;

    /// The code in words.
    pub const fn describe(code: u16) -> &'static str {
        match code {
            RESET => "reset by the application",
            CONNECT_FAILED => "the server application did not accept the connection",
            UNKNOWN_SERVICE => "no such service",
            TOO_MANY => "too many streams",
            CANNOT_DELIVER => "the application takes no more bytes",
            SESSION_LOST => "the session is gone",
            TIMED_OUT => "not opened in time",
            _ => "unknown reason",
        }
    }
}

/// A rule of the protocol that the other module broke. Ends the link that the frame came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// DATA or an end beyond the limit that was given.
    #[error("data beyond the credit that was given")]
    BeyondLimit,
    /// An acknowledgement of what was never sent.
    #[error("acknowledgement of bytes that were never sent")]
    AcknowledgedUnsent,
    /// Data behind an end, or two different ends.
    #[error("the end of a stream moved")]
    EndMoved,
    /// A stream of the receiver's own opening that it never opened.
    #[error("a frame of a stream that was never opened")]
    NeverOpened,
    /// A frame that the sender's role does not allow, or not in this state.
    #[error("a frame that is not allowed here: {0}")]
    NotAllowed(&'static str),
    /// Questions without end, and no answer read.
    #[error("asks without reading the answers")]
    DoesNotRead,
    /// A CNAPT ID that is not that of the connection's key.
    #[error("the CNAPT ID is not that of the key")]
    WrongIdentity,
}
