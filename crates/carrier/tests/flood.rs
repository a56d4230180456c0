//! What strangers and a shortage can do to the accept loop: over loopback, in a process of its own,
//! because it changes the limit of descriptors and uses them up.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may end it")]

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use handover_carrier::{
    Acceptor, AllowedKeys, Conduit, Connector, HANDSHAKE_TIMEOUT, HANDSHAKES_AT_ONCE, PrivateKey,
    PublicKey, serve,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// One test, one case after the other: each needs the process's descriptors for itself.
#[test]
fn strangers_and_shortages_keep_no_client_out() {
    alone(silent_strangers_from_one_address_keep_no_client_out());
    alone(silent_strangers_from_many_addresses_keep_no_client_out());
    alone(a_shortage_of_descriptors_neither_spins_nor_ends_the_loop());
}

/// A runtime for each case, so that the end of the case closes everything that it has opened.
fn alone(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(case);
}

async fn silent_strangers_from_one_address_keep_no_client_out() {
    let mut server = Server::start().await;
    let strangers = server.flood(|_| Ipv4Addr::new(127, 0, 0, 2)).await;
    server.lets_the_client_in(HANDSHAKE_TIMEOUT / 2).await;
    let displaced = server.acceptor.turned_away().displaced;
    assert!(displaced >= MORE_THAN_PLACES, "{displaced} are counted");
    drop(strangers);
}

async fn silent_strangers_from_many_addresses_keep_no_client_out() {
    let mut server = Server::start().await;
    let mut strangers = server
        .flood(|n| Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + n))
        .await;
    server.lets_the_client_in(HANDSHAKE_TIMEOUT / 2).await;
    // The client got the place of the oldest stranger.
    let oldest = timeout(HANDSHAKE_TIMEOUT / 2, strangers[0].read_u8()).await;
    oldest
        .expect("the oldest stranger has been displaced")
        .unwrap_err();
}

async fn a_shortage_of_descriptors_neither_spins_nor_ends_the_loop() {
    let mut server = Server::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let before = processor_time();
    let connecting = server.connector.connect(socket, server.address);
    tokio::pin!(connecting);
    let starved = timeout(SHORTAGE, async {
        tokio::join!(&mut connecting, server.arrived.recv())
    });
    starved
        .await
        .expect_err("no descriptor is left for the server's end");
    let used = processor_time() - before;
    drop(hoard);
    let (conduit, arrived) = timeout(HANDSHAKE_TIMEOUT, async {
        tokio::join!(connecting, server.arrived.recv())
    })
    .await
    .expect("the loop goes on after the shortage");
    conduit.unwrap();
    arrived.unwrap();
    assert!(
        used < SHORTAGE / 4,
        "the loop used {used:?} of {SHORTAGE:?}"
    );
}

/// Long enough to tell a pause from a spin, short beside the client's patience.
const SHORTAGE: Duration = Duration::from_secs(1);

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .unwrap()
        .into()
}

struct Server {
    address: SocketAddr,
    connector: Connector,
    client_key: PublicKey,
    acceptor: Arc<Acceptor>,
    arrived: UnboundedReceiver<(Conduit, PublicKey)>,
    _loop: tokio::task::JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let (client, server) = (PrivateKey::generate(), PrivateKey::generate());
        let client_key = client.public_key();
        let acceptor = Arc::new(Acceptor::new(&server, AllowedKeys::new([client_key])).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arrived) = unbounded_channel();
        let mut accept_loop = tokio::task::JoinSet::new();
        let door = Arc::clone(&acceptor);
        accept_loop.spawn(serve(listener, door, move |conduit, key| {
            sender
                .send((conduit, key))
                .expect("the test waits for clients");
        }));
        let connector = Connector::new(&client, server.public_key()).unwrap();
        Self {
            address,
            connector,
            client_key,
            acceptor,
            arrived,
            _loop: accept_loop,
        }
    }

    /// Takes every place and some more with connections that say nothing.
    async fn flood(&self, source: impl Fn(u32) -> Ipv4Addr) -> Vec<TcpStream> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(FILES), hard).unwrap();
        let mut strangers = Vec::new();
        for n in 0..HANDSHAKES_AT_ONCE as u32 + MORE_THAN_PLACES as u32 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((source(n), 0).into()).unwrap();
            strangers.push(socket.connect(self.address).await.unwrap());
        }
        strangers
    }

    async fn lets_the_client_in(&mut self, within: Duration) {
        let connect = self
            .connector
            .connect(TcpSocket::new_v4().unwrap(), self.address);
        let (conduit, arrived) =
            timeout(within, async { tokio::join!(connect, self.arrived.recv()) })
                .await
                .expect("the client gets in while the strangers are still there");
        conduit.unwrap();
        assert_eq!(arrived.unwrap().1, self.client_key);
    }
}

/// Both ends of every stranger are in this process.
const FILES: u64 = 4 * HANDSHAKES_AT_ONCE as u64;

/// So many strangers come to a full house.
const MORE_THAN_PLACES: u64 = 20;
