//! Which socket a command means.
//!
//! The first of these that says something:
//!
//! 1. `--control PATH`;
//! 2. `$HANDOVER_CONTROL`;
//! 3. `$XDG_RUNTIME_DIR/handover/`, if a socket is there;
//! 4. `/run/handover/`, if a socket is there.
//!
//! A machine may run a client and a server. Where both sockets are found in one directory nobody can tell which is
//! meant, and the error names them.

use std::env;
use std::path::{Path, PathBuf};

/// Which daemon a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `handover client`, the CNAPT.
    Client,
    /// `handover server`, the SNAPT.
    Server,
}

impl Role {
    fn file_name(self) -> &'static str {
        match self {
            Self::Client => "client.sock",
            Self::Server => "server.sock",
        }
    }
}

/// What the environment says about control sockets, read once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `$HANDOVER_CONTROL`.
    pub control: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// Where sockets of the whole machine are: `/run`.
    pub system: PathBuf,
}

impl Environment {
    /// The environment of this process. An empty variable counts as unset.
    #[must_use]
    pub fn of_process() -> Self {
        let path = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            control: path("HANDOVER_CONTROL"),
            runtime: path("XDG_RUNTIME_DIR"),
            system: PathBuf::from("/run"),
        }
    }

    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.runtime
            .iter()
            .chain([&self.system])
            .map(|directory| directory.join(DIRECTORY))
    }
}

/// Where a daemon listens whose configuration does not say.
#[must_use]
pub fn default_path(role: Role, environment: &Environment) -> PathBuf {
    let directory = environment.runtime.as_ref().unwrap_or(&environment.system);
    directory.join(DIRECTORY).join(role.file_name())
}

/// The socket that a command means, `explicit` being its `--control`.
///
/// # Errors
///
/// If no socket is found, or if two are.
pub fn locate(explicit: Option<&Path>, environment: &Environment) -> Result<PathBuf, LocateError> {
    if let Some(path) = explicit.or(environment.control.as_deref()) {
        return Ok(path.into());
    }
    for directory in environment.directories() {
        let client = directory.join(Role::Client.file_name());
        let server = directory.join(Role::Server.file_name());
        match (client.exists(), server.exists()) {
            (true, true) => return Err(LocateError::Both { client, server }),
            (true, false) => return Ok(client),
            (false, true) => return Ok(server),
            (false, false) => {}
        }
    }
    Err(LocateError::None {
        looked_in: environment.directories().collect(),
    })
}

/// Why no socket could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// A client's and a server's socket are both there.
    #[error(
        "both {} and {} are there: say which one with --control or $HANDOVER_CONTROL",
        client.display(),
        server.display()
    )]
    Both {
        /// The client's socket.
        client: PathBuf,
        /// The server's socket.
        server: PathBuf,
    },
    /// No socket is there.
    #[error(
        "no handover daemon's socket in {}: start `handover client --config FILE`, \
         or name its `control` socket with --control",
        list(looked_in)
    )]
    None {
        /// Where it was looked for.
        looked_in: Vec<PathBuf>,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(" or ")
}

const DIRECTORY: &str = "handover";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_argument_wins_over_the_environment_and_the_environment_over_what_is_there() {
        let mut place = Place::new("order");
        place.put("runtime", "client.sock");
        let found = place.locate(None);
        assert_eq!(found, Ok(place.path("runtime", "client.sock")));
        place.environment.control = Some("/from/environment".into());
        assert_eq!(place.locate(None), Ok("/from/environment".into()));
        let found = place.locate(Some(Path::new("/from/argument")));
        assert_eq!(found, Ok("/from/argument".into()));
    }

    #[test]
    fn the_users_own_socket_comes_before_the_machines() {
        let place = Place::new("users");
        place.put("system", "client.sock");
        let found = place.locate(None);
        assert_eq!(found, Ok(place.path("system", "client.sock")));
        place.put("runtime", "server.sock");
        let found = place.locate(None);
        assert_eq!(found, Ok(place.path("runtime", "server.sock")));
    }

    #[test]
    fn two_sockets_are_an_error_that_names_them() {
        let place = Place::new("both");
        place.put("system", "client.sock");
        place.put("system", "server.sock");
        let message = place.locate(None).unwrap_err().to_string();
        for name in ["client.sock", "server.sock"] {
            let path = place.path("system", name);
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
        assert!(message.contains("--control"), "{message}");
    }

    #[test]
    fn no_socket_is_an_error_that_says_where_was_looked() {
        let place = Place::new("none");
        let message = place.locate(None).unwrap_err().to_string();
        for directory in ["runtime", "system"] {
            let path = place.root.join(directory).join("handover");
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
    }

    #[test]
    fn a_daemon_listens_where_a_command_looks_first() {
        let mut place = Place::new("default");
        let path = default_path(Role::Client, &place.environment);
        assert_eq!(path, place.path("runtime", "client.sock"));
        place.environment.runtime = None;
        let path = default_path(Role::Server, &place.environment);
        assert_eq!(path, place.path("system", "server.sock"));
    }

    /// Two directories of one test's own, gone at its end.
    struct Place {
        root: PathBuf,
        environment: Environment,
    }

    impl Place {
        fn new(test: &str) -> Self {
            let root =
                env::temp_dir().join(format!("handover-locate-{test}-{}", std::process::id()));
            for directory in ["runtime", "system"] {
                fs::create_dir_all(root.join(directory).join("handover")).unwrap();
            }
            let environment = Environment {
                control: None,
                runtime: Some(root.join("runtime")),
                system: root.join("system"),
            };
            Self { root, environment }
        }

        fn path(&self, directory: &str, name: &str) -> PathBuf {
            self.root.join(directory).join("handover").join(name)
        }

        fn put(&self, directory: &str, name: &str) {
            fs::write(self.path(directory, name), "").unwrap();
        }

        fn locate(&self, explicit: Option<&Path>) -> Result<PathBuf, LocateError> {
            locate(explicit, &self.environment)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.root).unwrap();
        }
    }
}
