//! The server's side: from a UDP socket to the conduits of known clients.
//!
//! As over TCP, the loop only accepts. A stranger's first packet proves nothing, not even the address that it comes from;
//! so when many handshakes are unfinished, a newcomer has to show first that it receives what is sent there. That costs
//! it one round trip and this side no memory.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ConnectionError, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::connect::check_peer;
use super::link::Shared;
use super::{Stream, code, lost, server_transport};
use crate::handshakes::Handshakes;
use crate::tls::Shown;
use crate::{
    AcceptError, Acceptor, AllowedKeys, Conduit, HANDSHAKE_TIMEOUT, HANDSHAKES_AT_ONCE, PublicKey,
    SetUpError,
};

/// How many handshakes may be unfinished before a newcomer has to prove its address: a server's clients that all come
/// back at once are not held up by a round trip, and who makes up addresses takes no more places than these.
const UNPROVEN_AT_ONCE: usize = 64;

/// What a client may send before the loop has looked at its first packet, in bytes: the rest of a long first flight.
const FIRST_FLIGHT_BYTES: u64 = 16 * 1024;

/// A door for QUIC.
#[derive(Debug)]
pub struct QuicListener {
    endpoint: Endpoint,
    acceptor: Arc<Acceptor>,
    config: ServerConfig,
    local: SocketAddr,
}

impl QuicListener {
    /// Answers at `socket` as `acceptor` does over TCP: with the same key, to the same clients.
    ///
    /// # Errors
    ///
    /// If the socket cannot be used, or the TLS library refuses to start.
    pub fn new(socket: UdpSocket, acceptor: Arc<Acceptor>) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let crypto = crypto(&acceptor, Shown::default()).map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(crypto);
        config
            .transport_config(Arc::new(server_transport()))
            .max_incoming(HANDSHAKES_AT_ONCE)
            .incoming_buffer_size(FIRST_FLIGHT_BYTES)
            .incoming_buffer_size_total(FIRST_FLIGHT_BYTES * HANDSHAKES_AT_ONCE as u64);
        let (ours, runtime) = (Some(config.clone()), Arc::new(TokioRuntime));
        let endpoint = Endpoint::new(EndpointConfig::default(), ours, socket, runtime)?;
        Ok(Self {
            endpoint,
            acceptor,
            config,
            local,
        })
    }

    /// Accepts connections for ever and gives each conduit of a known client to `handler`, which hands it on and returns.
    ///
    /// Dropping the future ends the loop and every unfinished handshake; conduits live on.
    pub async fn serve<H>(self, handler: H)
    where
        H: Fn(Conduit, PublicKey) + Clone + Send + 'static,
    {
        let mut handshakes = Handshakes::new(Arc::clone(&self.acceptor.doorkeeper));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.meet(incoming, &mut handshakes),
                    None => return warn!(address = %self.local, "nothing more comes by QUIC: its socket failed"),
                },
                finished = handshakes.finished(), if !handshakes.is_empty() => {
                    if let Some((link, key)) = finished {
                        let allowed = self.acceptor.allowed.clone();
                        connections.spawn(hand_out(link, key, allowed, handler.clone()));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    fn meet(&self, incoming: Incoming, handshakes: &mut Handshakes<(Arc<Shared>, PublicKey)>) {
        let from = incoming.remote_address().ip();
        if handshakes.len() >= UNPROVEN_AT_ONCE && incoming.may_retry() {
            // Fails only where it may not.
            return drop(incoming.retry());
        }
        let (acceptor, config) = (Arc::clone(&self.acceptor), self.config.clone());
        let local = SocketAddr::new(
            incoming
                .local_ip()
                .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            self.local.port(),
        );
        handshakes.begin(from, async move {
            match timeout(
                HANDSHAKE_TIMEOUT,
                shake_hands(incoming, local, &acceptor, config),
            )
            .await
            {
                Ok(result) => result,
                Err(_) => Err(AcceptError::TimedOut),
            }
        });
    }
}

fn crypto(acceptor: &Acceptor, shown: Shown) -> Result<Arc<QuicServerConfig>, SetUpError> {
    let tls = acceptor.quic.over_quic(shown)?;
    let crypto = QuicServerConfig::try_from(tls);
    crypto
        .map(Arc::new)
        .map_err(|error| SetUpError::new(&error))
}

async fn shake_hands(
    incoming: Incoming,
    local: SocketAddr,
    acceptor: &Acceptor,
    mut config: ServerConfig,
) -> Result<(Arc<Shared>, PublicKey), AcceptError> {
    let shown = Shown::default();
    let crypto = crypto(acceptor, shown.clone());
    config.crypto = crypto.map_err(|error| AcceptError::Broken(io::Error::other(error)))?;
    let failed = |error| handshake_failed(error, &shown, &acceptor.allowed);
    let connecting = incoming.accept_with(Arc::new(config)).map_err(failed)?;
    let connection = connecting.await.map_err(failed)?;
    let key =
        check_peer(&connection).map_err(|error| AcceptError::NotHandover(error.to_string()))?;
    if !acceptor.allowed.contains(&key) {
        connection.close(code::KEY_REFUSED, b"");
        return Err(AcceptError::UnknownKey(key));
    }
    Ok((Shared::new(connection, local), key))
}

fn handshake_failed(error: ConnectionError, shown: &Shown, allowed: &AllowedKeys) -> AcceptError {
    match error {
        ConnectionError::TransportError(error) => {
            match shown.key().filter(|key| !allowed.contains(key)) {
                Some(key) => AcceptError::UnknownKey(key),
                None => AcceptError::NotHandover(error.to_string()),
            }
        }
        ConnectionError::VersionMismatch | ConnectionError::ConnectionClosed(_) => {
            AcceptError::NotHandover(error.to_string())
        }
        ConnectionError::TimedOut => AcceptError::TimedOut,
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => AcceptError::Broken(lost(error)),
    }
}

/// Hands out the conduits of one connection until it ends. One without a conduit ends soon.
async fn hand_out(
    link: Arc<Shared>,
    key: PublicKey,
    allowed: AllowedKeys,
    handler: impl Fn(Conduit, PublicKey),
) {
    let peer = link.peer;
    let Ok(first) = timeout(HANDSHAKE_TIMEOUT, link.connection.accept_bi()).await else {
        debug!(%peer, "no conduit in time");
        return link.connection.close(code::RESET, b"");
    };
    let mut next = first.map(|halves| Stream::control(&link, halves));
    loop {
        match next {
            Ok(_) if !allowed.contains(&key) => {
                return link.connection.close(code::KEY_REFUSED, b"");
            }
            Ok(stream) => handler(Conduit::over_quic(stream), key),
            Err(error) => return debug!(%peer, "connection ended: {error}"),
        }
        let halves = link.connection.accept_bi().await;
        next = halves.map(|halves| Stream::further(&link, halves));
    }
}
