//! The two daemons of the demo: `handover server` and `handover client`, as anybody would start them.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use handover_carrier::PrivateKey;
use handover_control::{
    Client, ClientError, ClientState, ClientStatus, ServerStatus, Status, SwitchReply,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::time::{Instant, interval, timeout};

use super::configuration::{self, Service};
use super::stage::{Host, Network, Stage};

/// Both daemons, killed when this goes.
#[derive(Debug)]
pub(super) struct Daemons {
    server: Daemon,
    client: Daemon,
}

#[derive(Debug)]
struct Daemon {
    role: &'static str,
    host: Host,
    directory: PathBuf,
    child: Option<Child>,
}

impl Daemons {
    /// Chooses their files in `directory`; nothing runs yet.
    pub(super) fn new(directory: &Path) -> Self {
        let daemon = |role, host| Daemon {
            role,
            host,
            directory: directory.to_owned(),
            child: None,
        };
        Self {
            server: daemon("server", Host::Server),
            client: daemon("client", Host::Device),
        }
    }

    /// Makes keys and configurations, starts both, and waits until applications can connect.
    pub(super) async fn start(
        &mut self,
        stage: &Stage,
        services: &[Service],
    ) -> anyhow::Result<ClientStatus> {
        let server_key = PrivateKey::create_file(&self.server.file("key"))?.public_key();
        let client_key = PrivateKey::create_file(&self.client.file("key"))?.public_key();
        let server = configuration::server(stage, client_key, services);
        let client = configuration::client(stage, server_key);
        fs::write(self.server.file("toml"), server)?;
        fs::write(self.client.file("toml"), client)?;
        self.server.start(stage)?;
        // The client would find the server later too, but only after a pause.
        self.wait("the server listens", async |daemons| {
            let status = daemons.server_status().await.ok();
            Ok(status.filter(|status| !status.listen.is_empty()))
        })
        .await?;
        self.client.start(stage)?;
        self.wait("the client is attached", async |daemons| {
            let status = daemons.client_status().await.ok();
            Ok(status.filter(|status| is_ready(status, services.len())))
        })
        .await
    }

    /// Fails if one of them has ended.
    pub(super) fn ensure_running(&mut self) -> anyhow::Result<()> {
        self.server.ensure_running()?;
        self.client.ensure_running()
    }

    /// `handover status` of the client.
    pub(super) async fn client_status(&self) -> anyhow::Result<ClientStatus> {
        match self.client.connect().await?.status().await? {
            Status::Client(status) => Ok(status),
            Status::Server(_) => bail!("a server answers at the client's control socket"),
        }
    }

    /// `handover status` of the server.
    pub(super) async fn server_status(&self) -> anyhow::Result<ServerStatus> {
        match self.server.connect().await?.status().await? {
            Status::Server(status) => Ok(status),
            Status::Client(_) => bail!("a client answers at the server's control socket"),
        }
    }

    /// `handover switch`: carried out once it is awaited, whatever is done with the daemons meanwhile.
    pub(super) fn switch(
        &self,
        network: Network,
    ) -> impl Future<Output = Result<SwitchReply, ClientError>> + use<> {
        let control = self.client.file("sock");
        async move {
            let mut client = Client::connect(&control).await?;
            client.switch(network.name()).await
        }
    }

    /// The process ids of the server and the client.
    pub(super) fn process_ids(&self) -> [u32; 2] {
        [&self.server, &self.client].map(|daemon| {
            let child = daemon.child.as_ref();
            child.and_then(Child::id).unwrap_or_default()
        })
    }

    /// Ends both as a service manager does, and fails if one does not end well.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        self.client.end().await?;
        self.server.end().await
    }

    /// The last lines of what each has logged.
    pub(super) fn recent_logs(&self) -> Vec<String> {
        let logs = [&self.server, &self.client];
        logs.iter()
            .flat_map(|daemon| {
                // A daemon that has not started has no log.
                let log = fs::read_to_string(daemon.file("log")).unwrap_or_default();
                let lines: Vec<_> = log.lines().map(str::to_owned).collect();
                let recent = lines.len().saturating_sub(LOG_LINES);
                let line = |line: &String| format!("{} log: {line}", daemon.role);
                lines[recent..].iter().map(line).collect::<Vec<_>>()
            })
            .collect()
    }

    async fn wait<T>(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut(&Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + START_LIMIT;
        let mut looks = interval(LOOK);
        while Instant::now() < deadline {
            looks.tick().await;
            self.ensure_running()?;
            if let Some(found) = look(self).await? {
                return Ok(found);
            }
        }
        bail!("not yet so after {} s: {what}", START_LIMIT.as_secs())
    }
}

impl Daemon {
    fn file(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{}.{kind}", self.role))
    }

    async fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.file("sock")).await
    }

    fn start(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(own);
        command
            .args([self.role, "--config"])
            .arg(self.file("toml"))
            // The terminal's Ctrl-C is for the demo, which then ends both.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.file("log"))?);
        let runtime = Handle::current();
        let child = stage.run(self.host, move || {
            let _context = runtime.enter();
            tokio::process::Command::from(command)
                .kill_on_drop(true)
                .spawn()
        });
        self.child = Some(child.with_context(|| format!("cannot start the {}", self.role))?);
        Ok(())
    }

    fn ensure_running(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("the {} has ended by itself: {status}", self.role)),
        }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
            kill(Pid::from_raw(id), Signal::SIGTERM)?;
        }
        let status = timeout(END_LIMIT, child.wait())
            .await
            .map_err(|_| anyhow!("the {} does not end when told to", self.role))??;
        ensure!(
            status.success(),
            "the {} did not end well: {status}",
            self.role
        );
        Ok(())
    }
}

fn is_ready(status: &ClientStatus, services: usize) -> bool {
    let listening = status.services.iter();
    status.state == ClientState::Attached
        && listening
            .filter(|service| !service.listening.is_empty())
            .count()
            == services
}

/// Both daemons are up in a tenth of a second; a machine that is busy with a compiler takes longer.
const START_LIMIT: Duration = Duration::from_secs(8);

/// A daemon says farewell for a third of a second, then it ends.
const END_LIMIT: Duration = Duration::from_secs(3);

/// How often it is looked whether what is waited for has come.
const LOOK: Duration = Duration::from_millis(20);

/// So many lines of each log tell what went wrong, and still fit on a screen.
const LOG_LINES: usize = 15;
