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
//!
//! [keys.NAME]               # or, in the original's newer form, [virtual.NAME] without a type
//! type = "virtual"
//! pub_key = "npub…"
//! priv_key = "npvt…"
//!
//! [policy]                  # optional
//! max_issue_per_tx = "50000"
//! ```

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use tungstenite::http::Uri;

use crate::error::Exit;
use crate::napu::Napu;
use crate::ndau::{PrivateKey, PublicKey};
use crate::secret::{FileError, read_private};
use crate::signer::keyfile::{Document, Table};
use crate::signer::{Identity, IdentityError, KeyFileError};

/// A checked `sigconfig.toml`.
#[derive(Debug)]
pub struct Config {
    /// Who this service is.
    pub client: Identity,
    /// Whom it dials.
    pub connections: Vec<Connection>,
    /// What it signs with.
    pub keys: Vec<PrivateKey>,
    /// What it will not sign.
    pub policy: Policy,
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
}

/// What is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// The largest amount of one transaction.
    pub max_issue_per_tx: Option<Napu>,
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
            ConfigError::File(_) | ConfigError::Content { .. } | ConfigError::Identity { .. } => {
                Exit::Config
            }
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
    /// Reads and checks a file that only its owner can read.
    ///
    /// # Errors
    /// When others can read it too, when it has an unknown setting or lacks a needed one, and when one key has two uses.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
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

pub(crate) fn parse(text: &str) -> Result<Config, Wrong> {
    let document = Document::parse(text)?;
    let root = document.root();
    root.only(&["client", "connections", "keys", "virtual", "policy"])?;

    let client = root
        .table("client")?
        .ok_or_else(|| root.error("client", "missing: the identity of this service"))?;
    let client = Identity::new(pair(&client, true)?).map_err(Wrong::Identity)?;

    let mut keys: Vec<PrivateKey> = Vec::new();
    for (group, typed) in [("keys", true), ("virtual", false)] {
        for (_, table) in root.tables(group)? {
            let key = pair(&table, typed)?;
            if key.public() == client.public() {
                let problem =
                    "this key is also the identity in [client]: make a pair for the identity alone";
                return Err(table.error("pub_key", problem).into());
            }
            if keys.iter().any(|known| known.public() == key.public()) {
                return Err(table.error("pub_key", "this key is given twice").into());
            }
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(root.error("keys", "missing: no key to sign with").into());
    }

    let mut connections = Vec::new();
    for (name, table) in root.tables("connections")? {
        let connection = connection(name, &table)?;
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

    Ok(Config {
        client,
        connections,
        keys,
        policy: match root.table("policy")? {
            Some(table) => policy(&table)?,
            None => Policy::default(),
        },
    })
}

/// A pair that is held in the file.
fn pair(table: &Table<'_>, typed: bool) -> Result<PrivateKey, KeyFileError> {
    let kind = table.optional_text("type")?;
    match kind {
        Some("virtual") => {}
        None if !typed => {}
        None => return Err(table.error("type", "missing: it must be \"virtual\"")),
        // Known kinds are named; a strange text is not repeated.
        Some(kind @ ("command" | "yubihsm")) => {
            return Err(table.error(
                "type",
                format!("\"{kind}\" is not supported by this version yet; only \"virtual\" is"),
            ));
        }
        Some(_) => return Err(table.error("type", "not a known type; only \"virtual\" is")),
    }
    table.only(&["type", "pub_key", "priv_key"])?;
    table.pair()
}

fn connection(name: &str, table: &Table<'_>) -> Result<Connection, KeyFileError> {
    table.only(&["url", "server_key"])?;
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
    })
}

/// The limits. One that this version does not keep stops it, since a limit that is ignored is worse than none.
fn policy(table: &Table<'_>) -> Result<Policy, KeyFileError> {
    table.only(&["max_issue_per_tx", "max_issue_per_day", "confirm"])?;
    let not_kept = "this version does not enforce it, so it does not start with it; remove the line to go without";
    if table.has("max_issue_per_day") {
        return Err(table.error("max_issue_per_day", not_kept));
    }
    if table.flag("confirm")? == Some(true) {
        return Err(table.error("confirm", not_kept));
    }
    let max_issue_per_tx = match table.optional_text("max_issue_per_tx")? {
        None => None,
        Some(text) => {
            Some(Napu::parse_ndau(text).map_err(|error| table.error("max_issue_per_tx", error))?)
        }
    };
    Ok(Policy { max_issue_per_tx })
}
