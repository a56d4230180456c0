//! Every kind of application, all at work at the same time, each checking every byte.
//!
//! None of them comes to its end before it is told to: one that did would leave the switches after it
//! without a load. [`Workload::wait_for_progress`] sees to it.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::application::{
    Application, Stop, ask, converse, download, download_half_closed, download_until, ensure_end,
    enter, upload, upload_until,
};
use crate::facility::Facility;
use crate::gate::Gate;
use crate::handover::Service;
use crate::openssh::{self, Sshd};
use crate::payload::{Payload, digest_of};
use crate::program::Program;
use crate::scenario::Lab;
use crate::servers::{Echo, Endless, Http, Sink, Source};
use crate::topology::{SERVER, Topology};
use crate::wait::wait_until;

/// What it needs: networks to strike, and programs that nobody here wrote.
pub(super) const NEEDS: [Facility; 6] = [
    Facility::Tun,
    Facility::Program("curl"),
    openssh::NEEDS[0],
    openssh::NEEDS[1],
    openssh::NEEDS[2],
    openssh::NEEDS[3],
];

/// After a switch an application goes on within seconds, and in the end some megabytes wait to be sent.
const LIMIT: Duration = Duration::from_secs(60);

const CONVERSATIONS: usize = 50;

/// Between two questions of a conversation.
const PAUSE: Duration = Duration::from_millis(200);

/// The second answer after a switch is one to a question that was asked after it.
const ANSWERS: u64 = 2;

/// What a transfer as fast as the network has to move to have gone on: more than a packet that was on
/// its way.
const BULK: u64 = 100_000;

/// For those that take their time: with a chunk each 400 ms it lasts five minutes, longer than any
/// scenario, and the rest comes within seconds when they are let go.
const LONG: Payload = Payload {
    length: 12_000_000,
    seed: 31,
};
const LONG_PAUSE: Duration = Duration::from_millis(400);

/// More than the buffers and the credit of a reader that stands still take, but soon sent when it goes on.
const STILL: Payload = Payload {
    length: 6_000_000,
    seed: 32,
};

/// Until curl has everything, counted from its start.
const CURL_LIMIT: Duration = Duration::from_secs(600);

/// The server applications.
#[derive(Debug)]
pub(super) struct Servers {
    sshd: Sshd,
    sink: Sink,
    /// The pace of the reader that stands still.
    still: Gate,
    /// The pace at which the web server sends.
    web: Gate,
    services: [Service<'static>; 7],
}

const SINK: usize = 0;
const STILL_SINK: usize = 1;
const SOURCE: usize = 2;
const ENDLESS: usize = 3;
const ECHO: usize = 4;
const WEB: usize = 5;
const SSH: usize = 6;

impl Servers {
    pub(super) fn start(lab: &Lab, topology: &Topology) -> Result<Self> {
        let (host, address) = (&topology.server, SERVER.into());
        let (still, web) = (Gate::shut(), Gate::slow(LONG_PAUSE));
        let sshd = Sshd::start(&lab.log, host, address)?;
        let sink = Sink::start(host, address, Gate::open_already())?;
        let still_sink = Sink::start(host, address, still.clone())?;
        let http = Http::start(host, address, LONG, web.clone())?;
        let service = Service::tcp;
        let services = [
            service("sink", sink.address(), 7000),
            service("still", still_sink.address(), 7001),
            service("source", Source::start(host, address)?.address(), 7002),
            service("endless", Endless::start(host, address)?.address(), 7003),
            service("echo", Echo::start(host, address)?.address(), 7004),
            service("web", http.address(), 8080),
            service("ssh", sshd.address(), 2222),
        ];
        Ok(Self {
            sshd,
            sink,
            still,
            web,
            services,
        })
    }

    pub(super) fn services(&self) -> [Service<'static>; 7] {
        self.services
    }

    fn enter(&self, topology: &Topology, service: usize) -> Result<TcpStream> {
        enter(&topology.device, self.services[service].entrance())
    }
}

/// All applications at work.
pub(super) struct Workload {
    stop: Stop,
    /// Whoever waits before one of these is let go in the end.
    gates: Vec<Gate>,
    answers: Arc<AtomicU64>,
    members: Vec<Member>,
    idle: TcpStream,
}

struct Member {
    application: Application,
    /// None of one that is to stand still.
    progress: Option<Progress>,
}

/// How far an application has come, and how much more shows that it goes on.
struct Progress {
    step: u64,
    position: Box<dyn Fn() -> u64>,
}

impl Workload {
    pub(super) fn start(lab: &Lab, topology: &Topology, servers: &Servers) -> Result<Self> {
        let mut idle = servers.enter(topology, ECHO)?;
        ask(&mut idle, 1)?;
        let mut all = Self {
            stop: Stop::default(),
            gates: vec![servers.still.clone(), servers.web.clone()],
            answers: Arc::default(),
            members: Vec::new(),
            idle,
        };
        all.add_bulk(topology, servers)?;
        all.add_conversations(topology, servers)?;
        all.add_login(lab, topology, servers)?;
        all.add_curl(lab, topology, servers)?;
        all.add_slow(topology, servers)?;
        all.add_still(topology, servers)?;
        Ok(all)
    }

    /// Waits until every application has gone on from where it is now. One that has ended is an error.
    pub(super) fn wait_for_progress(&mut self) -> Result<()> {
        let goals: Vec<u64> = self.members.iter().map(Member::goal).collect();
        let mut standing = Vec::new();
        let waited = wait_until("every application to go on", LIMIT, || {
            standing.clear();
            self.ensure_running()?;
            standing = self.standing(&goals);
            Ok(standing.is_empty())
        });
        match standing.as_slice() {
            [] => waited,
            names => waited.with_context(|| format!("standing still: {names:?}")),
        }
    }

    /// Lets every application come to its end, and each must be a good one.
    pub(super) fn finish(mut self, lab: &Lab) -> Result<()> {
        self.ensure_running()?;
        self.stop.stop();
        self.gates.iter().for_each(Gate::open);
        ask(&mut self.idle, 2)?;
        self.idle.shutdown(Shutdown::Write)?;
        ensure_end(&mut self.idle)?;
        for member in self.members {
            member.application.finish(LIMIT)?;
        }
        let answers = self.answers.load(Ordering::Relaxed);
        lab.note(&format!("every application is content; {answers} answers"));
        Ok(())
    }

    /// The names of those that have not reached their goals.
    fn standing(&self, goals: &[u64]) -> Vec<String> {
        let all = self.members.iter().zip(goals);
        all.filter(|(member, goal)| member.position() < **goal)
            .map(|(member, _)| member.application.name().to_owned())
            .collect()
    }

    fn ensure_running(&mut self) -> Result<()> {
        let mut all = self.members.iter_mut();
        all.try_for_each(|member| member.application.ensure_running())
    }

    fn add(
        &mut self,
        name: &str,
        progress: Option<Progress>,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.members.push(Member {
            application: Application::start(name, work)?,
            progress,
        });
        Ok(())
    }

    /// As fast as the network, both ways.
    fn add_bulk(&mut self, topology: &Topology, servers: &Servers) -> Result<()> {
        let (stream, told) = (servers.enter(topology, SINK)?, self.stop.clone());
        let sink = servers.sink.clone();
        let arrived = Progress::new(BULK, move || sink.received());
        self.add("upload", Some(arrived), move || {
            upload_until(stream, &told, &AtomicU64::new(0)).map(drop)
        })?;
        let (stream, told) = (servers.enter(topology, ENDLESS)?, self.stop.clone());
        let (come, tally) = Progress::tally(BULK);
        self.add("download", Some(come), move || {
            download_until(stream, &told, &tally).map(drop)
        })
    }

    fn add_conversations(&mut self, topology: &Topology, servers: &Servers) -> Result<()> {
        for number in 0..CONVERSATIONS {
            let (stream, told) = (servers.enter(topology, ECHO)?, self.stop.clone());
            let (answered, tally) = Progress::tally(ANSWERS);
            let all = Arc::clone(&self.answers);
            let talk = move || {
                let count = converse(stream, &told, PAUSE, &tally)?;
                all.fetch_add(count, Ordering::Relaxed);
                Ok(())
            };
            self.add(&format!("conversation {number}"), Some(answered), talk)?;
        }
        Ok(())
    }

    fn add_login(&mut self, lab: &Lab, topology: &Topology, servers: &Servers) -> Result<()> {
        let login = servers.sshd.login(servers.services[SSH].entrance(), "cat");
        let ssh = Program::start(&lab.log, &topology.device, "ssh", login)?;
        let (echoed, tally) = Progress::tally(ANSWERS);
        let told = self.stop.clone();
        self.add("login", Some(echoed), move || count_in(ssh, &told, &tally))
    }

    fn add_curl(&mut self, lab: &Lab, topology: &Topology, servers: &Servers) -> Result<()> {
        let file = lab.directory.path().join("file");
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--output"]);
        command.arg(&file);
        command.arg(format!("http://{}/file", servers.services[WEB].entrance()));
        let curl = Program::start(&lab.log, &topology.device, "curl", command)?;
        let growing = file.clone();
        let written = Progress::new(1, move || fs::metadata(&growing).map_or(0, |one| one.len()));
        self.add("curl", Some(written), move || wait_for_file(curl, &file))
    }

    fn add_slow(&mut self, topology: &Topology, servers: &Servers) -> Result<()> {
        let (stream, gate) = (servers.enter(topology, SOURCE)?, self.slow_gate());
        let read = Progress::passed(&gate);
        self.add("slow reader", Some(read), move || {
            download(stream, LONG, &gate)
        })?;
        let (stream, gate) = (servers.enter(topology, SOURCE)?, self.slow_gate());
        let read = Progress::passed(&gate);
        self.add("half-closed", Some(read), move || {
            download_half_closed(stream, LONG, &gate)
        })
    }

    fn add_still(&mut self, topology: &Topology, servers: &Servers) -> Result<()> {
        let (stream, gate) = (servers.enter(topology, SOURCE)?, servers.still.clone());
        self.add("still reader", None, move || download(stream, STILL, &gate))?;
        let stream = servers.enter(topology, STILL_SINK)?;
        self.add("unread upload", None, move || upload(stream, STILL))
    }

    fn slow_gate(&mut self) -> Gate {
        let gate = Gate::slow(LONG_PAUSE);
        self.gates.push(gate.clone());
        gate
    }
}

impl Member {
    fn position(&self) -> u64 {
        self.progress.as_ref().map_or(0, |one| (one.position)())
    }

    fn goal(&self) -> u64 {
        let step = self.progress.as_ref().map_or(0, |one| one.step);
        self.position() + step
    }
}

impl Progress {
    fn new(step: u64, position: impl Fn() -> u64 + 'static) -> Self {
        Self {
            step,
            position: Box::new(position),
        }
    }

    /// With a count that the application keeps.
    fn tally(step: u64) -> (Self, Arc<AtomicU64>) {
        let tally = Arc::<AtomicU64>::default();
        let count = Arc::clone(&tally);
        (
            Self::new(step, move || count.load(Ordering::Relaxed)),
            tally,
        )
    }

    /// Of one that takes a chunk each time that it is let through: the second time it has taken one.
    fn passed(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(2, move || gate.passed())
    }
}

/// Types numbers into a login that echoes them, and waits for each.
fn count_in(mut login: Program, stop: &Stop, tally: &AtomicU64) -> Result<()> {
    let mut input = login.take_input()?;
    let mut line = 0;
    while !stop.is_stopped() {
        let counter = tally.fetch_add(1, Ordering::Relaxed);
        writeln!(input, "count {counter}.")?;
        let (found, _) = login.wait_for_line_after(line, &format!("count {counter}."), LIMIT)?;
        line = found + 1;
    }
    drop(input);
    login.wait_success(LIMIT)
}

fn wait_for_file(mut curl: Program, file: &Path) -> Result<()> {
    curl.wait_success(CURL_LIMIT)?;
    let digest = digest_of(&mut File::open(file)?, &Gate::open_already())?;
    ensure!(digest == LONG.digest(), "curl has {digest:?}");
    Ok(())
}
