//! Following the kernel's changes.
//!
//! One rtnetlink connection only listens for changes; another only asks. Any change, and any news
//! that changes were lost because they came too fast (ENOBUFS), leads to the same answer: take out
//! all news that is waiting, then ask for everything again. So nothing has to be pieced together
//! from single messages, an overrun cannot leave a stale view behind, and a burst costs one question.
//! Asking takes well under a millisecond on a host with a few dozen interfaces and routes; a router
//! with a full routing table is not what this is made for.
//!
//! A change that comes while the answers arrive is already waiting when they are in, and asks again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::sys::AsyncSocket as _;
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::interface::Address;
use crate::{Interface, Route, Snapshot};

/// Knows the current [`Snapshot`] and tells when there is a new one. Ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    _follower: JoinSet<()>,
}

impl Watch {
    /// Begins to follow the network namespace of the calling thread. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the kernel gives no rtnetlink sockets, or does not answer.
    pub async fn start() -> io::Result<Self> {
        let kernel = Kernel::open()?;
        let first = kernel.ask().await?;
        let (publisher, snapshots) = watch::channel(Arc::new(first));
        let mut follower = JoinSet::new();
        follower.spawn(follow(kernel, publisher));
        Ok(Self {
            snapshots,
            _follower: follower,
        })
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Waits for a snapshot that differs from the one at the end of the last call (or at the start).
    /// Nothing is lost if the call is cancelled.
    pub async fn changed(&mut self) {
        if self.snapshots.changed().await.is_err() {
            // The follower ends only with the runtime.
            std::future::pending().await
        }
    }
}

/// Publishes snapshots for ever; a broken connection to the kernel is opened anew.
async fn follow(mut kernel: Kernel, publisher: watch::Sender<Arc<Snapshot>>) {
    loop {
        let Err(error) = publish_changes(&mut kernel, &publisher).await;
        warn!("the kernel's view of the networks is lost for now: {error}");
        kernel = reopen().await;
    }
}

async fn reopen() -> Kernel {
    loop {
        sleep(REOPEN_PAUSE).await;
        match Kernel::open() {
            Ok(kernel) => return kernel,
            Err(error) => debug!("no connection to the kernel: {error}"),
        }
    }
}

/// Returns only with the error that broke the connection.
async fn publish_changes(
    kernel: &mut Kernel,
    publisher: &watch::Sender<Arc<Snapshot>>,
) -> io::Result<std::convert::Infallible> {
    loop {
        let snapshot = kernel.ask().await?;
        publisher.send_if_modified(|current| {
            let differs = **current != snapshot;
            if differs {
                *current = Arc::new(snapshot);
            }
            differs
        });
        kernel.news().await?;
    }
}

/// The two connections to the kernel.
struct Kernel {
    handle: Handle,
    news: Box<dyn Stream<Item = ()> + Send + Sync + Unpin>,
    _connections: JoinSet<()>,
}

impl Kernel {
    /// Listening begins before the first question, so that no change falls between the two.
    fn open() -> io::Result<Self> {
        let (mut listening, _, messages) = new_multicast_connection(&CHANGES)?;
        listening
            .socket_mut()
            .socket_mut()
            .set_rx_buf_sz(RECEIVE_BUFFER)?;
        let (asking, handle, _) = new_connection()?;
        let mut connections = JoinSet::new();
        connections.spawn(listening);
        connections.spawn(asking);
        let news = Box::new(messages.map(|_| ()));
        Ok(Self {
            handle,
            news,
            _connections: connections,
        })
    }

    /// Waits until there is news, and takes out all that is waiting.
    async fn news(&mut self) -> io::Result<()> {
        let mut next = self.news.next().await;
        while next.is_some() {
            match self.news.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::BrokenPipe,
            "the kernel's connection has ended",
        ))
    }

    /// Asks for everything.
    async fn ask(&self) -> io::Result<Snapshot> {
        match timeout(ANSWER_TIMEOUT, self.dump()).await {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the kernel does not answer",
            )),
        }
    }

    async fn dump(&self) -> Result<Snapshot, rtnetlink::Error> {
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await?;
        let addresses: Vec<_> = self.handle.address().get().execute().try_collect().await?;
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut all = RouteMessage::default();
            all.header.address_family = family;
            let answers = self.handle.route().get(all).execute();
            let of_family: Vec<_> = answers.try_collect().await?;
            routes.extend(of_family.iter().flat_map(Route::from_message));
        }
        let mut interfaces: Vec<_> = links.iter().filter_map(Interface::from_message).collect();
        let mut addresses: Vec<_> = addresses.iter().filter_map(Address::from_message).collect();
        addresses.sort_by_key(|address| !address.preferred);
        for interface in &mut interfaces {
            let own = addresses
                .iter()
                .filter(|address| address.interface == interface.index);
            interface
                .addresses
                .extend(own.map(|address| address.address));
        }
        Ok(Snapshot { interfaces, routes })
    }
}

const CHANGES: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Room for some thousand messages before the kernel drops any. It gives less to the unprivileged,
/// which costs a question more, nothing else.
const RECEIVE_BUFFER: u32 = 1024 * 1024;

/// The kernel answers in microseconds; only a stuck machine needs longer, and there waiting for ever
/// would be worse than beginning anew.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two attempts to get a connection to the kernel: it fails only when memory or descriptors
/// are short, and trying harder does not help then.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
