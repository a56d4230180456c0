//! A name for the lab's user.
//!
//! ssh and sshd want the user they run as to have an entry in the list of users, and one that is not
//! locked. When root runs the lab, the id inside the user namespace has none, or somebody else's. So the
//! lab shows its programs a list with one line more, in a mount namespace of its own; nothing outside
//! changes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, User, getgid};

use crate::directory::TemporaryDirectory;

const USERS: &str = "/etc/passwd";

/// What the lab's user is called.
const NAME: &str = "handover-lab";

/// Gives the current user of a user namespace a name. Call it before any thread is started: a mount
/// namespace, too, is a thread's own.
pub(crate) fn give_name() -> Result<()> {
    let directory = TemporaryDirectory::new()?;
    let list = directory.path().join("passwd");
    let (uid, gid) = (Uid::current(), getgid());
    let known = fs::read_to_string(USERS).context("read the list of users")?;
    // First, because the first entry with an id is the one that counts.
    fs::write(
        &list,
        format!("{NAME}:x:{uid}:{gid}:handover lab:/tmp:/bin/sh\n{known}"),
    )?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    // The mount keeps the file when its directory goes.
    mount(
        Some(&list),
        Path::new(USERS),
        None::<&Path>,
        MsFlags::MS_BIND,
        None::<&Path>,
    )
    .context("show the lab's list of users")
}

/// The name of the user that the lab's programs run as.
pub fn user_name() -> Result<String> {
    let user = User::from_uid(Uid::current()).context("look up the current user")?;
    Ok(user.context("the lab's user has no name")?.name)
}
