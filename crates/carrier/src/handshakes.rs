//! The handshakes of one door that have begun and not ended, each in a task of its own.
//!
//! They are bounded in number by [`HANDSHAKES_AT_ONCE`]; who has to go when all places are taken is said in `crowd`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::{AbortHandle, Id, JoinSet};
use tracing::warn;

use crate::AcceptError;
use crate::crowd::Crowd;
use crate::turned_away::Doorkeeper;

/// How many handshakes may be unfinished at once, at each door. Each costs some 20 KiB, over TCP a descriptor too, so
/// this is about 10 MiB; and only a flood of more than a thousand strangers a second could displace a client that
/// needs half a second.
pub const HANDSHAKES_AT_ONCE: usize = 512;

/// Handshakes that each give a `T`, or a reason to turn somebody away.
pub(crate) struct Handshakes<T> {
    doorkeeper: Arc<Doorkeeper>,
    tasks: JoinSet<Result<T, AcceptError>>,
    running: HashMap<Id, (IpAddr, AbortHandle)>,
    crowd: Crowd<Id>,
}

impl<T: Send + 'static> Handshakes<T> {
    pub(crate) fn new(doorkeeper: Arc<Doorkeeper>) -> Self {
        Self {
            doorkeeper,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            crowd: Crowd::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn begin(
        &mut self,
        from: IpAddr,
        handshake: impl Future<Output = Result<T, AcceptError>> + Send + 'static,
    ) {
        if self.running.len() >= HANDSHAKES_AT_ONCE {
            self.displace();
        }
        let task = self.tasks.spawn(handshake);
        self.crowd.enter(from, task.id());
        self.running.insert(task.id(), (from, task));
    }

    pub(crate) fn displace(&mut self) {
        let displaced = self
            .crowd
            .displace()
            .and_then(|id| self.running.remove(&id));
        if let Some((from, task)) = displaced {
            task.abort();
            self.doorkeeper.turn_away(from, &AcceptError::Displaced);
        }
    }

    /// Waits for the next end of a handshake; `None` if nobody was let in.
    pub(crate) async fn finished(&mut self) -> Option<T> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        // A displaced handshake has been taken out already; its end is of no interest, unless it
        // was done before it could be stopped.
        let from = self.running.remove(&id).map(|(from, _)| from);
        if let Some(from) = from {
            self.crowd.leave(from, &id);
        }
        match ended {
            Ok((_, Ok(finished))) => Some(finished),
            Ok((_, Err(error))) => {
                if let Some(from) = from {
                    self.doorkeeper.turn_away(from, &error);
                }
                None
            }
            Err(error) => {
                if error.is_panic() {
                    warn!(?from, "a handshake failed unexpectedly: {error}");
                }
                None
            }
        }
    }
}
