//! The task of one conduit: both directions of one TLS connection, or of one stream of QUIC.
//!
//! Reading never waits for writing, nor writing for reading: each is polled for itself. Nothing ever
//! stops reading because an application is slow; what its socket does not take waits in its stream,
//! within the credit.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use handover_carrier::Conduit;
use handover_proto::session::Close;
use handover_proto::stream::{Accepted, PIECE_BYTES, PeerMisbehaved, Transmit};
use handover_proto::wire::{Decoder, Frame, Hello, Item, Purpose, WireError};
use handover_proto::{ConduitId, Instant, StreamId};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tracing::{debug, warn};

use crate::hub::{Core, Hub, Session};
use crate::writer::Writer;

/// How much is taken in before the writer has its turn again: sixteen TLS records, or two hundred packets of QUIC.
const TURN_BYTES: usize = 256 * 1024;

/// Why a conduit ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the other side closed it")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("the other module broke the protocol: {0}")]
    Misbehaved(#[from] PeerMisbehaved),
}

impl Ended {
    /// A broken rule is somebody's fault; everything else is a network's everyday life.
    fn log(&self, conduit: ConduitId) {
        match self {
            Self::Misbehaved(_) | Self::Wire(_) => {
                warn!(conduit = conduit.0, "conduit ended: {self}")
            }
            Self::Closed | Self::Io(_) => debug!(conduit = conduit.0, "conduit ended: {self}"),
        }
    }
}

/// The first frame of a connection that was accepted.
///
/// # Errors
///
/// If the connection ends before it, or begins with anything else.
pub async fn read_hello(conduit: &mut Conduit) -> io::Result<Hello> {
    let mut decoder = Decoder::default();
    loop {
        let buffer = conduit.fill_buf().await?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer;
        let item = decoder.next(&mut rest).map_err(io::Error::other)?;
        let hello = match item {
            Some(Item::Frame(Frame::Hello(hello))) => Some(hello),
            Some(Item::Frame(_) | Item::Data { .. }) => {
                return Err(io::Error::other("the connection does not begin with HELLO"));
            }
            None => None,
        };
        let used = buffer.len() - rest.len();
        conduit.consume(used);
        if let Some(hello) = hello {
            return Ok(hello);
        }
    }
}

impl<S: Session> Hub<S> {
    /// Runs a conduit that the machine hears of through `introduce`, until it ends.
    pub fn spawn_conduit(
        self: &Arc<Self>,
        id: ConduitId,
        conduit: Conduit,
        introduce: impl FnOnce(&mut S, Instant),
    ) {
        self.register_conduit(id);
        self.with(introduce);
        let task = Task {
            hub: Arc::clone(self),
            id,
            decoder: Decoder::default(),
            out: match conduit.has_datagrams() {
                true => Transmit::with_datagrams_apart(),
                false => Transmit::default(),
            },
            conduit,
            flushed: true,
            arrivals: Arrivals::default(),
            for_datagrams: false,
        };
        self.spawn(task.run());
    }
}

struct Task<S> {
    hub: Arc<Hub<S>>,
    id: ConduitId,
    conduit: Conduit,
    decoder: Decoder,
    out: Transmit,
    flushed: bool,
    arrivals: Arrivals,
    /// The link's datagrams come by this conduit's carrier, beside its bytes.
    for_datagrams: bool,
}

impl<S: Session> Task<S> {
    async fn run(mut self) {
        let result = poll_fn(|context| self.poll(context)).await;
        let id = self.id;
        self.hub.with_core(|core, _| core.conduits.remove(&id));
        match result {
            Ok((Close::Reset, _)) => self.conduit.reset(),
            Ok((Close::Drain, rest)) => self.drain(rest).await,
            Err(ended) => {
                ended.log(id);
                self.hub.with(|machine, now| machine.conduit_ended(id, now));
                self.conduit.reset();
            }
        }
    }

    /// What was begun and what is left goes out, then the end.
    //= docs/spec/planned.md#cnapt-06
    //= docs/spec/planned.md#snapt-06
    async fn drain(mut self, rest: Bytes) {
        let sent = async {
            while !self.out.is_empty() {
                poll_fn(|context| self.poll_write_out(context)).await?;
            }
            poll_fn(|context| self.conduit.poll_datagrams_sent(context)).await;
            self.conduit.write_all(&rest).await?;
            self.conduit.flush().await
        };
        let drained = tokio::time::timeout(handover_carrier::CLOSE_TIMEOUT, sent).await;
        match drained {
            Ok(Ok(())) => self.conduit.close().await,
            Ok(Err(_)) | Err(_) => self.conduit.reset(),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(Close, Bytes), Ended>> {
        let id = self.id;
        let (close, held) = self.hub.with_core(|core, _| {
            let streams = core.machine.streams_mut();
            self.for_datagrams = self.conduit.has_datagrams() && streams.is_for_datagrams(id);
            (
                core.attend_conduit(id, context.waker()),
                core.machine.is_held(id),
            )
        });
        if let Some(close) = close {
            return Poll::Ready(Ok(close));
        }
        if !held && let Poll::Ready(ended) = self.poll_read_in(context) {
            return Poll::Ready(Err(ended));
        }
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            return Poll::Ready(Err(error.into()));
        }
        Poll::Pending
    }

    /// Sends until there is nothing to send or the socket is full.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            //= docs/spec/planned.md#cnapt-06
            //= docs/spec/planned.md#snapt-06
            if self.out.is_empty() {
                let (id, out) = (self.id, &mut self.out);
                self.hub
                    .with(|machine, now| machine.streams_mut().transmit(id, now, out));
                if self.out.is_empty() {
                    break;
                }
            }
            ready!(self.poll_write_out(context))?;
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.conduit).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(datagram) = self.out.datagram() {
            ready!(self.conduit.poll_send_datagram(context, datagram))?;
            self.out.datagram_sent();
        }
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // The marker comes behind every datagram.
        ready!(self.conduit.poll_datagrams_sent(context));
        let chunks = self.out.chunks();
        let written = ready!(self.conduit.poll_write_chunks(context, chunks))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.out.advance(written);
        self.flushed = false;
        Poll::Ready(Ok(()))
    }

    /// Takes in what is there, and delivers it. Ready means that the conduit is over.
    fn poll_read_in(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let over = self.poll_take_in(context);
        self.deliver();
        over
    }

    fn poll_take_in(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let mut turn = 0;
        while turn < TURN_BYTES {
            if self.for_datagrams {
                // What comes before the marker is taken before it: so the bytes are waited for first, and taken last.
                let bytes = Pin::new(&mut self.conduit).poll_fill_buf(context);
                let ready = bytes.is_ready();
                if let Err(misbehaved) = self.take_datagrams(context) {
                    return Poll::Ready(misbehaved.into());
                }
                if !ready {
                    return Poll::Pending;
                }
            }
            let buffer = match ready!(Pin::new(&mut self.conduit).poll_fill_buf(context)) {
                Ok([]) => return Poll::Ready(Ended::Closed),
                Ok(buffer) => buffer,
                Err(error) => return Poll::Ready(error.into()),
            };
            let taken = buffer.len();
            let arrivals = &mut self.arrivals;
            if let Err(ended) = take_in(&self.hub, self.id, &mut self.decoder, buffer, arrivals) {
                return Poll::Ready(ended);
            }
            Pin::new(&mut self.conduit).consume(taken);
            turn += taken;
            if std::mem::take(&mut self.arrivals.attach) {
                self.conduit.admit();
            }
            if std::mem::take(&mut self.arrivals.for_datagrams) {
                self.for_datagrams = self.conduit.has_datagrams();
            }
            if self.arrivals.bytes >= PIECE_BYTES {
                self.deliver();
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes in the datagrams that are there. If the carrier has failed, the conduit's bytes will tell.
    fn take_datagrams(&mut self, context: &mut Context<'_>) -> Result<(), PeerMisbehaved> {
        let id = self.id;
        while let Poll::Ready(Ok(datagram)) = self.conduit.poll_receive_datagram(context) {
            self.hub.with(|machine, now| machine.heard(id, now));
            match Decoder::default().next(&mut &datagram[..]) {
                Ok(Some(Item::Frame(frame @ Frame::Datagram(_)))) => {
                    self.hub
                        .with(|machine, now| machine.handle_frame(id, &frame, now))?;
                }
                // Whatever it is, the next one may be better.
                Ok(_) | Err(_) => debug!(conduit = id.0, "a datagram that is none of the protocol"),
            }
        }
        Ok(())
    }

    /// Gives the applications what came for them.
    fn deliver(&mut self) {
        self.arrivals.bytes = 0;
        for (stream, writer) in self.arrivals.streams.drain(..) {
            deliver(&self.hub, stream, &writer);
        }
    }
}

/// What a turn has brought for applications, and is yet to be delivered.
#[derive(Debug, Default)]
struct Arrivals {
    /// At most one entry for each read of the turn: neighbours that are the same are one.
    streams: Vec<(StreamId, Arc<Writer>)>,
    bytes: usize,
    /// The session has taken in the link of which this is the first conduit.
    attach: bool,
    /// The conduit is for datagrams from now on.
    for_datagrams: bool,
}

fn take_in<S: Session>(
    hub: &Hub<S>,
    id: ConduitId,
    decoder: &mut Decoder,
    mut input: &[u8],
    arrivals: &mut Arrivals,
) -> Result<(), Ended> {
    hub.with(|machine, now| machine.heard(id, now));
    while let Some(item) = decoder.next(&mut input)? {
        match item {
            Item::Frame(frame) => {
                hub.with(|machine, now| machine.handle_frame(id, &frame, now))?;
                arrivals.attach |= matches!(frame, Frame::Attach(_));
                arrivals.for_datagrams |= is_use_for_datagrams(&frame);
            }
            Item::Data {
                stream,
                offset,
                bytes,
            } => {
                hub.with_core(|core, now| core.take_data(id, stream, offset, bytes, now, arrivals))?
            }
        }
    }
    Ok(())
}

const fn is_use_for_datagrams(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::Use {
            purpose: Purpose::Datagrams,
            ..
        }
    )
}

impl<S: Session> Core<S> {
    fn take_data(
        &mut self,
        conduit: ConduitId,
        stream: StreamId,
        offset: u64,
        bytes: &[u8],
        now: Instant,
        arrivals: &mut Arrivals,
    ) -> Result<(), PeerMisbehaved> {
        if !self.conduits.contains_key(&conduit) {
            return Ok(());
        }
        let streams = self.machine.streams_mut();
        if streams.accept_data(stream, offset, bytes, now)? == Accepted::Deliverable {
            arrivals.bytes += bytes.len();
            let last = arrivals.streams.last();
            if last.is_none_or(|(last, _)| *last != stream)
                && let Some(application) = self.applications.get(&stream)
            {
                let writer = Arc::clone(&application.writer);
                arrivals.streams.push((stream, writer));
            }
        }
        Ok(())
    }
}

/// Writes to the application's socket, outside the lock, until there is nothing more or it is full; the
/// application's task does the rest.
fn deliver<S: Session>(hub: &Hub<S>, stream: StreamId, writer: &Writer) {
    while let Some(piece) = hub.with(|machine, _| machine.streams_mut().take(stream)) {
        let result = writer.write_now(&piece);
        let (written, length) = (*result.as_ref().unwrap_or(&0), piece.len());
        hub.with_core(|core, now| {
            let streams = core.machine.streams_mut();
            if streams.delivered(stream, piece, written, now) {
                core.wake_application(stream);
            }
            if let Err(error) = result {
                core.note_write_error(stream, error.kind());
            }
        });
        if written < length {
            break;
        }
    }
}
