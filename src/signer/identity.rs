//! Who a side is: an ndau ed25519 key pair that signs nothing. Noise uses it in its X25519 form.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::keyfile::{Document, KeyFileError};
use crate::error::Exit;
use crate::ndau::{Algorithm, PrivateKey, PublicKey};
use crate::secret::{FileError, Secret, read_private};

/// A key pair that only says who a side is. It must not be one that signs transactions.
#[derive(Debug)]
pub struct Identity {
    key: PrivateKey,
}

/// Why there is no identity.
#[derive(Debug)]
pub enum IdentityError {
    /// The file cannot be read, or others can read it too.
    File(FileError),
    /// The file's content is not an identity.
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        source: KeyFileError,
    },
    /// A secp256k1 key, which this protocol has no use for.
    Algorithm {
        /// The public key.
        key: Box<PublicKey>,
    },
    /// Not a point of the curve, or one of the few that are anybody's.
    Weak {
        /// The public key.
        key: Box<PublicKey>,
    },
    /// The system gave no random bytes.
    Random(getrandom::Error),
}

impl IdentityError {
    /// How the run ends when this ends it.
    pub fn exit(&self) -> Exit {
        match self {
            IdentityError::File(_)
            | IdentityError::Content { .. }
            | IdentityError::Algorithm { .. }
            | IdentityError::Weak { .. } => Exit::Config,
            IdentityError::Random(_) => Exit::Unavailable,
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::File(_) => f.write_str("cannot load the identity"),
            IdentityError::Content { path, .. } => write!(f, "{} is no identity", path.display()),
            IdentityError::Algorithm { key } => write!(
                f,
                "{key} is a secp256k1 key and cannot be an identity: make an ed25519 pair with `ndau-signer keygen` \
                 and give its pub_key to the other side"
            ),
            IdentityError::Weak { key } => write!(
                f,
                "{key} is not a usable ed25519 key: make a pair with `ndau-signer keygen`"
            ),
            IdentityError::Random(_) => f.write_str("no random bytes from the system"),
        }
    }
}

impl StdError for IdentityError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            IdentityError::File(source) => Some(source),
            IdentityError::Content { source, .. } => Some(source),
            IdentityError::Random(source) => Some(source),
            IdentityError::Algorithm { .. } | IdentityError::Weak { .. } => None,
        }
    }
}

impl Identity {
    /// `key` as an identity.
    ///
    /// # Errors
    /// When it is not an ed25519 key, or one of the few that are anybody's.
    pub fn new(key: PrivateKey) -> Result<Identity, IdentityError> {
        x25519_public(key.public())?;
        Ok(Identity { key })
    }

    /// Refuses a public key that cannot be an identity.
    pub(crate) fn require_usable(key: &PublicKey) -> Result<(), IdentityError> {
        x25519_public(key).map(|_| ())
    }

    /// A fresh one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Identity, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(IdentityError::Random)?;
        Identity::new(PrivateKey::from_ed25519_seed(&seed))
    }

    /// Reads `pub_key` and `priv_key` from a TOML file.
    ///
    /// # Errors
    /// When others can read it too, when it has anything but a pair whose halves belong together, or when that pair
    /// cannot be an identity.
    pub fn load(path: &Path) -> Result<Identity, IdentityError> {
        let text = read_private(path).map_err(IdentityError::File)?;
        let key = parse(text.expose()).map_err(|source| IdentityError::Content {
            path: path.to_owned(),
            source,
        })?;
        Identity::new(key)
    }

    /// The key that names this side to the other.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// The two lines that [`Identity::load`] reads.
    pub fn to_toml(&self) -> Secret<String> {
        pair_toml(&self.key)
    }

    /// The X25519 secret of this pair: the first half of the seed's SHA-512, which Noise clamps as it uses it.
    pub(crate) fn x25519_secret(&self) -> Secret<[u8; 32]> {
        let seed = self
            .key
            .ed25519_seed()
            .expect("an identity was checked to be ed25519");
        Secret::new(ed25519_dalek::SigningKey::from_bytes(seed.expose()).to_scalar_bytes())
    }
}

/// The pair in the text of an identity's file.
pub(crate) fn parse(text: &str) -> Result<PrivateKey, KeyFileError> {
    let document = Document::parse(text)?;
    let root = document.root();
    root.only(&["pub_key", "priv_key"])?;
    root.pair()
}

/// A pair as the two TOML lines of a key file.
pub(crate) fn pair_toml(key: &PrivateKey) -> Secret<String> {
    Secret::new(format!(
        "pub_key = \"{}\"\npriv_key = \"{}\"\n",
        key.public(),
        key.text().expose()
    ))
}

/// The X25519 form of an ed25519 public key: its Montgomery u. A key and its negative have the same.
pub(crate) fn x25519_public(key: &PublicKey) -> Result<[u8; 32], IdentityError> {
    let boxed = || Box::new(key.clone());
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(IdentityError::Algorithm { key: boxed() });
    }
    let point = key
        .key_bytes()
        .try_into()
        .ok()
        .and_then(|bytes| ed25519_dalek::VerifyingKey::from_bytes(bytes).ok())
        .filter(|point| !point.is_weak())
        .ok_or_else(|| IdentityError::Weak { key: boxed() })?;
    Ok(point.to_montgomery().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn load(content: &str) -> Result<Identity, IdentityError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.toml");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Identity::load(&path)
    }

    #[test]
    fn what_is_written_loads() {
        let identity = Identity::generate().unwrap();
        let loaded = load(identity.to_toml().expose()).unwrap();
        assert_eq!(loaded.public(), identity.public());
        assert_ne!(Identity::generate().unwrap().public(), identity.public());
    }

    #[test]
    fn a_file_open_to_others_is_no_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.toml");
        fs::write(&path, Identity::generate().unwrap().to_toml().expose()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Identity::load(&path),
            Err(IdentityError::File(FileError::Exposed { .. }))
        ));
    }

    #[test]
    fn errors_name_line_and_setting_and_no_value() {
        let toml = Identity::generate().unwrap().to_toml();
        let toml = toml.expose();
        let other = Identity::generate().unwrap().to_toml();
        let (public, private) = toml.split_once('\n').unwrap();
        let other_private = other.expose().split_once('\n').unwrap().1;
        let secret = private.split('"').nth(1).unwrap();
        for (content, expected) in [
            (
                format!("{toml}extra = 1\n"),
                "line 3: extra: not a known setting",
            ),
            (public.to_owned(), "line 1: priv_key: missing"),
            (private.to_owned(), "line 1: pub_key: missing"),
            (
                format!("{public}\n{other_private}"),
                "line 1: pub_key: is not",
            ),
            (
                format!("{public}\npriv_key = {secret}\n"),
                "line 2: not valid TOML",
            ),
            (
                format!("{public}\npriv_key = \"{secret}\n"),
                "line 2: not valid TOML",
            ),
            (
                format!("{public}\n{private}{private}"),
                "line 3: not valid TOML",
            ),
            (
                format!("{public}\npriv_key = \"{secret}a\"\n"),
                "line 2: priv_key: it is not",
            ),
            (
                format!("{public}\npriv_key = [\"{secret}\"]\n"),
                "line 2: priv_key: must be a string",
            ),
            (
                format!("{public}\n{secret} = 1\n"),
                "line 2: (name not shown)",
            ),
            (
                format!("pub_key = \"{secret}\"\n{private}"),
                "line 1: pub_key: it does not start with npub",
            ),
        ] {
            let error = load(&content).unwrap_err();
            let text = crate::error::chain(&error);
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains(secret), "{text}");
            assert!(!format!("{error:?}").contains(secret), "{error:?}");
        }
    }

    #[test]
    fn a_secp256k1_key_is_told_what_to_do() {
        let key = PrivateKey::from_secp256k1(&[7; 32]).unwrap();
        let error = Identity::new(key).unwrap_err();
        assert!(error.to_string().contains("ndau-signer keygen"), "{error}");
        assert_eq!(error.exit(), Exit::Config);
    }
}
