//! Why the signing log cannot be used, what to do about it, and how the program ends.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::Exit;

/// Why the log cannot be used.
#[derive(Debug)]
pub enum LogError {
    /// The disk failed. Until it is mended nothing is signed.
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Its folder is not there.
    NoFolder {
        /// Where the log should be.
        path: PathBuf,
    },
    /// There is none to be shown.
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is none, and a limit is counted from it.
    NotBegun {
        /// Where it should be.
        path: PathBuf,
    },
    /// One is to be begun, and is there.
    Begun {
        /// The log.
        path: PathBuf,
    },
    /// It is something else than a file.
    NotAFile {
        /// Where the log should be.
        path: PathBuf,
    },
    /// Others can write to it.
    Exposed {
        /// The log.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process holds it.
    Locked {
        /// The log.
        path: PathBuf,
    },
    /// A line is not what was written there. It is neither used nor changed; a person looks.
    Damaged {
        /// The log.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// It was changed, moved or removed while it was held.
    Changed {
        /// The log.
        path: PathBuf,
    },
    /// What was found could not be printed.
    Output(io::Error),
    /// What is to be written is longer than a line may be.
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl LogError {
    /// How the program ends when this ends it.
    pub fn exit(&self) -> Exit {
        match self {
            LogError::Disk { .. } | LogError::Output(_) => Exit::Disk,
            LogError::NoFolder { .. }
            | LogError::Missing { .. }
            | LogError::NotBegun { .. }
            | LogError::Begun { .. }
            | LogError::NotAFile { .. }
            | LogError::Exposed { .. } => Exit::Config,
            LogError::Locked { .. } => Exit::Unavailable,
            LogError::Damaged { .. } | LogError::Changed { .. } => Exit::BadData,
            LogError::TooLong { .. } => Exit::Bug,
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Disk { action, path, .. } => write!(
                f,
                "cannot {action} the signing log {}, without which nothing is signed: make room, or mend the disk",
                path.display()
            ),
            LogError::NoFolder { path } => write!(
                f,
                "there is no folder for the signing log {}: is its disk mounted? set log.path",
                path.display()
            ),
            LogError::Missing { path } => write!(
                f,
                "there is no signing log {}: is this its path? the first `ndau-signer run` begins it",
                path.display()
            ),
            LogError::NotBegun { path } => write!(
                f,
                "there is no signing log {}, and max_issue_per_day is counted from it: put it back (is its disk \
                 mounted?), or, if there never was one, begin it with `ndau-signer log --begin` and the same --config, as the \
                 service's user",
                path.display()
            ),
            LogError::Begun { path } => write!(
                f,
                "the signing log {} is there already, and stays as it is",
                path.display()
            ),
            LogError::Output(_) => f.write_str("what the signing log says could not be printed"),
            LogError::NotAFile { path } => write!(
                f,
                "{} is to be the signing log, and is not a regular file: set log.path",
                path.display()
            ),
            LogError::Exposed { path, mode } => write!(
                f,
                "others can write to the signing log {0} (mode {mode:03o}): look at it with `ndau-signer log`, then run \
                 `chmod 600 {0}`",
                path.display()
            ),
            LogError::Locked { path } => write!(
                f,
                "another ndau-signer holds the signing log {}: stop it, or give each a log.path of its own (with one key in \
                 both, each signs up to its own max_issue_per_day)",
                path.display()
            ),
            LogError::Damaged { path, line, what } => write!(
                f,
                "line {line} of the signing log {} is not as it was written: {what}; find out who changed it, and bring it \
                 back from a backup, or move it away to begin a new one, for which nothing counts yet against \
                 max_issue_per_day",
                path.display()
            ),
            LogError::Changed { path } => write!(
                f,
                "the signing log {} was changed, moved or removed while it was in use, and nothing is signed: put it back, \
                 or start the signer again",
                path.display()
            ),
            LogError::TooLong { bytes } => write!(
                f,
                "a line of {bytes} bytes is too long for the signing log: hold fewer keys in one configuration"
            ),
        }
    }
}

impl StdError for LogError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            LogError::Disk { source, .. } | LogError::Output(source) => Some(source),
            LogError::NoFolder { .. }
            | LogError::Missing { .. }
            | LogError::NotBegun { .. }
            | LogError::Begun { .. }
            | LogError::NotAFile { .. }
            | LogError::Exposed { .. }
            | LogError::Locked { .. }
            | LogError::Damaged { .. }
            | LogError::Changed { .. }
            | LogError::TooLong { .. } => None,
        }
    }
}
