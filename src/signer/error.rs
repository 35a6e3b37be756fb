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
        /// Who else has not signed.
        others: Others,
    },
    /// A signer's signature was not what was asked for. Look at its keys and its version.
    Wrong {
        /// Its identity.
        signer: Box<PublicKey>,
        /// What was wrong.
        source: SignatureError,
        /// Who else has not signed.
        others: Others,
    },
    /// A signer's answer is not in the protocol. Look at its log and its version.
    Garbled {
        /// Its identity.
        signer: Box<PublicKey>,
        /// What it said.
        problem: String,
        /// Who else has not signed.
        others: Others,
    },
    /// A signer was asked and had not answered when the time was over: a person may have to confirm.
    Silent {
        /// Its identity.
        signer: Box<PublicKey>,
        /// How long was waited.
        within: Duration,
        /// Who else has not signed.
        others: Others,
        /// Connections turned away.
        strangers: u64,
    },
    /// Some came, and one that may hold what is missing did not, or left again: is it running?
    Missing {
        /// How many signatures are needed.
        needed: usize,
        /// How many different keys signed.
        given: usize,
        /// How long was waited.
        within: Duration,
        /// Who else has not signed.
        others: Others,
        /// Connections turned away.
        strangers: u64,
    },
    /// All allowed signers came, and hold fewer of the keys than are needed: allow those that hold the others, too.
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many different keys signed.
        given: usize,
        /// Who holds none.
        others: Others,
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

/// Why an allowed signer has not signed, the most telling first.
#[derive(Debug, PartialEq, Eq)]
pub enum Lack {
    /// It said no, for this reason.
    Refused(String),
    /// A signature was not what was asked for.
    Wrong(SignatureError),
    /// What it said is not in the protocol.
    Garbled(String),
    /// It was asked, and had not answered when the time was over.
    Silent,
    /// It came, and left without an answer.
    Left,
    /// It did not come.
    Absent,
    /// It holds none of the keys that were still asked for.
    Keyless,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Refused(reason) => write!(f, "refused: {reason}"),
            Lack::Wrong(source) => write!(f, "answered wrongly: {source}"),
            Lack::Garbled(problem) => write!(f, "did not keep to the protocol: {problem}"),
            Lack::Silent => f.write_str("was asked and did not answer"),
            Lack::Left => f.write_str("came and left without an answer"),
            Lack::Absent => f.write_str("did not come"),
            Lack::Keyless => f.write_str("holds none of the keys asked for"),
        }
    }
}

/// Allowed signers that have not signed, each with why.
#[derive(Debug, PartialEq, Eq)]
pub struct Others(Vec<(PublicKey, Lack)>);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, lack) in &self.0 {
            write!(f, "; {key} {lack}")?;
        }
        Ok(())
    }
}

/// How a wait ended in which too few signed.
pub(super) struct Shortfall {
    pub(super) needed: usize,
    pub(super) given: usize,
    /// Whether none of the allowed was ever there.
    pub(super) nobody_came: bool,
    /// All of the allowed that have not signed.
    pub(super) lacking: Vec<(PublicKey, Lack)>,
    pub(super) within: Duration,
    pub(super) strangers: u64,
}

impl Shortfall {
    /// The error that tells most, with all the rest in it. What somebody said comes first, then who did not come: the next
    /// run may be better off with that signer. Only when all have answered are there too few keys.
    pub(super) fn error(mut self) -> Error {
        let rank = |lack: &Lack| match lack {
            Lack::Refused(_) => 0,
            Lack::Wrong(_) => 1,
            Lack::Garbled(_) => 2,
            Lack::Silent => 3,
            Lack::Left => 4,
            Lack::Absent => 5,
            Lack::Keyless => 6,
        };
        self.lacking.sort_by_key(|(_, lack)| rank(lack));
        let mut rest = self.lacking.into_iter();
        let first = rest.next();
        let (needed, given, within, strangers) =
            (self.needed, self.given, self.within, self.strangers);
        match first {
            Some((key, Lack::Refused(reason))) => Error::Refused {
                signer: Box::new(key),
                reason,
                others: Others(rest.collect()),
            },
            Some((key, Lack::Wrong(source))) => Error::Wrong {
                signer: Box::new(key),
                source,
                others: Others(rest.collect()),
            },
            Some((key, Lack::Garbled(problem))) => Error::Garbled {
                signer: Box::new(key),
                problem,
                others: Others(rest.collect()),
            },
            Some((key, Lack::Silent)) => Error::Silent {
                signer: Box::new(key),
                within,
                others: Others(rest.collect()),
                strangers,
            },
            Some((_, Lack::Absent)) if self.nobody_came => Error::Nobody { within, strangers },
            Some(missing @ (_, Lack::Left | Lack::Absent)) => Error::Missing {
                needed,
                given,
                within,
                others: Others(std::iter::once(missing).chain(rest).collect()),
                strangers,
            },
            keyless @ (Some((_, Lack::Keyless)) | None) => Error::TooFew {
                needed,
                given,
                others: Others(keyless.into_iter().chain(rest).collect()),
                strangers,
            },
        }
    }
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
            Error::Random(_)
            | Error::Nobody { .. }
            | Error::Missing { .. }
            | Error::Silent { .. } => Exit::Unavailable,
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
            Error::Refused {
                signer,
                reason,
                others,
            } => {
                write!(
                    f,
                    "the signer {signer} refused to sign: {reason}{others} (nothing was submitted, and the next run asks \
                     again)"
                )
            }
            Error::Wrong { signer, others, .. } => {
                // What was wrong follows.
                for (key, lack) in &others.0 {
                    write!(f, "{key} {lack}; ")?;
                }
                write!(f, "the signer {signer} answered wrongly")
            }
            Error::Garbled {
                signer,
                problem,
                others,
            } => {
                write!(
                    f,
                    "the signer {signer} did not keep to the protocol: {problem}{others}"
                )
            }
            Error::Silent {
                signer,
                within,
                others,
                strangers,
            } => {
                write!(
                    f,
                    "the signer {signer} was asked and did not answer within {}{others}",
                    Seconds(*within)
                )?;
                turned_away(f, *strangers)?;
                f.write_str(": if a person is asked there, set a signer.timeout that they can meet")
            }
            Error::Missing {
                needed,
                given,
                within,
                others,
                strangers,
            } => {
                write!(
                    f,
                    "too few signatures within {}, {given} of {needed}{others}",
                    Seconds(*within)
                )?;
                turned_away(f, *strangers)?;
                f.write_str(": does `ndau-signer` run there, and does it reach this side?")
            }
            Error::TooFew {
                needed,
                given,
                others,
                strangers,
            } => {
                write!(
                    f,
                    "too few signatures, {given} of {needed}: all allowed signers came, and together they signed with too \
                     few keys{others}"
                )?;
                turned_away(f, *strangers)?;
                f.write_str(
                    ": add who holds the others to signer.allowed, or see in the signers' logs which key failed",
                )
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
            | Error::Missing { .. }
            | Error::TooFew { .. }
            | Error::Nobody { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndau::PrivateKey;

    fn key(seed: u8) -> PublicKey {
        PrivateKey::from_ed25519_seed(&[seed; 32]).public().clone()
    }

    /// With two signatures needed and one given, unless nobody came: the exit code, and who must be named.
    #[test]
    fn an_error_names_who_refused_and_who_is_missing() {
        let no = || Lack::Refused("no".to_owned());
        let wrong = || Lack::Wrong(SignatureError::Invalid { key: key(9).into() });
        let garbled = || Lack::Garbled("what?".to_owned());
        let cases = [
            (vec![Lack::Absent], Exit::Unavailable, "did not come"),
            (vec![Lack::Left], Exit::Unavailable, "came and left"),
            (
                vec![Lack::Silent, Lack::Absent],
                Exit::Unavailable,
                "did not answer within 15 s",
            ),
            (
                vec![Lack::Keyless, Lack::Absent],
                Exit::Unavailable,
                "1 of 2",
            ),
            (vec![Lack::Keyless], Exit::Refused, "too few keys"),
            (vec![], Exit::Refused, "too few keys"),
            (
                vec![Lack::Absent, no()],
                Exit::Refused,
                "refused to sign: no; ",
            ),
            (
                vec![Lack::Absent, wrong()],
                Exit::Refused,
                "did not come; the signer",
            ),
            (vec![Lack::Absent, garbled()], Exit::BadData, "what?; "),
            (
                vec![garbled(), no(), wrong()],
                Exit::Refused,
                "refused to sign: no; ",
            ),
        ];
        for (lacks, exit, says) in cases {
            let lacking: Vec<_> = (1..).map(key).zip(lacks).collect();
            let named: Vec<_> = lacking.iter().map(|(key, _)| key.clone()).collect();
            let shortfall = Shortfall {
                needed: 2,
                given: 1,
                nobody_came: false,
                lacking,
                within: Duration::from_secs(15),
                strangers: 0,
            };
            let error = shortfall.error();
            let text = crate::error::chain(&error);
            assert_eq!(error.exit(), exit, "{text}");
            assert!(text.contains(says), "{text}");
            assert!(
                named.iter().all(|key| text.contains(key.as_text())),
                "{text}"
            );
        }
    }
}
