//! The demo's applications: what goes over the connections, counted and hashed at both ends.
//!
//! The bytes are random, so that a byte lost, doubled or moved changes the hash. They are paced, so that the transfer
//! lasts as long as it is watched, and take no account of what a network can carry: after a pause the sender catches
//! up. An application that sees an error is a failure of the demo, and so is one that sees its end too early.

use std::net::{Ipv4Addr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::configuration::Service;
use super::stage::{Host, Stage};
use super::tally::{Figure, Tally};

/// A connection, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Application {
    /// The server application sends.
    Download,
    /// The client application sends.
    Upload,
    /// The client application sends a number, the server application sends it back.
    Ticker,
}

impl Application {
    pub(super) const ALL: [Self; 3] = [Self::Download, Self::Upload, Self::Ticker];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Ticker => "ticker",
        }
    }
}

/// The server applications before anyone has connected.
#[derive(Debug)]
pub(super) struct Listeners(Vec<(StdListener, Service)>);

impl Listeners {
    /// Lets each server application listen.
    pub(super) fn bind(stage: &Stage) -> anyhow::Result<Self> {
        let ports = stage.free_ports(Application::ALL.len())?;
        let bind = |(application, port): (Application, u16)| {
            let listener =
                stage.run(Host::Server, || StdListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            let service = Service {
                name: application.name(),
                target: listener.local_addr()?.port(),
                port,
            };
            Ok((listener, service))
        };
        let bound = Application::ALL.into_iter().zip(ports).map(bind);
        bound.collect::<anyhow::Result<_>>().map(Self)
    }

    /// What the server's configuration says about them.
    pub(super) fn services(&self) -> Vec<Service> {
        self.0.iter().map(|(_, service)| *service).collect()
    }
}

/// One connection's figures, alive.
#[derive(Debug)]
struct Stream {
    application: Application,
    sent: Arc<Tally>,
    received: Arc<Tally>,
}

/// One connection's figures at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamFigures {
    pub(super) application: Application,
    /// At the end that sends.
    pub(super) sent: Figure,
    /// At the end that receives.
    pub(super) received: Figure,
}

/// All connections and the applications at their ends.
#[derive(Debug)]
pub(super) struct Traffic {
    streams: Vec<Stream>,
    applications: JoinSet<anyhow::Result<()>>,
    stop: watch::Sender<bool>,
    slowest_echo: Arc<AtomicU64>,
}

impl Traffic {
    /// Connects the client applications, and begins.
    pub(super) async fn start(stage: &Stage, listeners: Listeners) -> anyhow::Result<Self> {
        let mut traffic = Self {
            streams: Vec::new(),
            applications: JoinSet::new(),
            stop: watch::Sender::new(false),
            slowest_echo: Arc::default(),
        };
        let entrance = stage.entrance();
        for (application, (listener, service)) in Application::ALL.into_iter().zip(listeners.0) {
            let client = stage.run(Host::Device, move || {
                StdStream::connect((entrance, service.port))
            })?;
            listener.set_nonblocking(true)?;
            client.set_nonblocking(true)?;
            let accept = TcpListener::from_std(listener)?;
            let (server, _) = timeout(CONNECT_LIMIT, accept.accept())
                .await
                .with_context(|| format!("the {} does not get through", service.name))??;
            traffic.begin(application, TcpStream::from_std(client)?, server);
        }
        Ok(traffic)
    }

    fn begin(&mut self, application: Application, mut client: TcpStream, mut server: TcpStream) {
        let (sent, received) = (Arc::<Tally>::default(), Arc::<Tally>::default());
        self.streams.push(Stream {
            application,
            sent: Arc::clone(&sent),
            received: Arc::clone(&received),
        });
        let stop = self.stop.subscribe();
        let slowest = Arc::clone(&self.slowest_echo);
        match application {
            Application::Download => {
                self.run("download's server", async move {
                    send(&mut server, &sent, &stop).await
                });
                self.run("download's client", async move {
                    receive(&mut client, &received).await
                });
            }
            Application::Upload => {
                self.run("upload's client", async move {
                    send(&mut client, &sent, &stop).await
                });
                self.run("upload's server", async move {
                    receive(&mut server, &received).await
                });
            }
            Application::Ticker => {
                self.run("ticker's client", async move {
                    tick(&mut client, [&sent, &received], &stop, &slowest).await
                });
                self.run("ticker's server", async move { echo(&mut server).await });
            }
        }
    }

    fn run(
        &mut self,
        name: &'static str,
        application: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.applications.spawn(async move {
            application
                .await
                .with_context(|| format!("the {name} saw an error"))
        });
    }

    /// Fails if an application has seen an error, or its end too early.
    pub(super) fn ensure_well(&mut self) -> anyhow::Result<()> {
        match self.applications.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                ended??;
                Err(anyhow!("a connection ended before its time"))
            }
        }
    }

    /// How it stands.
    pub(super) fn figures(&self) -> Vec<StreamFigures> {
        let figures = self.streams.iter().map(|stream| StreamFigures {
            application: stream.application,
            sent: stream.sent.figure(),
            received: stream.received.figure(),
        });
        figures.collect()
    }

    /// The longest time that the ticker has waited for an echo since this was asked last.
    pub(super) fn take_slowest_echo(&self) -> Duration {
        Duration::from_micros(self.slowest_echo.swap(0, Ordering::Relaxed))
    }

    /// Lets the senders end their streams, and waits until everything has arrived.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        let all = async {
            while let Some(ended) = self.applications.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        timeout(FINISH_LIMIT, all).await.map_err(|_| {
            anyhow!(
                "not everything that was sent arrived within {} s",
                FINISH_LIMIT.as_secs()
            )
        })?
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    tally: &Tally,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut pace = interval(CHUNK_PACE);
    let mut chunk = vec![0; CHUNK];
    while !*stop.borrow() {
        pace.tick().await;
        aws_lc_rs::rand::fill(&mut chunk).map_err(|_| anyhow!("no random numbers"))?;
        tally.add(&chunk);
        stream.write_all(&chunk).await?;
    }
    Ok(stream.shutdown().await?)
}

async fn receive(stream: &mut (impl AsyncRead + Unpin), tally: &Tally) -> anyhow::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            read => tally.add(&chunk[..read]),
        }
    }
}

async fn tick(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    [sent, received]: [&Tally; 2],
    stop: &watch::Receiver<bool>,
    slowest: &AtomicU64,
) -> anyhow::Result<()> {
    let mut pace = interval(TICK);
    let mut number = 0_u64;
    while !*stop.borrow() {
        pace.tick().await;
        number += 1;
        let asked = Instant::now();
        sent.add(&number.to_be_bytes());
        stream.write_all(&number.to_be_bytes()).await?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).await?;
        received.add(&answer);
        let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        slowest.fetch_max(micros, Ordering::Relaxed);
        ensure!(
            answer == number.to_be_bytes(),
            "it got {} back for {number}",
            u64::from_be_bytes(answer)
        );
    }
    stream.shutdown().await?;
    receive(stream, received).await
}

async fn echo(stream: &mut TcpStream) -> anyhow::Result<()> {
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    Ok(writer.shutdown().await?)
}

/// 16 KiB every 5 ms make 3.3 MB/s each way: much for an eye, little for a machine that optimises nothing.
const CHUNK: usize = 16 * 1024;

/// See [`CHUNK`]. A pause between two deliveries is never shorter, so it must not hide what a switch costs.
const CHUNK_PACE: Duration = Duration::from_millis(5);

/// A keystroke every 10 ms is faster than anyone types, and makes short pauses visible.
const TICK: Duration = Duration::from_millis(10);

/// A number of the ticker.
pub(super) const TICK_BYTES: u64 = size_of::<u64>() as u64;

/// A new connection takes a round trip of the loopback interface.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Nothing is left but what is on its way.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_of_a_stream_come_to_the_same_figure() {
        let (sent, received, stop) = (
            Tally::default(),
            Tally::default(),
            watch::Sender::new(false),
        );
        let (mut near, mut far) = tokio::io::duplex(CHUNK);
        let watched = stop.subscribe();
        let sender = send(&mut near, &sent, &watched);
        let receiver = async {
            let mut first = vec![0; CHUNK];
            far.read_exact(&mut first).await.unwrap();
            received.add(&first);
            stop.send_replace(true);
            receive(&mut far, &received).await
        };
        let (sending, receiving) = tokio::join!(sender, receiver);
        sending.unwrap();
        receiving.unwrap();
        assert!(received.figure().bytes >= CHUNK as u64);
        assert_eq!(received.figure(), sent.figure());
        received.add(&[0]);
        assert_ne!(received.figure(), sent.figure());
    }

    #[tokio::test]
    async fn a_wrong_echo_is_an_error() {
        let (near, mut far) = tokio::io::duplex(64);
        let answer = async {
            let mut number = [0; 8];
            far.read_exact(&mut number).await.unwrap();
            far.write_all(&[7; 8]).await.unwrap();
        };
        let (stop, tally, slowest) = (
            watch::Sender::new(false),
            Tally::default(),
            AtomicU64::new(0),
        );
        let (mut near, watched) = (near, stop.subscribe());
        let ticks = tick(&mut near, [&tally, &tally], &watched, &slowest);
        let (ticked, ()) = tokio::join!(ticks, answer);
        let error = ticked.unwrap_err().to_string();
        assert!(error.ends_with("back for 1"), "{error}");
    }
}
