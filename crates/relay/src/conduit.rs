//! The task of one conduit: both directions of one TLS connection.
//!
//! Reading never waits for writing, nor writing for reading: each is polled for itself. Nothing ever
//! stops reading because an application is slow; what its socket does not take waits in its stream,
//! within the credit.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use handover_carrier::Conduit;
use handover_proto::session::Close;
use handover_proto::stream::{Accepted, PeerMisbehaved, Transmit};
use handover_proto::wire::{Decoder, Frame, Hello, Item, WireError};
use handover_proto::{ConduitId, StreamId};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tracing::{debug, warn};

use crate::hub::{Core, Hub, Session};
use crate::writer::Writer;

/// The most pieces of one vectored write: frames and payloads of a batch.
const SLICES: usize = 32;

/// How many TLS records are taken in before the writer has its turn again.
const READS_IN_A_TURN: usize = 16;

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
        introduce: impl FnOnce(&mut S, handover_proto::Instant),
    ) {
        self.register_conduit(id);
        self.with(introduce);
        let task = Task {
            hub: Arc::clone(self),
            id,
            conduit,
            decoder: Decoder::default(),
            out: Transmit::default(),
            flushed: true,
        };
        tokio::spawn(task.run());
    }
}

struct Task<S> {
    hub: Arc<Hub<S>>,
    id: ConduitId,
    conduit: Conduit,
    decoder: Decoder,
    out: Transmit,
    flushed: bool,
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
    async fn drain(mut self, rest: Bytes) {
        let sent = async {
            while !self.out.is_empty() {
                poll_fn(|context| self.poll_write_out(context)).await?;
            }
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
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.out.slices(&mut slices);
        let writer = Pin::new(&mut self.conduit);
        let written = ready!(writer.poll_write_vectored(context, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.out.advance(written);
        self.flushed = false;
        Poll::Ready(Ok(()))
    }

    /// Takes in what is there. Ready means that the conduit is over.
    fn poll_read_in(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        for _ in 0..READS_IN_A_TURN {
            let buffer = match ready!(Pin::new(&mut self.conduit).poll_fill_buf(context)) {
                Ok([]) => return Poll::Ready(Ended::Closed),
                Ok(buffer) => buffer,
                Err(error) => return Poll::Ready(error.into()),
            };
            let taken = buffer.len();
            if let Err(ended) = take_in(&self.hub, self.id, &mut self.decoder, buffer) {
                return Poll::Ready(ended);
            }
            Pin::new(&mut self.conduit).consume(taken);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

fn take_in<S: Session>(
    hub: &Hub<S>,
    id: ConduitId,
    decoder: &mut Decoder,
    mut input: &[u8],
) -> Result<(), Ended> {
    hub.with(|machine, now| machine.heard(id, now));
    while let Some(item) = decoder.next(&mut input)? {
        match item {
            Item::Frame(frame) => {
                hub.with(|machine, now| machine.handle_frame(id, &frame, now))?;
            }
            Item::Data {
                stream,
                offset,
                bytes,
            } => take_data(hub, id, stream, offset, bytes)?,
        }
    }
    Ok(())
}

/// Bytes in order go straight to the application's socket, outside the lock.
fn take_data<S: Session>(
    hub: &Hub<S>,
    conduit: ConduitId,
    stream: StreamId,
    offset: u64,
    bytes: &[u8],
) -> Result<(), Ended> {
    let direct = hub.with_core(|core, now| {
        if !core.conduits.contains_key(&conduit) {
            return Ok(None);
        }
        let accepted = core
            .machine
            .streams_mut()
            .accept_data(stream, offset, bytes, now)?;
        Ok::<_, PeerMisbehaved>(match accepted {
            Accepted::Direct(fresh) => Some((fresh, writer_of(core, stream))),
            Accepted::Duplicate | Accepted::Stored => None,
        })
    })?;
    let Some((fresh, writer)) = direct else {
        return Ok(());
    };
    let result = writer.map_or(Ok(0), |writer| writer.write_now(fresh));
    hub.with_core(|core, now| {
        let written = *result.as_ref().unwrap_or(&0);
        core.machine
            .streams_mut()
            .direct_delivered(stream, fresh, written, now);
        if let Err(error) = result {
            core.note_write_error(stream, error.kind());
        }
    });
    Ok(())
}

fn writer_of<S: Session>(core: &Core<S>, stream: StreamId) -> Option<Arc<Writer>> {
    core.applications
        .get(&stream)
        .map(|application| Arc::clone(&application.writer))
}
