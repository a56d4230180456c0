//! How the two sides speak TLS, and whom they let in.
//!
//! TLS 1.3 only, one ALPN name, raw public keys in both directions. The client accepts one key, the
//! server those of its live list. Each side checks twice: in the verifier, so that the handshake
//! fails with an alert that the other side can read; and in [`check_peer`] after the handshake,
//! because a resumed session calls no verifier.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, CommonState, DigitallySignedStruct,
    DistinguishedName, OtherError, PeerMisbehaved, ServerConfig, SignatureScheme,
};

use crate::{AllowedKeys, PrivateKey, PublicKey, quic};

/// The protocol's name in the TLS handshake: it fails with any server that speaks something else.
pub const ALPN: &[u8] = b"handover/1";

/// The cryptographic library could not be made ready.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct SetUpError(String);

impl SetUpError {
    pub(crate) fn new(error: &impl std::error::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustls::Error> for SetUpError {
    fn from(error: rustls::Error) -> Self {
        Self::new(&error)
    }
}

/// Whether a failed read or write of a client's conduit means that the server does not know the
/// client's key.
///
/// The server's answer to a key comes after the client's handshake has ended, so it shows here and
/// not in [`crate::ConnectError`].
#[must_use]
pub fn key_was_refused(error: &io::Error) -> bool {
    let alert = Some(&rustls::Error::AlertReceived(KEY_REFUSED));
    tls_error(error) == alert || quic::key_was_refused(error)
}

/// What a client needs for its handshakes.
pub(crate) struct ClientTls {
    key: Arc<CertifiedKey>,
    server_key: PublicKey,
    provider: Arc<CryptoProvider>,
}

impl ClientTls {
    pub(crate) fn new(key: &PrivateKey, server_key: PublicKey) -> Self {
        Self {
            key: certified(key),
            server_key,
            provider: Arc::new(aws_lc_rs::default_provider()),
        }
    }

    /// For any number of handshakes.
    pub(crate) fn over_tcp(&self) -> Result<ClientConfig, SetUpError> {
        let mut config = self.config(None)?;
        config.resumption = Resumption::in_memory_sessions(REMEMBERED_SERVERS);
        Ok(config)
    }

    /// For one handshake. There is one for a link, not one for a conduit, so nothing is gained by resuming.
    pub(crate) fn over_quic(&self, shown: Shown) -> Result<ClientConfig, SetUpError> {
        let mut config = self.config(Some(shown))?;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn config(&self, shown: Option<Shown>) -> Result<ClientConfig, SetUpError> {
        let verifier = OneServer {
            server_key: self.server_key,
            provider: Arc::clone(&self.provider),
            shown,
        };
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.key));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }
}

/// What a server needs for its handshakes.
pub(crate) struct ServerTls {
    key: Arc<CertifiedKey>,
    allowed: AllowedKeys,
    provider: Arc<CryptoProvider>,
}

impl ServerTls {
    pub(crate) fn new(key: &PrivateKey, allowed: AllowedKeys) -> Self {
        Self {
            key: certified(key),
            allowed,
            provider: Arc::new(aws_lc_rs::default_provider()),
        }
    }

    /// For any number of handshakes.
    pub(crate) fn over_tcp(&self) -> Result<ServerConfig, SetUpError> {
        let mut config = self.config(None)?;
        // The client keeps the state of a resumable session: there is no table here out of which
        // strangers could push it.
        config.ticketer = Ticketer::new()?;
        Ok(config)
    }

    /// For one handshake, which cannot be resumed.
    pub(crate) fn over_quic(&self, shown: Shown) -> Result<ServerConfig, SetUpError> {
        let mut config = self.config(Some(shown))?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    fn config(&self, shown: Option<Shown>) -> Result<ServerConfig, SetUpError> {
        let verifier = ListedClients {
            allowed: self.allowed.clone(),
            provider: Arc::clone(&self.provider),
            shown,
        };
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// The key that the other side showed in one handshake, for whoever does not get the verifier's own
/// error to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown(Arc<OnceLock<PublicKey>>);

impl Shown {
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.0.get().copied()
    }

    fn note(&self, key: PublicKey) {
        self.0.get_or_init(|| key);
    }
}

/// The name under which a client remembers its server's tickets. It never leaves the client: the
/// key is the identity.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("server.handover.invalid").expect("a constant that is a valid name")
}

/// What a finished handshake has proved: the peer's key, over this protocol.
pub(crate) fn check_peer(state: &CommonState) -> Result<PublicKey, PeerError> {
    if state.alpn_protocol() != Some(ALPN) {
        return Err(PeerError::OtherProtocol);
    }
    key_of(state.peer_certificates().unwrap_or_default())
}

/// The one raw public key in place of a chain of certificates.
pub(crate) fn key_of(chain: &[CertificateDer<'_>]) -> Result<PublicKey, PeerError> {
    match chain {
        [key] => PublicKey::from_spki(key).ok_or(PeerError::NoKey),
        _ => Err(PeerError::NoKey),
    }
}

/// The handshake ended well for TLS, but not for us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("the other side did not agree to speak handover/1")]
    OtherProtocol,
    #[error("the other side showed no Ed25519 key")]
    NoKey,
}

/// The TLS library's error inside an error of a TLS stream.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The key that our own verifier turned away, if that is why the handshake failed.
pub(crate) fn turned_away(error: &rustls::Error) -> Option<PublicKey> {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error
    else {
        return None;
    };
    inner.downcast_ref().map(|UnknownKey(key)| *key)
}

/// Travels through the TLS library from a verifier to [`turned_away`].
#[derive(Debug, thiserror::Error)]
#[error("the key {0} is not allowed")]
struct UnknownKey(PublicKey);

/// Accepts the one server whose key the user has been given.
#[derive(Debug)]
struct OneServer {
    server_key: PublicKey,
    provider: Arc<CryptoProvider>,
    shown: Option<Shown>,
}

impl ServerCertVerifier for OneServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = single_key(end_entity, intermediates, self.shown.as_ref())?;
        if key == self.server_key {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refuse(key))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts the clients whose keys are in the live list.
#[derive(Debug)]
struct ListedClients {
    allowed: AllowedKeys,
    provider: Arc<CryptoProvider>,
    shown: Option<Shown>,
}

impl ClientCertVerifier for ListedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let key = single_key(end_entity, intermediates, self.shown.as_ref())?;
        if self.allowed.contains(&key) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(refuse(key))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn certified(key: &PrivateKey) -> Arc<CertifiedKey> {
    let spki = CertificateDer::from(key.public_key().spki().to_vec());
    Arc::new(CertifiedKey::new(vec![spki], key.signing_key()))
}

fn single_key(
    key: &CertificateDer<'_>,
    more: &[CertificateDer<'_>],
    shown: Option<&Shown>,
) -> Result<PublicKey, rustls::Error> {
    match PublicKey::from_spki(key) {
        Some(key) if more.is_empty() => {
            if let Some(shown) = shown {
                shown.note(key);
            }
            Ok(key)
        }
        Some(_) | None => Err(rustls::Error::InvalidCertificate(
            CertificateError::BadEncoding,
        )),
    }
}

fn refuse(key: PublicKey) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(UnknownKey(
        key,
    )))))
}

fn verify_signature(
    provider: &CryptoProvider,
    message: &[u8],
    spki: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
    verify_tls13_signature_with_raw_key(
        message,
        &spki,
        dss,
        &provider.signature_verification_algorithms,
    )
}

/// The alert that [`refuse`] makes the TLS library send.
pub(crate) const KEY_REFUSED: AlertDescription = AlertDescription::CertificateUnknown;

/// Unreachable with TLS 1.3 only; an error all the same if a change of the library ever asks.
const NO_TLS12: rustls::Error =
    rustls::Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);

/// A client has one server; the library keeps 8 tickets for it, enough for the conduits that a
/// switch opens at once.
const REMEMBERED_SERVERS: usize = 1;
