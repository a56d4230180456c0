//! One conduit: an authenticated, reliable, ordered pipe between two modules.
//!
//! Writing works like a buffered writer: a write encrypts into whole TLS records and hands them to
//! the kernel at once; only when the kernel takes no more does some of the ciphertext stay here, at
//! most [`BUFFER_BYTES`]. So a sender flushes after the last write of a burst, and needs no flush
//! in between. One write of up to [`RECORD_BYTES`], plain or vectored, becomes one record and one
//! system call; four records in one write share the system call, which makes bulk transfers some 15
//! % faster.
//!
//! Reading through [`AsyncBufRead`] hands out the decrypted bytes where they are, without a copy.
//!
//! A conduit ends in one of two ways. [`Conduit::close`], on a live link, tells the other side and
//! waits until it has ended too: closing a socket with unread bytes would turn into a reset and
//! could destroy what was sent before. [`Conduit::reset`], on a dead link, leaves nothing behind in
//! the kernel that could be delivered late.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader,
    ReadBuf,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

/// The plaintext that one TLS record carries. Writing in multiples of it wastes nothing.
pub const RECORD_BYTES: usize = 16 * 1024;

/// What is read from the kernel at once. rustls asks for 4 KiB at a time, a quarter of a record: read
/// ahead, two records cost one system call and not eight.
const READ_AHEAD_BYTES: usize = 2 * RECORD_BYTES;

/// The socket as TLS reads from it.
pub(crate) fn read_ahead(socket: TcpStream) -> BufReader<TcpStream> {
    BufReader::with_capacity(READ_AHEAD_BYTES, socket)
}

/// How long [`Conduit::close`] waits for the other side's end: several round trips of the slowest
/// usable network.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// One TLS connection, of either side.
#[derive(Debug)]
pub struct Conduit {
    tls: Box<TlsStream<BufReader<TcpStream>>>,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Conduit {
    pub(crate) fn new(tls: TlsStream<BufReader<TcpStream>>) -> io::Result<Self> {
        let socket = tls.get_ref().0.get_ref();
        let (local, peer) = (socket.local_addr()?, socket.peer_addr()?);
        Ok(Self {
            tls: Box::new(tls),
            local,
            peer,
        })
    }

    /// The address of this end.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address of the other end, as this side sees it (behind a NAT it is the NAT's).
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the handshake resumed an earlier session, and so cost less.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Ends the conduit at once: the kernel forgets what it has not delivered, and the other side
    /// sees a reset if the network still carries one.
    pub fn reset(self) {
        // Fails on a socket that the kernel has given up already: then nothing is left to forget.
        drop(self.tls.get_ref().0.get_ref().set_zero_linger());
    }

    /// Ends the conduit in order: says that nothing more comes, then discards what the other side
    /// still sends until it has ended too. After [`CLOSE_TIMEOUT`], or an error, it is
    /// [`Self::reset`].
    pub async fn close(mut self) {
        match timeout(CLOSE_TIMEOUT, self.finish()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => self.reset(),
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.tls.shutdown().await?;
        loop {
            let bytes = self.tls.fill_buf().await?.len();
            if bytes == 0 {
                return Ok(());
            }
            self.tls.consume(bytes);
        }
    }
}

impl AsyncRead for Conduit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_read(cx, buf)
    }
}

impl AsyncBufRead for Conduit {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut *self.get_mut().tls).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut *self.tls).consume(amount);
    }
}

impl AsyncWrite for Conduit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_shutdown(cx)
    }
}

/// How much ciphertext may wait here for the kernel: four records, so that one system call can
/// carry them, and no more, because what waits here cannot change to another network.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;
