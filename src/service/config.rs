//! `sigconfig.toml`: who this service is, whom it dials, the keys that it signs with, and what it will not sign.
//!
//! ```toml
//! [client]                  # the service's identity: an ed25519 pair that signs nothing
//! type = "virtual"
//! pub_key = "npub…"
//! priv_key = "npvt…"
//!
//! [connections.NAME]
//! url = "ws://localhost:20036/signer"
//! server_key = "npub…"      # the integration's identity
//! keys = ["NAME"]           # optional: it can have signatures by these keys alone
//!
//! [keys.NAME]               # or, in the original's newer form, [virtual.NAME] without a type
//! type = "virtual"
//! pub_key = "npub…"
//! priv_key = "npvt…"        # or priv_key_file = "…"; a person is asked for what is in neither
//!
//! [keys.NAME]
//! type = "command"
//! pub_key = "npub…"
//! command = ["program", "argument"]
//! timeout = "30s"
//!
//! [keys.NAME]
//! type = "yubihsm"          # in a build that has this feature
//! pub_key = "npub…"
//! connector = "http://127.0.0.1:12345"
//! auth_key = 2
//! password_file = "…"       # or a person is asked
//! key = 7
//!
//! [policy]                  # optional
//! max_issue_per_tx = "50000"     # ndau
//! max_issue_per_day = "200000"   # ndau
//! confirm = true                 # a person is asked each time
//! allow = ["Issue"]              # nothing else can be here
//!
//! [log]                     # optional
//! path = "ndau-signer.log.jsonl"
//! ```

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use tungstenite::http::Uri;

use super::key::{Ask, Key, OpenError, Pair, Written};
use super::policy::Policy;
use crate::error::Exit;
use crate::napu::Napu;
use crate::ndau::PublicKey;
use crate::secret::{FileError, read_private};
use crate::signer::keyfile::{Document, Table};
use crate::signer::message::ISSUE;
use crate::signer::{Identity, IdentityError, KeyFileError};

/// Where the signing log is unless the file says otherwise.
const LOG: &str = "ndau-signer.log.jsonl";

/// A checked `sigconfig.toml`.
#[derive(Debug)]
pub struct Config {
    /// Who this service is.
    pub client: Identity,
    /// Whom it dials.
    pub connections: Vec<Connection>,
    /// What it signs with.
    pub keys: Vec<Key>,
    /// What it will not sign.
    pub policy: Policy,
    /// Where it writes down what it signed and refused.
    pub log: PathBuf,
}

/// One integration to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its name in the file.
    pub name: String,
    /// Its address, `ws://` or `wss://`.
    pub url: Uri,
    /// Its identity.
    pub server_key: PublicKey,
    /// The keys that sign for it; without a list all of them do.
    pub keys: Option<Vec<PublicKey>>,
}

impl Connection {
    /// Whether `key` signs for it.
    pub(crate) fn may_use(&self, key: &PublicKey) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read, or others can read it too.
    File(FileError),
    /// Its content is not a configuration.
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        source: KeyFileError,
    },
    /// The secret of a key cannot be had.
    Key {
        /// The file.
        path: PathBuf,
        /// The key's table in it.
        table: String,
        /// Why.
        source: Box<OpenError>,
    },
    /// `[client]` or a `server_key` is not an identity.
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
}

impl ConfigError {
    /// How the program ends when this ends it.
    pub fn exit(&self) -> Exit {
        match self {
            ConfigError::File(_)
            | ConfigError::Content { .. }
            | ConfigError::Key { .. }
            | ConfigError::Identity { .. } => Exit::Config,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::File(_) => f.write_str("cannot load the configuration"),
            ConfigError::Content { path, .. } => {
                write!(f, "{} is not a configuration", path.display())
            }
            ConfigError::Key { path, table, .. } => {
                write!(f, "{table} in {} cannot be used", path.display())
            }
            ConfigError::Identity { path, .. } => {
                write!(f, "{} names an identity that cannot be one", path.display())
            }
        }
    }
}

impl StdError for ConfigError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ConfigError::File(source) => Some(source),
            ConfigError::Content { source, .. } => Some(source),
            ConfigError::Key { source, .. } => Some(source.as_ref()),
            ConfigError::Identity { source, .. } => Some(source),
        }
    }
}

/// What is wrong with a file's text.
pub(crate) enum Wrong {
    Content(KeyFileError),
    Identity(IdentityError),
}

impl From<KeyFileError> for Wrong {
    fn from(error: KeyFileError) -> Self {
        Wrong::Content(error)
    }
}

impl Config {
    /// Reads and checks a file that only its owner can read, and the secrets that it says are elsewhere; `ask` is used
    /// for those that are nowhere.
    ///
    /// # Errors
    /// When others can read it too, when it has an unknown setting or lacks a needed one, when one key has two uses, and
    /// when a secret cannot be had.
    pub fn load(path: &Path, ask: Ask<'_>) -> Result<Config, ConfigError> {
        let settings = Settings::load(path)?;
        let folder = folder(path);
        let client = identity(path, settings.client, ask)?;
        let mut keys = Vec::new();
        for key in settings.keys {
            let table = key.table().to_owned();
            let opened = key.open(folder, ask);
            keys.push(opened.map_err(|source| ConfigError::Key {
                path: path.to_owned(),
                table,
                source: Box::new(source),
            })?);
        }
        Ok(Config {
            client,
            connections: settings.connections,
            keys,
            policy: settings.policy,
            log: folder.join(settings.log),
        })
    }
}

/// A checked `sigconfig.toml` by itself: nothing that it names was opened.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) client: Pair,
    pub(crate) connections: Vec<Connection>,
    pub(crate) keys: Vec<Written>,
    pub(crate) policy: Policy,
    pub(crate) log: PathBuf,
}

impl Settings {
    /// Reads and checks a file that only its owner can read.
    pub(crate) fn load(path: &Path) -> Result<Settings, ConfigError> {
        let text = read_private(path).map_err(ConfigError::File)?;
        parse(text.expose()).map_err(|wrong| match wrong {
            Wrong::Content(source) => ConfigError::Content {
                path: path.to_owned(),
                source,
            },
            Wrong::Identity(source) => ConfigError::Identity {
                path: path.to_owned(),
                source,
            },
        })
    }
}

pub(crate) fn parse(text: &str) -> Result<Settings, Wrong> {
    let document = Document::parse(text)?;
    let root = document.root();
    root.only(&["client", "connections", "keys", "virtual", "policy", "log"])?;

    let client = root
        .table("client")?
        .ok_or_else(|| root.error("client", "missing: the identity of this service"))?;
    let client = Pair::read(&client)?;
    Identity::require_usable(client.public()).map_err(Wrong::Identity)?;

    let mut keys: Vec<Written> = Vec::new();
    let mut names = Vec::new();
    for (group, typed) in [("keys", true), ("virtual", false)] {
        for (name, table) in root.tables(group)? {
            let key = Written::read(&table, typed)?;
            if key.public() == client.public() {
                let problem =
                    "this key is also the identity in [client]: make a pair for the identity alone";
                return Err(table.error("pub_key", problem).into());
            }
            if keys.iter().any(|known| known.public() == key.public()) {
                return Err(table.error("pub_key", "this key is given twice").into());
            }
            names.push((name, key.public().clone()));
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(root.error("keys", "missing: no key to sign with").into());
    }

    let mut connections = Vec::new();
    for (name, table) in root.tables("connections")? {
        let connection = connection(name, &table, &names)?;
        let server = &connection.server_key;
        if server == client.public() || keys.iter().any(|key| key.public() == server) {
            let problem = "this is a key of this service: give the integration's identity";
            return Err(table.error("server_key", problem).into());
        }
        Identity::require_usable(server).map_err(Wrong::Identity)?;
        connections.push(connection);
    }
    if connections.is_empty() {
        return Err(root
            .error("connections", "missing: no integration to dial")
            .into());
    }

    Ok(Settings {
        client,
        connections,
        keys,
        policy: match root.table("policy")? {
            Some(table) => policy(&table)?,
            None => Policy::default(),
        },
        log: match root.table("log")? {
            Some(table) => log(&table)?,
            None => PathBuf::from(LOG),
        },
    })
}

/// The identity in the file at `path`.
pub(crate) fn identity(path: &Path, client: Pair, ask: Ask<'_>) -> Result<Identity, ConfigError> {
    let table = client.table().to_owned();
    let opened = client.open(folder(path), ask);
    let key = opened.map_err(|source| ConfigError::Key {
        path: path.to_owned(),
        table,
        source: Box::new(source),
    })?;
    Identity::new(key).map_err(|source| ConfigError::Identity {
        path: path.to_owned(),
        source,
    })
}

/// Where the paths in a file start.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn connection(
    name: &str,
    table: &Table<'_>,
    keys: &[(&str, PublicKey)],
) -> Result<Connection, KeyFileError> {
    table.only(&["url", "server_key", "keys"])?;
    let is_usable = |url: &Uri| {
        matches!(url.scheme_str(), Some("ws" | "wss"))
            && url.host().is_some_and(|host| !host.is_empty())
            && url
                .authority()
                .is_some_and(|all| !all.as_str().contains('@'))
            && url.query().is_none()
            // A key in the wrong place would be dialled, and told to a name server.
            && !url.to_string().contains("npvt")
    };
    let url: Option<Uri> = table.text("url")?.parse().ok();
    let url = url.filter(is_usable).ok_or_else(|| {
        let problem = "must be an address like ws://localhost:20036/signer or wss://host/path";
        table.error("url", problem)
    })?;
    if !table.has("server_key") {
        let problem = "missing: the integration's identity, the pub_key in its identity file";
        return Err(table.error("server_key", problem));
    }
    Ok(Connection {
        name: name.to_owned(),
        url,
        server_key: table.public_key("server_key")?,
        keys: table
            .has("keys")
            .then(|| keys_of(table, keys))
            .transpose()?,
    })
}

/// The keys that a connection names.
fn keys_of(table: &Table<'_>, keys: &[(&str, PublicKey)]) -> Result<Vec<PublicKey>, KeyFileError> {
    let mut own = Vec::new();
    for name in table.texts("keys")? {
        let known = own.len();
        let named = keys.iter().filter(|(key, _)| *key == name);
        own.extend(named.map(|(_, public)| public.clone()));
        if own.len() == known {
            // It is not repeated: a key may have been put in the place of its name.
            return Err(table.error("keys", "names a key that is not under [keys]"));
        }
    }
    if own.is_empty() {
        return Err(table.error(
            "keys",
            "names no key: leave it out, or leave the connection out",
        ));
    }
    Ok(own)
}

/// Where the signing log of the configuration at `path` is. Nothing else that it names is opened, and nobody is asked.
pub fn log_path(path: &Path) -> Result<PathBuf, ConfigError> {
    Ok(folder(path).join(Settings::load(path)?.log))
}

/// The limits. One that this version does not know stops it, since a limit that is ignored is worse than none.
fn policy(table: &Table<'_>) -> Result<Policy, KeyFileError> {
    table.only(&["allow", "max_issue_per_tx", "max_issue_per_day", "confirm"])?;
    if table.has("allow") && table.texts("allow")? != [ISSUE] {
        let problem = "must be [\"Issue\"], the one type of transaction that this program signs";
        return Err(table.error("allow", problem));
    }
    Ok(Policy {
        max_issue_per_tx: limit(table, "max_issue_per_tx")?,
        max_issue_per_day: limit(table, "max_issue_per_day")?,
        confirm: table.flag("confirm")?.unwrap_or(false),
    })
}

/// An amount in ndau, if it is there.
fn limit(table: &Table<'_>, name: &str) -> Result<Option<Napu>, KeyFileError> {
    let amount = |text| Napu::parse_ndau(text).map_err(|error| table.error(name, error));
    table.optional_text(name)?.map(amount).transpose()
}

/// Where the signing log is, as it is written.
fn log(table: &Table<'_>) -> Result<PathBuf, KeyFileError> {
    table.only(&["path"])?;
    match table.text("path")? {
        "" => Err(table.error("path", "names no file")),
        // A key in the wrong place would be a file's name, and that is told.
        path if path.contains("npvt") => Err(table.error("path", "must be the path of a file")),
        path => Ok(PathBuf::from(path)),
    }
}
