//! A connection over which one question after the other is asked and answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use handover_sandbox::Namespace;

use super::world::LIMIT;
use crate::application::{Application, Stop, converse, enter};
use crate::wait::wait_until;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(10);

/// So many more answers show that a conversation goes on.
const SOME: u64 = 20;

pub(super) struct Conversation {
    application: Application<u64>,
    answers: Arc<AtomicU64>,
}

impl Conversation {
    /// Begins one with the [`crate::servers::Echo`] at `target`; `stop` ends it.
    pub(super) fn start(host: &Namespace, target: SocketAddr, stop: &Stop) -> Result<Self> {
        let (stream, told) = (enter(host, target)?, stop.clone());
        let answers = Arc::<AtomicU64>::default();
        let tally = Arc::clone(&answers);
        let talk = move || converse(stream, &told, PAUSE, &tally);
        let application = Application::start("conversation", talk)?;
        Ok(Self {
            application,
            answers,
        })
    }

    /// Waits until it has gone on from where it is now.
    pub(super) fn wait_for_more(&mut self) -> Result<()> {
        let wanted = self.answers.load(Ordering::Relaxed) + SOME;
        wait_until("more answers", LIMIT, || {
            self.application.ensure_running()?;
            Ok(self.answers.load(Ordering::Relaxed) >= wanted)
        })
    }

    /// Waits for its end; says how many questions were answered.
    pub(super) fn finish(self) -> Result<u64> {
        self.application.finish(LIMIT)
    }
}
