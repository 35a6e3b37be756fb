//! Why the state could not be read, trusted or written.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::Exit;

/// Why the state could not be read, trusted or written.
#[derive(Debug)]
pub enum Error {
    /// The disk failed. Nothing of the state is known to be lost; mend the disk before the next run.
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another run holds the lock: it will end by itself.
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// There is no cursor, and where to start is not guessed.
    NoCursor {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no state folder.
    NoFolder {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file is not what this program writes. It is neither used nor changed; a person looks.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Two files contradict each other. Neither is changed; a person looks.
    Contradiction {
        /// The folder.
        folder: PathBuf,
        /// What contradicts what.
        what: String,
    },
}

impl Error {
    /// How a run ends that met this.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Disk { .. } => Exit::Disk,
            Error::Locked { .. } => Exit::Unavailable,
            Error::NoCursor { .. } | Error::NoFolder { .. } => Exit::Config,
            Error::Damaged { .. } | Error::Contradiction { .. } => Exit::BadData,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Disk { action, path, .. } => write!(
                f,
                "cannot {action} {}; mend that, and the next run goes on where this one ended",
                path.display()
            ),
            Error::Locked { path } => {
                write!(
                    f,
                    "another run is at work (it holds {}); this one did nothing",
                    path.display()
                )
            }
            Error::NoCursor { path } => write!(
                f,
                "there is no cursor at {}: the first time, run `bitmart-issuer init --from now|beginning|<trade id>`; if \
                 there was one, bring the whole folder back from its newest backup",
                path.display()
            ),
            Error::NoFolder { path } => write!(
                f,
                "there is no state folder {}: is its disk mounted? the first time, `bitmart-issuer init` makes it",
                path.display()
            ),
            Error::Damaged { path, what } => {
                write!(
                    f,
                    "{} is not as this program writes it: {what}; keep a copy, and bring the whole folder back from its \
                     newest backup",
                    path.display()
                )
            }
            Error::Contradiction { folder, what } => {
                write!(
                    f,
                    "the files in {} contradict each other: {what}",
                    folder.display()
                )
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Disk { source, .. } => Some(source),
            Error::Locked { .. }
            | Error::NoCursor { .. }
            | Error::NoFolder { .. }
            | Error::Damaged { .. }
            | Error::Contradiction { .. } => None,
        }
    }
}
