//! The sending half of a stream.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::{SendStream, StoppedError, WriteError};

use super::link::Shared;
use super::{code, lost};

/// Reset when it is dropped, unless all has arrived. The library would finish it.
#[derive(Debug)]
pub(super) struct Sender {
    link: Arc<Shared>,
    stream: SendStream,
    over: bool,
}

impl Sender {
    pub(super) const fn new(link: Arc<Shared>, stream: SendStream) -> Self {
        Self {
            link,
            stream,
            over: false,
        }
    }

    /// This one's bytes go before those of others.
    pub(super) fn prefer(&self) {
        // Fails on a stream that is over: then it has no bytes to send either.
        drop(self.stream.set_priority(1));
    }

    /// Takes some of the bytes, without a copy.
    pub(super) fn poll_write_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<usize>> {
        self.link.fit_send_window();
        let (id, stream) = (self.stream.id(), &mut self.stream);
        let write = |cx: &mut Context<'_>| pin!(stream.write_chunks(chunks)).poll(cx);
        let written = self.link.writers.poll(id, cx, write);
        written.map(|written| Ok(written.map_err(write_failed)?.bytes))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.fit_send_window();
        let (id, stream) = (self.stream.id(), &mut self.stream);
        let write = |cx: &mut Context<'_>| pin!(stream.write(bytes)).poll(cx);
        let written = self.link.writers.poll(id, cx, write);
        written.map(|written| written.map_err(write_failed))
    }

    /// Says that nothing more comes.
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        self.stream.finish().map_err(io::Error::from)
    }

    /// After [`Self::shutdown`]: waits until all has arrived, in the memory of the other side's library.
    pub(super) async fn arrived(&mut self) -> io::Result<()> {
        match self.stream.stopped().await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(io::ErrorKind::ConnectionReset.into()),
            // What ended the connection has come behind the other side's end.
            Err(StoppedError::ConnectionLost(error)) if is_done(&error) => {}
            Err(StoppedError::ConnectionLost(error)) => return Err(lost(error)),
            Err(error @ StoppedError::ZeroRttRejected) => return Err(io::Error::other(error)),
        }
        self.over = true;
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.link.writers.leave(self.stream.id());
        if !self.over {
            // Fails on a stream that is over.
            drop(self.stream.reset(code::RESET));
        }
    }
}

fn is_done(error: &quinn::ConnectionError) -> bool {
    matches!(error, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == code::DONE)
}

fn write_failed(error: WriteError) -> io::Error {
    match error {
        WriteError::ConnectionLost(error) => lost(error),
        WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            error.into()
        }
    }
}
