//! Flows: one for each UDP association of an application, whose datagrams a switch neither mixes nor repeats.
//!
//! The module that an application speaks to opens a flow for its address and the service that it uses; the
//! other module makes one out of any of its datagrams, for each says all that is needed: the first may be lost
//! without harm. A datagram is sent once. What a dead conduit had under way is lost, as UDP may lose it;
//! sending it again could deliver it twice. What comes is numbered, and a window lets each number pass once.
//!
//! While nothing may be sent, a bounded buffer keeps what applications send, for seconds; and no flow ends for
//! being idle, because its application may be waiting for the network like ours. The server application sees a
//! flow as one address and port for as long as the flow lives, so the acceptor keeps it longest.
//!
//! Nothing here is in order, acknowledged or repeated: who needs that brings it along, as QUIC does.

mod conduit;
mod lane;
mod outgoing;
mod table;
mod window;

pub use table::{Association, DEFAULT_FLOW_IDLE, FLOWS, Flows};

/// Datagrams that came to nothing in this module, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dropped {
    /// The buffer was full: the oldest made room.
    pub overflowed: u64,
    /// They were larger than a packet of IPv4 can be.
    pub too_large: u64,
    /// They had waited for a network until they were of no use.
    pub expired: u64,
    /// They asked for a service or a port that there is not.
    pub unknown: u64,
    /// They came a second time, or too late to know.
    pub repeated: u64,
    /// Their flow is over here.
    pub late: u64,
    /// The application's socket did not take them, or there is none.
    pub undelivered: u64,
}

impl Dropped {
    /// Each reason in a word, and how many.
    pub const fn by_reason(&self) -> [(&'static str, u64); 7] {
        [
            ("overflowed", self.overflowed),
            ("too_large", self.too_large),
            ("expired", self.expired),
            ("unknown", self.unknown),
            ("repeated", self.repeated),
            ("late", self.late),
            ("undelivered", self.undelivered),
        ]
    }
}
