//! What happens to the session, told to the administrator's `notify` hook: for a desktop's notification, a lamp, a log.
//!
//! One notice after the other, in their order. A hook that is slower than the events misses the latest.

use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use crate::hooks::{Hook, Kind};

/// As many as come while a slow hook is killed: a few networks that come and go.
const WAITING: usize = 16;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// The first link carries.
    Attached,
    /// The link is gone.
    Lost,
    /// Another one carries, or one over the same network again.
    Switched,
    /// It does not.
    Failed,
}

#[derive(Debug)]
pub(crate) struct Notices {
    /// The hook, and where it is run.
    hook: Option<(String, mpsc::Sender<Hook>)>,
}

impl Notices {
    /// Runs `command` for each, if there is one.
    pub(crate) fn new(command: Option<String>, limit: Duration) -> Self {
        let hook = command.map(|command| {
            let (sender, mut waiting) = mpsc::channel::<Hook>(WAITING);
            tokio::spawn(async move {
                while let Some(hook) = waiting.recv().await {
                    if let Err(error) = hook.run(limit).await {
                        warn!("the hook notify {error}");
                    }
                }
            });
            (command, sender)
        });
        Self { hook }
    }

    pub(crate) fn tell(&self, happened: Happened, network: String, reason: String) {
        let Some((command, sender)) = &self.hook else {
            return;
        };
        let event = match happened {
            Happened::Attached => "attached",
            Happened::Lost => "lost",
            Happened::Switched => "switched",
            Happened::Failed => "failed",
        };
        let hook = Hook {
            kind: Kind::Notify,
            command: command.clone(),
            environment: vec![
                ("HANDOVER_EVENT", event.to_owned()),
                ("HANDOVER_NETWORK", network),
                ("HANDOVER_REASON", reason),
            ],
        };
        if sender.try_send(hook).is_err() {
            warn!(event, "the hook notify is too slow: it is not told");
        }
    }
}
