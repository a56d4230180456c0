//! The play: what is done to the daemons, in which order, and what is seen meanwhile.

use std::time::Duration;

use anyhow::{Context as _, bail};
use handover_control::{ClientState, ClientStatus, SwitchEntry};
use tokio::time::{Instant, Interval, interval};

use super::daemons::Daemons;
use super::lines::Lines;
use super::stage::{Network, Stage};
use super::traffic::{Application, Listeners, StreamFigures, TICK_BYTES, Traffic};

/// What is left of it for the verdict.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) streams: Vec<StreamFigures>,
    /// All that the client's status lists.
    pub(super) switches: Vec<SwitchEntry>,
    /// The ticker's longest wait around each switch that the demo has caused.
    pub(super) slowest_echoes: [Duration; 2],
    /// How many streams were open before the first switch and after each.
    pub(super) open_streams: [u64; 3],
    /// How many streams the client and the server still had some time after all had ended.
    pub(super) left_streams: [u64; 2],
}

/// Starts the traffic, has the network switched twice, and stops the traffic.
pub(super) async fn play(
    stage: &Stage,
    daemons: &mut Daemons,
    listeners: Listeners,
    lines: &Lines,
) -> anyhow::Result<Observed> {
    let mut seen = Seen::default();
    seen.tell(&daemons.client_status().await?, lines)?;
    let traffic = Traffic::start(stage, listeners).await?;
    lines.event(
        "transfer",
        "a download, an upload and a ticker connect to 127.0.0.1 on the device",
    )?;
    let mut play = Play {
        daemons,
        traffic,
        lines,
        looks: interval(LOOK),
        progress_at: Instant::now() + PROGRESS,
        seen,
    };
    let before = play.run_for(BEFORE).await?;
    let ordered = play.order(Network::Mobile).await?;
    let between = play.run_for(BETWEEN).await?;
    let cut = play.cut(stage, Network::Mobile).await?;
    let after = play.run_for(AFTER).await?;
    play.traffic.finish().await?;
    lines.event("transfer", "all connections have ended")?;
    Ok(Observed {
        streams: play.traffic.figures(),
        switches: after.switches,
        slowest_echoes: [ordered, cut],
        open_streams: [before.streams, between.streams, after.streams],
        left_streams: play.left_streams().await?,
    })
}

struct Play<'a> {
    daemons: &'a mut Daemons,
    traffic: Traffic,
    lines: &'a Lines,
    looks: Interval,
    progress_at: Instant,
    seen: Seen,
}

/// What the user has been told of the client's status.
#[derive(Debug, Default)]
struct Seen {
    state: Option<(ClientState, Option<String>)>,
    /// How many switches, and of how many the gap.
    switches: usize,
    gaps: usize,
}

impl Play<'_> {
    async fn run_for(&mut self, time: Duration) -> anyhow::Result<ClientStatus> {
        let end = Instant::now() + time;
        self.watch("", 2 * time, |_| Instant::now() >= end).await
    }

    /// Orders a switch; returns the ticker's longest wait.
    async fn order(&mut self, network: Network) -> anyhow::Result<Duration> {
        self.traffic.take_slowest_echo();
        self.lines
            .event("order", format_args!("handover switch {network}"))?;
        let order = tokio::spawn(self.daemons.switch(network));
        self.watch("the order is carried out", SWITCH_LIMIT, |_| {
            order.is_finished()
        })
        .await?;
        order
            .await?
            .with_context(|| format!("handover switch {network}"))?;
        self.settled(1).await
    }

    /// Cuts the network in use; returns the ticker's longest wait.
    async fn cut(&mut self, stage: &Stage, network: Network) -> anyhow::Result<Duration> {
        self.traffic.take_slowest_echo();
        stage.cut(network)?;
        self.lines.event(
            "cut",
            format_args!("{network} swallows every packet from now on, and nobody is told"),
        )?;
        self.settled(2).await
    }

    /// Waits until so many switches are over, and a little for their gaps: what is missing then is for the verdict.
    async fn settled(&mut self, switches: usize) -> anyhow::Result<Duration> {
        self.watch("the switch is over", SWITCH_LIMIT, |status| {
            status.switches.len() >= switches
        })
        .await?;
        let end = Instant::now() + GAP_LIMIT;
        self.watch("the gap is known", 2 * GAP_LIMIT, |status| {
            let known = status.switches.iter().all(|entry| entry.gap_ms.is_some());
            known || Instant::now() >= end
        })
        .await?;
        Ok(self.traffic.take_slowest_echo())
    }

    /// Looks on, and tells the user, until `done`.
    async fn watch(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&ClientStatus) -> bool,
    ) -> anyhow::Result<ClientStatus> {
        let deadline = Instant::now() + limit;
        loop {
            self.looks.tick().await;
            self.traffic.ensure_well()?;
            self.daemons.ensure_running()?;
            let status = self.daemons.client_status().await?;
            self.seen.tell(&status, self.lines)?;
            if Instant::now() >= self.progress_at {
                self.progress_at += PROGRESS;
                self.lines
                    .event("transfer", progress(&self.traffic.figures()))?;
            }
            if done(&status) {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "not yet so after {} s: {what}; the client says {status:?}",
                    limit.as_secs()
                );
            }
        }
    }

    /// Streams that both daemons have not forgotten; that takes them a moment, so it is not the first look that counts.
    async fn left_streams(&mut self) -> anyhow::Result<[u64; 2]> {
        let deadline = Instant::now() + FORGET_LIMIT;
        loop {
            self.looks.tick().await;
            let client = self.daemons.client_status().await?.streams;
            let server = self.daemons.server_status().await?;
            let left = [
                client,
                server.clients.iter().map(|client| client.streams).sum(),
            ];
            if left == [0, 0] || Instant::now() >= deadline {
                return Ok(left);
            }
        }
    }
}

impl Seen {
    /// Tells the user what `status` says for the first time.
    fn tell(&mut self, status: &ClientStatus, lines: &Lines) -> anyhow::Result<()> {
        let mut news = self.news(status).into_iter();
        news.try_for_each(|(kind, details)| lines.event(kind, details))
    }

    /// The lines for what `status` says for the first time.
    fn news(&mut self, status: &ClientStatus) -> Vec<(&'static str, String)> {
        let mut news = Vec::new();
        for entry in status.switches.iter().skip(self.switches) {
            news.push(("switched", switched(entry)));
        }
        self.switches = status.switches.len();
        let gaps = status
            .switches
            .iter()
            .skip(self.gaps)
            .map_while(|entry| entry.gap_ms);
        for gap in gaps {
            self.gaps += 1;
            news.push((
                "gap",
                format!("the longest pause of an application was {gap:.1} ms"),
            ));
        }
        let state = Some((status.state, status.network.clone()));
        if self.state != state {
            self.state = state;
            news.push(("state", standing(status)));
        }
        news
    }
}

fn switched(entry: &SwitchEntry) -> String {
    let SwitchEntry {
        from,
        to,
        kind,
        procedure,
        outcome,
        duration_ms,
        ..
    } = entry;
    format!("{from} to {to}: {kind}, {procedure}, {outcome} after {duration_ms:.1} ms")
}

fn standing(status: &ClientStatus) -> String {
    let mut text = status.state.to_string();
    if let (Some(network), Some(address)) = (&status.network, status.local_address) {
        text += &format!(", network {network} ({address})");
    }
    if let Some(error) = &status.error {
        text += &format!(": {error}");
    }
    text
}

fn progress(figures: &[StreamFigures]) -> String {
    let figure = |StreamFigures {
                      application,
                      received,
                      ..
                  }: &StreamFigures| {
        let (name, hash) = (application.name(), received.short_hash(4));
        match application {
            Application::Download | Application::Upload => {
                format!("{name} {:5.1} MB {hash}", received.bytes as f64 / 1e6)
            }
            Application::Ticker => {
                format!("{name} {:4} echoes {hash}", received.bytes / TICK_BYTES)
            }
        }
    };
    let figures: Vec<_> = figures.iter().map(figure).collect();
    figures.join("  ")
}

/// Long enough to see that bytes flow.
const BEFORE: Duration = Duration::from_millis(2500);

/// Long enough to see that they flow on.
const BETWEEN: Duration = Duration::from_millis(1500);

/// As [`BETWEEN`].
const AFTER: Duration = Duration::from_millis(2000);

/// How often the user sees how far the transfer is.
const PROGRESS: Duration = Duration::from_secs(1);

/// Short enough to see the states that a switch passes.
const LOOK: Duration = Duration::from_millis(10);

/// A silent network is given up after two seconds; the way to the next one may take some attempts.
const SWITCH_LIMIT: Duration = Duration::from_secs(9);

/// The applications have a second to go on, the daemons two to report to each other.
const GAP_LIMIT: Duration = Duration::from_secs(3);

/// The last acknowledgements need a round trip.
const FORGET_LIMIT: Duration = Duration::from_secs(2);
