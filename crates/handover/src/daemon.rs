//! `handover server` and `handover client`: from the configuration to the end of the process.
//!
//! The configuration is read and judged before anything binds, so a mistake in it is a misuse and changes nothing. The
//! daemon then runs in the foreground until it fails, or until SIGINT or SIGTERM ends it, which is a good end.

use std::io::{self, IsTerminal as _};
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use handover_control::Environment;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config;
use crate::exit::{Exit, Failure};

/// Runs the SNAPT, on all cores but one: the server applications and the kernel's network stack live here too.
pub(crate) fn server(path: &Path) -> Result<Exit, Failure> {
    let config = config::server(path, &Environment::of_process()).map_err(Failure::misuse)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(cores.saturating_sub(1).max(1));
    run(runtime, handover_snapt::run(config))
}

/// Runs the CNAPT, on one thread: it has one session, whose tasks would only wake each other across cores.
pub(crate) fn client(path: &Path) -> Result<Exit, Failure> {
    let config = config::client(path, &Environment::of_process()).map_err(Failure::misuse)?;
    run(Builder::new_current_thread(), handover_cnapt::run(config))
}

fn run<E: Into<anyhow::Error>>(
    mut runtime: Builder,
    daemon: impl Future<Output = Result<(), E>>,
) -> Result<Exit, Failure> {
    start_log()?;
    raise_descriptor_limit();
    let runtime = runtime.enable_all().build().map_err(Failure::failed)?;
    let result = runtime.block_on(daemon);
    runtime.shutdown_timeout(LEFT_OVER_TASKS);
    result.map(|()| Exit::Done).map_err(Failure::failed)
}

fn start_log() -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .with_env_var("HANDOVER_LOG")
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| Failure::misuse(anyhow::Error::new(error).context("HANDOVER_LOG")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would be told on standard error, which has just failed, and end the process: a log that nobody
        // reads any more must not cost a session.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Each connection of an application takes a descriptor; the soft limit, often 1,024, is meant for `select`.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of descriptors stays as it is: fewer connections are possible");
    }
}

/// A name look-up that hangs in a thread of its own must not hold up the end; everything else ends at once.
const LEFT_OVER_TASKS: Duration = Duration::from_millis(500);
