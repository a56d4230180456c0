//! Real programs in a namespace: started, listened to, and gone with their value.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use handover_sandbox::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::facility::find_program;
use crate::log::Log;
use crate::wait::{wait_for, wait_until};

/// A running program. Its output is recorded, line by line; dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// What a program has printed, on stdout and stderr alike.
#[derive(Debug, Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    lines: Vec<String>,
    streams_closed: usize,
}

/// stdout and stderr.
const STREAMS: usize = 2;

/// Runs a program to its end that asks or tells the kernel something about the network of `namespace`; returns what it
/// prints.
pub fn administer(
    namespace: &Namespace,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String> {
    let path = find_program(program).with_context(|| format!("{program} is not installed"))?;
    let mut command = Command::new(path);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    let mut child = namespace
        .spawn_administrator(command)
        .with_context(|| format!("start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {message}");
    Ok(String::from_utf8(output.stdout)?)
}

impl Program {
    /// Starts `command` in `namespace`. `name` is for the log. Its input is a pipe: see
    /// [`Program::take_input`].
    pub fn start(
        log: &Arc<Log>,
        namespace: &Namespace,
        name: &str,
        command: Command,
    ) -> Result<Self> {
        Self::start_by(log, name, command, |command| namespace.spawn(command))
    }

    /// As [`Program::start`], for one that is to change the namespace's network.
    pub fn start_administrator(
        log: &Arc<Log>,
        namespace: &Namespace,
        name: &str,
        command: Command,
    ) -> Result<Self> {
        Self::start_by(log, name, command, |command| {
            namespace.spawn_administrator(command)
        })
    }

    fn start_by(
        log: &Arc<Log>,
        name: &str,
        mut command: Command,
        spawn: impl FnOnce(Command) -> io::Result<Child>,
    ) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        log.line(name, &format!("starts: {command:?}"));
        let described = format!("start {name}: {command:?}");
        let mut child = spawn(command).context(described)?;
        let output = Arc::new(Output::default());
        let streams: [Option<Box<dyn Read + Send>>; STREAMS] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        let program = Self {
            name: name.to_owned(),
            child,
            output,
        };
        for stream in streams.into_iter().flatten() {
            program.record(Arc::clone(log), stream)?;
        }
        Ok(program)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program's standard input, once. Until it is taken the program can read nothing, not even an
    /// end.
    pub fn take_input(&mut self) -> Result<ChildStdin> {
        let input = self.child.stdin.take();
        input.with_context(|| format!("the input of {} has been taken already", self.name))
    }

    /// Waits for a line that contains `text`, and returns it. Lines printed before count too.
    pub fn wait_for_line(&self, text: &str, limit: Duration) -> Result<String> {
        self.wait_for_line_after(0, text, limit)
            .map(|(_number, line)| line)
    }

    /// As [`Program::wait_for_line`], but looks only from line number `from` (counted from 0) on; returns
    /// the line's number too.
    pub fn wait_for_line_after(
        &self,
        from: usize,
        text: &str,
        limit: Duration,
    ) -> Result<(usize, String)> {
        let deadline = Instant::now() + limit;
        let mut seen = from;
        let mut state = self.output.lock();
        loop {
            if let Some(new) = state.lines.get(seen..) {
                let found = new.iter().position(|line| line.contains(text));
                if let Some(offset) = found {
                    return Ok((seen + offset, new[offset].clone()));
                }
                seen += new.len();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "waited {limit:?} for {} to print {text:?}",
                self.name
            );
            if state.streams_closed == STREAMS {
                bail!("{} has ended and never printed {text:?}", self.name);
            }
            let waited = self.output.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The last line of a program that has ended, once its output has.
    pub fn last_line(&self, limit: Duration) -> Result<String> {
        wait_until(
            &format!("the end of the output of {}", self.name),
            limit,
            || Ok(self.output.lock().streams_closed == STREAMS),
        )?;
        let last = self.output.lock().lines.last().cloned();
        last.with_context(|| format!("{} has ended without a word", self.name))
    }

    /// Everything printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.lock().lines.clone()
    }

    /// Waits for the program's end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let (name, child) = (&self.name, &mut self.child);
        wait_for(&format!("the end of {name}"), limit, || {
            Ok(child.try_wait()?)
        })
    }

    /// Waits for the program's end and fails unless it was a success.
    pub fn wait_success(&mut self, limit: Duration) -> Result<()> {
        let status = self.wait(limit)?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// An error if the program has ended, be it with success.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => bail!("{} has ended with {status}", self.name),
            None => Ok(()),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid().try_into()?);
        kill(pid, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// The exit status if the program has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills the program and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn record(&self, log: Arc<Log>, stream: Box<dyn Read + Send>) -> Result<()> {
        let (name, output) = (self.name.clone(), Arc::clone(&self.output));
        thread::Builder::new()
            .name(format!("output of {name}"))
            .spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    log.line(&name, &line);
                    output.lock().lines.push(line);
                    output.changed.notify_all();
                }
                output.lock().streams_closed += 1;
                output.changed.notify_all();
            })
            .context("start a thread for a program's output")?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It fails only for a program that is gone already.
        drop(self.kill());
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
