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

/// Writes the configuration, the identity and the cursor where they are missing, and gives `tell` a line about each as
/// it goes. Returns the identity's `npub…`.
pub fn init(
    path: &Path,
    from: Option<From>,
    disk: &dyn Disk,
    clock: &dyn Clock,
    tell: &dyn Fn(&str),
) -> Result<String, Error> {
    let absolute = std::path::absolute(path);
    let path = &absolute.map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })?;
    if write_new(path, 0o644, config::TEMPLATE.as_bytes())? {
        tell(&format!(
            "wrote {}: look through it, and set signer.allowed",
            path.display()
        ));
    } else {
        tell(&format!("{} is there already", path.display()));
    }
    let config = Config::load(path)?;

    let file = &config.signer.identity;
    let fresh =
        Identity::generate().map_err(|error| Error::Config(config::Error::Identity(error)))?;
    if write_new(file, 0o600, fresh.to_toml().expose().as_bytes())? {
        let file = file.display();
        tell(&format!(
            "wrote {file}: the identity that the signing service knows this side by"
        ));
    } else {
        tell(&format!("{} is there already", file.display()));
    }
    let identity = config.load_identity()?;

    let state = config.state_dir.display();
    make_folder(&config.state_dir)?;
    let folder = Folder::new(disk, &config.state_dir);
    let locked = Locked::take(folder)?;
    match (folder.has_cursor()?, from) {
        (true, None) => tell(&format!("the cursor in {state} is there already")),
        (true, Some(_)) => {
            tell(&format!(
                "the cursor in {state} is there already: --from was NOT used"
            ));
        }
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
            let start = report::start(start);
            tell(&format!(
                "wrote the cursor: to be issued is what was sold {start}"
            ));
        }
    }
    Ok(identity.public().to_string())
}

/// Writes a file that is not there yet, durably and whole; `false` if it is there.
pub(crate) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<bool, Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    if path.try_exists().map_err(failed)? {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folder(folder)?;
    // Written under a name of this process alone first, so that nobody ever sees half of it.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<bool> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
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
        HostDisk.sync_folder(folder)?;
        Ok(linked)
    };
    let written = write();
    // What stays behind of a failure would only be in the way.
    let _ = std::fs::remove_file(&temporary);
    written.map_err(failed)
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
    let above = path.parent().unwrap_or(Path::new("/"));
    HostDisk.sync_folder(above).map_err(failed)
}
