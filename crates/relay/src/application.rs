//! The task of one application's connection.
//!
//! It reads what the application sends, as far as there is credit, and delivers what the conduit's
//! task could not. How a connection ends decides how the stream ends (design rule 6): an end is FIN,
//! a reset is ABORT, and Linux reports a socket's error only once, to whichever half looks first. So
//! the first error that anyone sees is kept in a record that all share, and an end of file counts
//! only if there is no error but EPIPE, which means that the application's own FIN came first.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BufMut;
use handover_proto::StreamId;
use handover_proto::stream::{Streams, View, code};
use handover_proto::wire::Request;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tracing::debug;

use crate::hub::{Core, Hub, Session};
use crate::read_buffer::{self, READ_BYTES};
use crate::writer::Writer;

impl<S: Session> Hub<S> {
    /// Serves an application's connection as `stream`, until both are over.
    ///
    /// # Errors
    ///
    /// If the socket's options cannot be set; the stream is aborted then.
    pub(crate) fn spawn_application(
        self: &Arc<Self>,
        stream: StreamId,
        socket: TcpStream,
    ) -> io::Result<()> {
        let spawned = self.spawn_application_if(stream, socket, |_| true);
        if spawned.is_err() {
            self.with(|machine, _| machine.streams_mut().abort(stream, code::CONNECT_FAILED));
        }
        spawned
    }

    /// The same with the application that the other side asked for. If nobody waits for it any more, it is reset.
    ///
    /// # Errors
    ///
    /// If the socket's options cannot be set.
    pub(crate) fn spawn_requested(
        self: &Arc<Self>,
        stream: StreamId,
        request: &Request,
        socket: TcpStream,
    ) -> io::Result<()> {
        self.spawn_application_if(stream, socket, |streams| streams.awaits(stream, request))
    }

    fn spawn_application_if(
        self: &Arc<Self>,
        stream: StreamId,
        socket: TcpStream,
        is_wanted: impl FnOnce(&Streams) -> bool,
    ) -> io::Result<()> {
        prepare(&socket)?;
        let (reader, writer) = socket.into_split();
        let writer = Arc::new(Writer::new(writer));
        let wanted = self.with_core(|core, _| {
            let wanted = is_wanted(core.machine.streams_mut());
            if wanted {
                core.add_application(stream, Arc::clone(&writer));
                core.machine.streams_mut().connected(stream);
            }
            wanted
        });
        if !wanted {
            return Ok(());
        }
        let task = Task {
            hub: Arc::clone(self),
            stream,
            reader,
            writer,
            begun: false,
            blocked: false,
            shut: false,
            failure: None,
        };
        self.spawn(task.run());
        Ok(())
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let options = SockRef::from(socket);
    // Until both directions have ended in order, closing means reset: whatever becomes of this
    // process, a connection that was broken off must not look complete.
    options.set_linger(Some(Duration::ZERO))?;
    // Without it the urgent byte vanishes from the stream.
    options.set_out_of_band_inline(true)
}

struct Task<S> {
    hub: Arc<Hub<S>>,
    stream: StreamId,
    reader: OwnedReadHalf,
    writer: Arc<Writer>,
    /// OPEN was allowed to leave.
    begun: bool,
    /// The application's socket takes no more for now.
    blocked: bool,
    /// The application has been told of the end.
    shut: bool,
    /// While there is no credit nothing is read, and a reset would go unseen: this sees it.
    failure: Option<Pin<Box<dyn Future<Output = io::ErrorKind> + Send>>>,
}

/// How a connection's task ends.
enum Over {
    /// Both directions ended, or the connection is gone by itself.
    Done,
    /// The machine wants it reset.
    Reset(u16),
}

impl<S: Session> Task<S> {
    async fn run(mut self) {
        let over = poll_fn(|context| self.poll(context)).await;
        let stream = self.stream;
        self.hub.with_core(|core, _| {
            if core.is_served_by(stream, &self.writer) {
                core.applications.remove(&stream);
            }
        });
        match over {
            Over::Done => {
                let socket: &TcpStream = self.reader.as_ref();
                if let Err(error) = SockRef::from(socket).set_linger(None) {
                    debug!(%stream, "closed with a reset: {error}");
                }
            }
            // The halves are dropped with the linger time of zero that `prepare` set.
            Over::Reset(why) => debug!(%stream, "application reset: {}", code::describe(why)),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        loop {
            let stream = self.stream;
            let (reset, error, view) = self.hub.with_core(|core, _| {
                // A new process of the other side has a stream of the same id already.
                if !core.is_served_by(stream, &self.writer) {
                    return (Some(code::SESSION_LOST), None, None);
                }
                core.attend_application(stream, context.waker());
                let (reset, error) = core
                    .applications
                    .get(&stream)
                    .map_or((None, None), |one| (one.reset, one.error));
                (reset, error, core.machine.streams_mut().view(stream))
            });
            if let Some(why) = reset {
                return Poll::Ready(Over::Reset(why));
            }
            let Some(view) = view else {
                return Poll::Ready(Over::Done);
            };
            if let Some(kind) = error {
                self.end_by_write_error(kind, view);
                if kind != io::ErrorKind::BrokenPipe {
                    return Poll::Ready(Over::Done);
                }
            }
            if view.read_over && view.write_over && (self.shut || error.is_some()) {
                return Poll::Ready(Over::Done);
            }
            let delivered = self.deliver(context, view);
            let read = self.read(context, view);
            if !delivered && !read {
                return Poll::Pending;
            }
        }
    }

    /// Delivers what waits. Says whether to look again.
    fn deliver(&mut self, context: &mut Context<'_>, view: View) -> bool {
        if self.blocked && self.writer.poll_ready(context).is_pending() {
            return false;
        }
        self.blocked = false;
        let stream = self.stream;
        if view.bytes {
            let Some(bytes) = self
                .hub
                .with(|machine, _| machine.streams_mut().take(stream))
            else {
                return false;
            };
            let result = self.writer.write_now(&bytes);
            let written = *result.as_ref().unwrap_or(&0);
            self.blocked = result.is_ok() && written < bytes.len();
            self.hub.with_core(|core, now| {
                core.machine
                    .streams_mut()
                    .delivered(stream, bytes, written, now);
                if let Err(error) = result {
                    core.note_write_error(stream, error.kind());
                }
            });
            return true;
        }
        if view.end && !self.shut {
            self.shut = true;
            // ENOTCONN: the application is gone already, and its reading half tells how.
            if let Err(error) = self.writer.shut() {
                debug!(%stream, "no end passed on: {error}");
            }
            self.hub
                .with(|machine, _| machine.streams_mut().end_delivered(stream));
            return true;
        }
        false
    }

    /// Reads once, if there is credit. Says whether to look again at once.
    ///
    /// After a read the other tasks have their turn, the conduit's first of all: while several reads in a
    /// row were made the network would idle, and a congestion control that paces, as BBR does, takes every
    /// such pause for the network's own.
    fn read(&mut self, context: &mut Context<'_>, view: View) -> bool {
        if view.read_over {
            return false;
        }
        if view.room == 0 {
            return self.watch_for_failure(context);
        }
        self.failure = None;
        match self.read_once(context, view.room) {
            Poll::Pending => {
                self.begin();
                false
            }
            Poll::Ready(Ok(0)) => {
                self.end_of_file();
                true
            }
            Poll::Ready(Ok(_)) => {
                context.waker().wake_by_ref();
                false
            }
            Poll::Ready(Err(error)) => {
                self.end_by_read_error(&error);
                true
            }
        }
    }

    /// Without credit nothing is read. Says whether the connection failed meanwhile.
    fn watch_for_failure(&mut self, context: &mut Context<'_>) -> bool {
        let writer = &self.writer;
        let failure = self
            .failure
            .get_or_insert_with(|| Box::pin(Arc::clone(writer).failure()));
        let Poll::Ready(kind) = failure.as_mut().poll(context) else {
            return false;
        };
        self.failure = None;
        let stream = self.stream;
        self.hub
            .with_core(|core, _| core.note_write_error(stream, kind));
        true
    }

    /// The first look found no bytes: OPEN leaves without any.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            let stream = self.stream;
            self.hub
                .with(|machine, _| machine.streams_mut().begin(stream));
        }
    }

    /// How many bytes were read, 0 at the end of file.
    fn read_once(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut buffer = read_buffer::take();
        let read = {
            let mut room = (&mut buffer).limit(room.min(READ_BYTES));
            pin!(self.reader.read_buf(&mut room)).poll(context)
        };
        if !matches!(read, Poll::Ready(Ok(1..))) {
            read_buffer::give_back(buffer);
            return read;
        }
        let bytes = read_buffer::keep(buffer);
        let count = bytes.len();
        self.begun = true;
        let stream = self.stream;
        self.hub
            .with(|machine, _| machine.streams_mut().write(stream, bytes));
        Poll::Ready(Ok(count))
    }

    /// At the end of file the writers' record and the socket's own error are asked first: after an
    /// error that another half has taken, Linux reports an end.
    fn end_of_file(&mut self) {
        let socket: &TcpStream = self.reader.as_ref();
        let pending = SockRef::from(socket).take_error().ok().flatten();
        let stream = self.stream;
        self.hub.with_core(|core, _| {
            let noted = core.applications.get(&stream).and_then(|one| one.error);
            let error = noted.or(pending.map(|error| error.kind()));
            if error.is_some_and(|kind| kind != io::ErrorKind::BrokenPipe) {
                core.machine.streams_mut().abort(stream, code::RESET);
            } else {
                core.machine.streams_mut().finish(stream);
            }
        });
    }

    fn end_by_read_error(&mut self, error: &io::Error) {
        let stream = self.stream;
        debug!(%stream, "application: {error}");
        self.hub.with_core(|core, _| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                core.machine.streams_mut().finish(stream);
            } else {
                core.machine.streams_mut().abort(stream, code::RESET);
            }
        });
    }

    fn end_by_write_error(&mut self, kind: io::ErrorKind, view: View) {
        let stream = self.stream;
        self.hub.with(|machine, _| {
            if kind == io::ErrorKind::BrokenPipe {
                if !view.write_over {
                    machine.streams_mut().stop(stream, code::CANNOT_DELIVER);
                }
            } else {
                machine.streams_mut().abort(stream, code::RESET);
            }
        });
    }
}

impl<S: Session> Core<S> {
    /// Whether the stream's application is the one behind this writer.
    fn is_served_by(&self, stream: StreamId, writer: &Arc<Writer>) -> bool {
        let application = self.applications.get(&stream);
        application.is_some_and(|one| Arc::ptr_eq(&one.writer, writer))
    }

    /// Keeps the first error that a write met, and lets the application's task see it.
    pub(crate) fn note_write_error(&mut self, stream: StreamId, kind: io::ErrorKind) {
        if let Some(application) = self.applications.get_mut(&stream) {
            application.error.get_or_insert(kind);
        }
        self.wake_application(stream);
    }
}
