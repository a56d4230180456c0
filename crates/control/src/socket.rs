//! The Unix socket of a daemon: taken, guarded, left clean.
//!
//! A daemon that died leaves its socket's file behind, so a file that nobody listens behind is replaced; one that
//! somebody listens behind is left alone, and so is anything that is no socket. Two daemons that start in the same
//! moment on the same path are not kept apart: the later one wins.
//!
//! The mode is set between `bind` and `listen`, so there is no moment at which another user could connect.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::mpsc;

use crate::locate::Environment;
use crate::server::{Command, router};

/// A daemon's control socket. Dropping it, or the future of [`Self::serve`], removes its file.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    file: SocketFile,
}

impl Listener {
    /// Takes the socket at `path`. Needs a runtime.
    ///
    /// A missing directory is made where sockets belong: under `$XDG_RUNTIME_DIR` and under `/run`.
    ///
    /// # Errors
    ///
    /// If another daemon listens there, if something else is in the way, or if the operating system refuses.
    pub fn bind(path: &Path, environment: &Environment) -> Result<Self, BindError> {
        make_parent(path, environment)?;
        clear(path)?;
        let failed = |error| BindError::os(path, error);
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        let file = SocketFile::new(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY)).map_err(failed)?;
        let listener = socket.listen(CONNECTIONS_WAITING).map_err(failed)?;
        Ok(Self { listener, file })
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Turns requests into commands until nobody receives them any more.
    pub async fn serve(self, commands: mpsc::Sender<Command>) {
        let Self { listener, file } = self;
        let guarded = Guarded {
            listener,
            own_uid: nix::unistd::geteuid().as_raw(),
        };
        let ended = commands.clone();
        tokio::select! {
            result = axum::serve(guarded, router(commands)) => {
                if let Err(error) = result {
                    tracing::error!(%error, path = %file.path.display(), "the control socket failed");
                }
            }
            () = ended.closed() => {}
        }
    }
}

/// Why a control socket could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon has it.
    #[error(
        "another handover daemon listens at {}: stop it, or set another `control` in the configuration",
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The file there is something else.
    #[error(
        "{} exists and is no socket: move it away, or set another `control` in the configuration",
        path.display()
    )]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Its directory cannot be made.
    #[error("cannot make the directory {} for the control socket: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The operating system refuses it.
    #[error(
        "cannot listen at {}: {error}; set another `control` in the configuration \
         (a socket's path has at most {LONGEST_PATH} bytes, and its directory must exist)",
        path.display()
    )]
    Os {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl BindError {
    fn os(path: &Path, error: io::Error) -> Self {
        Self::Os {
            path: path.into(),
            error,
        }
    }
}

/// Lets in only the daemon's own user, and root.
struct Guarded {
    listener: UnixListener,
    own_uid: u32,
}

impl axum::serve::Listener for Guarded {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        loop {
            // axum's own accept logs errors and survives a lack of descriptors.
            let (stream, _) = axum::serve::Listener::accept(&mut self.listener).await;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.own_uid || peer.uid() == ROOT => {
                    return (stream, ());
                }
                Ok(peer) => tracing::warn!(uid = peer.uid(), "another user was refused"),
                Err(error) => tracing::warn!(%error, "a caller of unknown user was refused"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket's file, removed at the end if it is still the one that was made here.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.into(),
            inode: inode(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode) {
            // At worst the file stays, and the next daemon replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn make_parent(path: &Path, environment: &Environment) -> Result<(), BindError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let mut places = environment.runtime.iter().chain([&environment.system]);
    if parent.exists() || !places.any(|place| parent.starts_with(place)) {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(OWNERS_DIRECTORY)
        .create(parent)
        .map_err(|error| BindError::Directory {
            path: parent.into(),
            error,
        })
}

fn clear(path: &Path) -> Result<(), BindError> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::os(path, error)),
    };
    if !file.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.into() });
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| BindError::os(path, error))
        }
        Err(error) => Err(BindError::os(path, error)),
    }
}

const ROOT: u32 = 0;
const OWNER_ONLY: u32 = 0o600;
const OWNERS_DIRECTORY: u32 = 0o700;

/// Commands are run by people and scripts: a few may start while the daemon is busy, a crowd means a mistake.
const CONNECTIONS_WAITING: u32 = 32;

/// `sun_path` has 108 bytes, the last of them zero.
const LONGEST_PATH: usize = 107;
