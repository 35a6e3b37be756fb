//! The keys that sign, wherever their secrets are. What leaves here is a signature that verifies with the key that it
//! was asked of, or the reason why there is none.
//!
//! `written` reads a key's table in `sigconfig.toml` and opens the key; `command` runs a program that signs; `yubihsm`
//! talks to a device, in a build that has the feature of that name.

mod command;
mod written;
#[cfg(feature = "yubihsm")]
mod yubihsm;

use std::error::Error as StdError;
use std::fmt;

use self::command::Program;
pub use self::command::ProgramError;
pub use self::written::{Ask, OpenError};
pub(crate) use self::written::{Pair, Written};
#[cfg(feature = "yubihsm")]
pub use self::yubihsm::HsmError;
use crate::error::Exit;
use crate::ndau::{PrivateKey, PublicKey, Signature};

/// A key that signs.
#[derive(Debug)]
pub struct Key {
    /// Its table in `sigconfig.toml`.
    name: String,
    public: PublicKey,
    holder: Holder,
}

/// What has a key's secret.
#[derive(Debug)]
enum Holder {
    /// This process.
    Virtual(PrivateKey),
    /// Whatever this program knows.
    Command(Program),
    /// A device.
    #[cfg(feature = "yubihsm")]
    YubiHsm(yubihsm::Hsm),
}

/// Why a key gave no signature. Its own text may be told to the other side; what it has for a cause is for the log.
#[derive(Debug)]
pub enum KeyError {
    /// The program that signs did not.
    Command {
        /// The key.
        key: Box<PublicKey>,
        /// Why.
        source: ProgramError,
    },
    /// The device that signs did not.
    #[cfg(feature = "yubihsm")]
    YubiHsm {
        /// The key.
        key: Box<PublicKey>,
        /// Why.
        source: HsmError,
    },
    /// What came is a signature of another key or another message: what signs is not what has this key's secret.
    DoesNotVerify {
        /// The key.
        key: Box<PublicKey>,
    },
}

impl KeyError {
    /// How the program ends when this ends it.
    pub fn exit(&self) -> Exit {
        match self {
            KeyError::Command { source, .. } => source.exit(),
            #[cfg(feature = "yubihsm")]
            KeyError::YubiHsm { source, .. } => source.exit(),
            KeyError::DoesNotVerify { .. } => Exit::Config,
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Command { key, .. } => write!(f, "the program for {key} gave no signature"),
            #[cfg(feature = "yubihsm")]
            KeyError::YubiHsm { key, .. } => write!(f, "the device with {key} gave no signature"),
            KeyError::DoesNotVerify { key } => write!(
                f,
                "what was given as a signature by {key} does not verify: it is by another key or of another message"
            ),
        }
    }
}

impl StdError for KeyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            KeyError::Command { source, .. } => Some(source),
            #[cfg(feature = "yubihsm")]
            KeyError::YubiHsm { source, .. } => Some(source),
            KeyError::DoesNotVerify { .. } => None,
        }
    }
}

impl Key {
    /// What people call it, `keys.NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures verify with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Its signature of `message`, verified. What takes long is ended once `stop` says so.
    ///
    /// # Errors
    /// When what has its secret gives no signature, or a wrong one.
    pub fn sign(&self, message: &[u8], stop: &dyn Fn() -> bool) -> Result<Signature, KeyError> {
        let key = || Box::new(self.public.clone());
        let signature = match &self.holder {
            Holder::Virtual(private) => private.sign(message),
            Holder::Command(program) => program
                .sign(self.public.algorithm(), message, stop)
                .map_err(|source| KeyError::Command { key: key(), source })?,
            #[cfg(feature = "yubihsm")]
            Holder::YubiHsm(hsm) => hsm
                .sign(message)
                .map_err(|source| KeyError::YubiHsm { key: key(), source })?,
        };
        if self.public.verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(KeyError::DoesNotVerify { key: key() })
        }
    }
}

#[cfg(any(test, fuzzing))]
impl From<PrivateKey> for Key {
    fn from(key: PrivateKey) -> Key {
        Key {
            name: "keys.test".to_owned(),
            public: key.public().clone(),
            holder: Holder::Virtual(key),
        }
    }
}
