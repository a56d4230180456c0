//! Programs that may change the network of their namespace.
//!
//! The sandbox's user is not root, so a program loses every capability when it is started, unless the
//! capability is *ambient* (capabilities(7)). Ambient ones belong to a thread and go to what it starts;
//! a namespace's thread starts all its programs, so it has this one for the moment of a start only.

use std::io;

use caps::errors::CapsError;
use caps::{CapSet, Capability};

/// As long as it lives, programs that this thread starts may administer the network.
#[derive(Debug)]
pub(crate) struct Administrator(());

impl Administrator {
    pub(crate) fn begin() -> io::Result<Self> {
        // What is not inheritable cannot be ambient.
        caps::raise(None, CapSet::Inheritable, Capability::CAP_NET_ADMIN).map_err(refused)?;
        caps::raise(None, CapSet::Ambient, Capability::CAP_NET_ADMIN).map_err(refused)?;
        Ok(Self(()))
    }
}

impl Drop for Administrator {
    fn drop(&mut self) {
        // It ends being ambient with that. The kernel lets everybody give a capability up.
        drop(caps::drop(
            None,
            CapSet::Inheritable,
            Capability::CAP_NET_ADMIN,
        ));
    }
}

fn refused(error: CapsError) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, error)
}
