//! The applications of the main job, all at work at the same time.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::application::{
    Application, Stop, ask, converse, download, download_half_closed, download_until, ensure_end,
    enter, upload, upload_until,
};
use crate::gate::Gate;
use crate::handover::Service;
use crate::openssh::Sshd;
use crate::payload::{Payload, digest_of};
use crate::program::Program;
use crate::scenario::Lab;
use crate::servers::{Echo, Endless, Http, Sink, Source};
use crate::topology::{SERVER, Topology};
use crate::wait::wait_until;

/// Everything must be over so long after the last switch: some megabytes wait to be sent.
const LIMIT: Duration = Duration::from_secs(60);

const CONVERSATIONS: usize = 50;

/// Between two questions of a conversation.
const PAUSE: Duration = Duration::from_millis(200);

/// curl takes it slowly enough to meet most of the switches.
const FILE: Payload = Payload {
    length: 12_000_000,
    seed: 31,
};
const CURL_RATE: &str = "400k";

/// More than the buffers and the credit of a reader that stands still take, but soon sent when it goes on.
const STILL: Payload = Payload {
    length: 6_000_000,
    seed: 32,
};

/// For a reader that takes a chunk each 100 ms: 160 kB/s, so about 40 s.
const SLOW: Payload = Payload {
    length: 6_000_000,
    seed: 33,
};
const SLOW_PAUSE: Duration = Duration::from_millis(100);

/// The server applications.
#[derive(Debug)]
pub(super) struct Servers {
    sshd: Sshd,
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
    pub(super) fn start(lab: &Lab, topology: &Topology, still: &Gate) -> Result<Self> {
        let (host, address) = (&topology.server, SERVER.into());
        let sshd = Sshd::start(&lab.log, host, address)?;
        let service = |name, target, port| Service { name, target, port };
        let sink = Sink::start(host, address, Gate::open_already())?;
        let still_sink = Sink::start(host, address, still.clone())?;
        let services = [
            service("sink", sink.address(), 7000),
            service("still", still_sink.address(), 7001),
            service("source", Source::start(host, address)?.address(), 7002),
            service("endless", Endless::start(host, address)?.address(), 7003),
            service("echo", Echo::start(host, address)?.address(), 7004),
            service("web", Http::start(host, address, FILE)?.address(), 8080),
            service("ssh", sshd.address(), 2222),
        ];
        Ok(Self { sshd, services })
    }

    pub(super) fn services(&self) -> [Service<'static>; 7] {
        self.services
    }

    fn enter(&self, topology: &Topology, service: usize) -> Result<TcpStream> {
        enter(&topology.device, self.services[service].entrance())
    }
}

/// All applications at work.
#[derive(Debug)]
pub(super) struct Workload {
    stop: Stop,
    gates: Vec<Gate>,
    answers: Arc<AtomicU64>,
    /// Those that end by themselves once their gate opens.
    transfers: Vec<Application>,
    /// Those that end when told, with what they have counted.
    counting: Vec<Application<u64>>,
    curl: Program,
    file: PathBuf,
    idle: TcpStream,
}

impl Workload {
    pub(super) fn start(
        lab: &Lab,
        topology: &Topology,
        servers: &Servers,
        still: &Gate,
    ) -> Result<Self> {
        let (stop, answers) = (Stop::default(), Arc::<AtomicU64>::default());
        let slow = Gate::slow(SLOW_PAUSE);
        let file = lab.directory.path().join("file");
        let mut idle = servers.enter(topology, ECHO)?;
        ask(&mut idle, 1)?;
        let counting = start_counting(lab, topology, servers, &stop, &answers)?;
        let transfers = start_transfers(topology, servers, &slow, still)?;
        Ok(Self {
            curl: start_curl(lab, topology, servers, &file)?,
            gates: vec![slow, still.clone()],
            stop,
            answers,
            transfers,
            counting,
            file,
            idle,
        })
    }

    /// Waits until the conversations have got so many more answers.
    pub(super) fn wait_for_answers(&self, count: u64) -> Result<()> {
        let wanted = self.answers.load(Ordering::Relaxed) + count;
        wait_until("more answers", LIMIT, || {
            Ok(self.answers.load(Ordering::Relaxed) >= wanted)
        })
    }

    /// Lets every application come to its end, and each must be a good one.
    pub(super) fn finish(mut self, lab: &Lab) -> Result<()> {
        self.stop.stop();
        self.gates.iter().for_each(Gate::open);
        ask(&mut self.idle, 2)?;
        self.idle.shutdown(std::net::Shutdown::Write)?;
        ensure_end(&mut self.idle)?;
        for application in self.counting {
            let count = application.finish(LIMIT)?;
            ensure!(count > 0, "an application did nothing");
        }
        for application in self.transfers {
            application.finish(LIMIT)?;
        }
        self.curl.wait_success(LIMIT)?;
        let digest = digest_of(&mut File::open(self.file)?, &Gate::open_already())?;
        ensure!(digest == FILE.digest(), "curl has {digest:?}");
        let answers = self.answers.load(Ordering::Relaxed);
        lab.note(&format!("every application is content; {answers} answers"));
        Ok(())
    }
}

fn start_counting(
    lab: &Lab,
    topology: &Topology,
    servers: &Servers,
    stop: &Stop,
    answers: &Arc<AtomicU64>,
) -> Result<Vec<Application<u64>>> {
    let mut all = Vec::new();
    let (stream, told) = (servers.enter(topology, SINK)?, stop.clone());
    all.push(Application::start("upload", move || {
        upload_until(stream, &told, &AtomicU64::new(0))
    })?);
    let (stream, told) = (servers.enter(topology, ENDLESS)?, stop.clone());
    all.push(Application::start("download", move || {
        download_until(stream, &told)
    })?);
    let (login, told) = (start_login(lab, topology, servers)?, stop.clone());
    all.push(Application::start("login", move || count_in(login, &told))?);
    for number in 0..CONVERSATIONS {
        let (stream, told) = (servers.enter(topology, ECHO)?, stop.clone());
        let tally = Arc::clone(answers);
        let talk = move || converse(stream, &told, PAUSE, &tally);
        all.push(Application::start(&format!("conversation {number}"), talk)?);
    }
    Ok(all)
}

fn start_transfers(
    topology: &Topology,
    servers: &Servers,
    slow: &Gate,
    still: &Gate,
) -> Result<Vec<Application>> {
    let source = || servers.enter(topology, SOURCE);
    let (half_closed, half_closed_pace) = (source()?, slow.clone());
    let (slow_reader, slow_pace) = (source()?, slow.clone());
    let (still_reader, still_pace) = (source()?, still.clone());
    let unread = servers.enter(topology, STILL_SINK)?;
    Ok(vec![
        Application::start("half-closed", move || {
            download_half_closed(half_closed, SLOW, &half_closed_pace)
        })?,
        Application::start("slow reader", move || {
            download(slow_reader, SLOW, &slow_pace)
        })?,
        Application::start("still reader", move || {
            download(still_reader, STILL, &still_pace)
        })?,
        Application::start("unread upload", move || upload(unread, STILL))?,
    ])
}

fn start_curl(
    lab: &Lab,
    topology: &Topology,
    servers: &Servers,
    file: &PathBuf,
) -> Result<Program> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail"]);
    command
        .args(["--limit-rate", CURL_RATE, "--output"])
        .arg(file);
    command.arg(format!("http://{}/file", servers.services[WEB].entrance()));
    Program::start(&lab.log, &topology.device, "curl", command)
}

fn start_login(lab: &Lab, topology: &Topology, servers: &Servers) -> Result<Program> {
    let login = servers.sshd.login(servers.services[SSH].entrance(), "cat");
    Program::start(&lab.log, &topology.device, "ssh", login)
}

/// Types numbers into a login that echoes them, and waits for each.
fn count_in(mut login: Program, stop: &Stop) -> Result<u64> {
    let mut input = login.take_input()?;
    let (mut counter, mut line) = (0, 0);
    while !stop.is_stopped() {
        counter += 1;
        writeln!(input, "count {counter}.")?;
        let (found, _) = login.wait_for_line_after(line, &format!("count {counter}."), LIMIT)?;
        line = found + 1;
    }
    drop(input);
    login.wait_success(LIMIT)?;
    Ok(counter)
}
