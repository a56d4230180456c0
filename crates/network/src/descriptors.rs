//! Descriptors: each connection of an application takes one, and so does all that keeps them alive.
//!
//! A daemon that used the last one for an application could not dial the next network, which would end all
//! connections to save one. So the last few are kept: an application's connection that got one of them is refused.
//! The kernel gives out the lowest number that is free, so a number says how many are in use without counting.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one. The soft one, often 1,024, is meant for `select`.
///
/// # Errors
///
/// If the operating system refuses; the limit then stays as it is.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Fails if an application's connection must not keep this socket, so that some are left for conduits.
///
/// # Errors
///
/// If the socket's number is one of the last, with words that say what to do.
pub fn ensure_spare_descriptors(socket: &impl AsRawFd) -> io::Result<()> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if is_reserved(socket.as_raw_fd(), soft) {
        let error = format!(
            "the limit of {soft} open files is nearly reached, and the rest is kept for the networks: \
             close connections, or start handover with a higher limit (ulimit -Hn)"
        );
        return Err(io::Error::other(error));
    }
    Ok(())
}

fn is_reserved(number: RawFd, limit: u64) -> bool {
    let reserve = RESERVE.min(limit / SHARE_OF_A_SMALL_LIMIT);
    u64::try_from(number).is_ok_and(|number| number >= limit - reserve)
}

/// A link has at most 16 conduits, in a switch there are two links; the rest is for a resolver, the control socket
/// and, in the SNAPT, other clients that come back.
const RESERVE: u64 = 64;

/// Where so few descriptors are allowed that the whole reserve would be most of them, a quarter is kept.
const SHARE_OF_A_SMALL_LIMIT: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_kept() {
        for (number, limit, reserved) in [
            (0, 1024, false),
            (959, 1024, false),
            (960, 1024, true),
            (47, 64, false),
            (48, 64, true),
        ] {
            assert_eq!(is_reserved(number, limit), reserved, "{number} of {limit}");
        }
    }
}
