//! The files of a run, and the only code that touches them. A crash at any system call leaves a replaced file old or
//! new, and a torn last line of the ledger is noticed, never read.
//!
//! ```text
//! state/
//!   lock            held by the one run that writes
//!   cursor.json     the last-seen-trade cursor
//!   pending.json    a batch in flight; absent otherwise
//!   ledger.jsonl    one line per applied Issue or decision of a person, append-only, hash-chained
//!   *.tmp           a replacement that was not finished; overwritten by the next
//! ```
//!
//! Anyone may read ([`Folder`]); only who holds the lock can write ([`Locked`]).

pub(crate) mod cursor;
mod disk;
mod error;
mod ledger;
pub(crate) mod pending;
mod record;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use disk::{Disk, HostDisk};
pub use error::Error;
pub use ledger::{Decision, Entry, Ledger, Line, Verdict};
pub(crate) use ledger::{NO_LINE, hash_of};
pub use pending::Pending;

use crate::napu::Napu;
use crate::ndau::Issue;
use crate::sales::{At, Cursor};

/// The state folder, for reading.
#[derive(Clone, Copy)]
pub struct Folder<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
}

/// Everything the folder says, each file checked on its own and against the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The cursor.
    pub cursor: Cursor,
    /// The batch in flight, if there is one.
    pub pending: Option<Pending>,
    /// What was issued.
    pub ledger: Ledger,
}

impl<'a> Folder<'a> {
    /// The folder at `path`.
    pub fn new(disk: &'a dyn Disk, path: &'a Path) -> Folder<'a> {
        Folder { disk, path }
    }

    fn cursor_path(&self) -> PathBuf {
        self.path.join("cursor.json")
    }

    fn pending_path(&self) -> PathBuf {
        self.path.join("pending.json")
    }

    fn ledger_path(&self) -> PathBuf {
        self.path.join("ledger.jsonl")
    }

    /// The file's content, or `None` if there is no such file. Every other failure is one.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        match self.disk.read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Disk {
                action: "read",
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn parse<T>(
        &self,
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let Some(bytes) = self.read(path)? else {
            return Ok(None);
        };
        parse(&bytes).map(Some).map_err(|what| Error::Damaged {
            path: path.to_owned(),
            what,
        })
    }

    /// Whether there is a cursor, readable or not.
    pub fn has_cursor(&self) -> Result<bool, Error> {
        Ok(self.read(&self.cursor_path())?.is_some())
    }

    /// Whether anything was ever issued or is in flight from this folder.
    pub fn has_history(&self) -> Result<bool, Error> {
        Ok(self.read(&self.pending_path())?.is_some()
            || self
                .read(&self.ledger_path())?
                .is_some_and(|ledger| !ledger.is_empty()))
    }

    /// Reads everything. A missing cursor is an error; a missing ledger is an empty one.
    pub fn load(&self) -> Result<State, Error> {
        let cursor_path = self.cursor_path();
        let cursor = self
            .parse(&cursor_path, cursor::parse)?
            .ok_or(Error::NoCursor { path: cursor_path })?;
        let pending = self.parse(&self.pending_path(), pending::parse)?;
        let ledger = match self.parse(&self.ledger_path(), Ledger::parse)? {
            Some(ledger) => ledger,
            None => Ledger::parse(&[]).expect("nothing is an empty ledger"),
        };
        let state = State {
            cursor,
            pending,
            ledger,
        };
        match state.contradiction() {
            Some(what) => Err(Error::Contradiction {
                folder: self.path.to_owned(),
                what,
            }),
            None => Ok(state),
        }
    }
}

impl State {
    /// The systems that this folder was used with, if it was used.
    pub fn at(&self) -> Option<&At> {
        let in_flight = self.pending.as_ref().map(|pending| &pending.progress.at);
        in_flight.or(self.cursor.at.as_ref())
    }

    /// The chain's total issued, as far as this folder can account for it: `None` before the first run, and while a
    /// batch in flight may have added to it.
    pub fn accounted(&self) -> Option<Napu> {
        match &self.pending {
            Some(_) => None,
            None => self.cursor.at.as_ref().map(|at| at.issued),
        }
    }

    /// What in these files cannot have been written by one history of runs, if anything.
    fn contradiction(&self) -> Option<String> {
        if self.ledger.torn() && self.pending.is_none() {
            return Some(
                "the ledger's last line is cut off, and no batch is in flight that it could be of: bring the whole folder \
                 back as it was at one moment"
                    .to_owned(),
            );
        }
        if self.cursor.at.is_none() && !self.ledger.entries().is_empty() && self.pending.is_none() {
            return Some(
                "the cursor has seen nothing, but the ledger holds issues: the cursor was lost and made anew".to_owned(),
            );
        }
        let in_flight = |issue: &Issue| {
            self.pending
                .iter()
                .flat_map(|pending| &pending.candidates)
                .any(|one| one.issue == *issue)
        };
        if let Some(at) = &self.cursor.at
            && !self.ledger.belongs_to(&at.ledger, in_flight)
        {
            return Some(
                "the cursor was not written beside this ledger: one of them is older, was changed, or is gone"
                    .to_owned(),
            );
        }
        let pending = self.pending.as_ref()?;
        if !self
            .ledger
            .belongs_to(&pending.progress.at.ledger, in_flight)
        {
            return Some(
                "the batch in flight was not built beside this ledger: one of them is older, was changed, or is gone"
                    .to_owned(),
            );
        }
        // A crash between the ledger's append and the removal of pending.json leaves its own line, and that alone.
        let entries = self.ledger.entries().iter();
        let others = entries.filter(|entry| !in_flight(&entry.issue));
        for entry in others {
            if let Some(sale) = entry
                .sales
                .iter()
                .find(|sale| pending.batch.sales().contains(sale))
            {
                return Some(format!(
                    "{} is in flight, and the ledger says that it was issued by {}",
                    sale.id,
                    entry.issue.hash()
                ));
            }
        }
        None
    }
}

/// The state folder, held by this run: the one thing that can write.
pub struct Locked<'a> {
    folder: Folder<'a>,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

impl<'a> Locked<'a> {
    /// Takes the lock, or says at once that another run has it.
    pub fn take(folder: Folder<'a>) -> Result<Locked<'a>, Error> {
        let path = folder.path.join("lock");
        let disk_error = |source| Error::Disk {
            action: "open the lock",
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoFolder {
                path: folder.path.to_owned(),
            },
            _ => disk_error(source),
        })?;
        match lock.try_lock() {
            Ok(()) => {
                let locked = Locked {
                    folder,
                    _lock: lock,
                };
                // A process that was killed leaves names that are seen and may not be durable: nothing is built on those.
                locked.sync_folder()?;
                Ok(locked)
            }
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path }),
            Err(TryLockError::Error(source)) => Err(disk_error(source)),
        }
    }

    /// The folder, for reading.
    pub fn folder(&self) -> Folder<'a> {
        self.folder
    }

    /// Replaces the cursor, durably.
    pub fn store_cursor(&self, cursor: &Cursor) -> Result<(), Error> {
        self.replace(&self.folder.cursor_path(), &cursor::print(cursor))
    }

    /// Replaces the batch in flight, durably.
    pub fn store_pending(&self, pending: &Pending) -> Result<(), Error> {
        self.replace(&self.folder.pending_path(), &pending::print(pending))
    }

    /// Forgets the batch in flight, durably. Doing it twice is as good as once.
    pub fn remove_pending(&self) -> Result<(), Error> {
        let path = self.folder.pending_path();
        match self.folder.disk.remove(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Disk {
                action: "remove",
                path,
                source,
            }),
            Ok(()) | Err(_) => self.sync_folder(),
        }
    }

    /// Appends `entry` to `ledger`, durably, unless it is there already. A line that a crash tore is cut off first.
    pub fn append(&self, ledger: &Ledger, entry: &Entry) -> Result<(), Error> {
        let path = self.folder.ledger_path();
        let there = ledger.entry(&entry.issue).is_some();
        if ledger.torn() || there {
            // A line that is there may be in the cache alone, and after a sync that failed another one can succeed without
            // writing it. What is replaced is written anew.
            let mut bytes = self.folder.read(&path)?.unwrap_or_default();
            bytes.truncate(ledger.whole());
            self.replace(&path, &bytes)?;
        }
        if there {
            return Ok(());
        }
        let line = ledger.print(entry);
        self.folder
            .disk
            .append(&path, &line)
            .map_err(|source| Error::Disk {
                action: "append to",
                path: path.clone(),
                source,
            })?;
        self.sync(&path)
    }

    /// Adds a decision to `ledger`, durably. It is added by replacing the file, since no batch need be in flight that a torn
    /// line could be of.
    pub fn record(&self, ledger: &Ledger, decision: &Decision) -> Result<(), Error> {
        let path = self.folder.ledger_path();
        let mut bytes = self.folder.read(&path)?.unwrap_or_default();
        bytes.truncate(ledger.whole());
        bytes.extend(ledger.print_decision(decision));
        self.replace(&path, &bytes)
    }

    /// Makes a file and its name durable.
    fn sync(&self, path: &Path) -> Result<(), Error> {
        self.folder
            .disk
            .sync_file(path)
            .map_err(|source| Error::Disk {
                action: "sync",
                path: path.to_owned(),
                source,
            })?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), Error> {
        self.folder
            .disk
            .sync_folder(self.folder.path)
            .map_err(|source| Error::Disk {
                action: "sync",
                path: self.folder.path.to_owned(),
                source,
            })
    }

    /// Writes a temporary file, syncs it, renames it, syncs the folder.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let temporary = path.with_extension("tmp");
        let failed = |action| {
            let path = path.to_owned();
            move |source| Error::Disk {
                action,
                path,
                source,
            }
        };
        let disk = self.folder.disk;
        disk.write(&temporary, bytes)
            .map_err(failed("write a replacement of"))?;
        disk.sync_file(&temporary)
            .map_err(failed("sync a replacement of"))?;
        disk.rename(&temporary, path).map_err(failed("replace"))?;
        self.sync_folder()
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// The content of a JSON file, for people too.
fn print_json(file: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(file).expect("numbers and strings are always JSON");
    bytes.push(b'\n');
    bytes
}

/// The content of a JSON file of `version`, and of no other.
fn parse_json<T: DeserializeOwned>(bytes: &[u8], version: u64) -> Result<T, String> {
    let found: Versioned = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if found.version != version {
        return Err(format!(
            "its version is {}, this program knows {version}",
            found.version
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
