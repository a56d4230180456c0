//! Datagrams beside the streams of a connection.
//!
//! One that fits into a packet is a datagram of QUIC: sent once, lost if the network loses it. Whether it fits changes
//! with the path. A larger one has a unidirectional stream to itself, so that none waits for another; one that has not
//! arrived within [`LARGE_AGE`] is given up.
//!
//! None waits here for long: what the network does not take now stays with the caller, who knows what is too old.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use quinn::{ConnectionError, RecvStream, SendDatagramError, VarInt};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use super::link::Shared;
use super::lost;
use super::sender::Sender;

/// What of datagrams that fit waits for the network here: 5 ms at 100 Mbit/s.
pub(super) const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// What waits here for a reader, the oldest dropped beyond it: a busy process sleeps 40 ms at 200 Mbit/s.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;

/// How many large ones may be under way in one direction: 35 Mbit/s of them over 60 ms. On a slow path each takes turns
/// with the conduits that carry streams, so more would leave those little.
pub(super) const LARGE_AT_ONCE: VarInt = VarInt::from_u32(4);

/// The largest: 64 KiB, and what is said of them.
const LARGE_BYTES: usize = 66 * 1024;

/// How long a large one may take to arrive. As long as one waits at most before it is sent.
const LARGE_AGE: Duration = Duration::from_secs(10);

/// How often it is looked whether those that fit have left; the library tells nobody. That is asked once in the life of
/// a conduit, before its last word.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The datagrams of a connection, in both directions.
pub(super) struct Datagrams {
    link: Arc<Shared>,
    /// There is no room for one that fits.
    sending: Option<Waiting<Result<(), SendDatagramError>>>,
    /// Large ones on their way; one that is dropped is given up.
    large: JoinSet<()>,
    look: Option<Pin<Box<Sleep>>>,
    receiving: Option<Waiting<Result<Bytes, ConnectionError>>>,
    accepting: Option<Waiting<Result<RecvStream, ConnectionError>>>,
    /// Large ones that have begun to come, at most [`LARGE_AT_ONCE`].
    coming: Vec<Waiting<Option<Bytes>>>,
}

impl Datagrams {
    pub(super) fn new(link: Arc<Shared>) -> Self {
        Self {
            link,
            sending: None,
            large: JoinSet::new(),
            look: None,
            receiving: None,
            accepting: None,
            coming: Vec::new(),
        }
    }

    /// Takes `datagram`, once there is room for it.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        datagram: &Bytes,
    ) -> Poll<io::Result<()>> {
        if self.sending.is_none() {
            let connection = &self.link.connection;
            if (connection.max_datagram_size()).is_none_or(|most| datagram.len() > most) {
                return self.poll_send_large(cx, datagram);
            }
            let (connection, datagram) = (connection.clone(), datagram.clone());
            self.sending = Some(Box::pin(async move {
                connection.send_datagram_wait(datagram).await
            }));
        }
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(sending.as_mut().poll(cx));
        self.sending = None;
        match sent {
            Ok(()) => Poll::Ready(Ok(())),
            Err(SendDatagramError::ConnectionLost(error)) => Poll::Ready(Err(lost(error))),
            // The path has changed since.
            Err(
                SendDatagramError::TooLarge
                | SendDatagramError::UnsupportedByPeer
                | SendDatagramError::Disabled,
            ) => self.poll_send_large(cx, datagram),
        }
    }

    fn poll_send_large(&mut self, cx: &mut Context<'_>, datagram: &Bytes) -> Poll<io::Result<()>> {
        while self.large.len() >= LARGE_AT_ONCE.into_inner() as usize {
            // How it ended changes nothing: it has arrived, or is lost.
            let _ended = ready!(self.large.poll_join_next(cx));
        }
        let (link, datagram) = (Arc::clone(&self.link), datagram.clone());
        self.large.spawn(async move {
            drop(timeout(LARGE_AGE, send_large(link, datagram)).await);
        });
        Poll::Ready(Ok(()))
    }

    /// Waits until everything that was taken has left, and the large ones have arrived or been given up: what is said by
    /// a stream from now on comes behind them.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.large.poll_join_next(cx)).is_some() {}
        while self.link.connection.datagram_send_buffer_space() < self.link.datagram_room {
            if self.link.connection.close_reason().is_some() {
                break;
            }
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK_AGAIN)));
            ready!(look.as_mut().poll(cx));
            self.look = None;
        }
        Poll::Ready(())
    }

    /// The next one that has come.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if let Poll::Ready(result) = poll_again(&mut self.receiving, cx, || {
            let connection = self.link.connection.clone();
            Box::pin(async move { connection.read_datagram().await })
        }) {
            return Poll::Ready(result.map_err(lost));
        }
        while self.coming.len() < LARGE_AT_ONCE.into_inner() as usize {
            let accepted = poll_again(&mut self.accepting, cx, || {
                let connection = self.link.connection.clone();
                Box::pin(async move { connection.accept_uni().await })
            });
            match accepted {
                Poll::Ready(Ok(stream)) => self.coming.push(Box::pin(receive_large(stream))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
                Poll::Pending => break,
            }
        }
        self.poll_coming(cx).map(Ok)
    }

    fn poll_coming(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut index = 0;
        while let Some(one) = self.coming.get_mut(index) {
            match one.as_mut().poll(cx) {
                Poll::Ready(whole) => {
                    drop(self.coming.swap_remove(index));
                    if let Some(datagram) = whole {
                        return Poll::Ready(datagram);
                    }
                }
                Poll::Pending => index += 1,
            }
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams")
            .field("large", &self.large.len())
            .field("coming", &self.coming.len())
            .finish_non_exhaustive()
    }
}

/// Polls what waits, or begins to.
fn poll_again<T>(
    waiting: &mut Option<Waiting<T>>,
    cx: &mut Context<'_>,
    begin: impl FnOnce() -> Waiting<T>,
) -> Poll<T> {
    let result = ready!(waiting.get_or_insert_with(begin).as_mut().poll(cx));
    *waiting = None;
    Poll::Ready(result)
}

/// Returns when the other side has it, or does not want it.
async fn send_large(link: Arc<Shared>, datagram: Bytes) -> io::Result<()> {
    let stream = link.connection.open_uni().await.map_err(lost)?;
    let mut stream = Sender::new(link, stream);
    let mut rest = datagram;
    while !rest.is_empty() {
        let chunks = &mut [rest.clone()];
        rest.advance(poll_fn(|cx| stream.poll_write_chunks(cx, chunks)).await?);
    }
    stream.shutdown()?;
    stream.arrived().await
}

/// None if it was given up, or is too large for one.
async fn receive_large(mut stream: RecvStream) -> Option<Bytes> {
    let read = timeout(LARGE_AGE, stream.read_to_end(LARGE_BYTES));
    read.await.ok()?.ok().map(Bytes::from)
}
