//! Who gets a conduit over QUIC, who does not, and what a conduit and a link carry: over loopback, through the public
//! interface only.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may end it")]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use handover_carrier::{
    Acceptor, AllowedKeys, Conduit, ConnectError, Connector, HANDSHAKE_TIMEOUT, HANDSHAKES_AT_ONCE,
    Link, PrivateKey, PublicKey, QuicListener, TurnedAway, key_was_refused,
};
use tokio::io::{
    AsyncBufRead as _, AsyncBufReadExt as _, AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _,
    ReadBuf,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// For what happens at once, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// How often something is looked at that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[tokio::test]
async fn each_side_knows_the_other_by_its_key() {
    let mut pair = Pair::new();
    let (client, server) = pair.conduits().await;
    let (mut server, key) = server;
    assert_eq!(key, pair.client_key);
    assert_eq!(client.local_addr(), server.peer_addr());
    assert_eq!(client.peer_addr(), pair.address);
    assert_eq!(server.local_addr(), pair.address);
    assert_eq!(server.fill_buf().await.unwrap(), HELLO);
}

#[tokio::test]
async fn a_stranger_is_refused_told_so_and_counted_by_key() {
    let mut pair = Pair::new();
    let stranger = PrivateKey::generate();
    pair.connector = Connector::new(&stranger, pair.server_key).unwrap();
    let error = pair.refused().await;
    assert!(key_was_refused(&error), "{error:?}");
    pair.until(|counted| counted.unknown_key == 1).await;
}

#[tokio::test]
async fn a_removed_key_is_refused() {
    let mut pair = Pair::new();
    let (client, (server, _)) = pair.conduits().await;
    tokio::join!(client.close(), server.close());
    pair.allowed.replace([]);
    let error = pair.refused().await;
    assert!(key_was_refused(&error), "{error:?}");
    pair.until(|counted| counted.unknown_key == 1).await;
}

#[tokio::test]
async fn a_client_whose_key_is_removed_opens_no_other_conduit() {
    let mut pair = Pair::new();
    let (mut client, link, server) = pair.link().await;
    server.admit();
    pair.allowed.replace([]);
    let mut other = link.open().await.unwrap();
    other.write_all(HELLO).await.unwrap();
    let error = client.read_u8().await.unwrap_err();
    assert!(key_was_refused(&error), "{error:?}");
}

#[tokio::test]
async fn a_server_with_another_key_is_not_ours() {
    let mut pair = Pair::new();
    let expected = PrivateKey::generate().public_key();
    pair.connector = Connector::new(&pair.client, expected).unwrap();
    let error = pair.connect().await.unwrap_err();
    let message = error.to_string();
    for key in [expected, pair.server_key] {
        assert!(message.contains(&format!("\"{key}\"")), "{message}");
    }
    pair.until(|counted| counted.not_handover == 1).await;
}

#[tokio::test]
async fn a_port_that_never_answers_is_given_up() {
    let mut pair = Pair::new();
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    pair.address = silent.local_addr().unwrap();
    let error = pair.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut), "{error}");
}

#[tokio::test]
async fn strangers_that_finish_nothing_keep_no_client_out() {
    let mut pair = Pair::new();
    let strangers = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for _ in 0..HANDSHAKES_AT_ONCE + 20 {
        strangers
            .send_to(&pair.first_packet().await, pair.address)
            .unwrap();
    }
    let connected = timeout(HANDSHAKE_TIMEOUT / 2, pair.link()).await;
    connected.expect("the client gets in while the strangers' handshakes are unfinished");
    assert_eq!(pair.acceptor.turned_away(), TurnedAway::default());
    // Who has shown that its address is its own has a place, and no other beyond the first.
    pair.until(|counted| counted.timed_out == UNPROVEN_AT_ONCE)
        .await;
}

/// So many handshakes the server begins with whoever comes.
const UNPROVEN_AT_ONCE: u64 = 64;

#[tokio::test]
async fn a_link_has_no_other_conduit_before_it_is_admitted() {
    let mut pair = Pair::new();
    let (_client, link, server) = pair.link().await;
    let opening = link.open();
    tokio::pin!(opening);
    let pending = poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx).is_pending()));
    assert!(pending.await);
    server.admit();
    let mut further = opening.await.unwrap();
    further.write_all(b"further").await.unwrap();
    let (mut arrived, key) = pair.arrived().await;
    assert_eq!(key, pair.client_key);
    assert_eq!(arrived.fill_buf().await.unwrap(), b"further");
}

#[tokio::test]
async fn what_was_written_before_an_orderly_end_arrives_on_every_conduit() {
    let mut pair = Pair::new();
    let (client, link, server) = pair.link().await;
    server.admit();
    let mut clients = vec![client];
    let mut servers = vec![server];
    for _ in 0..3 {
        let mut further = link.open().await.unwrap();
        further.write_all(HELLO).await.unwrap();
        clients.push(further);
        servers.push(pair.arrived().await.0);
    }
    let sent = pattern(3_000_000);
    let mut tasks = tokio::task::JoinSet::new();
    for mut conduit in clients {
        let sent = sent.clone();
        tasks.spawn(async move {
            conduit.write_all(&sent).await.unwrap();
            conduit.close().await;
        });
    }
    for mut conduit in servers {
        let sent = sent.clone();
        tasks.spawn(async move {
            let mut received = Vec::new();
            conduit.read_to_end(&mut received).await.unwrap();
            assert!(received[HELLO.len()..] == sent, "{} bytes", received.len());
            conduit.close().await;
        });
    }
    timeout(LIMIT, tasks.join_all()).await.unwrap();
    // The control channel's end is the connection's.
    link.open().await.unwrap_err();
}

#[tokio::test]
async fn a_reset_or_a_drop_is_no_orderly_end() {
    for reset in [true, false] {
        let mut pair = Pair::new();
        let ([mut client, further], [server, mut arrived], _link) = pair.two().await;
        if reset {
            further.reset();
        } else {
            drop(further);
        }
        let error = arrived.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        // The link lives on.
        client.write_all(b"!").await.unwrap();
        let mut server = server;
        server.read_exact(&mut [0; HELLO.len() + 1]).await.unwrap();
    }
}

#[tokio::test]
async fn the_first_conduit_ends_all_others_when_it_is_reset_or_dropped() {
    for reset in [true, false] {
        let mut pair = Pair::new();
        let ([client, mut further], [_server, mut arrived], _link) = pair.two().await;
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        let error = timeout(LIMIT, arrived.read_u8())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        further.write_all(b"!").await.unwrap_err();
    }
}

#[tokio::test]
async fn both_directions_carry_large_writes_of_many_pieces_at_once() {
    let mut pair = Pair::new();
    let (client, _, server) = pair.link().await;
    server.admit();
    let (sent_up, sent_down) = (pattern(5_000_000), pattern(4_000_001));
    let (client, server) = (RefCell::new(client), RefCell::new(server));
    let (down, up) = tokio::join!(
        exchange(&client, &sent_up, sent_down.len()),
        exchange(&server, &sent_down, HELLO.len() + sent_up.len())
    );
    assert!(down == sent_down && up[HELLO.len()..] == sent_up);
}

/// Sends all of it in small headers and large payloads, as frames are written, and receives so many bytes meanwhile.
async fn exchange(conduit: &RefCell<Conduit>, bytes: &[u8], expected: usize) -> Vec<u8> {
    let send = async {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            let payload = rest.slice(rest.len().min(16)..rest.len().min(50_000));
            let pieces = [rest.slice(..rest.len().min(16)), payload];
            let write = |cx: &mut Context<'_>| {
                let pieces = pieces.iter().filter(|one| !one.is_empty());
                conduit.borrow_mut().poll_write_chunks(cx, pieces)
            };
            rest.advance(poll_fn(write).await.unwrap());
        }
    };
    let receive = async {
        let mut received = Vec::new();
        while received.len() < expected {
            let mut buffer = [0; 64 * 1024];
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = |cx: &mut Context<'_>| {
                Pin::new(&mut *conduit.borrow_mut()).poll_read(cx, &mut buffer)
            };
            poll_fn(read).await.unwrap();
            assert!(!buffer.filled().is_empty(), "too early an end");
            received.extend_from_slice(buffer.filled());
        }
        received
    };
    let ((), received) = tokio::join!(send, receive);
    received
}

#[tokio::test]
async fn datagrams_of_every_size_arrive_before_what_is_written_behind_them() {
    let mut pair = Pair::new();
    let (mut client, _, mut server) = pair.link().await;
    server.admit();
    server.read_exact(&mut [0; HELLO.len()]).await.unwrap();
    let sizes = [1, 1_000, 1_150, 1_500, 66_000];
    let sent: Vec<Bytes> = (0..100)
        .map(|n| {
            let mut datagram = pattern(sizes[n % sizes.len()]);
            datagram[0] = n as u8;
            Bytes::from(datagram)
        })
        .collect();
    let send = async {
        for datagram in &sent {
            poll_fn(|cx| client.poll_send_datagram(cx, datagram))
                .await
                .unwrap();
        }
        poll_fn(|cx| client.poll_datagrams_sent(cx)).await;
        client.write_all(b"!").await.unwrap();
    };
    let mut arrived = Vec::new();
    let receive = poll_fn(|cx| {
        let behind = Pin::new(&mut server).poll_fill_buf(cx).is_ready();
        while let Poll::Ready(datagram) = server.poll_receive_datagram(cx) {
            arrived.push(datagram.unwrap());
        }
        if behind {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    tokio::join!(send, receive);
    arrived.sort_by_key(|datagram| datagram[0]);
    let sizes: Vec<_> = arrived.iter().map(Bytes::len).collect();
    assert!(arrived == sent, "{} arrived: {sizes:?}", arrived.len());
}

#[tokio::test]
async fn a_large_datagram_that_is_given_up_does_not_arrive_in_part() {
    let mut pair = Pair::new();
    let (client, link, mut server) = pair.link().await;
    server.admit();
    let mut further = link.open().await.unwrap();
    further.write_all(HELLO).await.unwrap();
    let (_arrived, _) = pair.arrived().await;
    let large = Bytes::from(pattern(66_000));
    let sending = poll_fn(|cx| further.poll_send_datagram(cx, &large));
    sending.await.unwrap();
    drop(further);
    let mut after = link.open().await.unwrap();
    let small = Bytes::from_static(b"small");
    poll_fn(|cx| after.poll_send_datagram(cx, &small))
        .await
        .unwrap();
    let received = poll_fn(|cx| server.poll_receive_datagram(cx))
        .await
        .unwrap();
    assert_eq!(received, small);
    drop(client);
    poll_fn(|cx| server.poll_receive_datagram(cx))
        .await
        .unwrap_err();
}

const HELLO: &[u8] = b"hello";

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// A server that allows one client, and that client.
struct Pair {
    client: PrivateKey,
    client_key: PublicKey,
    server_key: PublicKey,
    allowed: AllowedKeys,
    connector: Connector,
    acceptor: Arc<Acceptor>,
    address: SocketAddr,
    arrivals: UnboundedReceiver<(Conduit, PublicKey)>,
    _loop: tokio::task::JoinSet<()>,
}

impl Pair {
    fn new() -> Self {
        let (client, server) = (PrivateKey::generate(), PrivateKey::generate());
        let (client_key, server_key) = (client.public_key(), server.public_key());
        let allowed = AllowedKeys::new([client_key]);
        let acceptor = Arc::new(Acceptor::new(&server, allowed.clone()).unwrap());
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = QuicListener::new(socket, Arc::clone(&acceptor)).unwrap();
        let (sender, arrivals) = unbounded_channel();
        let mut accept_loop = tokio::task::JoinSet::new();
        accept_loop.spawn(listener.serve(move |conduit, key| {
            sender
                .send((conduit, key))
                .expect("the test waits for clients");
        }));
        Self {
            connector: Connector::new(&client, server_key).unwrap(),
            client,
            client_key,
            server_key,
            allowed,
            acceptor,
            address,
            arrivals,
            _loop: accept_loop,
        }
    }

    async fn connect(&self) -> Result<(Conduit, Link), ConnectError> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.connector.connect_quic(socket, self.address).await
    }

    /// What an attempt to connect begins with.
    async fn first_packet(&self) -> Vec<u8> {
        let server = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        let mut packet = vec![0; 2000];
        tokio::select! {
            _ = self.connector.connect_quic(socket, address) => panic!("nobody answers"),
            length = server.recv(&mut packet) => packet.truncate(length.unwrap()),
        }
        packet
    }

    /// The server has yet to read the first bytes.
    async fn link(&mut self) -> (Conduit, Link, Conduit) {
        let (mut client, link) = self.connect().await.unwrap();
        client.write_all(HELLO).await.unwrap();
        let (server, _) = self.arrived().await;
        (client, link, server)
    }

    /// Two conduits of one link, at the client and at the server, which has read what the second began with.
    async fn two(&mut self) -> ([Conduit; 2], [Conduit; 2], Link) {
        let (client, link, server) = self.link().await;
        server.admit();
        let mut further = link.open().await.unwrap();
        further.write_all(HELLO).await.unwrap();
        let (mut arrived, _) = self.arrived().await;
        arrived.read_exact(&mut [0; HELLO.len()]).await.unwrap();
        ([client, further], [server, arrived], link)
    }

    async fn conduits(&mut self) -> (Conduit, (Conduit, PublicKey)) {
        let (mut client, _) = self.connect().await.unwrap();
        client.write_all(HELLO).await.unwrap();
        (client, self.arrived().await)
    }

    async fn arrived(&mut self) -> (Conduit, PublicKey) {
        let arrival = timeout(LIMIT, self.arrivals.recv()).await;
        arrival.expect("the server has the conduit").unwrap()
    }

    /// How the client hears that the server does not want it: in the handshake, or behind it.
    async fn refused(&self) -> io::Error {
        let (mut client, _) = self.connect().await.unwrap();
        client.read_u8().await.unwrap_err()
    }

    async fn until(&self, counted: impl Fn(TurnedAway) -> bool) {
        timeout(LIMIT, async {
            while !counted(self.acceptor.turned_away()) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{:?}", self.acceptor.turned_away()));
    }
}
