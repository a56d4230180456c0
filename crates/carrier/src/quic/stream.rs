//! One conduit over QUIC: both directions of a bidirectional stream.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use quinn::{ReadError, RecvStream, SendStream, StoppedError, WriteError};

use super::link::Shared;
use super::{code, lost};

/// How many packets' bytes are taken in at once, under one lock of the connection.
const CHUNKS: usize = 32;

/// The control channel is served before all others: it asks whether the link lives, and acknowledges ends.
const CONTROL_PRIORITY: i32 = 1;

/// A stream that is reset when it is dropped, unless it has ended in order.
#[derive(Debug)]
pub(crate) struct Stream {
    link: Arc<Shared>,
    send: SendStream,
    receive: RecvStream,
    is_control: bool,
    /// What has come and is not consumed.
    arrived: VecDeque<Bytes>,
    ended: bool,
}

impl Stream {
    /// The first one of a connection, which ends it.
    pub(super) fn control(link: &Arc<Shared>, halves: (SendStream, RecvStream)) -> Self {
        let stream = Self::new(link, halves, true);
        // Fails on a stream that is over: then it has no bytes to send either.
        drop(stream.send.set_priority(CONTROL_PRIORITY));
        stream
    }

    pub(super) fn further(link: &Arc<Shared>, halves: (SendStream, RecvStream)) -> Self {
        Self::new(link, halves, false)
    }

    fn new(
        link: &Arc<Shared>,
        (send, receive): (SendStream, RecvStream),
        is_control: bool,
    ) -> Self {
        link.enter();
        Self {
            link: Arc::clone(link),
            send,
            receive,
            is_control,
            arrived: VecDeque::new(),
            ended: false,
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.link.local
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.link.peer
    }

    pub(crate) fn admit(&self) {
        self.link.admit();
    }

    /// The bytes that are next, none at the end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        while self.arrived.is_empty() {
            let mut chunks: [Bytes; CHUNKS] = Default::default();
            let read = ready!(pin!(self.receive.read_chunks(&mut chunks)).poll(cx));
            match read.map_err(read_failed)? {
                Some(count) => {
                    let filled = chunks.into_iter().take(count);
                    self.arrived.extend(filled.filter(|one| !one.is_empty()));
                }
                None => return Poll::Ready(Ok(&[])),
            }
        }
        Poll::Ready(Ok(self.arrived.front().map_or(&[], |next| next)))
    }

    pub(crate) fn consume(&mut self, amount: usize) {
        let Some(next) = self.arrived.front_mut() else {
            return;
        };
        next.advance(amount);
        if next.is_empty() {
            self.arrived.pop_front();
            if self.arrived.is_empty() {
                // An idle conduit holds nothing.
                self.arrived = VecDeque::new();
            }
        }
    }

    /// Takes some of the bytes, without a copy.
    pub(crate) fn poll_write_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<usize>> {
        self.link.fit_send_window();
        let (id, send) = (self.send.id(), &mut self.send);
        let write = |cx: &mut Context<'_>| pin!(send.write_chunks(chunks)).poll(cx);
        let written = self.link.writers.poll(id, cx, write);
        written.map(|written| Ok(written.map_err(write_failed)?.bytes))
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.fit_send_window();
        let (id, send) = (self.send.id(), &mut self.send);
        let write = |cx: &mut Context<'_>| pin!(send.write(bytes)).poll(cx);
        let written = self.link.writers.poll(id, cx, write);
        written.map(|written| written.map_err(write_failed))
    }

    /// Says that nothing more comes.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        self.send.finish().map_err(io::Error::from)
    }

    /// The other side has read to the end, as this one has. Waits until it also knows that it has.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        match self.send.stopped().await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(io::ErrorKind::ConnectionReset.into()),
            // What ended the connection has come behind the other side's end.
            Err(StoppedError::ConnectionLost(error)) if is_done(&error) => {}
            Err(StoppedError::ConnectionLost(error)) => return Err(lost(error)),
            Err(error @ StoppedError::ZeroRttRejected) => return Err(io::Error::other(error)),
        }
        if self.is_control {
            self.link.close().await;
        }
        self.ended = true;
        Ok(())
    }

    /// Gives up what is under way, in both directions; with the control channel, on the whole connection.
    pub(crate) fn reset(&mut self) {
        self.ended = true;
        if self.is_control {
            self.link.connection.close(code::RESET, b"");
            return;
        }
        // Either fails on a direction that is over.
        drop(self.send.reset(code::RESET));
        drop(self.receive.stop(code::RESET));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.ended {
            self.reset();
        }
        self.link.writers.leave(self.send.id());
        self.link.leave();
    }
}

fn is_done(error: &quinn::ConnectionError) -> bool {
    matches!(error, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == code::DONE)
}

fn read_failed(error: ReadError) -> io::Error {
    match error {
        ReadError::ConnectionLost(error) => lost(error),
        ReadError::Reset(_)
        | ReadError::ClosedStream
        | ReadError::IllegalOrderedRead
        | ReadError::ZeroRttRejected => error.into(),
    }
}

fn write_failed(error: WriteError) -> io::Error {
    match error {
        WriteError::ConnectionLost(error) => lost(error),
        WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            error.into()
        }
    }
}
