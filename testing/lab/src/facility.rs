//! What a scenario needs of the machine, and whether it is there.

use std::env;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, access};
use socket2::{Domain, Protocol, Socket, Type};

use crate::tun;

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// TUN devices, for emulated links.
    Tun,
    /// A program of this name.
    Program(&'static str),
    /// A user who is not root, as this program wants it: where there are no user namespaces there is none.
    OrdinaryUser(&'static str),
    /// What sshd wants when it runs as root, which it does where there are no user namespaces.
    SshdDirectory,
    /// Where wireguard-go and wg meet.
    WireguardDirectory,
    /// Multipath TCP in the kernel.
    MultipathTcp,
}

/// The sockets of WireGuard implementations in user space.
const WIREGUARD_DIRECTORY: &str = "/var/run/wireguard";

/// Where sshd of root locks up what it does not trust.
const SSHD_DIRECTORY: &str = "/run/sshd";

impl Facility {
    /// Why a scenario that needs this cannot run here, if it cannot.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Tun => OpenOptions::new()
                .read(true)
                .write(true)
                .open(tun::DEVICE)
                .err()
                .map(|error| format!("{} cannot be opened: {error}", tun::DEVICE)),
            Self::Program(name) => find_program(name)
                .is_none()
                .then(|| format!("{name} is not installed")),
            Self::OrdinaryUser(program) => Uid::current()
                .is_root()
                .then(|| format!("{program} refuses to run as root")),
            Self::SshdDirectory => {
                let missing = Uid::current().is_root() && !Path::new(SSHD_DIRECTORY).is_dir();
                missing.then(|| format!("sshd as root needs the directory {SSHD_DIRECTORY}"))
            }
            Self::WireguardDirectory => fs::create_dir_all(WIREGUARD_DIRECTORY)
                .and_then(|()| Ok(access(WIREGUARD_DIRECTORY, AccessFlags::W_OK)?))
                .err()
                .map(|error| format!("{WIREGUARD_DIRECTORY} cannot be written to: {error}")),
            Self::MultipathTcp => Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))
                .err()
                .map(|error| format!("the kernel has no Multipath TCP: {error}")),
        }
    }
}

/// Where servers live, which is not on every user's search path.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Debian keeps a server of each version in a directory of its own there.
const POSTGRESQL_VERSIONS: &str = "/usr/lib/postgresql";

/// The full path of an installed program; sshd, for one, insists on being started by it.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(POSTGRESQL_VERSIONS).into_iter().flatten();
    env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .chain(versions.flatten().map(|version| version.path().join("bin")))
        .map(|directory| directory.join(name))
        .find(|program| is_executable(program))
}

fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    program
        .metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_found_and_nonsense_is_not() {
        assert_eq!(Facility::Program("sh").missing(), None);
        let missing = Facility::Program("no-such-program").missing();
        assert_eq!(missing.as_deref(), Some("no-such-program is not installed"));
    }
}
