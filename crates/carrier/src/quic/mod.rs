//! Conduits over QUIC: a link is one connection, a conduit one bidirectional stream of it.
//!
//! Each link has a socket and a connection of its own, and never changes to another address: that is a new link. Only a
//! NAT that gives the device another port is left to QUIC. The first stream of a connection is the link's control
//! channel. When it ends, the connection does, and every other conduit with it.
//!
//! Some things that the library does otherwise by itself:
//!
//! - A stream that is dropped is finished, as if all had been said: here it is reset (`sender`).
//! - What is written waits in the connection's memory, without a bound of use: too little for a long path, or so much
//!   that it could not change to another network. Here the bound follows the congestion window (`link`), and streams
//!   take turns where it is reached (`turns`).
//! - Every stream that a stranger may open costs memory before the stranger is known. Here it is one, until the session
//!   has taken the link in ([`crate::Conduit::admit`]).

mod connect;
mod datagrams;
mod link;
mod sender;
mod serve;
mod stream;
mod turns;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{
    ConnectionClose, ConnectionError, IdleTimeout, TransportConfig, TransportErrorCode, VarInt,
};

pub use self::link::Link;
pub use self::serve::QuicListener;
pub(crate) use self::stream::Stream;
use crate::tls::KEY_REFUSED;

/// Why a connection or a stream was ended, as the other side is told.
mod code {
    use quinn::VarInt;

    /// All has been said and has arrived.
    pub(super) const DONE: VarInt = VarInt::from_u32(0);
    /// What was under way is given up.
    pub(super) const RESET: VarInt = VarInt::from_u32(1);
    /// The client's key is not, or no longer, in the server's list.
    pub(super) const KEY_REFUSED: VarInt = VarInt::from_u32(2);
}

/// How much may be under way to this side, on one stream and on all of a connection, in bytes: 1 Gbit/s at 100 ms is
/// 12.5 MB. Conduits are always read, so it waits here only for what the network has lost.
const RECEIVE_WINDOW: VarInt = VarInt::from_u32(16 * 1024 * 1024);

/// As much as the first frames of a link need, while the session has not taken it in.
const RECEIVE_WINDOW_AT_THE_DOOR: VarInt = VarInt::from_u32(64 * 1024);

/// The control channel alone.
const STREAMS_AT_THE_DOOR: VarInt = VarInt::from_u32(1);

/// The control channel, sixteen conduits for streams, one for datagrams; and as many whose end the other side has yet
/// to hear of.
const STREAMS_OF_A_LINK: VarInt = VarInt::from_u32(36);

/// A connection on which nothing comes is dead after so many of the keepalives that the device sends. The session's own
/// probes notice long before; this one ends what nobody asks after any more.
const KEEPALIVES_MISSED: u32 = 3;

/// The longest that a client may ask the server to wait for it: for its own longest keepalive, an hour, missed three times.
const LONGEST_IDLE: Duration = Duration::from_secs(3 * 60 * 60);

/// What holds for either side.
///
/// CUBIC, although it takes each loss for a full queue: 6.5 Mbit/s of 200 with 1 % lost at 20 ms (`bench lossy`). The
/// library's BBR has 185 there, but it takes bandwidth for what a burst of acknowledgements says: with transfers both
/// ways on 150 Mbit/s at 20 ms its window was 4 MB, ten times what fits, and 40 % of its packets were lost.
fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(RECEIVE_WINDOW)
        .receive_window(RECEIVE_WINDOW)
        .datagram_receive_buffer_size(Some(datagrams::RECEIVE_BUFFER_BYTES))
        .datagram_send_buffer_size(datagrams::SEND_BUFFER_BYTES)
        .congestion_controller_factory(Arc::new(CubicConfig::default()))
        .send_window(link::FIRST_SEND_WINDOW);
    config
}

/// For a device: what leaves in bursts is lost at the rate limiters of mobile networks, so no segmentation offload.
fn client_transport(keepalive: Duration) -> TransportConfig {
    let mut config = transport();
    config
        .enable_segmentation_offload(false)
        .keep_alive_interval(Some(keepalive))
        .max_idle_timeout(Some(idle(keepalive.saturating_mul(KEEPALIVES_MISSED))))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(datagrams::LARGE_AT_ONCE);
    config
}

fn server_transport() -> TransportConfig {
    let mut config = transport();
    config
        .receive_window(RECEIVE_WINDOW_AT_THE_DOOR)
        .max_idle_timeout(Some(idle(LONGEST_IDLE)))
        .max_concurrent_bidi_streams(STREAMS_AT_THE_DOOR)
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    config
}

fn idle(time: Duration) -> IdleTimeout {
    IdleTimeout::try_from(time.min(LONGEST_IDLE)).expect("three hours are within QUIC's range")
}

/// The connection's end, as an error of whoever reads or writes one of its streams.
fn lost(error: ConnectionError) -> io::Error {
    let kind = match error {
        ConnectionError::TimedOut => io::ErrorKind::TimedOut,
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset => io::ErrorKind::ConnectionReset,
        ConnectionError::LocallyClosed => io::ErrorKind::NotConnected,
        ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::CidsExhausted => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

/// Whether the server ended the connection because it does not know the client's key.
pub(crate) fn key_was_refused(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(ConnectionError::ConnectionClosed(ConnectionClose { error_code, .. })) => {
            *error_code == TransportErrorCode::crypto(KEY_REFUSED.into())
        }
        Some(ConnectionError::ApplicationClosed(close)) => close.error_code == code::KEY_REFUSED,
        Some(_) | None => false,
    }
}
