//! The writing half of an application's connection, shared by the tasks that may write to it.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

/// Writes without waiting, and never ends the connection by being dropped: tokio's half would send a
/// FIN then, and a stream that was broken off would look complete.
#[derive(Debug)]
pub(crate) struct Writer(Option<OwnedWriteHalf>);

impl Writer {
    pub(crate) const fn new(half: OwnedWriteHalf) -> Self {
        Self(Some(half))
    }

    fn socket(&self) -> Option<&TcpStream> {
        self.0.as_ref().map(AsRef::as_ref)
    }

    /// As much as the socket takes without waiting.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(socket) = self.socket() else {
            return Ok(0);
        };
        let mut written = 0;
        while written < bytes.len() {
            match socket.try_write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    pub(crate) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()
            .map_or(Poll::Pending, |socket| socket.poll_write_ready(context))
    }

    /// Ends when the connection has failed, with the error, which is taken from the socket.
    pub(crate) async fn failure(self: Arc<Self>) -> io::ErrorKind {
        let Some(socket) = self.socket() else {
            return io::ErrorKind::NotConnected;
        };
        loop {
            let ready = socket.ready(Interest::ERROR).await;
            match (ready, socket.take_error()) {
                (_, Ok(Some(error))) | (Err(error), _) | (_, Err(error)) => return error.kind(),
                // Someone else has taken the error, and noted it.
                (Ok(ready), Ok(None)) if ready.is_write_closed() => {
                    return io::ErrorKind::ConnectionReset;
                }
                (Ok(_), Ok(None)) => tokio::task::yield_now().await,
            }
        }
    }

    /// Passes the end on.
    pub(crate) fn shut(&self) -> io::Result<()> {
        self.socket().map_or(Ok(()), |socket| {
            SockRef::from(socket).shutdown(Shutdown::Write)
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}
