//! Why there are not enough signatures.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use super::identity::IdentityError;
use crate::error::Exit;
use crate::ndau::PublicKey;
use crate::ndau::issue::SignatureError;

/// Why there are not enough signatures. `strangers` counts the connections that were turned away meanwhile.
#[derive(Debug)]
pub enum Error {
    /// The address cannot be listened at: another program uses it, or it is not this host's.
    Bind {
        /// The address.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// No signer is allowed, so none could ever come: give at least one.
    NobodyAllowed,
    /// An allowed identity cannot be used.
    Allowed(IdentityError),
    /// This key both names a side and signs transactions: make a key pair for the identity alone.
    KeyOfTwoUses {
        /// The key.
        key: Box<PublicKey>,
    },
    /// More signatures are needed than there are different keys to give them, or none at all: look at the keys of the
    /// account and at how many of them must sign.
    Impossible {
        /// How many are needed.
        needed: usize,
        /// How many different keys there are.
        keys: usize,
    },
    /// The system gave no random bytes.
    Random(getrandom::Error),
    /// A signer said no. Its log and its policy tell more.
    Refused {
        /// Its identity.
        signer: Box<PublicKey>,
        /// The reason that it gave.
        reason: String,
    },
    /// A signer's signature was not what was asked for. Look at its keys and its version.
    Wrong {
        /// Its identity.
        signer: Box<PublicKey>,
        /// What was wrong.
        source: SignatureError,
    },
    /// A signer's answer is not in the protocol. Look at its log and its version.
    Garbled {
        /// Its identity.
        signer: Box<PublicKey>,
        /// What it said.
        problem: String,
    },
    /// A signer was asked and had not answered when the time was over: a person may have to confirm.
    Silent {
        /// Its identity.
        signer: Box<PublicKey>,
        /// How long was waited.
        within: Duration,
        /// Connections turned away.
        strangers: u64,
    },
    /// All signers that came hold fewer of the keys than are needed: start those that hold the others, and allow them.
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many different keys signed.
        given: usize,
        /// Connections turned away.
        strangers: u64,
    },
    /// No allowed signer came in time. Is the signing service running, and does it know this address and identity?
    Nobody {
        /// How long was waited.
        within: Duration,
        /// Connections turned away.
        strangers: u64,
    },
}

impl Error {
    /// How the run ends when this ends it.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Bind { source, .. } => match source.kind() {
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied => Exit::Config,
                _ => Exit::Unavailable,
            },
            Error::NobodyAllowed
            | Error::Allowed(_)
            | Error::KeyOfTwoUses { .. }
            | Error::Impossible { .. } => Exit::Config,
            Error::Random(_) | Error::Nobody { .. } | Error::Silent { .. } => Exit::Unavailable,
            Error::Refused { .. } | Error::Wrong { .. } | Error::TooFew { .. } => Exit::Refused,
            Error::Garbled { .. } => Exit::BadData,
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs())?;
        match self.0.subsec_millis() {
            0 => f.write_str(" s"),
            ms => write!(f, ".{ms:03} s"),
        }
    }
}

fn turned_away(f: &mut fmt::Formatter<'_>, strangers: u64) -> fmt::Result {
    match strangers {
        0 => Ok(()),
        1 => f.write_str(" (1 other connection was turned away)"),
        more => write!(f, " ({more} other connections were turned away)"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind { url, .. } => write!(
                f,
                "cannot listen at {url} (if another program has that port, choose another in signer.listen and in the \
                 signing service's url)"
            ),
            Error::NobodyAllowed => {
                f.write_str("no signer is allowed to connect: allow at least one identity")
            }
            Error::Allowed(_) => f.write_str("an allowed signer's identity cannot be used"),
            Error::KeyOfTwoUses { key } => write!(
                f,
                "{key} is used both as an identity and to sign transactions: make a key pair for the identity alone"
            ),
            Error::Impossible { needed, keys } => write!(
                f,
                "the number of signatures needed, {needed}, is not from 1 to that of different keys, {keys}"
            ),
            Error::Random(_) => f.write_str("no random bytes from the system"),
            Error::Refused { signer, reason } => {
                write!(f, "the signer {signer} refused to sign: {reason}")
            }
            Error::Wrong { signer, .. } => write!(f, "the signer {signer} answered wrongly"),
            Error::Garbled { signer, problem } => {
                write!(
                    f,
                    "the signer {signer} did not keep to the protocol: {problem}"
                )
            }
            Error::Silent {
                signer,
                within,
                strangers,
            } => {
                write!(
                    f,
                    "the signer {signer} was asked and did not answer within {}",
                    Seconds(*within)
                )?;
                turned_away(f, *strangers)
            }
            Error::TooFew {
                needed,
                given,
                strangers,
            } => {
                write!(
                    f,
                    "too few signatures, {given} of {needed}: the signers that came hold too few of the keys"
                )?;
                turned_away(f, *strangers)
            }
            Error::Nobody { within, strangers } => {
                write!(f, "no allowed signer connected within {}", Seconds(*within))?;
                turned_away(f, *strangers)?;
                f.write_str(
                    ": does `ndau-signer` run, with this side's address as its url and this side's npub as its server_key?",
                )
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Bind { source, .. } => Some(source),
            Error::Allowed(source) => Some(source),
            Error::Random(source) => Some(source),
            Error::Wrong { source, .. } => Some(source),
            Error::NobodyAllowed
            | Error::KeyOfTwoUses { .. }
            | Error::Impossible { .. }
            | Error::Refused { .. }
            | Error::Garbled { .. }
            | Error::Silent { .. }
            | Error::TooFew { .. }
            | Error::Nobody { .. } => None,
        }
    }
}
