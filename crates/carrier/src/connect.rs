//! The client's side: from a bound socket to a conduit, or to a reason why this network does not
//! reach the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::conduit::{BUFFER_BYTES, read_ahead};
use crate::tls::ClientTls;
use crate::{Conduit, PrivateKey, PublicKey, SetUpError, socket, tls};

/// How long one attempt may take, TCP and TLS together: four round trips of a second each. A
/// network slower than that is of no use; a longer wait only delays the next attempt, on this
/// network or another.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Opens conduits to one server.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    pub(crate) quic: Arc<ClientTls>,
    pub(crate) server_key: PublicKey,
    pub(crate) keepalive: Duration,
}

impl Connector {
    /// Connects as `key` to the server that owns `server_key`, and to no other.
    ///
    /// # Errors
    ///
    /// If the TLS library refuses to start.
    pub fn new(key: &PrivateKey, server_key: PublicKey) -> Result<Self, SetUpError> {
        let tls = ClientTls::new(key, server_key);
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls.over_tcp()?)),
            quic: Arc::new(tls),
            server_key,
            keepalive: socket::KEEPALIVE_CONNECTED,
        })
    }

    /// The same, but conduits on which nothing passes for so long are probed: where a NAT forgets early.
    #[must_use]
    pub fn with_keepalive(self, keepalive: Duration) -> Self {
        Self { keepalive, ..self }
    }

    /// Opens a conduit over TCP through `socket`, which the caller has bound to an interface and an address.
    ///
    /// Success proves the server, not yet that the server accepts this client: see the crate's
    /// description.
    ///
    /// # Errors
    ///
    /// If the server is not reached, or something else answers in its place, within
    /// [`CONNECT_TIMEOUT`].
    pub async fn connect(
        &self,
        socket: TcpSocket,
        server: SocketAddr,
    ) -> Result<Conduit, ConnectError> {
        match timeout(CONNECT_TIMEOUT, self.attempt(socket, server)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    async fn attempt(
        &self,
        socket: TcpSocket,
        server: SocketAddr,
    ) -> Result<Conduit, ConnectError> {
        socket::prepare(&SockRef::from(&socket), self.keepalive).map_err(ConnectError::Socket)?;
        let stream = socket
            .connect(server)
            .await
            .map_err(ConnectError::Unreachable)?;
        let stream = self
            .tls
            .connect_with(tls::server_name(), read_ahead(stream), |session| {
                session.set_buffer_limit(Some(BUFFER_BYTES))
            })
            .await
            .map_err(|error| self.handshake_failed(error))?;
        let key = tls::check_peer(stream.get_ref().1)
            .map_err(|error| ConnectError::NotHandover(error.to_string()))?;
        if key != self.server_key {
            return Err(self.wrong_key(key));
        }
        Conduit::over_tls(TlsStream::Client(stream)).map_err(ConnectError::Broken)
    }

    fn handshake_failed(&self, error: io::Error) -> ConnectError {
        let Some(cause) = tls::tls_error(&error) else {
            return ConnectError::Broken(error);
        };
        match tls::turned_away(cause) {
            Some(key) => self.wrong_key(key),
            None => ConnectError::NotHandover(cause.to_string()),
        }
    }

    pub(crate) const fn wrong_key(&self, met: PublicKey) -> ConnectError {
        let expected = self.server_key;
        ConnectError::WrongServerKey { met, expected }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("server_key", &self.server_key)
            .finish_non_exhaustive()
    }
}

/// Why an attempt failed. None of these is the server's word: each means "this network does not
/// reach the server".
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket could not be made ready.
    #[error("the socket cannot be prepared: {0}")]
    Socket(#[source] io::Error),
    /// No connection came about.
    #[error("the server is not reached: {0}")]
    Unreachable(#[source] io::Error),
    /// Nothing finished within [`CONNECT_TIMEOUT`].
    #[error("no answer from the server within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    /// A handover server answered, but not ours.
    #[error(
        "a server with another key answered: expected \"{expected}\", met \"{met}\"; \
         this network may lead elsewhere, so it is tried again; \
         correct `server_key` in the configuration if the server was given a new key"
    )]
    WrongServerKey {
        /// The key that was shown.
        met: PublicKey,
        /// The key that the user has given.
        expected: PublicKey,
    },
    /// Something answered that is no handover server: a hotel's portal, a proxy, another service.
    #[error("this network does not reach the server, something else answered: {0}")]
    NotHandover(String),
    /// The connection broke during the handshake.
    #[error("the connection broke during the handshake: {0}")]
    Broken(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::AllowedKeys;
    use crate::tls::ServerTls;

    #[tokio::test]
    async fn a_server_of_another_protocol_is_not_ours_even_with_our_servers_key() {
        for other in [vec![b"http/1.1".to_vec()], vec![]] {
            let (client, server) = (PrivateKey::generate(), PrivateKey::generate());
            let allowed = AllowedKeys::new([client.public_key()]);
            let mut config = ServerTls::new(&server, allowed).over_tcp().unwrap();
            config.alpn_protocols = other;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let accept = async {
                let (stream, _) = listener.accept().await.unwrap();
                TlsAcceptor::from(Arc::new(config)).accept(stream).await
            };
            let connector = Connector::new(&client, server.public_key()).unwrap();
            let connect = connector.connect(TcpSocket::new_v4().unwrap(), address);
            let (connected, _accepted) = tokio::join!(connect, accept);
            let error = connected.unwrap_err();
            assert!(matches!(error, ConnectError::NotHandover(_)), "{error}");
        }
    }
}
