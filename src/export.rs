//! `export`: what the exchange still shows of the account, on file, while it shows it.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::clock::{Clock, utc};
use crate::config::Config;
use crate::error::{Error, chain};
use crate::exchange::{History, Recording};
use crate::http::Http;
use crate::init::write_new;
use crate::report::counted;
use crate::state::{Disk, Folder};

/// What was written.
pub struct Export {
    path: PathBuf,
    recording: Recording,
    history: History,
    sha256: String,
}

/// Fetches the account's whole history and writes it to a new file, for its owner alone, whole or not at all.
pub fn export(
    config: &Config,
    http: &dyn Http,
    disk: &dyn Disk,
    clock: &dyn Clock,
    path: &Path,
) -> Result<Export, Error> {
    let path = std::path::absolute(path).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })?;
    let exists = path.try_exists().map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })?;
    if exists || path.file_name().is_none() {
        return Err(Error::Exists { path });
    }
    let key = config.load_key()?;
    // The state folder only says which dialect was spoken. The exchange may soon be gone, and the folder can be mended
    // later.
    let known = match Folder::new(disk, &config.state_dir).load() {
        Ok(state) => state.at().map(|at| at.dialect),
        Err(error) => {
            log::warn!("exporting without the state folder: {}", chain(&error));
            None
        }
    };
    let (recording, history) = Recording::fetch(http, clock, &key, &config.symbol, known)?;
    let bytes = recording.print();
    if !write_new(&path, 0o600, &bytes)? {
        return Err(Error::Exists { path });
    }
    Ok(Export {
        path,
        recording,
        history,
        sha256: hex::encode(Sha256::digest(&bytes)),
    })
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trades = &self.history.trades;
        writeln!(
            f,
            "wrote {}: {} of {} from {}, API key {}",
            self.path.display(),
            counted(trades.len(), "trade"),
            self.recording.symbol,
            self.recording.endpoint,
            self.recording.account
        )?;
        if let (Some(first), Some(last)) = (trades.first(), trades.last()) {
            writeln!(
                f,
                "  from      {} to {}",
                utc(first.time_ms),
                utc(last.time_ms)
            )?;
        }
        writeln!(f, "  sold      {} ndau in all", self.recording.sold())?;
        writeln!(
            f,
            "  answers   {} in {}",
            self.recording.answers(),
            self.recording.dialect
        )?;
        writeln!(
            f,
            "  SHA-256   {}; keep it elsewhere: who has it can tell whether the file was changed",
            self.sha256
        )
    }
}
