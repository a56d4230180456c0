//! One conduit over QUIC: both directions of a bidirectional stream.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use quinn::{ReadError, RecvStream, SendStream};

use super::datagrams::Datagrams;
use super::link::Shared;
use super::sender::Sender;
use super::{code, lost};

/// How many packets' bytes are taken in at once, under one lock of the connection.
const CHUNKS: usize = 32;

/// A stream that is reset when it is dropped, unless it has ended in order.
#[derive(Debug)]
pub(crate) struct Stream {
    link: Arc<Shared>,
    sender: Sender,
    receive: RecvStream,
    is_control: bool,
    /// What has come and is not consumed.
    arrived: VecDeque<Bytes>,
    /// Made when it is first asked for.
    datagrams: Option<Box<Datagrams>>,
    ended: bool,
}

impl Stream {
    /// The first one of a connection, which ends it. It asks whether the link lives, and acknowledges ends: so it is
    /// served before the others.
    pub(super) fn control(link: &Arc<Shared>, halves: (SendStream, RecvStream)) -> Self {
        let stream = Self::new(link, halves, true);
        stream.sender.prefer();
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
            sender: Sender::new(Arc::clone(link), send),
            receive,
            is_control,
            arrived: VecDeque::new(),
            datagrams: None,
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

    pub(crate) fn poll_write_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<usize>> {
        self.sender.poll_write_chunks(cx, chunks)
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sender.poll_write(cx, bytes)
    }

    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        self.sender.shutdown()
    }

    /// The other side has said its last word, as this one has. Waits until it has this side's too.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.sender.arrived().await?;
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
        }
        // The sender resets itself. Fails if the other side has ended.
        drop(self.receive.stop(code::RESET));
    }

    pub(crate) fn poll_send_datagram(
        &mut self,
        cx: &mut Context<'_>,
        datagram: &Bytes,
    ) -> Poll<io::Result<()>> {
        self.datagrams().poll_send(cx, datagram)
    }

    pub(crate) fn poll_datagrams_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.datagrams {
            Some(datagrams) => datagrams.poll_sent(cx),
            None => Poll::Ready(()),
        }
    }

    pub(crate) fn poll_receive_datagram(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        self.datagrams().poll_receive(cx)
    }

    fn datagrams(&mut self) -> &mut Datagrams {
        let link = &self.link;
        self.datagrams
            .get_or_insert_with(|| Box::new(Datagrams::new(Arc::clone(link))))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.ended {
            self.reset();
        }
        self.link.leave();
    }
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
