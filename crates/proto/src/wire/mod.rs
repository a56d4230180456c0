//! What travels between the modules: every frame, its bytes, and the decoder.
//!
//! A frame is one word and a body: the type in the highest 8 bits, the length of the body in the
//! lower 24, big-endian as every number here. Fields have fixed widths; texts and lists carry their
//! length. An unknown type, a body that is too short, too long or holds a value that means nothing is
//! a [`WireError`] and ends the conduit, never the session. docs/protocol.md tells who may send each
//! frame, when, and what a late, repeated or crossed one does.

mod codec;
mod decoder;
mod frame;

pub use codec::{encode, encode_data_header};
pub use decoder::{Decoder, Item};
pub use frame::{
    Attach, Attached, CatalogueEntry, Datagram, Frame, Hello, Layer, Move, OfferState,
    OfferedService, OldLink, Purpose, RefusedCode, Renew, RenewEntry, Request, Role, Trail,
    TransportProtocol,
};

/// The protocol version that this code speaks, negotiated in HELLO.
pub const VERSION: u16 = 1;

/// What precedes the payload of a DATA frame: the header, the stream and the offset.
pub const DATA_HEADER_BYTES: usize = 20;

/// The longest payload of a DATA frame: with its header, four full TLS records. Longer frames would let
/// one stream hold a conduit, and a switch has to wait for the frame begun.
pub const DATA_PAYLOAD_BYTES: usize = 64 * 1024 - DATA_HEADER_BYTES;

/// The longest payload of a DATAGRAM frame: what one packet of IPv4 can hold of UDP.
pub const DATAGRAM_PAYLOAD_BYTES: usize = 65_507;

/// What precedes it in the body of the frame: flow, sequence, and the longest request.
const DATAGRAM_FIELDS_BYTES: usize = 8 + 8 + 2 + 16 + 2 + 1 + NAME_BYTES;

/// The longest body of any other frame: a RENEW piece or a catalogue of [`CATALOGUE_ENTRIES`].
pub const BODY_BYTES: usize = 64 * 1024;

/// The most services in one catalogue: with names of [`NAME_BYTES`] they fit one body.
pub const CATALOGUE_ENTRIES: usize = 512;

/// The most ports that the services of one catalogue have together. Each is a socket for each address
/// that is listened on: with two of these a tenth of the descriptors that a process may be held to.
pub const CATALOGUE_PORTS: usize = 1024;

/// The longest name of a service.
pub const NAME_BYTES: usize = 64;

/// The most streams in one piece of RENEW: a piece stays well under [`BODY_BYTES`].
pub const RENEW_ENTRIES: usize = 512;

/// The most links that a CNAPT has beside the one that carries: one to each of its other networks, and more
/// networks than these no device has up at once.
pub const KEPT_LINKS: usize = 4;

/// What is wrong with bytes from the other module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The type is not one of this protocol version.
    #[error("unknown frame type {0}: is the other module of another version?")]
    UnknownFrame(u8),
    /// The body is longer than any frame of that type may be.
    #[error("frame of type {frame} claims {length} bytes")]
    TooLong {
        /// The type.
        frame: u8,
        /// The length that it claims.
        length: usize,
    },
    /// The body ends before its fields do, or goes on after them.
    #[error("frame of type {0} has a body of the wrong length")]
    WrongLength(u8),
    /// A field holds a value that means nothing.
    #[error("frame of type {frame} has a bad {field}")]
    BadField {
        /// The type.
        frame: u8,
        /// Which field.
        field: &'static str,
    },
}
