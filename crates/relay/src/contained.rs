//! A panic in a task of a session: it breaks that session and tells whoever runs it.
//!
//! A machine that panicked under its lock may not be what its invariants describe, and a task that is gone leaves
//! connections that nobody serves. So the session is over as a whole; what becomes of the process is for its panic
//! hook, which asks [`is_in_a_session`].

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::hub::{Hub, Session};

thread_local! {
    static IN_A_SESSION: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a task of a session.
#[must_use]
pub fn is_in_a_session() -> bool {
    IN_A_SESSION.get()
}

impl<S: Session> Hub<S> {
    /// Runs a task of this session.
    pub fn spawn(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|context| {
                let _contained = Contained::enter(&hub.broken);
                task.as_mut().poll(context)
            })
            .await;
        })
    }

    /// Waits until a task of this session has panicked. One at a time may wait.
    pub async fn broken(&self) {
        self.broken.notified().await;
    }
}

/// While it lives, the thread is in a session; dropped by a panic, it tells.
struct Contained<'h>(&'h Notify);

impl<'h> Contained<'h> {
    fn enter(broken: &'h Notify) -> Self {
        IN_A_SESSION.set(true);
        Self(broken)
    }
}

impl Drop for Contained<'_> {
    fn drop(&mut self) {
        IN_A_SESSION.set(false);
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}
