//! What can go wrong, and what to do about it.

use std::io;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The machine refuses namespaces. The process is as it was before: it may go on without.
    #[error("this machine refuses user namespaces: {reason}")]
    Refused {
        /// Why, and where it is known, what permits it.
        reason: String,
    },
    /// The kernel began and then refused. The process has lost its own user id and must exit.
    #[error("this machine stopped a user namespace half-way ({reason}); leave the process")]
    HalfEntered {
        /// The step that failed and the kernel's answer.
        reason: String,
    },
}

/// An operation on a network namespace that failed.
#[derive(Debug, thiserror::Error)]
#[error("namespace {namespace}: cannot {action}")]
pub struct NetworkError {
    /// The name that the namespace was given.
    pub namespace: String,
    /// What was tried, as an infinitive.
    pub action: String,
    /// What the kernel said.
    pub source: io::Error,
}

/// The kernel's answer as an ordinary error of the operating system, so that `ENODEV` reads like one.
pub(crate) fn from_netlink(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error
        && let Some(code) = message.code
    {
        return io::Error::from_raw_os_error(code.get().saturating_neg());
    }
    io::Error::other(error)
}
