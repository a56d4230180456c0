//! The server's side: from an accepted TCP connection to a conduit of a known client.
//!
//! [`serve`] is the accept loop. It only accepts: every handshake runs in a task of its own,
//! bounded in time by [`HANDSHAKE_TIMEOUT`] and in number by `handshakes`. No failure of one
//! connection ends the loop, and a shortage of descriptors frees some and pauses instead of spinning.
//! Clients that come by QUIC have their own loop, in `quic`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{debug, warn};

use crate::conduit::{BUFFER_BYTES, read_ahead};
use crate::handshakes::Handshakes;
use crate::tls::ServerTls;
use crate::turned_away::{Doorkeeper, SAID_EVERY};
use crate::{AllowedKeys, Conduit, PrivateKey, PublicKey, SetUpError, TurnedAway, socket, tls};

/// How long one handshake may take: as long as the client tries ([`crate::CONNECT_TIMEOUT`]).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(4);

/// Lets in the clients of a live list.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    pub(crate) quic: Arc<ServerTls>,
    pub(crate) allowed: AllowedKeys,
    pub(crate) doorkeeper: Arc<Doorkeeper>,
}

impl Acceptor {
    /// Answers as `key`, and lets in whoever proves to own a key of `allowed`.
    ///
    /// # Errors
    ///
    /// If the TLS library refuses to start.
    pub fn new(key: &PrivateKey, allowed: AllowedKeys) -> Result<Self, SetUpError> {
        let tls = ServerTls::new(key, allowed.clone());
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(tls.over_tcp()?)),
            quic: Arc::new(tls),
            allowed,
            doorkeeper: Arc::default(),
        })
    }

    /// How many connections have been turned away at all doors that share this acceptor.
    #[must_use]
    pub fn turned_away(&self) -> TurnedAway {
        self.doorkeeper.total()
    }

    /// Carries out the server's half of the handshake and says whose conduit it is.
    ///
    /// # Errors
    ///
    /// If the other side is no client of the list, or is not done within [`HANDSHAKE_TIMEOUT`].
    pub async fn accept(&self, stream: TcpStream) -> Result<(Conduit, PublicKey), AcceptError> {
        match timeout(HANDSHAKE_TIMEOUT, self.handshake(stream)).await {
            Ok(result) => result,
            Err(_) => Err(AcceptError::TimedOut),
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<(Conduit, PublicKey), AcceptError> {
        socket::prepare(&SockRef::from(&stream), socket::KEEPALIVE_ACCEPTED)
            .map_err(AcceptError::Broken)?;
        let stream = self
            .tls
            .accept_with(read_ahead(stream), |session| {
                session.set_buffer_limit(Some(BUFFER_BYTES))
            })
            .await
            .map_err(handshake_failed)?;
        let key = tls::check_peer(stream.get_ref().1)
            .map_err(|error| AcceptError::NotHandover(error.to_string()))?;
        if !self.allowed.contains(&key) {
            return Err(AcceptError::UnknownKey(key));
        }
        let conduit = Conduit::over_tls(TlsStream::Server(stream)).map_err(AcceptError::Broken)?;
        Ok((conduit, key))
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// Why a connection did not become a conduit.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Nothing finished within [`HANDSHAKE_TIMEOUT`].
    #[error("no finished handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    /// A client whose key is not, or no longer, in the list.
    #[error("a client's key is not allowed: to let it in, add a [[client]] with key = \"{0}\"")]
    UnknownKey(PublicKey),
    /// Something that does not speak the protocol.
    #[error("not a handover client: {0}")]
    NotHandover(String),
    /// The connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Broken(#[source] io::Error),
    /// All places were taken, and a newcomer got this one.
    #[error("too many unfinished handshakes: a newcomer got its place")]
    Displaced,
}

fn handshake_failed(error: io::Error) -> AcceptError {
    let Some(cause) = tls::tls_error(&error) else {
        return AcceptError::Broken(error);
    };
    match tls::turned_away(cause) {
        Some(key) => AcceptError::UnknownKey(key),
        None => AcceptError::NotHandover(cause.to_string()),
    }
}

/// Accepts connections for ever and gives each finished conduit to `handler`.
///
/// `handler` is called on the loop, so it hands the conduit on and returns. Dropping the future
/// ends the loop and every unfinished handshake.
pub async fn serve<H>(listener: TcpListener, acceptor: Arc<Acceptor>, handler: H)
where
    H: Fn(Conduit, PublicKey),
{
    let mut handshakes = Handshakes::new(Arc::clone(&acceptor.doorkeeper));
    let mut shortage = Shortage::default();
    loop {
        tokio::select! {
            accepted = listener.accept(), if !shortage.pauses() => match accepted {
                Ok((stream, peer)) => {
                    let acceptor = Arc::clone(&acceptor);
                    handshakes.begin(peer.ip(), async move { acceptor.accept(stream).await });
                }
                Err(error) if ends_one_connection(&error) => debug!("a connection is gone: {error}"),
                Err(error) => {
                    shortage.goes_on(&error);
                    handshakes.displace();
                }
            },
            finished = handshakes.finished(), if !handshakes.is_empty() => {
                if let Some((conduit, key)) = finished {
                    handler(conduit, key);
                }
            }
            () = shortage.pause() => {}
        }
    }
}

/// The system has no descriptor or memory for another connection: the loop pauses, and says so
/// once in [`SAID_EVERY`].
#[derive(Default)]
struct Shortage {
    said: Option<Instant>,
    pause_until: Option<Instant>,
}

impl Shortage {
    fn pauses(&self) -> bool {
        self.pause_until.is_some()
    }

    fn goes_on(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now - said >= SAID_EVERY) {
            warn!(
                "no new connections for now, raise the limit of open files if this lasts: {error}"
            );
            self.said = Some(now);
        }
        self.pause_until = Some(now + SHORTAGE_PAUSE);
    }

    async fn pause(&mut self) {
        match self.pause_until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
        self.pause_until = None;
    }
}

/// Errors that belong to the connection about to be accepted, and say nothing about the next one.
/// Linux passes pending network errors of the new socket on through accept (see accept(2)).
fn ends_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Interrupted
    )
}

/// How long the loop waits when the system has no descriptor or memory for another connection:
/// short beside a client's [`crate::CONNECT_TIMEOUT`], long enough not to burn the processor.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rustls::SignatureScheme;
    use rustls::client::ResolvesClientCert;
    use rustls::sign::CertifiedKey;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::tls::ClientTls;

    /// Speaks TLS as a client of handover does, and has no key to show.
    #[derive(Debug)]
    struct NoKey;

    impl ResolvesClientCert for NoKey {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }

        fn only_raw_public_keys(&self) -> bool {
            true
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_client_of_tls_without_a_key_is_no_client_of_handover() {
        let (client, server) = (PrivateKey::generate(), PrivateKey::generate());
        let mut config = ClientTls::new(&client, server.public_key())
            .over_tcp()
            .unwrap();
        config.client_auth_cert_resolver = Arc::new(NoKey);
        let acceptor = Acceptor::new(&server, AllowedKeys::new([client.public_key()])).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            connector.connect(tls::server_name(), stream).await
        };
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            acceptor.accept(stream).await
        };
        let (_connected, accepted) = tokio::join!(connect, accept);
        let error = accepted.unwrap_err();
        assert!(matches!(error, AcceptError::NotHandover(_)), "{error}");
    }
}
