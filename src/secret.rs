//! Secrets that cannot be printed by accident and are wiped when dropped, and the files that hold them.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::retry_on_intr;
use rustix::process::geteuid;
use zeroize::{Zeroize, Zeroizing};

/// A secret value. It has no `Display`, `Serialize` or `Clone`, its `Debug` prints a fixed word, and its memory is
/// overwritten when it is dropped. The one way to read it is [`Secret::expose`], so every use can be found.
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` in; copies of it that the caller keeps are the caller's to wipe.
    pub fn new(value: T) -> Self {
        Secret(Zeroizing::new(value))
    }

    /// The secret itself, for the one computation that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// No key file or configuration is anywhere near this size.
const MAX_BYTES: u64 = 256 * 1024;

/// Why a file that holds a secret was not read.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be opened or read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Group or others can read or write it: `chmod 600` it, and consider its secret known.
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who can read it whatever its mode is: `chown` it, and consider its secret known.
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it has to be: the user of this program.
        user: u32,
    },
    /// Everybody can put another file in its place: `chmod o-w` its folder, and see what is in it.
    OpenFolder {
        /// The file.
        path: PathBuf,
        /// The folder that it is in, or a link to it.
        folder: PathBuf,
        /// The folder's permission bits.
        mode: u32,
    },
    /// A folder, a device, larger than any key file, or not UTF-8.
    NotAKeyFile {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            FileError::Exposed { path, mode } => write!(
                f,
                "{0} holds a secret and is open to group or others (mode {mode:03o}): run `chmod 600 {0}`, and \
                 replace the secret if anyone else could have read it",
                path.display()
            ),
            FileError::Foreign { path, owner, user } => write!(
                f,
                "{0} holds a secret and belongs to another user (uid {owner}): run `chown {user} {0}` as root, and \
                 replace the secret if that user should not know it",
                path.display()
            ),
            FileError::OpenFolder { path, folder, mode } => write!(
                f,
                "{} holds a secret, and everybody can put another file in its place (mode {mode:03o} of {1}): run \
                 `chmod o-w {1}`, and see whether all in it is yours",
                path.display(),
                folder.display()
            ),
            FileError::NotAKeyFile { path, found } => write!(f, "{} is {found}", path.display()),
        }
    }
}

impl StdError for FileError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            FileError::Read { source, .. } => Some(source),
            FileError::Exposed { .. }
            | FileError::Foreign { .. }
            | FileError::OpenFolder { .. }
            | FileError::NotAKeyFile { .. } => None,
        }
    }
}

/// The text of a file that holds a secret.
///
/// # Errors
/// When it cannot be read, is not a small text file, is not this user's (or root's), anyone but its owner may read or
/// write it, or everybody may put another in its place. It is looked at once it is open, so it cannot be exchanged
/// between the look and the reading.
pub fn read_private(path: &Path) -> Result<Secret<String>, FileError> {
    let read_error = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let not_a_key_file = |found| FileError::NotAKeyFile {
        path: path.to_owned(),
        found,
    };
    // To open a pipe would wait for somebody to write to it; a file is read as ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = retry_on_intr(|| open(path, flags, Mode::empty()))
        .map(File::from)
        .map_err(|error| read_error(error.into()))?;
    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(not_a_key_file("not a regular file"));
    }
    let user = geteuid().as_raw();
    // Root can read every file anyway.
    if ![user, 0].contains(&metadata.uid()) {
        return Err(FileError::Foreign {
            path: path.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    require_closed_folder(path)?;
    // One allocation, so that no half-read copy is left behind by a growing buffer.
    let room = usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    match file.take(MAX_BYTES + 1).read_to_string(&mut text) {
        Ok(bytes) if u64::try_from(bytes).is_ok_and(|bytes| bytes <= MAX_BYTES) => Ok(Secret(text)),
        Ok(_) => Err(not_a_key_file("larger than any key file")),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(not_a_key_file("not UTF-8 text"))
        }
        Err(error) => Err(read_error(error)),
    }
}

/// Not everybody may put another file in the place of this one, or of a link that leads to it.
fn require_closed_folder(path: &Path) -> Result<(), FileError> {
    let read_error = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    for place in [std::path::absolute(path), std::fs::canonicalize(path)] {
        let place = place.map_err(read_error)?;
        let Some(folder) = place.parent() else {
            continue;
        };
        let metadata = std::fs::metadata(folder).map_err(read_error)?;
        let mode = metadata.permissions().mode() & 0o7777;
        // In a folder like /tmp, with the sticky bit, everybody can move only what is their own. A group may write: on
        // many systems each user has one alone.
        if mode & 0o1002 == 0o002 {
            return Err(FileError::OpenFolder {
                path: path.to_owned(),
                folder: folder.to_owned(),
                mode,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn debug_prints_a_fixed_word() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "secret").unwrap();
        for (mode, accepted) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_private(&path).is_ok(), accepted, "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let other = geteuid().as_raw() + 1;
        if std::os::unix::fs::chown(&path, Some(other), None).is_err() {
            println!("secret: SKIPPED: only root can give a file to another user");
            return;
        }
        let error = read_private(&path).unwrap_err();
        let chown = format!("`chown {} {}`", geteuid().as_raw(), path.display());
        assert!(error.to_string().contains(&chown), "{error}");
        assert!(matches!(error, FileError::Foreign { owner, .. } if owner == other));
    }

    #[test]
    fn a_file_in_a_folder_that_everybody_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().canonicalize().unwrap();
        let [open, closed] = ["open", "closed"].map(|name| place.join(name));
        fs::create_dir(&open).unwrap();
        fs::create_dir(&closed).unwrap();
        for folder in [&open, &closed] {
            fs::write(folder.join("key"), "secret").unwrap();
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(folder.join("key"), private).unwrap();
        }
        // A link is as good as the folders at both its ends.
        std::os::unix::fs::symlink(open.join("key"), closed.join("out")).unwrap();
        std::os::unix::fs::symlink(closed.join("key"), open.join("in")).unwrap();
        for (mode, accepted) in [
            (0o700, true),
            (0o755, true),
            (0o775, true),
            (0o1777, true),
            (0o777, false),
            (0o702, false),
        ] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            for path in [open.join("key"), closed.join("out"), open.join("in")] {
                match read_private(&path) {
                    Ok(_) => assert!(accepted, "{path:?} {mode:o}"),
                    Err(error) => {
                        assert!(!accepted, "{path:?} {mode:o}: {error}");
                        let chmod = format!(
                            "(mode {mode:o} of {0}): run `chmod o-w {0}`",
                            open.display()
                        );
                        assert!(error.to_string().contains(&chmod), "{error}");
                    }
                }
            }
            read_private(&closed.join("key")).unwrap();
        }
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(
            read_private(folder.path()),
            Err(FileError::NotAKeyFile { .. })
        ));
        assert!(matches!(
            read_private(&folder.path().join("none")),
            Err(FileError::Read { .. })
        ));
        let pipe = folder.path().join("pipe");
        make_pipe(&pipe);
        assert!(matches!(
            read_private(&pipe),
            Err(FileError::NotAKeyFile { .. })
        ));
        let path = folder.path().join("big");
        for content in [vec![b'a'; 300_000], vec![0xff, 0xfe]] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(
                read_private(&path),
                Err(FileError::NotAKeyFile { .. })
            ));
        }
    }

    fn make_pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    /// A pipe that somebody put in the place of a file between the look and the opening held the program up for good.
    #[test]
    fn a_pipe_in_the_place_of_a_file_is_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        make_pipe(&path("pipe"));
        fs::write(path("file"), "secret").unwrap();
        fs::set_permissions(path("file"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(path("file"), path("key")).unwrap();
        let (done, is_done) = std::sync::mpsc::channel();
        let key = path("key");
        std::thread::spawn(move || {
            for _ in 0..20_000 {
                let _ = read_private(&key);
            }
            done.send(()).unwrap();
        });
        let begun = std::time::Instant::now();
        while is_done.try_recv().is_err() {
            assert!(begun.elapsed().as_secs() < 60, "it waits");
            for name in ["pipe", "file"] {
                fs::hard_link(path(name), path("new")).unwrap();
                fs::rename(path("new"), path("key")).unwrap();
            }
        }
    }
}
