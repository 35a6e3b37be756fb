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
    pub url: String,
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
enum Wrong {
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

fn parse(text: &str) -> Result<Config, Wrong> {
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
        Identity::check(server).map_err(Wrong::Identity)?;
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
    let url = table.text("url")?;
    let uri: Option<Uri> = url.parse().ok();
    let usable = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("ws" | "wss"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri
                .authority()
                .is_some_and(|all| !all.as_str().contains('@'))
            && uri.query().is_none()
    });
    if !usable {
        let problem = "must be an address like ws://localhost:20036/signer or wss://host/path";
        return Err(table.error("url", problem));
    }
    if !table.has("server_key") {
        let problem = "missing: the integration's identity, the pub_key in its identity file";
        return Err(table.error("server_key", problem));
    }
    Ok(Connection {
        name: name.to_owned(),
        url: url.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_ed25519_seed(&[seed; 32])
    }

    fn lines(key: &PrivateKey) -> String {
        crate::signer::pair_toml(key).expose().clone()
    }

    fn load(text: &str, mode: u32) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sigconfig.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Config::load(&path)
    }

    fn client() -> String {
        format!("[client]\ntype = \"virtual\"\n{}", lines(&key(1)))
    }

    fn local() -> String {
        let server = key(9);
        format!(
            "[connections.local]\nurl = \"ws://localhost:20036/signer\"\nserver_key = \"{}\"\n",
            server.public()
        )
    }

    fn issue() -> String {
        format!("[keys.issue]\ntype = \"virtual\"\n{}", lines(&key(2)))
    }

    /// `text` with another last character.
    fn changed(text: &str) -> String {
        let (start, last) = text.split_at(text.len() - 1);
        format!("{start}{}", if last == "a" { "b" } else { "a" })
    }

    #[test]
    fn both_forms_of_the_original_load() {
        let newer = format!("[virtual.other]\n{}", lines(&key(3)));
        let policy = "[policy]\nmax_issue_per_tx = \"50000.5\"\nconfirm = false\n";
        let text = [client(), local(), issue(), newer, policy.to_owned()].concat();
        let config = load(&text, 0o600).unwrap();
        assert_eq!(config.client.public(), key(1).public());
        let keys: Vec<_> = config.keys.iter().map(PrivateKey::public).collect();
        assert_eq!(keys, [key(2).public(), key(3).public()]);
        assert_eq!(config.connections[0].name, "local");
        assert_eq!(
            config.policy.max_issue_per_tx,
            Some(Napu::parse_ndau("50000.5").unwrap())
        );
        assert!(matches!(
            load(&text, 0o640),
            Err(ConfigError::File(FileError::Exposed { .. }))
        ));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_told() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/ndau.json")).unwrap();
        let secp256k1 = file["keys"]["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| PrivateKey::parse(pair["npvt"].as_str().unwrap()).unwrap())
            .find(|key| key.public().algorithm() == crate::ndau::Algorithm::Secp256k1)
            .unwrap();
        let all = [client(), local(), issue()].concat();
        let npvt = key(2).text().expose().clone();
        let cut = changed(&npvt);
        let cases = [
            ([local(), issue()].concat(), "client: missing"),
            ([client(), issue()].concat(), "connections: missing"),
            ([client(), local()].concat(), "keys: missing"),
            (
                format!("{all}[other]\n"),
                "line 12: other: not a known setting",
            ),
            (
                format!("{all}{npvt} = 1\n"),
                "(name not shown): not a known setting",
            ),
            (
                format!("{all}extra = \"{npvt}\"\n"),
                "line 12: keys.issue.extra: not a known setting",
            ),
            (
                all.replace("url =", "uri ="),
                "connections.local.uri: not a known setting",
            ),
            (
                all.replace("ws://", "http://"),
                "connections.local.url: must be",
            ),
            (
                all.replace("ws://localhost", "ws://a@localhost"),
                "connections.local.url: must be",
            ),
            (
                all.replace("server_key =", "#"),
                "connections.local.server_key: missing",
            ),
            (
                all.replace(&npvt, &cut),
                "keys.issue.priv_key: its checksum is wrong",
            ),
            (
                all.replace(&format!("{npvt}\""), &npvt),
                "line 11: not valid TOML",
            ),
            (
                all.replace(&format!("\"{npvt}\""), &npvt),
                "line 11: not valid TOML",
            ),
            (
                all.replace(&format!("\"{npvt}\""), "12"),
                "keys.issue.priv_key: must be a string",
            ),
            (
                all.replace(&npvt, key(3).text().expose()),
                "keys.issue.pub_key: is not the public key",
            ),
            (
                all.replace(key(9).public().as_text(), &npvt),
                "connections.local.server_key: it does not start with npub",
            ),
            (
                all.replace(key(9).public().as_text(), key(2).public().as_text()),
                "server_key: this is a key of this service",
            ),
            (
                all.replace(key(9).public().as_text(), key(1).public().as_text()),
                "server_key: this is a key of this service",
            ),
            (
                all.replace(key(9).public().as_text(), secp256k1.public().as_text()),
                "ndau-signer keygen",
            ),
            (
                [
                    client(),
                    local(),
                    format!("[keys.a]\ntype = \"virtual\"\n{}", lines(&key(1))),
                ]
                .concat(),
                "also the identity",
            ),
            (
                [all.clone(), format!("[virtual.a]\n{}", lines(&key(2)))].concat(),
                "virtual.a.pub_key: this key is given twice",
            ),
            (
                [
                    local(),
                    issue(),
                    format!("[client]\ntype = \"virtual\"\n{}", lines(&secp256k1)),
                ]
                .concat(),
                "ndau-signer keygen",
            ),
            (
                all.replace("[client]\ntype = \"virtual\"", "[client]"),
                "client.type: missing",
            ),
            (
                all.replace(
                    "issue]\ntype = \"virtual\"",
                    "issue]\ntype = \"command\"\ncommand = [\"a\"]",
                ),
                "\"command\" is not supported by this version yet",
            ),
            (
                all.replace("issue]\ntype = \"virtual\"", "issue]\ntype = \"yubihsm\""),
                "\"yubihsm\" is not supported by this version yet",
            ),
            (
                all.replace(
                    "issue]\ntype = \"virtual\"",
                    &format!("issue]\ntype = \"{npvt}\""),
                ),
                "keys.issue.type: not a known type",
            ),
            (
                format!("{all}[policy]\nmax_issue_per_day = \"1\"\n"),
                "policy.max_issue_per_day: this version does not enforce it",
            ),
            (
                format!("{all}[policy]\nconfirm = true\n"),
                "policy.confirm: this version does not enforce it",
            ),
            (
                format!("{all}[policy]\nconfirm = \"yes\"\n"),
                "policy.confirm: must be true or false",
            ),
            (
                format!("{all}[policy]\nmax_issue_per_tx = 5\n"),
                "policy.max_issue_per_tx: must be a string",
            ),
            (
                format!("{all}[policy]\nmax_issue_per_tx = \"-5\"\n"),
                "policy.max_issue_per_tx: not a decimal",
            ),
            (
                format!("{all}[policy]\nmax_per_tx = \"5\"\n"),
                "policy.max_per_tx: not a known setting",
            ),
            (
                format!("keys = 5\n{}", [client(), local()].concat()),
                "line 1: keys: must be a table",
            ),
        ];
        for (text, expected) in cases {
            let error = load(&text, 0o600).unwrap_err();
            let line = crate::error::chain(&error);
            assert!(line.contains(expected), "{line}\n   expected {expected}");
            for printed in [line, format!("{error:?}"), format!("{error:#?}")] {
                assert!(
                    !printed.contains("npvt") || printed.contains("start with npvt"),
                    "{printed}"
                );
                assert!(!printed.contains(&npvt[8..40]), "{printed}");
            }
            assert_eq!(error.exit(), Exit::Config);
        }
    }

    #[test]
    fn a_configuration_does_not_print_its_secrets() {
        let config = load(&[client(), local(), issue()].concat(), 0o600).unwrap();
        assert!(!format!("{config:?}").contains("npvt"));
    }
}
