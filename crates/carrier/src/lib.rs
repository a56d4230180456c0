//! Identity and carriers: TLS 1.3 over TCP, and QUIC, with pinned raw public keys.
//!
//! A *conduit* is one TLS connection between a CNAPT and the SNAPT, or one stream of a QUIC connection. This crate makes
//! conduits and says who is at the other end of each; it knows nothing of sessions or switches, and of links only that
//! over QUIC the conduits of one are streams of one connection.
//!
//! - **Identity is a key.** Each module has one Ed25519 key pair ([`PrivateKey`]). The other side is
//!   known by its [`PublicKey`], sent as a raw public key (RFC 7250): no certificate, no name, no
//!   expiry, no authority. A CNAPT's ID is the hash of its key ([`PublicKey::id`]).
//! - **A key is compared after every handshake**, in our own code. A resumed TLS session calls no
//!   verifier, so the verifier alone would go on letting in a client whose key has been removed.
//! - **No early data.** TLS 1.3 "0-RTT" can be replayed by whoever recorded it. Resumption without it
//!   is allowed over TCP: it saves both sides most of the cost of a handshake, and there is one for each conduit.
//! - **Before authentication a stranger costs one bounded handshake**, bounded in time and in number
//!   ([`serve`], [`QuicListener`]).
//! - **A client is not up when [`Connector::connect`] returns.** In TLS 1.3 the client's handshake
//!   ends before the server has looked at the client's key. A link may count as up after the first
//!   message of the SNAPT; a server that does not know the key shows in the first read
//!   ([`key_was_refused`]).
//!
//! Types of the libraries of TLS and QUIC stay inside this crate, so that changing one touches no other.

mod accept;
mod allowed;
mod conduit;
mod connect;
mod crowd;
mod handshakes;
mod identity;
mod quic;
mod socket;
mod tls;
mod turned_away;

pub use accept::{AcceptError, Acceptor, HANDSHAKE_TIMEOUT, serve};
pub use allowed::AllowedKeys;
pub use conduit::{CLOSE_TIMEOUT, Conduit, RECORD_BYTES};
pub use connect::{CONNECT_TIMEOUT, ConnectError, Connector};
pub use handshakes::HANDSHAKES_AT_ONCE;
pub use identity::{KeyError, ParsePublicKeyError, PrivateKey, PublicKey, random_u64};
pub use quic::{Link, QuicListener};
pub use tls::{ALPN, SetUpError, key_was_refused};
pub use turned_away::TurnedAway;
