//! The signals that end a daemon, and the one that lets it read its configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, as from Ctrl-C, and SIGTERM, as from a service manager.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on the signals are waited for and do not kill.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Ends when one of them came. May be dropped and called again.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP, as from a service manager's reload.
#[derive(Debug)]
pub struct Reloads(Signal);

impl Reloads {
    /// From now on the signal is waited for and does not kill.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Ends when it came. May be dropped and called again.
    pub async fn asked(&mut self) {
        self.0.recv().await;
    }
}
