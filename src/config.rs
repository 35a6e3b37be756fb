//! `bitmart/issuer.toml` and the key files beside it. What passed here is not checked again.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::exchange::{Key, KeyError};
use crate::ndau::PublicKey;
use crate::ndau::issue::MAX_SIGNATURES;
use crate::signer::{Endpoint, Identity, IdentityError};
use crate::state::{Disk, HostDisk};

/// The file that `init` writes.
pub const TEMPLATE: &str = include_str!("issuer.toml");

/// Everything that the operator decides, checked.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// The pair whose sales are issued.
    pub symbol: String,
    /// The API key's file, if it is named.
    api_key: Option<PathBuf>,
    /// The folder that holds `bitmart/`.
    root: PathBuf,
    /// The state folder.
    pub state_dir: PathBuf,
    /// How old a trade must be.
    pub settle: Duration,
    /// The chain.
    pub ndau: Ndau,
    /// The signing service.
    pub signer: Signer,
}

/// How the chain is reached, and who signs.
#[derive(Debug)]
pub struct Ndau {
    /// The nodes, of which the one with the newest block is used; at least one, without slashes at their ends.
    pub api: Vec<String>,
    /// The keys that are asked to sign; `None` for all validation keys of the issuer's account.
    pub signing_keys: Option<Vec<PublicKey>>,
    /// How many of them must sign; `None` for all of them.
    pub signatures: Option<usize>,
    /// Whether nobody else issues on this network, so that every ndau issued must be accounted for.
    pub sole_issuer: bool,
    /// How long the chain may take to show what became of an `Issue`.
    pub confirm: Duration,
}

/// Who may sign, and where they find us.
#[derive(Debug)]
pub struct Signer {
    /// Where the signing service dials in.
    pub listen: Endpoint,
    /// The identity's file.
    pub identity: PathBuf,
    /// The identities of the signing services that are let in.
    pub allowed: Vec<PublicKey>,
    /// How long is waited for their signatures.
    pub timeout: Duration,
}

/// What is wrong with the configuration. Each says where, and what to do.
#[derive(Debug)]
pub enum Error {
    /// There is no configuration.
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be read.
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or not these keys.
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, if known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A value is not what its key takes.
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong.
        what: String,
    },
    /// No API key's file.
    NoKey {
        /// The folder looked in.
        folder: PathBuf,
    },
    /// Several files of API keys, and none is named.
    ManyKeys {
        /// The files.
        found: Vec<PathBuf>,
    },
    /// The API key's file cannot be used.
    Key(KeyError),
    /// The identity's file cannot be used.
    Identity(IdentityError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing { path } => {
                write!(
                    f,
                    "there is no configuration at {}: give --config if it is elsewhere; the first time, `bitmart-issuer \
                 init` writes one",
                    path.display()
                )
            }
            Error::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Error::Toml {
                path,
                line: Some(line),
                message,
            } => write!(f, "{}, line {line}: {message}", path.display()),
            Error::Toml {
                path,
                line: None,
                message,
            } => write!(f, "{}: {message}", path.display()),
            Error::Value { path, key, what } => write!(f, "{}: {key}: {what}", path.display()),
            Error::NoKey { folder } => write!(
                f,
                "there is no API key: put it into {}/<name>.apikey.json, mode 600, as the README shows",
                folder.display()
            ),
            Error::ManyKeys { found } => {
                f.write_str("there are several API keys, name one as api_key in issuer.toml:")?;
                found
                    .iter()
                    .try_for_each(|path| write!(f, " {}", path.display()))
            }
            Error::Key(_) => f.write_str("the API key cannot be used"),
            Error::Identity(_) => f.write_str("the identity cannot be used"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Read { source, .. } => Some(source),
            Error::Key(source) => Some(source),
            Error::Identity(source) => Some(source),
            Error::Missing { .. }
            | Error::Toml { .. }
            | Error::Value { .. }
            | Error::NoKey { .. }
            | Error::ManyKeys { .. } => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    symbol: String,
    api_key: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    settle: Option<String>,
    ndau: FileNdau,
    #[serde(default)]
    signer: FileSigner,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNdau {
    api: OneOrMany,
    signing_keys: Option<Vec<String>>,
    signatures: Option<usize>,
    sole_issuer: Option<bool>,
    confirm: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileSigner {
    listen: Option<String>,
    identity: Option<PathBuf>,
    #[serde(default)]
    allowed: Vec<String>,
    timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The folder that holds `bitmart/`: the one above the configuration's if that is called `bitmart`, else its own.
pub fn root(config: &Path) -> PathBuf {
    let folder = config.parent().unwrap_or(Path::new(""));
    let root = match folder.parent() {
        Some(above) if folder.ends_with("bitmart") => above,
        _ => folder,
    };
    root.to_owned()
}

impl Config {
    /// Reads and checks the configuration. No key file is opened.
    pub fn load(path: &Path) -> Result<Config, Error> {
        let path = &std::path::absolute(path).map_err(|source| {
            let path = path.to_owned();
            Error::Read { path, source }
        })?;
        let bytes = HostDisk.read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { path: path.clone() },
            _ => Error::Read {
                path: path.clone(),
                source,
            },
        })?;
        let text = String::from_utf8(bytes).map_err(|_| Error::Toml {
            path: path.clone(),
            line: None,
            message: "it is not UTF-8 text".to_owned(),
        })?;
        Config::parse(path, &text)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, Error> {
        let file: File = toml::from_str(text).map_err(|error| Error::Toml {
            path: path.to_owned(),
            line: error
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.matches('\n').count() + 1),
            message: without_private_keys(error.message()),
        })?;
        let wrong = |key: &'static str| {
            move |what: &dyn fmt::Display| Error::Value {
                path: path.to_owned(),
                key,
                what: without_private_keys(&what.to_string()),
            }
        };
        let root = root(path);
        let api = match file.ndau.api {
            OneOrMany::One(url) => vec![url],
            OneOrMany::Many(urls) => urls,
        };
        let api = api
            .iter()
            .map(|url| node_url(url).map_err(|what| wrong("ndau.api")(&what)))
            .collect::<Result<Vec<_>, _>>()?;
        if api.is_empty() {
            return Err(wrong("ndau.api")(&"name at least one node"));
        }
        let signing_keys = file
            .ndau
            .signing_keys
            .map(|keys| public_keys(&keys).map_err(|what| wrong("ndau.signing_keys")(&what)))
            .transpose()?;
        if signing_keys.as_ref().is_some_and(Vec::is_empty) {
            return Err(wrong("ndau.signing_keys")(
                &"name at least one key, or leave it out",
            ));
        }
        let most = signing_keys
            .as_ref()
            .map_or(MAX_SIGNATURES, Vec::len)
            .min(MAX_SIGNATURES);
        if let Some(signatures) = file.ndau.signatures
            && !(1..=most).contains(&signatures)
        {
            return Err(wrong("ndau.signatures")(&format!(
                "{signatures} is not from 1 to {most}"
            )));
        }
        let time = |key: &'static str, text: Option<String>, default: Duration, least: Duration| {
            let Some(text) = text else { return Ok(default) };
            duration(&text, least).map_err(|what| wrong(key)(&what))
        };
        let listen = file
            .signer
            .listen
            .unwrap_or_else(|| "ws://127.0.0.1:20036/signer".to_owned());
        Ok(Config {
            symbol: symbol(&file.symbol).map_err(|what| wrong("symbol")(&what))?,
            api_key: file.api_key.map(|path| root.join(path)),
            state_dir: root.join(file.state_dir.unwrap_or_else(|| PathBuf::from("state"))),
            settle: time(
                "settle",
                file.settle,
                Duration::from_secs(10),
                Duration::ZERO,
            )?,
            ndau: Ndau {
                api,
                signing_keys,
                signatures: file.ndau.signatures,
                sole_issuer: file.ndau.sole_issuer.unwrap_or(true),

                confirm: time(
                    "ndau.confirm",
                    file.ndau.confirm,
                    Duration::from_secs(30),
                    Duration::from_millis(100),
                )?,
            },
            signer: Signer {
                listen: listen
                    .parse::<Endpoint>()
                    .map_err(|what| wrong("signer.listen")(&what))?,
                identity: root.join(
                    file.signer
                        .identity
                        .unwrap_or_else(|| PathBuf::from("bitmart/identity.toml")),
                ),
                allowed: public_keys(&file.signer.allowed)
                    .map_err(|what| wrong("signer.allowed")(&what))?,
                timeout: time(
                    "signer.timeout",
                    file.signer.timeout,
                    Duration::from_secs(60),
                    Duration::from_millis(100),
                )?,
            },
            path: path.to_owned(),
            root,
        })
    }

    /// Reads the API key: the named one, or the only one there is.
    pub fn load_key(&self) -> Result<Key, Error> {
        let path = match &self.api_key {
            Some(path) => path.clone(),
            None => self.only_key()?,
        };
        Key::load(&path).map_err(Error::Key)
    }

    fn only_key(&self) -> Result<PathBuf, Error> {
        let folder = self.root.join("bitmart");
        let read = |source| Error::Read {
            path: folder.clone(),
            source,
        };
        let mut found = Vec::new();
        for file in std::fs::read_dir(&folder).map_err(read)? {
            let path = file.map_err(read)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What editors leave behind starts with a dot.
            if name.ends_with(".apikey.json") && !name.starts_with('.') {
                found.push(path);
            }
        }
        found.sort();
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                found.push(last);
                Err(Error::ManyKeys { found })
            }
            (None, _) => Err(Error::NoKey { folder }),
        }
    }

    /// Reads the identity that this side shows to signing services.
    pub fn load_identity(&self) -> Result<Identity, Error> {
        Identity::load(&self.signer.identity).map_err(Error::Identity)
    }

    /// An error about the value of a key.
    pub fn wrong(&self, key: &'static str, what: String) -> Error {
        Error::Value {
            path: self.path.clone(),
            key,
            what,
        }
    }
}

/// `text` without the private keys in it: they do not belong into this file, and its errors quote it.
fn without_private_keys(text: &str) -> String {
    let is_key = |c: char| c.is_ascii_alphanumeric();
    let mut parts = text.split("npvt");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("npvt…");
        shown.push_str(part.trim_start_matches(is_key));
    }
    shown
}

fn symbol(text: &str) -> Result<String, String> {
    let proper = !text.is_empty()
        && text.len() <= 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if proper {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no pair like XND_USDT"))
    }
}

fn node_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    let uri: ureq::http::Uri = url.parse().map_err(|_| format!("{text:?} is no address"))?;
    match (uri.scheme_str(), uri.host(), uri.query()) {
        (Some("http" | "https"), Some(host), None)
            if !host.is_empty() && !url.contains(['#', '@']) =>
        {
            Ok(url.to_owned())
        }
        _ => Err(format!(
            "{text:?} is no http:// or https:// address of a node"
        )),
    }
}

fn public_keys(texts: &[String]) -> Result<Vec<PublicKey>, String> {
    let mut keys = Vec::new();
    for text in texts {
        let key = PublicKey::parse(text)
            .map_err(|error| format!("{text:?} is no public key: {error}"))?;
        if keys.contains(&key) {
            return Err(format!("{key} stands there twice"));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// A time like `10s`, `2m` or `500ms`, at least `least` and at most a day.
pub(crate) fn duration(text: &str, least: Duration) -> Result<Duration, String> {
    let longest = Duration::from_secs(24 * 60 * 60);
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is no time like 10s or 2m"))?;
    Duration::try_from(signed)
        .ok()
        .filter(|time| (least..=longest).contains(time))
        .ok_or_else(|| format!("{text:?} is not from {least:?} to a day"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "npuba8jadtbbebjkxbgpzkkhce3nr3jhwckzpmtubsk2ujx7qx8ujay8qpa6pqrau4ij86hb59uw";

    fn parse(text: &str) -> Result<Config, Error> {
        Config::parse(Path::new("/home/op/bitmart/issuer.toml"), text)
    }

    #[test]
    fn what_init_writes_is_a_configuration() {
        let config = parse(TEMPLATE).unwrap();
        assert_eq!(config.symbol, "XND_USDT");
        assert_eq!(config.settle, Duration::from_secs(10));
        assert_eq!(config.state_dir, Path::new("/home/op/state"));
        assert_eq!(
            config.signer.identity,
            Path::new("/home/op/bitmart/identity.toml")
        );
        assert!(config.signer.allowed.is_empty());
    }

    #[test]
    fn every_key_of_the_template_can_be_set() {
        let commented_in: String = TEMPLATE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
            .collect::<String>()
            .replace("npub…", KEY);
        let config = parse(&commented_in).unwrap();
        assert_eq!(
            config.api_key.as_deref(),
            Some(Path::new("/home/op/bitmart/prod.apikey.json"))
        );
        assert_eq!(config.ndau.signatures, Some(1));
        assert_eq!(config.ndau.signing_keys.as_ref().map(Vec::len), Some(1));
    }

    #[test]
    fn the_root_holds_bitmart() {
        for (config, expected) in [
            ("bitmart/issuer.toml", ""),
            ("/home/op/bitmart/issuer.toml", "/home/op"),
            ("/etc/issuer.toml", "/etc"),
            ("issuer.toml", ""),
            ("x/bitmart/test.toml", "x"),
        ] {
            assert_eq!(root(Path::new(config)), Path::new(expected), "{config}");
        }
    }

    /// Errors quote what they complain about, and that was the key itself, into cron's mail.
    #[test]
    fn a_private_key_in_the_wrong_place_is_not_repeated() {
        let key = format!("npvt{}", "a2b3".repeat(25));
        let base = "symbol = \"XND_USDT\"\n[ndau]\napi = \"http://h\"\n";
        for text in [
            format!("{base}[signer]\nallowed = [\"{key}\"]\n"),
            format!("{base}signing_keys = [\"{key}\"]\n"),
            format!("{base}signatures = \"{key}\"\n"),
            format!("{base}{key} = 1\n"),
            base.replace("XND_USDT", &key),
            base.replace("http://h", &format!("http://{key}@h")),
        ] {
            let error = parse(&text).unwrap_err();
            let told = format!("{} {error:?}", crate::error::chain(&error));
            assert!(told.contains("npvt…") && !told.contains("a2b3"), "{told}");
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let base = "symbol = \"XND_USDT\"\n[ndau]\napi = \"http://127.0.0.1:1\"\n";
        let message = |text: &str| crate::error::chain(&parse(text).unwrap_err());
        assert!(
            message(&format!("{base}apy = 1\n")).contains("line 4"),
            "{}",
            message(&format!("{base}apy = 1\n"))
        );
        assert!(message(&format!("{base}apy = 1\n")).contains("apy"));
        for (extra, key) in [
            ("signatures = 0", "ndau.signatures"),
            ("signatures = 17", "ndau.signatures"),
            ("confirm = \"soon\"", "ndau.confirm"),
            ("signing_keys = []", "ndau.signing_keys"),
            ("signing_keys = [\"npub\"]", "ndau.signing_keys"),
            ("[signer]\nlisten = \"http://x\"", "signer.listen"),
            ("[signer]\ntimeout = \"0s\"", "signer.timeout"),
            ("[signer]\ntimeout = \"-5s\"", "signer.timeout"),
        ] {
            let message = message(&format!("{base}{extra}\n"));
            assert!(message.contains(key), "{extra}: {message}");
        }
        let twice = format!("{base}signing_keys = [\"{KEY}\", \"{KEY}\"]\n");
        assert!(message(&twice).contains("twice"));
        for api in [
            "",
            "ftp://x",
            "host:3030",
            "https://",
            "https://u:p@host",
            "https://host?x=1",
        ] {
            let text = format!("symbol = \"XND_USDT\"\n[ndau]\napi = \"{api}\"\n");
            assert!(message(&text).contains("ndau.api"), "{api}");
        }
        assert!(message("symbol = \"xnd/usdt\"\n[ndau]\napi = \"http://h\"\n").contains("symbol"));
    }
}
