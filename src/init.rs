//! `init`: writes what is missing, and overwrites nothing.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::args::From;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::Error;
use crate::report;
use crate::sales::{Cursor, Start};
use crate::signer::Identity;
use crate::state::{Disk, Folder, HostDisk, Locked};

/// What `init` found and made, a line each, and the identity.
#[derive(Debug)]
pub struct Made {
    /// A line per file.
    pub lines: Vec<String>,
    /// The identity's `npub…`.
    pub npub: String,
}

/// Writes the configuration, the identity and the cursor where they are missing.
pub fn init(
    path: &Path,
    from: Option<From>,
    disk: &dyn Disk,
    clock: &dyn Clock,
) -> Result<Made, Error> {
    let mut lines = Vec::new();
    if write_new(path, 0o644, config::TEMPLATE.as_bytes())? {
        lines.push(format!(
            "wrote {}: look through it, and set signer.allowed",
            path.display()
        ));
    } else {
        lines.push(format!("{} is there already", path.display()));
    }
    let config = Config::load(path)?;

    let file = &config.signer.identity;
    let fresh =
        Identity::generate().map_err(|error| Error::Config(config::Error::Identity(error)))?;
    if write_new(file, 0o600, fresh.to_toml().expose().as_bytes())? {
        lines.push(format!(
            "wrote {}: the identity that the signing service knows this side by",
            file.display()
        ));
    } else {
        lines.push(format!("{} is there already", file.display()));
    }
    let identity = config.load_identity()?;

    make_folder(&config.state_dir)?;
    let folder = Folder::new(disk, &config.state_dir);
    let locked = Locked::take(folder)?;
    match (folder.has_cursor()?, from) {
        (true, _) => lines.push(format!(
            "the cursor in {} is there already",
            config.state_dir.display()
        )),
        (false, _) if folder.has_history()? => {
            return Err(Error::HistoryWithoutCursor {
                folder: config.state_dir.clone(),
            });
        }
        (false, None) => {
            return Err(Error::FromNeeded {
                folder: config.state_dir.clone(),
            });
        }
        (false, Some(from)) => {
            let start = match from {
                From::Now => Start::Time(clock.now_ms()),
                From::Start(start) => start,
            };
            locked.store_cursor(&Cursor::new(start, config.symbol.clone()))?;
            lines.push(format!(
                "wrote the cursor: to be issued is what was sold {}",
                report::start(start)
            ));
        }
    }
    Ok(Made {
        lines,
        npub: identity.public().to_string(),
    })
}

/// Writes a file that is not there yet, durably and whole; `false` if it is there.
fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<bool, Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    if path.try_exists().map_err(failed)? {
        return Ok(false);
    }
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        make_folder(folder)?;
    }
    // Written under another name first, so that a crash leaves no half of it.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<bool> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A link, unlike a rename, never replaces what another `init` has written meanwhile.
        let linked = match std::fs::hard_link(&temporary, path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        std::fs::remove_file(&temporary)?;
        Ok(linked)
    };
    write().map_err(failed)
}

/// Makes a folder where there is none, durably.
fn make_folder(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    match path.parent().filter(|above| !above.as_os_str().is_empty()) {
        Some(above) => HostDisk.sync_folder(above).map_err(failed),
        None => HostDisk.sync_folder(Path::new(".")).map_err(failed),
    }
}
