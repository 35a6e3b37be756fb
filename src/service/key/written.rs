//! A key as its table in `sigconfig.toml` says it, and from there to the key: what the table does not hold is read from
//! where it is, or asked for.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "yubihsm")]
use super::yubihsm;
use super::{Holder, Key, Program};
use crate::ndau::key::TextError;
use crate::ndau::{PrivateKey, PublicKey};
use crate::secret::{FileError, Secret, read_private};
use crate::signer::keyfile::Table;
use crate::signer::{KeyFileError, identity};

/// Asks a person for a secret, which is not echoed.
pub type Ask<'a> = &'a dyn Fn(&str) -> io::Result<Secret<String>>;

/// How long a program may take for a signature when its table does not say. The integration waits a minute.
const PROGRAM_TIME: Duration = Duration::from_secs(30);
/// What `timeout` may be. After ten minutes nobody waits for a signature any more.
const PROGRAM_TIMES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(600)];

/// A key that signs, as it is written. Nothing was opened for it.
#[derive(Debug)]
pub(crate) struct Written {
    table: String,
    public: PublicKey,
    kind: Kind,
}

/// What has the secret.
enum Kind {
    Virtual(Place),
    Command {
        name: String,
        arguments: Vec<String>,
        timeout: Duration,
    },
    #[cfg(feature = "yubihsm")]
    YubiHsm(yubihsm::Written),
}

/// Arguments are not shown: one of them may be a PIN.
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Virtual(place) => place.fmt(f),
            Kind::Command { name, .. } => write!(f, "[program {name}]"),
            #[cfg(feature = "yubihsm")]
            Kind::YubiHsm(written) => written.fmt(f),
        }
    }
}

/// A pair whose secret is to be in this process.
#[derive(Debug)]
pub(crate) struct Pair {
    table: String,
    public: PublicKey,
    place: Place,
}

/// Where a secret is until then.
#[derive(Debug)]
enum Place {
    /// In the table.
    Here(PrivateKey),
    /// In a file.
    File(PathBuf),
    /// A person knows it.
    Nowhere,
}

/// Why a key that is written well cannot be had.
#[derive(Debug)]
pub enum OpenError {
    /// A file with a secret cannot be read, or others can read it too.
    File(FileError),
    /// The file holds neither a private key nor a pair.
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with its text.
        source: TextError,
    },
    /// The file holds a pair that is not one.
    NoPair {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        source: KeyFileError,
    },
    /// A secret is to be typed in, and could not be: give a file, or start at a terminal.
    NotAsked(io::Error),
    /// What was typed in is no private key.
    NotTyped(TextError),
    /// The private key is another one's.
    AnotherKey {
        /// The public key that it was to be of.
        expected: Box<PublicKey>,
    },
    /// The system does not tell in which folder this program is.
    NoFolder(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::File(_) => f.write_str("its secret cannot be read"),
            OpenError::NoKey { path, .. } | OpenError::NoPair { path, .. } => write!(
                f,
                "{} is to hold a private key (npvt…) or the two lines that `ndau-signer keygen` prints",
                path.display()
            ),
            OpenError::NotAsked(_) => f.write_str(
                "its secret is to be typed in, and could not be: start at a terminal, or name a file that holds it",
            ),
            OpenError::NotTyped(_) => f.write_str("what was typed in is no private key"),
            OpenError::AnotherKey { expected } => {
                write!(f, "its private key is not that of its pub_key {expected}")
            }
            OpenError::NoFolder(_) => f.write_str("the current folder cannot be told"),
        }
    }
}

impl StdError for OpenError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            OpenError::File(source) => Some(source),
            OpenError::NoKey { source, .. } | OpenError::NotTyped(source) => Some(source),
            OpenError::NoPair { source, .. } => Some(source),
            OpenError::NotAsked(source) | OpenError::NoFolder(source) => Some(source),
            OpenError::AnotherKey { .. } => None,
        }
    }
}

impl Written {
    /// Reads a table of `[keys]`, or, when it is not `typed`, of `[virtual]`.
    pub(crate) fn read(table: &Table<'_>, typed: bool) -> Result<Written, KeyFileError> {
        let public = table.public_key("pub_key")?;
        let kind = match table.optional_text("type")? {
            Some("virtual") => Kind::Virtual(Place::read(table)?),
            None if !typed => Kind::Virtual(Place::read(table)?),
            None => {
                return Err(table.error("type", "missing: \"virtual\", \"command\" or \"yubihsm\""));
            }
            Some("command") => read_command(table)?,
            #[cfg(feature = "yubihsm")]
            Some("yubihsm") => Kind::YubiHsm(yubihsm::Written::read(table, &public)?),
            #[cfg(not(feature = "yubihsm"))]
            Some("yubihsm") => {
                let problem = "this program was built without \"yubihsm\": build it with `cargo build --release \
                               --locked --features yubihsm`";
                return Err(table.error("type", problem));
            }
            // What it says is not repeated: it may be a value that belongs elsewhere.
            Some(_) => {
                let problem = "not a known type: \"virtual\", \"command\" or \"yubihsm\"";
                return Err(table.error("type", problem));
            }
        };
        Ok(Written {
            table: table.name().to_owned(),
            public,
            kind,
        })
    }

    /// Its table, `keys.NAME`.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// What its signatures verify with.
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Its type, in a word of the file.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Virtual(_) => "virtual",
            Kind::Command { .. } => "command",
            #[cfg(feature = "yubihsm")]
            Kind::YubiHsm(_) => "yubihsm",
        }
    }

    /// The key. Files are looked for from `folder`.
    pub(crate) fn open(self, folder: &Path, ask: Ask<'_>) -> Result<Key, OpenError> {
        let Written {
            table,
            public,
            kind,
        } = self;
        let holder = match kind {
            Kind::Virtual(place) => Holder::Virtual(place.open(&table, &public, folder, ask)?),
            Kind::Command {
                name,
                arguments,
                timeout,
            } => {
                let program = Program::new(&name, arguments, folder, timeout);
                Holder::Command(program.map_err(OpenError::NoFolder)?)
            }
            #[cfg(feature = "yubihsm")]
            Kind::YubiHsm(written) => Holder::YubiHsm(written.open(&table, folder, ask)?),
        };
        Ok(Key {
            name: table,
            public,
            holder,
        })
    }
}

impl Pair {
    /// Reads the table of an identity. Its secret does more than sign, so it cannot stay with a program or a device.
    pub(crate) fn read(table: &Table<'_>) -> Result<Pair, KeyFileError> {
        match table.optional_text("type")? {
            Some("virtual") => {}
            None => return Err(table.error("type", "missing: it must be \"virtual\"")),
            Some(_) => return Err(table.error("type", "an identity can only be \"virtual\"")),
        }
        Ok(Pair {
            table: table.name().to_owned(),
            public: table.public_key("pub_key")?,
            place: Place::read(table)?,
        })
    }

    /// Its table.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// The public half.
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private half. A file is looked for from `folder`.
    pub(crate) fn open(self, folder: &Path, ask: Ask<'_>) -> Result<PrivateKey, OpenError> {
        self.place.open(&self.table, &self.public, folder, ask)
    }
}

impl Place {
    fn read(table: &Table<'_>) -> Result<Place, KeyFileError> {
        table.only(&["type", "pub_key", "priv_key", "priv_key_file"])?;
        match file(table, "priv_key_file")? {
            Some(_) if table.has("priv_key") => Err(table.error(
                "priv_key_file",
                "there is a priv_key too: remove one of them",
            )),
            Some(path) => Ok(Place::File(path)),
            None if table.has("priv_key") => Ok(Place::Here(table.pair()?)),
            None => Ok(Place::Nowhere),
        }
    }

    fn open(
        self,
        table: &str,
        public: &PublicKey,
        folder: &Path,
        ask: Ask<'_>,
    ) -> Result<PrivateKey, OpenError> {
        let key = match self {
            Place::Here(key) => key,
            Place::File(path) => read_key(&folder.join(path))?,
            Place::Nowhere => {
                let typed = ask(&format!("{table}: the private key of {public}: "))
                    .map_err(OpenError::NotAsked)?;
                PrivateKey::parse(typed.expose().trim()).map_err(OpenError::NotTyped)?
            }
        };
        if key.public() == public {
            Ok(key)
        } else {
            Err(OpenError::AnotherKey {
                expected: Box::new(public.clone()),
            })
        }
    }
}

/// The name of a file with a secret, if one is given.
pub(super) fn file(table: &Table<'_>, name: &str) -> Result<Option<PathBuf>, KeyFileError> {
    match table.optional_text(name)? {
        None => Ok(None),
        Some("") => Err(table.error(name, "names no file")),
        // A file's name is told when the file is not there; a key that was put in its place must not be.
        Some(path) if path.contains("npvt") => Err(table.error(
            name,
            "is a private key, and is to name a file that holds it",
        )),
        Some(path) => Ok(Some(PathBuf::from(path))),
    }
}

fn read_command(table: &Table<'_>) -> Result<Kind, KeyFileError> {
    table.only(&["type", "pub_key", "command", "timeout"])?;
    let words = table.texts("command")?;
    let (name, arguments) = match words.split_first() {
        Some((name, arguments)) if !name.is_empty() => (*name, arguments),
        _ => return Err(table.error("command", "names no program")),
    };
    // What a program is given in its arguments, every user of its machine can see.
    if words.iter().any(|word| word.contains("npvt")) {
        let problem = "holds a private key: others can see what a program is started with";
        return Err(table.error("command", problem));
    }
    Ok(Kind::Command {
        name: name.to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        timeout: match table.optional_text("timeout")? {
            None => PROGRAM_TIME,
            Some(text) => time(text).ok_or_else(|| {
                table.error("timeout", "must be a time like 30s, from 100ms to 10m")
            })?,
        },
    })
}

fn time(text: &str) -> Option<Duration> {
    let [least, most] = PROGRAM_TIMES;
    crate::config::duration(text, least)
        .ok()
        .filter(|time| *time <= most)
}

/// The private key in a file: its text alone, or a pair as `keygen` prints it.
fn read_key(path: &Path) -> Result<PrivateKey, OpenError> {
    let text = read_private(path).map_err(OpenError::File)?;
    if text.expose().contains("priv_key") {
        return identity::parse(text.expose()).map_err(|source| OpenError::NoPair {
            path: path.to_owned(),
            source,
        });
    }
    PrivateKey::parse(text.expose().trim()).map_err(|source| OpenError::NoKey {
        path: path.to_owned(),
        source,
    })
}
