//! Entering a user namespace.
//!
//! Inside, the process has every capability over the network namespaces that it makes, and none over
//! the machine. It is mapped to a user id other than 0, because sshd and PostgreSQL refuse to run as
//! root, be it only the root of a namespace. The capabilities of the process itself stay, for it
//! executes no other program; programs that it *starts* get none, as a non-root user's programs
//! should: so whatever works in the sandbox works for an ordinary user. The exception asks for it by
//! name: [`crate::Namespace::spawn_administrator`].
//!
//! Where real root meets a machine without user namespaces (a container, usually), a network namespace
//! alone does as well, but for the programs that refuse root.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use crate::EnterError;

/// What root becomes inside; any other user keeps their own id. The first id of ordinary users on most
/// systems, so it is the likeliest to have a name.
const ORDINARY_ID: u32 = 1000;

/// Settings that switch user namespaces off: file, the value that does so, how to permit them.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "sysctl user.max_user_namespaces=1000 permits them",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "sysctl kernel.unprivileged_userns_clone=1 permits them",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0 permits them",
    ),
];

/// How the process got its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// In a user namespace, under this user id (never 0).
    UserNamespace {
        /// The user id that the process and its children see.
        uid: u32,
    },
    /// As real root, in a network namespace only.
    AsRoot,
}

/// Moves the process into a user namespace and a network namespace of its own.
///
/// Call it first in `main`: the kernel refuses a process with more than one thread. After
/// [`EnterError::Refused`] the process is unchanged and may go on without a sandbox.
pub fn enter_user_namespace() -> Result<Entered, EnterError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let refusal = match refused_by_setting(uid) {
        Some(reason) => reason,
        None => match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET) {
            Ok(()) => return map_ids(uid, gid),
            Err(error) => explain(error),
        },
    };
    if uid.is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(Entered::AsRoot);
    }
    Err(EnterError::Refused { reason: refusal })
}

/// Asks the settings first: with some of them the kernel lets a process in and then refuses to map its
/// user id, and from there is no way back.
fn refused_by_setting(uid: Uid) -> Option<String> {
    SWITCHES.iter().find_map(|(file, refusing, remedy)| {
        // Only the first setting holds for root too.
        if uid.is_root() && !file.starts_with("/proc/sys/user/") {
            return None;
        }
        let value = fs::read_to_string(file).ok()?;
        (value.trim() == *refusing).then(|| format!("{file} is {refusing}; {remedy}"))
    })
}

fn explain(error: Errno) -> String {
    if error == Errno::EINVAL && threads() != Some(1) {
        return "the process already has several threads".to_owned();
    }
    format!("unshare: {}", error.desc())
}

fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

fn map_ids(uid: Uid, gid: Gid) -> Result<Entered, EnterError> {
    let inside = if uid.is_root() {
        ORDINARY_ID
    } else {
        uid.as_raw()
    };
    let inside_group = if gid.as_raw() == 0 {
        ORDINARY_ID
    } else {
        gid.as_raw()
    };
    let steps = [
        ("/proc/self/uid_map", format!("{inside} {uid} 1")),
        // The kernel asks for this before an unprivileged process may map its group.
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/gid_map", format!("{inside_group} {gid} 1")),
    ];
    for (file, content) in steps {
        // A map must come in one write; for so short a text this is one.
        fs::write(file, &content).map_err(|error| EnterError::HalfEntered {
            reason: format!("writing {file}: {error}"),
        })?;
    }
    Ok(Entered::UserNamespace { uid: inside })
}
