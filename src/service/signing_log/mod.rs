//! The signing log: one line per request that was signed or refused, append-only, each line with the SHA-256 of the one
//! before. A line is durable before the signature that it tells of leaves the process.
//!
//! It is also what the day limit is computed from, so there is no second file to disagree with it. One process at a time
//! holds it. A line that a crash cut off was never answered, and is removed; anything else that this program did not write
//! there is an error. That whole lines are missing at its end cannot be seen from the file alone: `ndau-signer log` prints
//! the last line's hash, to be kept elsewhere.

mod line;
mod show;

use std::error::Error as StdError;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) use line::{Entry, Reader, Tail, Verdict, print};
use line::{MAX_LINE, ReadError};
pub use show::{Form, show};

use super::policy::{DAY_MS, Signed};
use crate::error::Exit;
use crate::state::Disk;

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
                "another ndau-signer holds the signing log {}: stop it, or give each a log.path of its own",
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
            | LogError::NotAFile { .. }
            | LogError::Exposed { .. }
            | LogError::Locked { .. }
            | LogError::Damaged { .. }
            | LogError::Changed { .. }
            | LogError::TooLong { .. } => None,
        }
    }
}

/// A signing log that this process holds.
pub struct SigningLog<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    /// Its lock is released by the system when the process ends, however it ends.
    file: File,
    /// Up to where the file is known to be whole and durable.
    tail: Tail,
    /// Whether an append failed, so that the file may hold more than that.
    failed: bool,
    /// What was signed lately, oldest first.
    signed: Vec<Signed>,
}

impl<'a> SigningLog<'a> {
    /// Opens the log at `path`, or begins one there, and reads all of it. A line that a crash cut off is removed, durably.
    ///
    /// # Errors
    /// When another process holds it, when it is not as it was written, and when the disk fails.
    pub fn open(disk: &'a dyn Disk, path: &Path, now_ms: u64) -> Result<SigningLog<'a>, LogError> {
        let file = open(
            path,
            OpenOptions::new().append(true).create(true).mode(0o600),
        )?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
        }
        let metadata = file.metadata().map_err(failed("look at", path))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(LogError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut signed = Vec::new();
        let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, &file));
        while let Some(entry) = next(&mut reader, path)? {
            signed.extend(entry.signed().filter(|one| is_kept(one, now_ms)));
        }
        let (tail, torn) = (reader.tail().clone(), reader.torn());
        if torn > 0 {
            log::warn!(
                "the signing log's last line is cut off, as a crash leaves it: it was never answered, and is removed"
            );
        } else if tail.lines == 0 {
            log::info!("a new signing log begins in {}", path.display());
        }
        let mut log = SigningLog {
            disk,
            path: path.to_owned(),
            file,
            tail,
            failed: torn > 0,
            signed,
        };
        log.mend()?;
        log.sync()?;
        Ok(log)
    }

    /// What was signed in the last 24 hours, and some of what was signed before.
    pub(crate) fn signed(&self) -> &[Signed] {
        &self.signed
    }

    /// Whether the next line can be appended, as far as it can be told: the file is there and is as it was left.
    pub(crate) fn check(&mut self) -> Result<(), LogError> {
        self.mend()?;
        let changed = || LogError::Changed {
            path: self.path.clone(),
        };
        let look_at = failed("look at", &self.path);
        let held = self.file.metadata().map_err(look_at)?;
        let found = match std::fs::metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(changed()),
            Err(error) => return Err(failed("look at", &self.path)(error)),
        };
        if (found.dev(), found.ino(), found.len()) == (held.dev(), held.ino(), self.tail.bytes) {
            Ok(())
        } else {
            Err(changed())
        }
    }

    /// Appends `entry`; once this returns, it is durable. After a failure the file is as before, or is made so before the
    /// next line.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<(), LogError> {
        self.check()?;
        let line = print(entry, &self.tail.hash);
        if u64::try_from(line.len()).is_ok_and(|bytes| bytes >= MAX_LINE) {
            return Err(LogError::TooLong { bytes: line.len() });
        }
        let written = self
            .disk
            .append(&self.path, &line)
            .map_err(failed("append to", &self.path))
            .and_then(|()| self.sync());
        if let Err(error) = written {
            self.failed = true;
            // What is left now is mended before the next line, or by the next start.
            let _ = self.mend();
            return Err(error);
        }
        self.tail = self.tail.after(&line);
        self.signed.retain(|one| is_kept(one, entry.time_ms));
        self.signed.extend(entry.signed());
        Ok(())
    }

    /// Cuts off what a failed append left.
    fn mend(&mut self) -> Result<(), LogError> {
        if self.failed {
            self.file
                .set_len(self.tail.bytes)
                .map_err(failed("mend", &self.path))?;
            self.sync()?;
            self.failed = false;
        }
        Ok(())
    }

    /// Makes the file and its name durable.
    fn sync(&self) -> Result<(), LogError> {
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.disk
            .sync_file(&self.path)
            .and_then(|()| self.disk.sync_folder(folder))
            .map_err(failed("sync", &self.path))
    }
}

/// Whether the day limit may still need it: twice as long as it counts, so that a clock that is set back by less than a day
/// finds all that it should.
fn is_kept(signed: &Signed, now_ms: u64) -> bool {
    signed.time_ms.saturating_add(2 * DAY_MS) > now_ms
}

/// Opens a regular file for reading, and for what `options` add.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File, LogError> {
    let not_a_file = || LogError::NotAFile {
        path: path.to_owned(),
    };
    // Opening a pipe would wait for somebody at its other end.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(not_a_file());
    }
    options
        .read(true)
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LogError::NoFolder {
                path: path.to_owned(),
            },
            _ => failed("open", path)(source),
        })
}

/// The next entry of the log at `path`.
fn next<R: io::BufRead>(reader: &mut Reader<R>, path: &Path) -> Result<Option<Entry>, LogError> {
    reader.next().map_err(|error| match error {
        ReadError::Io(source) => failed("read", path)(source),
        ReadError::Damaged { line, what } => LogError::Damaged {
            path: path.to_owned(),
            line,
            what,
        },
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::Disk {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
