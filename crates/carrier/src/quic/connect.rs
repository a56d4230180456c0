//! The client's side: from a bound socket to a connection with its first conduit.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::link::Shared;
use super::{Link, Stream, client_transport, code, lost};
use crate::tls::{self, ALPN, PeerError, Shown};
use crate::{CONNECT_TIMEOUT, Conduit, ConnectError, Connector, PublicKey};

impl Connector {
    /// Opens a connection of QUIC and its first conduit through `socket`, which the caller has bound to an interface
    /// and an address. Further conduits come from the [`Link`].
    ///
    /// Success proves the server, not yet that the server accepts this client: see the crate's description.
    ///
    /// # Errors
    ///
    /// If the server is not reached, or something else answers in its place, within [`CONNECT_TIMEOUT`].
    pub async fn connect_quic(
        &self,
        socket: UdpSocket,
        server: SocketAddr,
    ) -> Result<(Conduit, Link), ConnectError> {
        match timeout(CONNECT_TIMEOUT, self.attempt_quic(socket, server)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    async fn attempt_quic(
        &self,
        socket: UdpSocket,
        server: SocketAddr,
    ) -> Result<(Conduit, Link), ConnectError> {
        let local = socket.local_addr().map_err(ConnectError::Socket)?;
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)
            .map_err(ConnectError::Socket)?;
        let shown = Shown::default();
        let name = tls::server_name().to_str().into_owned();
        let connection = endpoint
            .connect_with(self.quic_config(shown.clone())?, server, &name)
            .map_err(|error| ConnectError::Unreachable(io::Error::other(error)))?
            .await
            .map_err(|error| self.quic_failed(error, &shown))?;
        let key = check_peer(&connection)
            .map_err(|error| ConnectError::NotHandover(error.to_string()))?;
        if key != self.server_key {
            connection.close(code::RESET, b"");
            return Err(self.wrong_key(key));
        }
        let halves = connection.open_bi().await;
        let halves = halves.map_err(|error| ConnectError::Broken(lost(error)))?;
        let link = Shared::new(connection, local);
        let conduit = Conduit::over_quic(Stream::control(&link, halves));
        Ok((conduit, Link(link)))
    }

    fn quic_config(&self, shown: Shown) -> Result<ClientConfig, ConnectError> {
        let refused = |error: String| ConnectError::Socket(io::Error::other(error));
        let tls = self.quic.over_quic(shown);
        let tls = tls.map_err(|error| refused(error.to_string()))?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| refused(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(client_transport(self.keepalive)));
        Ok(config)
    }

    fn quic_failed(&self, error: ConnectionError, shown: &Shown) -> ConnectError {
        match error {
            ConnectionError::TransportError(error) => {
                match shown.key().filter(|key| *key != self.server_key) {
                    Some(key) => self.wrong_key(key),
                    None => ConnectError::NotHandover(error.to_string()),
                }
            }
            ConnectionError::VersionMismatch | ConnectionError::ConnectionClosed(_) => {
                ConnectError::NotHandover(error.to_string())
            }
            ConnectionError::TimedOut => ConnectError::TimedOut,
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => ConnectError::Broken(lost(error)),
        }
    }
}

/// What a finished handshake has proved: the peer's key, over this protocol.
pub(super) fn check_peer(connection: &Connection) -> Result<PublicKey, PeerError> {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    if data.and_then(|data| data.protocol).as_deref() != Some(ALPN) {
        return Err(PeerError::OtherProtocol);
    }
    let chain = connection.peer_identity();
    let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    tls::key_of(&chain.unwrap_or_default())
}
