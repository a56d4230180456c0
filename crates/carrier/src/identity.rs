//! Who a module is: an Ed25519 key pair.
//!
//! A private key lives in one file, PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes
//! it too. The file is created with mode 0600 and refused when its group or others can read it. A
//! public key is passed between people as one line of base64. The private key's bytes stay in the
//! cryptographic library, which wipes them; the copies made here while reading and writing the file
//! are wiped as well.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use zeroize::Zeroizing;

/// A module's own key pair. Printing it for debugging shows the public half only.
#[derive(Clone)]
pub struct PrivateKey {
    signing: Arc<dyn SigningKey>,
    public: PublicKey,
}

/// A number that nobody can guess: names of instances and sessions.
///
/// # Panics
///
/// If the operating system gives no randomness; nothing is safe then.
#[must_use]
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no key and no session is safe"
    )]
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives randomness");
    u64::from_be_bytes(bytes)
}

impl PrivateKey {
    /// Makes a new key that exists in memory only.
    ///
    /// # Panics
    ///
    /// If the machine has no source of randomness: then nothing that this crate does would be safe.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_pkcs8(&new_pkcs8()).expect("a key that was just made can be read")
    }

    /// Makes a new key and writes it to a new file that only its owner can read.
    ///
    /// An existing file is never overwritten: a lost key is a lost identity.
    ///
    /// # Errors
    ///
    /// If the file exists or cannot be written.
    pub fn create_file(path: &Path) -> Result<Self, KeyError> {
        let pkcs8 = new_pkcs8();
        let key =
            Self::from_pkcs8(&pkcs8).ok_or_else(|| KeyError::NotAKey { path: path.into() })?;
        write_new(path, &to_pem(&pkcs8)).map_err(|error| {
            let path = path.into();
            if error.kind() == io::ErrorKind::AlreadyExists {
                KeyError::Exists { path }
            } else {
                KeyError::Write { path, error }
            }
        })?;
        Ok(key)
    }

    /// Reads the key that [`Self::create_file`], or `openssl`, has written.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, if others than its owner can read it, or if it holds no Ed25519
    /// key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::Read {
            path: path.into(),
            error,
        };
        let mut file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & READABLE_BY_OTHERS != 0 {
            return Err(KeyError::TooOpen {
                path: path.into(),
                mode,
            });
        }
        let mut pem = Zeroizing::new(Vec::new());
        (&mut file)
            .take(LARGEST_FILE)
            .read_to_end(&mut pem)
            .map_err(failed)?;
        let not_a_key = || KeyError::NotAKey { path: path.into() };
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| not_a_key())?;
        let der = Zeroizing::new(der);
        Self::from_pkcs8(der.secret_pkcs8_der()).ok_or_else(not_a_key)
    }

    /// The public half, which the other side is told.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.signing)
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let signing = any_supported_type(&PrivateKeyDer::Pkcs8(pkcs8.into())).ok()?;
        if signing.algorithm() != SignatureAlgorithm::ED25519 {
            return None;
        }
        let public = PublicKey::from_spki(signing.public_key()?.as_ref())?;
        Some(Self { signing, public })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The name by which one module knows another: an Ed25519 public key.
///
/// Written as one line of 44 characters: base64 of the 32 bytes of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// The `SubjectPublicKeyInfo` in DER: what travels in the TLS handshake.
    #[must_use]
    pub fn spki(&self) -> [u8; SPKI_BYTES] {
        let mut spki = [0; SPKI_BYTES];
        spki[..SPKI_PREFIX.len()].copy_from_slice(&SPKI_PREFIX);
        spki[SPKI_PREFIX.len()..].copy_from_slice(&self.0);
        spki
    }

    /// The CNAPT ID of the module that owns this key: SHA-256 over [`Self::spki`].
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut id = [0; 32];
        id.copy_from_slice(digest::digest(&digest::SHA256, &self.spki()).as_ref());
        id
    }

    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        let key = spki.strip_prefix(&SPKI_PREFIX)?;
        Some(Self(key.try_into().ok()?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = ParsePublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64.decode(text).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or_else(|| ParsePublicKeyError::of(text))
    }
}

/// The text is no public key. The text itself is not repeated: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParsePublicKeyError {
    /// It is the secret half of a key.
    #[error(
        "this is a private key, which must never leave its machine: make a new one with `handover keygen FILE`, \
         and put here the line that it prints"
    )]
    Private,
    /// It is an SSH key.
    #[error(
        "this is a key of SSH, which handover does not use: put here the line that `handover keygen` prints"
    )]
    Ssh,
    /// It is anything else.
    #[error("not a public key: expected the line of 44 characters that `handover keygen` prints")]
    NotAKey,
}

impl ParsePublicKeyError {
    fn of(text: &str) -> Self {
        if text.contains("PRIVATE KEY") || text.starts_with(PKCS8_BEGINNING) {
            Self::Private
        } else if text.starts_with("ssh-") {
            Self::Ssh
        } else {
            Self::NotAKey
        }
    }
}

/// Why a private key's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file exists already.
    #[error("{} exists and is not overwritten: choose another name, or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write the private key to {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read the private key {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file's group, or everyone, has access to it.
    #[error("others can read the private key {path} (mode {mode:04o}): run `chmod 600 {path}`", path = path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} holds no Ed25519 private key in PEM: make one with `handover keygen FILE`", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
}

fn new_pkcs8() -> Zeroizing<Vec<u8>> {
    let pair = Ed25519KeyPair::generate().expect("the operating system gives random numbers");
    // Version 1, as openssl writes it: older readers refuse version 2.
    let document = pair.to_pkcs8v1().expect("an Ed25519 key can be encoded");
    Zeroizing::new(document.as_ref().to_vec())
}

fn to_pem(pkcs8: &[u8]) -> Zeroizing<String> {
    // 48 bytes of PKCS#8 are 64 characters: exactly one line of PEM.
    let line = Zeroizing::new(BASE64.encode(pkcs8));
    Zeroizing::new(format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        *line
    ))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key would be in the way of the next attempt; the first error is the one to report.
        drop(fs::remove_file(path));
    }
    written
}

const KEY_BYTES: usize = 32;
const SPKI_BYTES: usize = SPKI_PREFIX.len() + KEY_BYTES;

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 (Ed25519) }, BIT STRING of 32 bytes } up to the key itself
/// (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// How the second line of a private key's file begins: PKCS#8, version 1, Ed25519.
const PKCS8_BEGINNING: &str = "MC4CAQAwBQYDK2VwBCIEI";

const OWNER_ONLY: u32 = 0o600;
const READABLE_BY_OTHERS: u32 = 0o077;

/// An Ed25519 key in PEM takes about 120 bytes; a wrong path (a disk image, a device) must not fill
/// the memory.
const LARGEST_FILE: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_back_as_the_same_identity() {
        let directory = Directory::new("read_back");
        let path = directory.0.join("module.key");
        let created = PrivateKey::create_file(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        let loaded = PrivateKey::load(&path).unwrap();
        assert_eq!(loaded.public_key(), created.public_key());
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let directory = Directory::new("overwrite");
        let path = directory.0.join("module.key");
        fs::write(&path, "precious").unwrap();
        let error = PrivateKey::create_file(&path).unwrap_err();
        assert!(matches!(error, KeyError::Exists { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let directory = Directory::new("too_open");
        let path = directory.0.join("module.key");
        PrivateKey::create_file(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = PrivateKey::load(&path).unwrap_err().to_string();
        assert!(
            message.contains("0640") && message.contains(&format!("chmod 600 {}", path.display())),
            "{message}"
        );
    }

    #[test]
    fn a_file_without_a_key_says_how_to_make_one() {
        let directory = Directory::new("no_key");
        let path = directory.0.join("module.key");
        write_new(
            &path,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        let message = PrivateKey::load(&path).unwrap_err().to_string();
        assert!(message.contains("handover keygen"), "{message}");
        let missing = PrivateKey::load(&directory.0.join("other.key")).unwrap_err();
        assert!(matches!(missing, KeyError::Read { .. }), "{missing}");
    }

    #[test]
    fn a_public_key_is_one_line_of_base64() {
        let key = PrivateKey::generate().public_key();
        let line = key.to_string();
        assert_eq!(line.len(), 44);
        assert_eq!(line.parse(), Ok(key));
        for wrong in [
            "",
            "laptop",
            &line[1..],
            &format!("{line}\n"),
            &format!("{line}{line}"),
        ] {
            assert_eq!(
                wrong.parse::<PublicKey>(),
                Err(ParsePublicKeyError::NotAKey),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_key_of_another_kind_is_called_by_its_name() {
        let pem = to_pem(&new_pkcs8());
        let secret = pem.lines().nth(1).unwrap();
        for (text, error) in [
            (pem.as_str(), ParsePublicKeyError::Private),
            (secret, ParsePublicKeyError::Private),
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me",
                ParsePublicKeyError::Ssh,
            ),
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(error));
        }
    }

    /// RFC 8410, section 10.1: a published key with its SubjectPublicKeyInfo.
    #[test]
    fn the_spki_is_the_one_of_rfc_8410() {
        let spki = BASE64
            .decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=")
            .unwrap();
        let key: PublicKey = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
            .parse()
            .unwrap();
        assert_eq!(key.spki().as_slice(), spki);
        assert_eq!(PublicKey::from_spki(&spki), Some(key));
        assert_eq!(PublicKey::from_spki(&spki[..43]), None);
        assert_eq!(
            key.id().as_slice(),
            digest::digest(&digest::SHA256, &spki).as_ref()
        );
    }

    /// RFC 8410, section 10.3: the private key of the same pair, as openssl would write it.
    #[test]
    fn a_key_made_elsewhere_is_read() {
        let directory = Directory::new("elsewhere");
        let path = directory.0.join("module.key");
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        write_new(&path, pem).unwrap();
        let key = PrivateKey::load(&path).unwrap();
        assert_eq!(
            key.public_key().to_string(),
            "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
        );
    }

    #[test]
    fn printing_a_private_key_shows_the_public_half_only() {
        let key = PrivateKey::generate();
        assert_eq!(
            format!("{key:?}"),
            format!("PrivateKey {{ public: {}, .. }}", key.public_key())
        );
    }

    /// A directory of one test's own, gone at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir()
                .join(format!("handover-identity-{test}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}
