//! One connection, shared by its streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn::{Connection, StreamId};
use tokio::sync::watch;
use tokio::time::timeout;

use super::datagrams::LARGE_AT_ONCE;
use super::turns::Turns;
use super::{RECEIVE_WINDOW, STREAMS_OF_A_LINK, Stream, code};
use crate::{CONNECT_TIMEOUT, Conduit, ConnectError};

/// How much of what was written may wait here for the network, on all streams of a connection: as much as TCP's sockets
/// take, enough for a sender to sleep in between.
const UNSENT_BYTES: u64 = 128 * 1024;

/// Until the connection has begun.
pub(super) const FIRST_SEND_WINDOW: u64 = UNSENT_BYTES;

/// With what is under way: no more than the other side takes on one stream, so that none waits for its own reader in the
/// turn of others. The bytes are those that a stream keeps for its replay anyway.
const MOST_SEND_WINDOW: u64 = RECEIVE_WINDOW.into_inner();

/// The bound follows the congestion window in steps of at least an eighth: a change costs the connection a turn.
const STEP: u64 = 8;

/// A connection and what its streams have to know of each other.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connection: Connection,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// How many conduits there are on this side.
    conduits: watch::Sender<usize>,
    send_window: AtomicU64,
    pub(super) writers: Turns<StreamId>,
    /// What the library says there is while no datagram waits to be sent.
    pub(super) datagram_room: usize,
}

impl Shared {
    pub(super) fn new(connection: Connection, local: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            peer: connection.remote_address(),
            datagram_room: connection.datagram_send_buffer_space(),
            connection,
            local,
            conduits: watch::Sender::new(0),
            send_window: AtomicU64::new(FIRST_SEND_WINDOW),
            writers: Turns::new(),
        })
    }

    pub(super) fn enter(&self) {
        self.conduits.send_modify(|count| *count += 1);
    }

    pub(super) fn leave(&self) {
        self.conduits.send_modify(|count| *count -= 1);
    }

    /// Waits until only one conduit is left on this side, the one that asks.
    async fn others_over(&self) {
        // The sender is this very object's.
        drop(
            self.conduits
                .subscribe()
                .wait_for(|count| *count <= 1)
                .await,
        );
    }

    /// The session has taken the link in.
    pub(super) fn admit(&self) {
        self.connection.set_receive_window(RECEIVE_WINDOW);
        self.connection
            .set_max_concurrent_bi_streams(STREAMS_OF_A_LINK);
        self.connection
            .set_max_concurrent_uni_streams(LARGE_AT_ONCE);
    }

    /// Lets as much be written as can be under way, as much again, which what has arrived behind a hole takes, and
    /// [`UNSENT_BYTES`]: what waits beyond that could not change to another network.
    pub(super) fn fit_send_window(&self) {
        let under_way = self.connection.stats().path.cwnd;
        let fitting = (2 * under_way + UNSENT_BYTES).min(MOST_SEND_WINDOW);
        let window = self.send_window.load(Ordering::Relaxed);
        if fitting.abs_diff(window) > window / STEP {
            self.send_window.store(fitting, Ordering::Relaxed);
            self.connection.set_send_window(fitting);
        }
    }

    /// Ends the connection in order, behind its other conduits.
    pub(super) async fn close(&self) {
        self.others_over().await;
        self.connection.close(code::DONE, b"");
    }
}

/// A connection of a client, on which further conduits of the same link can be opened. To hold it does not hold the
/// connection: that ends with its first conduit.
#[derive(Clone, Debug)]
pub struct Link(pub(super) Arc<Shared>);

impl Link {
    /// Opens one more conduit.
    ///
    /// # Errors
    ///
    /// If the connection is over, or the server has allowed no other conduit within [`CONNECT_TIMEOUT`].
    pub async fn open(&self) -> Result<Conduit, ConnectError> {
        match timeout(CONNECT_TIMEOUT, self.0.connection.open_bi()).await {
            Ok(Ok(halves)) => Ok(Conduit::over_quic(Stream::further(&self.0, halves))),
            Ok(Err(error)) => Err(ConnectError::Broken(super::lost(error))),
            Err(_) => Err(ConnectError::TimedOut),
        }
    }
}
