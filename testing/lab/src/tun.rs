//! Opening a TUN device: a network interface whose packets a program reads and writes.
//!
//! The interface appears in the network namespace of the thread that opens it, and goes with the file.

#![expect(
    unsafe_code,
    reason = "the ioctl that names a TUN device has no safe wrapper, and netlink cannot make one"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// The device from which every TUN interface is opened.
pub(crate) const DEVICE: &str = "/dev/net/tun";

nix::ioctl_write_ptr_bad!(attach_interface, libc::TUNSETIFF, libc::ifreq);

/// Makes the interface `name` and returns its packets: one whole IP packet for each read or write,
/// without waiting.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let request = libc::ifreq {
        ifr_name: interface_name(name)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags()?,
        },
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)?;
    // SAFETY: the descriptor is open, and `request` is a whole `ifreq` that outlives the call.
    unsafe { attach_interface(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}

/// IP packets, with nothing before them.
fn flags() -> io::Result<libc::c_short> {
    libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).map_err(io::Error::other)
}

/// The name as the kernel wants it: padded with zeros, one of them at least.
fn interface_name(name: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    let mut padded = [0; libc::IFNAMSIZ];
    if name.is_empty() || name.len() >= padded.len() || !name.is_ascii() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is no interface name: 1 to 15 ASCII characters"),
        ));
    }
    for (place, byte) in padded.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        for name in ["", "a-name-of-16-chr", "wlän0"] {
            let error = interface_name(name).expect_err(name);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert!(interface_name("a-name-of-15-ch").is_ok());
    }
}
