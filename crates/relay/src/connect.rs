//! Connections to applications that offer a service, for streams that the other side has opened.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use handover_proto::StreamId;
use handover_proto::stream::code;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hub::{Hub, Session};

/// How long an application may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl<S: Session> Hub<S> {
    /// Serves `stream` by the connection that `connecting` makes.
    ///
    /// # Errors
    ///
    /// If there is none within ten seconds; the stream is aborted then.
    pub async fn connect_application(
        self: &Arc<Self>,
        stream: StreamId,
        connecting: impl Future<Output = io::Result<TcpStream>>,
    ) -> io::Result<()> {
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let served = connected.and_then(|socket| self.spawn_application(stream, socket));
        if served.is_err() {
            self.with(|machine, _| machine.streams_mut().abort(stream, code::CONNECT_FAILED));
        }
        served
    }
}
