//! Who gets a conduit, who does not, and what a conduit carries: over loopback, through the public
//! interface only.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may end it")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use handover_carrier::{
    AcceptError, Acceptor, AllowedKeys, Conduit, ConnectError, Connector, PrivateKey, PublicKey,
    key_was_refused,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

#[tokio::test]
async fn each_side_knows_the_other_by_its_key() {
    let pair = Pair::new().await;
    let (client, server) = pair.connect().await;
    let (mut client, (mut server, key)) = (client.unwrap(), server.unwrap());
    assert_eq!(key, pair.client_key);
    assert_eq!(client.local_addr(), server.peer_addr());
    assert_eq!(client.peer_addr(), pair.address);
    client.write_all(b"ping").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(server.fill_buf().await.unwrap(), b"ping");
}

#[tokio::test]
async fn a_stranger_is_refused_and_told_so() {
    let mut pair = Pair::new().await;
    let stranger = PrivateKey::generate();
    pair.connector = Connector::new(&stranger, pair.server_key).unwrap();
    let (client, server) = pair.connect().await;
    let refused = server.unwrap_err();
    assert!(matches!(refused, AcceptError::UnknownKey(key) if key == stranger.public_key()));
    let error = client.unwrap().read_u8().await.unwrap_err();
    assert!(key_was_refused(&error), "{error:?}");
}

#[tokio::test]
async fn a_removed_key_is_refused_on_a_resumed_session_too() {
    let pair = Pair::new().await;
    for resumed in [false, true] {
        let (client, server) = pair.connect().await;
        let (client, (server, _)) = (client.unwrap(), server.unwrap());
        assert_eq!(client.is_resumed(), resumed);
        // Reading to the end takes the server's tickets in.
        tokio::join!(client.close(), server.close());
    }
    pair.allowed.replace([]);
    let (client, server) = pair.connect().await;
    assert!(matches!(server.unwrap_err(), AcceptError::UnknownKey(key) if key == pair.client_key));
    let mut client = client.unwrap();
    assert!(client.is_resumed(), "the case is a resumed session");
    client.read_u8().await.unwrap_err();
}

#[tokio::test]
async fn a_server_with_another_key_is_not_ours() {
    let mut pair = Pair::new().await;
    let expected = PrivateKey::generate().public_key();
    pair.connector = Connector::new(&pair.client, expected).unwrap();
    let (client, server) = pair.connect().await;
    let error = client.unwrap_err();
    let message = error.to_string();
    for key in [expected, pair.server_key] {
        assert!(message.contains(&format!("\"{key}\"")), "{message}");
    }
    server.unwrap_err();
}

#[tokio::test]
async fn a_portal_that_answers_in_the_servers_place_is_recognised() {
    let pair = Pair::new().await;
    let portal = async {
        let (mut stream, _) = pair.listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n")
            .await
            .unwrap();
        stream
    };
    let (client, _portal) = tokio::join!(pair.client_side(), portal);
    let error = client.unwrap_err();
    assert!(matches!(error, ConnectError::NotHandover(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let pair = Pair::new().await;
    let error = pair.client_side().await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut), "{error}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let mut pair = Pair::new().await;
    pair.listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let error = pair.client_side().await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn what_was_written_before_an_orderly_end_arrives() {
    let (mut client, mut server) = conduits().await;
    let sent = pattern(3_000_000);
    let send = async {
        client.write_all(&sent).await.unwrap();
        client.close().await;
    };
    let receive = async {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        server.close().await;
        received
    };
    let ((), received) = tokio::join!(send, receive);
    assert!(
        received == sent,
        "{} of {} bytes, or others",
        received.len(),
        sent.len()
    );
}

#[tokio::test]
async fn a_reset_is_no_orderly_end() {
    let (client, mut server) = conduits().await;
    client.reset();
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn both_directions_carry_large_vectored_writes_at_once() {
    let (client, server) = conduits().await;
    let (sent_up, sent_down) = (pattern(5_000_000), pattern(4_000_001));
    let (mut from_server, to_server) = tokio::io::split(client);
    let (mut from_client, to_client) = tokio::io::split(server);
    let (mut up, mut down) = (vec![0; sent_up.len()], vec![0; sent_down.len()]);
    let (_to_server, _to_client, read_up, read_down) = tokio::join!(
        write_in_pieces(to_server, &sent_up),
        write_in_pieces(to_client, &sent_down),
        from_client.read_exact(&mut up),
        from_server.read_exact(&mut down),
    );
    assert_eq!(
        (read_up.unwrap(), read_down.unwrap()),
        (sent_up.len(), sent_down.len())
    );
    assert!(up == sent_up && down == sent_down);
}

/// Writes a small header and a large payload together, as frames are written.
async fn write_in_pieces<W: tokio::io::AsyncWrite + Unpin>(mut to: W, bytes: &[u8]) -> W {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (header, payload) = rest.split_at(rest.len().min(16));
        let parts = [io::IoSlice::new(header), io::IoSlice::new(payload)];
        let written = to.write_vectored(&parts).await.unwrap();
        rest = &rest[written..];
    }
    to.flush().await.unwrap();
    to
}

async fn conduits() -> (Conduit, Conduit) {
    let (client, server) = Pair::new().await.connect().await;
    (client.unwrap(), server.unwrap().0)
}

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
    acceptor: Acceptor,
    listener: TcpListener,
    address: SocketAddr,
}

impl Pair {
    async fn new() -> Self {
        let (client, server) = (PrivateKey::generate(), PrivateKey::generate());
        let (client_key, server_key) = (client.public_key(), server.public_key());
        let allowed = AllowedKeys::new([client_key]);
        let connector = Connector::new(&client, server_key).unwrap();
        let acceptor = Acceptor::new(&server, allowed.clone()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            client,
            client_key,
            server_key,
            allowed,
            connector,
            acceptor,
            listener,
            address,
        }
    }

    async fn connect(
        &self,
    ) -> (
        Result<Conduit, ConnectError>,
        Result<(Conduit, PublicKey), AcceptError>,
    ) {
        let server_side = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            self.acceptor.accept(stream).await
        };
        tokio::join!(self.client_side(), server_side)
    }

    async fn client_side(&self) -> Result<Conduit, ConnectError> {
        self.connector
            .connect(TcpSocket::new_v4().unwrap(), self.address)
            .await
    }
}
