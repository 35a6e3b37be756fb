//! The signing log: one line per request that was signed or refused, append-only, each line with the SHA-256 of the one
//! before. A line is durable before the signature that it tells of leaves the process.
//!
//! It is also what the day limit is computed from, so there is no second file to disagree with it. One process at a time
//! holds it. A line that a crash cut off was never answered, and is removed; anything else that this program did not write
//! there is an error. That whole lines are missing at its end cannot be seen from the file alone: `ndau-signer log` prints
//! the last line's hash, to be kept elsewhere.

mod error;
mod line;
mod recent;
mod show;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Access, access};

pub use error::LogError;
pub(crate) use line::{Entry, Reader, Tail, Verdict, print};
use line::{MAX_LINE, ReadError};
use recent::Recent;
pub use show::{Form, show};

use super::policy::{Policy, Signed};
use crate::state::Disk;

/// What is done where there is no log yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// It is begun.
    Begin,
    /// Nothing: a limit is counted from it, and one that went missing must not begin anew by itself.
    Refuse,
}

impl IfMissing {
    /// What `policy` needs.
    pub fn under(policy: &Policy) -> IfMissing {
        match policy.max_issue_per_day {
            Some(_) => IfMissing::Refuse,
            None => IfMissing::Begin,
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
    recent: Recent,
}

impl<'a> SigningLog<'a> {
    /// Begins a log at `path`, durably.
    ///
    /// # Errors
    /// When there is one, and when the disk fails.
    pub fn begin(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
        match open(OpenOptions::new().create_new(true), path) {
            Ok(_) => sync(disk, path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(LogError::Begun {
                path: path.to_owned(),
            }),
            Err(error) => Err(not_opened(path)(error)),
        }
    }

    /// Opens the log at `path` and reads all of it. A line that a crash cut off is removed, durably.
    ///
    /// # Errors
    /// When another process holds it, when it is not as it was written, and when the disk fails.
    pub fn open(
        disk: &'a dyn Disk,
        path: &Path,
        now_ms: u64,
        missing: IfMissing,
    ) -> Result<SigningLog<'a>, LogError> {
        let file = match existing(path, missing)? {
            Some(file) => file,
            None => open(OpenOptions::new().create(true), path).map_err(not_opened(path))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
        }
        require_own(path, &file)?;
        let Found { tail, torn, recent } = read(&file, path, now_ms)?;
        if torn > 0 {
            log::warn!(
                "the signing log's last line is cut off, as a crash leaves it: it was never answered, and is removed"
            );
        } else if tail.lines == 0 {
            log::info!("a new signing log begins in {}", path.display());
            if missing == IfMissing::Refuse {
                log::warn!("nothing counts yet against max_issue_per_day");
            }
        }
        let mut log = SigningLog {
            disk,
            path: path.to_owned(),
            file,
            tail,
            failed: torn > 0,
            recent,
        };
        log.mend()?;
        sync(disk, path)?;
        Ok(log)
    }

    /// What was signed in the 24 hours before `now_ms`, which is `now`, and some of what was signed before.
    ///
    /// # Errors
    /// When the clock was set back by so much that the log has to be read again, and cannot be.
    pub(crate) fn signed(&mut self, now_ms: u64, now: Instant) -> Result<Vec<Signed>, LogError> {
        if !self.recent.reaches(now_ms) {
            log::warn!("the clock was set back: the signing log is read again for what counts now");
            let rewound = self.file.rewind();
            rewound.map_err(failed("read", &self.path))?;
            let found = read(&self.file, &self.path, now_ms)?;
            if found.tail != self.tail {
                return Err(self.changed());
            }
            let before = std::mem::replace(&mut self.recent, found.recent);
            self.recent.add_own_of(before);
        }
        Ok(self.recent.signed(now_ms, now))
    }

    /// Whether the next line can be appended, as far as it can be told: the file is there and is as it was left.
    pub(crate) fn check(&mut self) -> Result<(), LogError> {
        self.mend()?;
        self.is_held(self.tail.bytes)
    }

    /// Whether what is at the path is the file that is held, with so many bytes.
    fn is_held(&self, bytes: u64) -> Result<(), LogError> {
        let look_at = failed("look at", &self.path);
        let held = self.file.metadata().map_err(look_at)?;
        let found = match std::fs::metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.changed()),
            Err(error) => return Err(failed("look at", &self.path)(error)),
        };
        if (found.dev(), found.ino(), found.len()) == (held.dev(), held.ino(), bytes) {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> LogError {
        LogError::Changed {
            path: self.path.clone(),
        }
    }

    /// Appends `entry` `now`; once this returns, it is durable. After a failure the file is as before, or is made so before
    /// the next line.
    pub(crate) fn append(&mut self, entry: &Entry, now: Instant) -> Result<(), LogError> {
        self.check()?;
        let line = print(entry, &self.tail.hash);
        if u64::try_from(line.len()).is_ok_and(|bytes| bytes >= MAX_LINE) {
            return Err(LogError::TooLong { bytes: line.len() });
        }
        let after = self.tail.after(&line);
        let written = self
            .disk
            .append(&self.path, &line)
            .map_err(failed("append to", &self.path))
            .and_then(|()| sync(self.disk, &self.path))
            // Another file may have taken its place meanwhile, and have the line now.
            .and_then(|()| self.is_held(after.bytes));
        if let Err(error) = written {
            self.failed = true;
            // What is left now is mended before the next line, or by the next start.
            let _ = self.mend();
            return Err(error);
        }
        self.tail = after;
        self.recent.forget(entry.time_ms, now);
        if let Some(signed) = entry.signed() {
            self.recent.add(signed, Some(now));
        }
        Ok(())
    }

    /// Cuts off what a failed append left.
    fn mend(&mut self) -> Result<(), LogError> {
        if self.failed {
            self.file
                .set_len(self.tail.bytes)
                .map_err(failed("mend", &self.path))?;
            sync(self.disk, &self.path)?;
            self.failed = false;
        }
        Ok(())
    }
}

/// Whether a service that starts now could use the log at `path`; whether there is one. It is only read, and may be in use.
pub(super) fn look(path: &Path, missing: IfMissing) -> Result<bool, LogError> {
    let Some(file) = existing(path, missing)? else {
        let writable = access(folder(path), Access::WRITE_OK | Access::EXEC_OK);
        let writable = writable.map_err(|error| not_opened(path)(error.into()));
        return writable.map(|()| false);
    };
    require_own(path, &file)?;
    show(path, Form::Json, &mut io::sink())?;
    Ok(true)
}

/// Where the file at `path` is.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the file and its name durable.
fn sync(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    disk.sync_file(path)
        .and_then(|()| disk.sync_folder(folder(path)))
        .map_err(failed("sync", path))
}

/// What a log says.
struct Found {
    tail: Tail,
    /// How many bytes after the last whole line a crash left.
    torn: u64,
    recent: Recent,
}

/// Reads all of a log from where `file` stands, which is its start.
fn read(file: &File, path: &Path, now_ms: u64) -> Result<Found, LogError> {
    let mut recent = Recent::default();
    let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, file));
    while let Some(entry) = next(&mut reader, path)? {
        if let Some(signed) = entry.signed() {
            recent.read(signed, now_ms);
        }
    }
    Ok(Found {
        tail: reader.tail().clone(),
        torn: reader.torn(),
        recent,
    })
}

/// Opens a log to be read and appended to, and made as `options` say.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.read(true).append(true).mode(0o600).open(path)
}

/// The log at `path`, unless there is none and it may be begun.
fn existing(path: &Path, missing: IfMissing) -> Result<Option<File>, LogError> {
    require_file(path)?;
    match open(&mut OpenOptions::new(), path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match missing {
            IfMissing::Begin => Ok(None),
            IfMissing::Refuse => Err(LogError::NotBegun {
                path: path.to_owned(),
            }),
        },
        Err(error) => Err(not_opened(path)(error)),
    }
}

/// That what is there is a regular file, if anything is. Opening a pipe would wait for somebody at its other end.
fn require_file(path: &Path) -> Result<(), LogError> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(LogError::NotAFile {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// That nobody else can write to it.
fn require_own(path: &Path, file: &File) -> Result<(), LogError> {
    let metadata = file.metadata().map_err(failed("look at", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(LogError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn not_opened(path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LogError::NoFolder { path },
        _ => failed("open", &path)(source),
    }
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
