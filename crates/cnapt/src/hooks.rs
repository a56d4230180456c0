//! Hooks: the administrator's commands that open and close networks and VPNs, and that tell of the session.
//!
//! A hook is a line for `sh -c`, with what it may need in its environment. It has done its work when it ends with
//! status 0. One that takes too long is killed, with all processes of its group; what it started as a service in
//! a session of its own lives on. Of what it says on stderr the last line is kept, for whoever asks why it failed.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Which hook of a network, or of the session, a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Up,
    Down,
    VpnUp,
    VpnDown,
    Notify,
}

impl Kind {
    /// Its key in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::VpnUp => "vpn_up",
            Self::VpnDown => "vpn_down",
            Self::Notify => "notify",
        }
    }
}

/// A hook that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) kind: Kind,
    pub(crate) command: String,
    /// What it finds in its environment; what is not known is not there.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// Why a hook has not done its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("cannot be run: {0}")]
    NotRun(#[from] io::Error),
    #[error("took longer than {} s and was killed{}", limit.as_secs_f32(), said(.stderr))]
    TookTooLong { limit: Duration, stderr: String },
    #[error("failed: {status}{}", said(.stderr))]
    Failed { status: ExitStatus, stderr: String },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!(", \"{stderr}\"")
    }
}

impl Hook {
    /// Runs it to its end, at most for `limit`.
    ///
    /// # Errors
    ///
    /// If it did not end in time with status 0.
    pub(crate) async fn run(&self, limit: Duration) -> Result<(), HookError> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(&self.command)
            .env("HANDOVER_HOOK", self.kind.name())
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut last_line = LastLine::default();
        let mut stderr = child.stderr.take();
        let ended = timeout(limit, end(&mut child, &mut stderr, &mut last_line)).await;
        let status = match ended {
            Ok(status) => status?,
            Err(_) => {
                kill(&mut child).await?;
                let stderr = last_line.text();
                return Err(HookError::TookTooLong { limit, stderr });
            }
        };
        // What it started may hold the pipe open.
        let rest = timeout(LAST_WORDS, read_all(&mut stderr, &mut last_line)).await;
        let stderr = last_line.text();
        match rest {
            _ if !status.success() => Err(HookError::Failed { status, stderr }),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Waits for its end, and reads meanwhile, so that it never waits for its reader.
async fn end(
    child: &mut Child,
    stderr: &mut Option<ChildStderr>,
    last_line: &mut LastLine,
) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            more = read_some(stderr, last_line), if stderr.is_some() => {
                if !more? {
                    *stderr = None;
                }
            }
            status = child.wait() => return status,
        }
    }
}

async fn read_all(stderr: &mut Option<ChildStderr>, last_line: &mut LastLine) -> io::Result<()> {
    while read_some(stderr, last_line).await? {}
    Ok(())
}

/// Says whether there may be more.
async fn read_some(stderr: &mut Option<ChildStderr>, last_line: &mut LastLine) -> io::Result<bool> {
    let Some(pipe) = stderr else { return Ok(false) };
    let mut piece = [0; 1024];
    let count = pipe.read(&mut piece).await?;
    last_line.push(&piece[..count]);
    Ok(count > 0)
}

/// The whole group: what `sh` started has not ended with it.
async fn kill(child: &mut Child) -> io::Result<()> {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        killpg(Pid::from_raw(id), Signal::SIGKILL)?;
    }
    child.wait().await.map(drop)
}

/// The last line of a text that comes in pieces, without what makes it longer than [`LINE_BYTES`].
#[derive(Debug, Default)]
struct LastLine {
    bytes: Vec<u8>,
    /// A line break came; the next byte begins a new line.
    ended: bool,
}

impl LastLine {
    fn push(&mut self, piece: &[u8]) {
        for byte in piece {
            if *byte == b'\n' {
                self.ended = true;
            } else {
                if std::mem::take(&mut self.ended) {
                    self.bytes.clear();
                }
                if self.bytes.len() < LINE_BYTES {
                    self.bytes.push(*byte);
                }
            }
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.chars()
            .filter(|character| !character.is_control())
            .collect::<String>()
            .trim()
            .to_owned()
    }
}

/// As much as one reads in an answer to `handover switch`.
const LINE_BYTES: usize = 300;

/// What a process wrote before it ended is in the pipe already.
const LAST_WORDS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn run(command: &str, limit: Duration) -> Result<(), String> {
        let hook = Hook {
            kind: Kind::Up,
            command: command.to_owned(),
            environment: vec![("HANDOVER_NETWORK", "wifi".to_owned())],
        };
        hook.run(limit).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_hook_is_told_where_it_is_and_works_if_it_ends_with_0() {
        let says = "test \"$HANDOVER_HOOK $HANDOVER_NETWORK\" = 'up wifi'";
        assert_eq!(run(says, LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn a_hook_that_fails_says_how_and_its_last_line() {
        let fails = "echo first >&2; echo 'no carrier' >&2; exit 3";
        let why = "failed: exit status: 3, \"no carrier\"".to_owned();
        assert_eq!(run(fails, LONG).await, Err(why));
        let mute = Err("failed: exit status: 1".to_owned());
        assert_eq!(run("exit 1", LONG).await, mute);
    }

    #[tokio::test]
    async fn more_than_a_pipe_holds_is_read_on_the_way() {
        let much = "i=0; while [ $i -lt 3000 ]; do echo 'a line of forty characters, more or less' >&2; \
                    i=$((i+1)); done; exit 1";
        let why = run(much, LONG).await.unwrap_err();
        assert!(why.ends_with("more or less\""), "{why}");
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_killed_with_what_it_started() {
        let directory = std::env::temp_dir().join(format!("handover-hook-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let fifo = directory.join("alive");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Ends when the last of them that has it open has ended.
        let reader = tokio::task::spawn_blocking({
            let fifo = fifo.clone();
            move || std::fs::read(fifo)
        });
        let hangs = format!("sleep 600 > {} & echo dialling >&2; wait", fifo.display());
        let why = run(&hangs, Duration::from_secs(2)).await;
        let expected = "took longer than 2 s and was killed, \"dialling\"".to_owned();
        assert_eq!(why, Err(expected));
        let read = timeout(LONG, reader).await.unwrap().unwrap();
        assert_eq!(read.unwrap(), b"");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for() {
        let directory = std::env::temp_dir().join(format!("handover-left-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let stop = directory.join("stop");
        let leaves = format!("mkfifo {0}; cat {0} & exit 0", stop.display());
        assert_eq!(run(&leaves, LONG).await, Ok(()));
        std::fs::write(&stop, "").unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
