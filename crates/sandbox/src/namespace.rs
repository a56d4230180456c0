//! One network namespace: a host of the sandbox.
//!
//! On Linux a network namespace belongs to a thread. A [`Namespace`] owns one that has left the
//! others', and runs jobs on it, one after the other: a socket opened by a job, or a process started by
//! one, is in that namespace and stays there, whichever thread uses it later. So a server binds its
//! listener in a job and may then live anywhere.
//!
//! The namespace goes when its handle, its processes and its sockets are gone.

use std::fs::File;
use std::future::Future;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::{fs, io, thread};

use nix::sched::{CloneFlags, unshare};

use crate::NetworkError;
use crate::administrator::Administrator;
use crate::error::from_netlink;

/// A host of the sandbox: a network namespace with its loopback interface up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// `None` only while it is being dropped: the thread ends when its queue does.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Names the namespace to the kernel, and keeps it.
    file: File,
}

type Job = Box<dyn FnOnce(&Worker) + Send>;

/// What the namespace's thread has at hand.
struct Worker {
    runtime: tokio::runtime::Runtime,
    netlink: rtnetlink::Handle,
}

impl Namespace {
    /// Makes a new, empty namespace; `name` is for messages.
    pub fn new(name: &str) -> Result<Self, NetworkError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let failed = |action: &str, source| NetworkError {
            namespace: name.to_owned(),
            action: action.to_owned(),
            source,
        };
        let thread = thread::Builder::new()
            .name(format!("namespace {name}"))
            .spawn(move || match Worker::enter() {
                Ok((worker, file)) => {
                    if ready.send(Ok(file)).is_ok() {
                        queue.iter().for_each(|job| job(&worker));
                    }
                }
                // A caller that no longer waits needs no answer.
                Err(error) => drop(ready.send(Err(error))),
            })
            .map_err(|error| failed("start its thread", error))?;
        let file = started
            .recv()
            .unwrap_or_else(|mpsc::RecvError| Err(io::Error::other("its thread died")))
            .map_err(|error| failed("make a network namespace", error))?;
        let namespace = Self {
            name: name.to_owned(),
            jobs: Some(jobs),
            thread: Some(thread),
            file,
        };
        namespace.accept_any_source()?;
        namespace.set_up("lo")?;
        Ok(namespace)
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `job` in the namespace and returns its result; a panic in it goes on in the caller.
    pub fn run<T, F>(&self, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.run_with(move |_worker| job())
    }

    /// Starts a program in the namespace.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || command.spawn())
    }

    /// Starts a program that may change the namespace's network, as its root may: a firewall's tool, a VPN.
    pub fn spawn_administrator(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || {
            let _administrator = Administrator::begin()?;
            command.spawn()
        })
    }

    /// Does something that starts programs, which may change the namespace's network, as with
    /// [`Self::spawn_administrator`].
    pub fn with_administrators<T>(&self, job: impl FnOnce() -> T) -> io::Result<T> {
        // Of the namespace's thread, which ends it too.
        let administrator = self.run(Administrator::begin)?;
        let result = job();
        self.run(move || drop(administrator));
        Ok(result)
    }

    /// Sets a value under `/proc/sys/net`, for instance `("ipv4/ip_forward", "1")`.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), NetworkError> {
        let (file, value) = (format!("/proc/sys/net/{name}"), value.to_owned());
        let action = format!("write {value} to {file}");
        self.run(move || fs::write(file, value))
            .map_err(|error| self.failed(action, error))
    }

    /// A host with several interfaces gets answers on one whose best route points to another; strict
    /// source checking, which some distributions make the default, drops them.
    fn accept_any_source(&self) -> Result<(), NetworkError> {
        self.set_sysctl("ipv4/conf/all/rp_filter", "0")?;
        self.set_sysctl("ipv4/conf/default/rp_filter", "0")
    }

    pub(crate) fn netlink<T, F, R>(&self, action: String, request: R) -> Result<T, NetworkError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, rtnetlink::Error>>,
        R: FnOnce(rtnetlink::Handle) -> F + Send + 'static,
    {
        self.run_with(move |worker| worker.runtime.block_on(request(worker.netlink.clone())))
            .map_err(|error| self.failed(action, from_netlink(error)))
    }

    /// Names the namespace in a netlink message, as long as `self` lives.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn failed(&self, action: String, source: io::Error) -> NetworkError {
        NetworkError {
            namespace: self.name.clone(),
            action,
            source,
        }
    }

    fn run_with<T, F>(&self, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&Worker) -> T + Send + 'static,
    {
        let (reply, result) = mpsc::channel();
        let job: Job = Box::new(move |worker| {
            let outcome = catch_unwind(AssertUnwindSafe(|| job(worker)));
            // A caller that died meanwhile needs no answer.
            drop(reply.send(outcome));
        });
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .and_then(|()| result.recv().ok())
            .expect("a namespace's thread lives as long as its handle: it catches every panic")
            .unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its panics were handed to the callers; there is nobody left to tell.
            drop(thread.join());
        }
    }
}

impl Worker {
    fn enter() -> io::Result<(Self, File)> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let file = File::open("/proc/thread-self/ns/net")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let netlink = {
            let _context = runtime.enter();
            let (connection, handle, _messages) = rtnetlink::new_connection()?;
            runtime.spawn(connection);
            handle
        };
        Ok((Self { runtime, netlink }, file))
    }
}
