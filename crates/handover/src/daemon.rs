//! `handover server` and `handover client`: from the configuration to the end of the process.
//!
//! The configuration is read and judged before anything binds, so a mistake in it is a misuse and changes nothing. The
//! daemon then runs in the foreground until it fails, or until SIGINT or SIGTERM ends it, which is a good end. A panic is
//! a failure: what it ends, decision 11 says.

use std::io::{self, IsTerminal as _};
use std::num::NonZero;
use std::panic;
use std::path::Path;
use std::process;
use std::time::Duration;

use handover_control::Environment;
use handover_network::raise_descriptor_limit;
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config;
use crate::exit::{Exit, Failure};

/// Runs the SNAPT, on all cores but one: the server applications and the kernel's network stack live here too.
pub(crate) fn server(path: &Path) -> Result<Exit, Failure> {
    let read = || config::server(path, &Environment::of_process());
    let config = read().map_err(Failure::misuse)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(cores.saturating_sub(1).max(1));
    end_on_panic(handover_snapt::is_in_a_session);
    run(runtime, handover_snapt::run(config, read))
}

/// Runs the CNAPT, on one thread: it has one session, whose tasks would only wake each other across cores.
pub(crate) fn client(path: &Path) -> Result<Exit, Failure> {
    let config = config::client(path, &Environment::of_process()).map_err(Failure::misuse)?;
    end_on_panic(|| false);
    run(Builder::new_current_thread(), handover_cnapt::run(config))
}

fn run<E: Into<anyhow::Error>>(
    mut runtime: Builder,
    daemon: impl Future<Output = Result<(), E>>,
) -> Result<Exit, Failure> {
    start_log()?;
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is: fewer connections are possible");
    }
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

/// A panic ends the process, unless it is a matter of one session among others.
///
/// A task that is gone would leave a daemon that looks healthy and serves nobody. Its supervisor starts another.
fn end_on_panic(is_contained: fn() -> bool) {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        print(panic);
        if !is_contained() {
            tracing::error!(
                "handover ends, because of a defect in it: start it again, and report the lines above"
            );
            process::exit(Exit::Failed as i32);
        }
    }));
}

/// A name look-up that hangs in a thread of its own must not hold up the end; everything else ends at once.
const LEFT_OVER_TASKS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;
    use std::sync::Arc;

    use handover_proto::session::Cnapt;
    use handover_proto::stream::{CreditPool, Streams};
    use handover_proto::{CnaptId, Instance, Side};
    use handover_relay::Hub;

    use super::*;

    /// Names the panic that the test, started as a program, is to meet.
    const PANIC: &str = "HANDOVER_TEST_PANIC";

    #[test]
    fn a_panic_in_any_task_ends_the_process_and_says_so_last() {
        if env::var_os(PANIC).is_some() {
            start_log().unwrap();
            end_on_panic(handover_snapt::is_in_a_session);
            return meet(async { panic!("a test") });
        }
        for panicking in ["task", "thread"] {
            let (status, log) = as_a_program(
                "a_panic_in_any_task_ends_the_process_and_says_so_last",
                panicking,
            );
            assert_eq!(status, Some(1), "{log}");
            assert!(log.contains("a test"), "{log}");
            assert!(log.trim_end().ends_with("report the lines above"), "{log}");
        }
    }

    #[test]
    fn a_panic_in_a_session_among_others_leaves_the_process_alone() {
        if env::var_os(PANIC).is_some() {
            end_on_panic(handover_snapt::is_in_a_session);
            let hub = hub();
            return meet(async move {
                let broken = hub.spawn(async { panic!("a test") }).await;
                assert!(broken.unwrap_err().is_panic());
                let told = tokio::time::timeout(LEFT_OVER_TASKS, hub.broken()).await;
                told.expect("the session is told of it");
            });
        }
        let (status, log) = as_a_program(
            "a_panic_in_a_session_among_others_leaves_the_process_alone",
            "task",
        );
        assert!(log.contains("a test"), "{log}");
        assert_eq!(status, Some(0), "{log}");
    }

    /// The exit status and the standard error of one test of this file as a program of its own.
    fn as_a_program(test: &str, panicking: &str) -> (Option<i32>, String) {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("daemon::tests::{test}"), "--nocapture"])
            .env(PANIC, panicking)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// Runs `work` where the variable says; comes back only if it ends without ending the process.
    fn meet(work: impl Future<Output = ()> + Send + 'static) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let task = if env::var_os(PANIC).is_some_and(|panicking| panicking == "thread") {
            runtime.spawn_blocking(move || handle.block_on(work))
        } else {
            runtime.spawn(work)
        };
        runtime.block_on(task).unwrap();
    }

    fn hub() -> Arc<Hub<Cnapt>> {
        let streams = Streams::new(Side::Cnapt, &[], CreditPool::default());
        let machine = Cnapt::new(CnaptId([0; 32]), Instance(1), Vec::new(), streams);
        Hub::new(machine, handover_network::now).0
    }
}
