//! One conduit: an authenticated, reliable, ordered pipe between two modules. It is a TLS connection over TCP, or a
//! bidirectional stream of a QUIC connection.
//!
//! Over TLS, writing works like a buffered writer: a write encrypts into whole TLS records and hands them to
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
//! could destroy what was sent before, and so could closing a connection of QUIC. [`Conduit::reset`],
//! on a dead link, leaves nothing behind that could be delivered late. One that is dropped has not ended
//! in order either.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustls::HandshakeKind;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader,
    ReadBuf,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::quic;

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

/// One TLS connection, or one stream of a QUIC connection, of either side.
#[derive(Debug)]
pub struct Conduit(Pipe);

#[derive(Debug)]
enum Pipe {
    Tls(Box<Tls>),
    Quic(Box<quic::Stream>),
}

#[derive(Debug)]
struct Tls {
    stream: TlsStream<BufReader<TcpStream>>,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Conduit {
    pub(crate) fn over_tls(stream: TlsStream<BufReader<TcpStream>>) -> io::Result<Self> {
        let socket = stream.get_ref().0.get_ref();
        let (local, peer) = (socket.local_addr()?, socket.peer_addr()?);
        Ok(Self(Pipe::Tls(Box::new(Tls {
            stream,
            local,
            peer,
        }))))
    }

    pub(crate) fn over_quic(stream: quic::Stream) -> Self {
        Self(Pipe::Quic(Box::new(stream)))
    }

    /// The address of this end.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            Pipe::Tls(tls) => tls.local,
            Pipe::Quic(stream) => stream.local_addr(),
        }
    }

    /// The address of the other end, as this side sees it (behind a NAT it is the NAT's).
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        match &self.0 {
            Pipe::Tls(tls) => tls.peer,
            Pipe::Quic(stream) => stream.peer_addr(),
        }
    }

    /// Whether the handshake resumed an earlier session, and so cost less; over QUIC none does.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        match &self.0 {
            Pipe::Tls(tls) => {
                tls.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
            }
            Pipe::Quic(_) => false,
        }
    }

    /// The session has taken in the link that began with this conduit: the client may open the others, where that is
    /// for the server to say. To be called by the server; nothing happens where it was called before.
    pub fn admit(&self) {
        match &self.0 {
            Pipe::Tls(_) => {}
            Pipe::Quic(stream) => stream.admit(),
        }
    }

    /// Takes some bytes from the first of `chunks` on, and says how many. QUIC keeps them where they are until they
    /// have arrived; TLS encrypts them at once.
    pub fn poll_write_chunks<'a>(
        &mut self,
        cx: &mut Context<'_>,
        chunks: impl Iterator<Item = &'a Bytes>,
    ) -> Poll<io::Result<usize>> {
        let chunks = chunks.take(CHUNKS);
        match &mut self.0 {
            Pipe::Tls(tls) => {
                let mut slices = [IoSlice::new(&[]); CHUNKS];
                let count = fill(&mut slices, chunks.map(|chunk| IoSlice::new(chunk)));
                Pin::new(&mut tls.stream).poll_write_vectored(cx, &slices[..count])
            }
            Pipe::Quic(stream) => {
                let mut kept: [Bytes; CHUNKS] = Default::default();
                let count = fill(&mut kept, chunks.cloned());
                stream.poll_write_chunks(cx, &mut kept[..count])
            }
        }
    }

    /// Whether datagrams go beside the conduit's bytes: by [`Self::poll_send_datagram`], and not in them.
    #[must_use]
    pub const fn has_datagrams(&self) -> bool {
        matches!(self.0, Pipe::Quic(_))
    }

    /// Takes a datagram, once there is room for it. It arrives at most once, maybe late, maybe never. The datagrams of a
    /// link are one conduit's business at a time. Over TLS there is never room.
    pub fn poll_send_datagram(
        &mut self,
        cx: &mut Context<'_>,
        datagram: &Bytes,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Pipe::Tls(_) => Poll::Pending,
            Pipe::Quic(stream) => stream.poll_send_datagram(cx, datagram),
        }
    }

    /// Waits until every datagram has left, so that nothing that is written from now on overtakes one.
    pub fn poll_datagrams_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Pipe::Tls(_) => Poll::Ready(()),
            Pipe::Quic(stream) => stream.poll_datagrams_sent(cx),
        }
    }

    /// The next datagram that has come. Over TLS none comes.
    pub fn poll_receive_datagram(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        match &mut self.0 {
            Pipe::Tls(_) => Poll::Pending,
            Pipe::Quic(stream) => stream.poll_receive_datagram(cx),
        }
    }

    /// Ends the conduit at once: this side forgets what it has not delivered, and the other side
    /// sees a reset if the network still carries one. Over QUIC the first conduit of a link ends all of them.
    pub fn reset(self) {
        match self.0 {
            // Fails on a socket that the kernel has given up already: then nothing is left to forget.
            Pipe::Tls(tls) => drop(tls.stream.get_ref().0.get_ref().set_zero_linger()),
            Pipe::Quic(mut stream) => stream.reset(),
        }
    }

    /// Ends the conduit in order: says that nothing more comes, then discards what the other side
    /// still sends until it has ended too. After [`CLOSE_TIMEOUT`], or an error, it is
    /// [`Self::reset`]. Over QUIC the first conduit of a link ends behind all others.
    pub async fn close(mut self) {
        match timeout(CLOSE_TIMEOUT, self.finish()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => self.reset(),
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.shutdown().await?;
        loop {
            let bytes = self.fill_buf().await?.len();
            if bytes == 0 {
                break;
            }
            self.consume(bytes);
        }
        match &mut self.0 {
            Pipe::Tls(_) => Ok(()),
            Pipe::Quic(stream) => stream.finish().await,
        }
    }
}

/// Says how many there were.
fn fill<T>(places: &mut [T], items: impl Iterator<Item = T>) -> usize {
    let mut count = 0;
    for (place, item) in places.iter_mut().zip(items) {
        *place = item;
        count += 1;
    }
    count
}

impl AsyncRead for Conduit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Conduit {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match &mut self.get_mut().0 {
            Pipe::Tls(tls) => Pin::new(&mut tls.stream).poll_fill_buf(cx),
            Pipe::Quic(stream) => stream.poll_fill(cx),
        }
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        match &mut self.0 {
            Pipe::Tls(tls) => Pin::new(&mut tls.stream).consume(amount),
            Pipe::Quic(stream) => stream.consume(amount),
        }
    }
}

impl AsyncWrite for Conduit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Pipe::Tls(tls) => Pin::new(&mut tls.stream).poll_write(cx, buf),
            Pipe::Quic(stream) => stream.poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Pipe::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
            Pipe::Quic(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Pipe::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
            Pipe::Quic(stream) => Poll::Ready(stream.shutdown()),
        }
    }
}

/// The most pieces of one write: frames and payloads of a batch.
const CHUNKS: usize = 32;

/// How much ciphertext may wait here for the kernel: four records, so that one system call can
/// carry them, and no more, because what waits here cannot change to another network.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;
