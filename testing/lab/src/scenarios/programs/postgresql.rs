//! PostgreSQL: one session, one transaction, and a statement that runs while the network changes.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdin, Command};

use anyhow::{Context, Result, ensure};

use super::{Dialogue, live_through};
use crate::facility::find_program;
use crate::handover::{Handover, Service};
use crate::program::Program;
use crate::scenario::Lab;
use crate::scenarios::sky::Sky;
use crate::scenarios::world::{LIMIT, NETWORKS, two_networks};
use crate::topology::SERVER;

const PORT: u16 = 5432;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let files = lab.directory.path();
    make_database(&files.join("data"))?;
    let mut command = Command::new(find_program("postgres").context("postgres is not installed")?);
    command.arg("-D").arg(files.join("data"));
    command.args(["-h", &SERVER.to_string(), "-p", &PORT.to_string(), "-F"]);
    command.arg("-k").arg(files);
    let server = Program::start(&lab.log, &topology.server, "postgres", command)?;
    server.wait_for_line("ready to accept connections", LIMIT)?;
    let target = SocketAddr::new(SERVER.into(), PORT);
    let service = Service::tcp("database", target, PORT);
    let mut handover = Handover::start(lab, &topology, &[service], &NETWORKS, "")?;

    let entrance = service.entrance();
    let mut command = Command::new("psql");
    command.args(["-h", &entrance.ip().to_string()]);
    command.args(["-p", &entrance.port().to_string(), "-U", USER]);
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "postgres"]);
    let mut psql = Program::start(&lab.log, &topology.device, "psql", command)?;
    let mut session = Session {
        input: psql.take_input()?,
        psql,
        count: 0,
        line: 0,
    };
    session.say("begin; create table counted (n integer);")?;
    let mut sky = Sky::over(topology);
    live_through(lab, &mut sky, &mut handover, &mut session)?;
    session.say("commit; select 'committed', count(*) from counted;")?;
    let committed = format!("committed|{}", session.count);
    session.psql.wait_for_line(&committed, LIMIT)?;
    drop(session.input);
    session.psql.wait_success(LIMIT)
}

const USER: &str = "lab";

fn make_database(directory: &Path) -> Result<()> {
    let output = Command::new(find_program("initdb").context("initdb is not installed")?)
        .arg("-D")
        .arg(directory)
        .args(["--no-sync", "--auth=trust", "--username", USER])
        .output()
        .context("start initdb")?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "initdb: {message}");
    let entry = format!("host all all {SERVER}/32 trust\n");
    Ok(fs::write(directory.join("pg_hba.conf"), entry)?)
}

struct Session {
    input: ChildStdin,
    psql: Program,
    /// How many rows the transaction has inserted.
    count: u32,
    /// Where the next answer begins.
    line: usize,
}

impl Session {
    fn say(&mut self, statements: &str) -> Result<()> {
        Ok(writeln!(self.input, "{statements}")?)
    }
}

impl Dialogue for Session {
    fn ask(&mut self) -> Result<()> {
        self.count += 1;
        self.say(
            "insert into counted values (1); select pg_sleep(0.5); \
             select 'counted', count(*), now() = statement_timestamp() from counted;",
        )
    }

    /// Within a transaction `now()` stands still: a new one would say `t`.
    fn hear(&mut self) -> Result<()> {
        let counted = format!("counted|{}|f", self.count);
        let found = self.psql.wait_for_line_after(self.line, &counted, LIMIT)?;
        self.line = found.0 + 1;
        Ok(())
    }
}
