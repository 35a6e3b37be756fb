//! The exchange's key file, `bitmart/<name>.apikey.json`: `access`, `secret`, `memo`, and if need be `endpoint` and
//! `api`. No message about it can hold any of its content.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Dialect;
use super::endpoint::parse_endpoint;
use crate::error::Exit;
use crate::secret::{FileError, Secret, read_private};

const V4_ENDPOINT: &str = "https://api-cloud.bitmart.com";
const V2_ENDPOINT: &str = "https://openapi.bitmart.com";

/// An account's key to the exchange, and where the exchange is. A read-only key suffices.
#[derive(Debug)]
pub struct Key {
    access: Secret<String>,
    secret: Secret<String>,
    memo: Secret<String>,
    endpoint: String,
    api: Option<Dialect>,
}

/// Why a key file was not accepted.
#[derive(Debug)]
pub enum KeyError {
    /// It cannot be read, or others can read it.
    File(FileError),
    /// It is not one JSON object.
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line at fault.
        line: usize,
        /// The column at fault.
        column: usize,
    },
    /// One of its fields is missing, unknown, twice there or wrong.
    Field {
        /// The file.
        path: PathBuf,
        /// The field's name.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl KeyError {
    /// How the run ends.
    pub fn exit(&self) -> Exit {
        Exit::Config
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::File(_) => f.write_str("the exchange's key file cannot be used"),
            KeyError::Syntax { path, line, column } => write!(
                f,
                "{} is not a JSON object (line {line}, column {column})",
                path.display()
            ),
            KeyError::Field {
                path,
                field,
                problem,
            } => write!(f, "{}: `{field}` {problem}", path.display()),
        }
    }
}

impl StdError for KeyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            KeyError::File(source) => Some(source),
            KeyError::Syntax { .. } | KeyError::Field { .. } => None,
        }
    }
}

impl Key {
    /// Reads the key file at `path`.
    ///
    /// # Errors
    /// When it is not a private file with exactly the known fields, or its endpoint would show the key to the network.
    pub fn load(path: &Path) -> Result<Key, KeyError> {
        let text = read_private(path).map_err(KeyError::File)?;
        Key::parse(path, text.expose())
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Key, KeyError> {
        // serde_json's own messages may quote values, so only its position is kept.
        let Fields(pairs) = serde_json::from_str(text).map_err(|error| KeyError::Syntax {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        })?;
        let wrong = |field: &str, problem| KeyError::Field {
            path: path.to_owned(),
            field: shown(field).to_owned(),
            problem,
        };
        let mut fields = BTreeMap::new();
        for (name, value) in &pairs {
            if !["access", "secret", "memo", "endpoint", "api"].contains(&name.as_str()) {
                return Err(wrong(
                    name,
                    "is not a field of a key file (access, secret, memo, endpoint, api)",
                ));
            }
            let value = unquote(value).ok_or_else(|| wrong(name, "must be a text"))?;
            if fields.insert(name.as_str(), value).is_some() {
                return Err(wrong(name, "is there twice"));
            }
        }
        let mut required = |field| {
            fields
                .remove(field)
                .ok_or_else(|| wrong(field, "is missing"))
        };
        let (access, secret, memo) = (required("access")?, required("secret")?, required("memo")?);
        if access.is_empty() || !access.bytes().all(|b| b.is_ascii_graphic()) {
            // It goes into a header as it is.
            return Err(wrong("access", "must be visible ASCII characters only"));
        }
        if secret.is_empty() || secret.chars().any(char::is_control) {
            return Err(wrong("secret", "is empty or has control characters"));
        }
        let api = match fields.remove("api") {
            None => None,
            Some(api) => {
                Some(Dialect::parse(&api).ok_or_else(|| wrong("api", "must be \"v2\" or \"v4\""))?)
            }
        };
        let endpoint = match fields.remove("endpoint") {
            Some(endpoint) => parse_endpoint(&endpoint).map_err(|e| wrong("endpoint", e))?,
            None if api == Some(Dialect::V2) => V2_ENDPOINT.to_owned(),
            None => V4_ENDPOINT.to_owned(),
        };
        Ok(Key {
            access: Secret::new(String::clone(&access)),
            secret: Secret::new(String::clone(&secret)),
            memo: Secret::new(String::clone(&memo)),
            endpoint,
            api,
        })
    }

    /// A key without credentials, for answers that came before.
    pub(super) fn that_opens_nothing(endpoint: &str, api: Dialect) -> Key {
        let nothing = || Secret::new("none".to_owned());
        Key {
            access: nothing(),
            secret: nothing(),
            memo: nothing(),
            endpoint: endpoint.to_owned(),
            api: Some(api),
        }
    }

    /// What an account's key can be recognised by without knowing it: the first 16 hex digits of the SHA-256 of its
    /// access key.
    pub fn fingerprint(&self) -> String {
        let mut digits = hex::encode(Sha256::digest(self.access.expose()));
        digits.truncate(16);
        digits
    }

    /// The exchange's address, without a slash at its end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The dialect that the file insists on.
    pub fn api(&self) -> Option<Dialect> {
        self.api
    }

    pub(super) fn access(&self) -> &str {
        self.access.expose()
    }

    pub(super) fn secret(&self) -> &str {
        self.secret.expose()
    }

    pub(super) fn memo(&self) -> &str {
        self.memo.expose()
    }

    #[cfg(test)]
    pub(crate) fn for_tests(access: &str, secret: &str, memo: &str) -> Key {
        Key {
            access: Secret::new(access.to_owned()),
            secret: Secret::new(secret.to_owned()),
            memo: Secret::new(memo.to_owned()),
            endpoint: "https://exchange.test".to_owned(),
            api: None,
        }
    }

    #[cfg(test)]
    pub(super) fn with_api(mut self, api: Dialect) -> Key {
        self.api = Some(api);
        self
    }
}

/// An object's fields in their order, the values still as they stand in the file.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Fields(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A field's name as it may be shown: a credential that was put on the left side, which has 32 characters and more, is
/// not.
fn shown(name: &str) -> &str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.len() <= 16 && name.bytes().all(plain) {
        name
    } else {
        "(name not shown)"
    }
}

/// The text of a JSON string. Only a string with escapes, which no key has, passes through the parser's own buffer, which
/// is not wiped.
fn unquote(raw: &RawValue) -> Option<Zeroizing<String>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).map(Zeroizing::new).ok();
    }
    Some(Zeroizing::new(inner.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"access": "acc-ESS", "secret": "s3cr3t", "memo": "my memo"}"#;

    fn parse(text: &str) -> Result<Key, KeyError> {
        Key::parse(Path::new("bitmart/a.apikey.json"), text)
    }

    #[test]
    fn a_key_file_is_read_and_recognised_by_its_fingerprint() {
        let key = parse(GOOD).unwrap();
        assert_eq!(
            (key.access(), key.secret(), key.memo()),
            ("acc-ESS", "s3cr3t", "my memo")
        );
        assert_eq!(key.endpoint(), "https://api-cloud.bitmart.com");
        assert_eq!(key.api(), None);
        assert_eq!(key.fingerprint().len(), 16);
        assert_eq!(
            Key::for_tests("abc", "x", "").fingerprint(),
            "ba7816bf8f01cfea"
        );
        for text in ["acc-ESS", "s3cr3t", "my memo"] {
            assert!(!format!("{key:?}").contains(text));
        }
    }

    #[test]
    fn escapes_and_an_empty_memo_are_read() {
        let key = parse(r#"{"access":"a","secret":"s","memo":"\u767c\" x"}"#).unwrap();
        assert_eq!(key.memo(), "發\" x");
        assert_eq!(
            parse(r#"{"access":"a","secret":"s","memo":""}"#)
                .unwrap()
                .memo(),
            ""
        );
    }

    #[test]
    fn the_old_dialect_has_its_own_default_endpoint() {
        let key = parse(r#"{"access":"a","secret":"s","memo":"m","api":"v2"}"#).unwrap();
        assert_eq!(key.endpoint(), "https://openapi.bitmart.com");
        assert_eq!(key.api(), Some(Dialect::V2));
        let key = parse(
            r#"{"access":"a","secret":"s","memo":"m","endpoint":"https://openapi.bitmart.com/v2/"}"#,
        )
        .unwrap();
        assert_eq!(key.endpoint(), "https://openapi.bitmart.com");
        assert_eq!(key.api(), None);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_told() {
        for (text, expected) in [
            (
                r#"{"access":"SECRETS","memo":"SECRETS"}"#,
                "`secret` is missing",
            ),
            (
                r#"{"access":"SECRETS","secret":"SECRETS"}"#,
                "`memo` is missing",
            ),
            (
                r#"{"access":"SECRETS","secret":"SECRETS","memo":"","Memo":"SECRETS"}"#,
                "`Memo` is not a field",
            ),
            (
                r#"{"SECRETSSECRETSSECRETSSECRETSSECR":"access","secret":"SECRETS","memo":""}"#,
                "`(name not shown)` is not a field",
            ),
            (
                r#"{"access":"SECRETS","secret":"SECRETS","secret":"SECRETS","memo":""}"#,
                "`secret` is there twice",
            ),
            (
                r#"{"access":"SECRETS","secret":["SECRETS"],"memo":""}"#,
                "`secret` must be a text",
            ),
            (
                r#"{"access":"SECRETS","secret":123456,"memo":""}"#,
                "`secret` must be a text",
            ),
            (
                r#"{"access":"SECRETS","secret":"","memo":""}"#,
                "`secret` is empty",
            ),
            (
                r#"{"access":"SECRETS\r\nX: y","secret":"s","memo":""}"#,
                "`access` must be visible",
            ),
            (
                r#"{"access":"SECRETSé","secret":"s","memo":""}"#,
                "`access` must be visible",
            ),
            (
                r#"{"access":"SECRETS x","secret":"s","memo":""}"#,
                "`access` must be visible",
            ),
            (
                r#"{"access":"a","secret":"SECRETS","memo":"","api":"v3"}"#,
                "`api` must be",
            ),
            (
                r#"{"access":"a","secret":"SECRETS","memo":"","endpoint":null}"#,
                "`endpoint` must be a text",
            ),
            (
                r#"{"access":"a","secret":"SECRETS","memo":"","endpoint":"http://openapi.bitmart.com"}"#,
                "`endpoint` must start with https://: the key would travel in the clear",
            ),
            (r#""SECRETS""#, "is not a JSON object (line 1, column 9)"),
            (
                "{\"access\":\"SECRETS\",\n \"secret\":\"SECRETS}",
                "is not a JSON object (line 2",
            ),
            (
                r#"{"access":"SECRETS"} SECRETS"#,
                "is not a JSON object (line 1",
            ),
            (r#"["SECRETS"]"#, "is not a JSON object"),
            ("", "is not a JSON object"),
        ] {
            let error = parse(text).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(expected), "{text}: {told}");
            assert!(told.contains("bitmart/a.apikey.json"), "{told}");
            assert!(
                !told.contains("SECRETS") && !told.contains("123456"),
                "{told}"
            );
            assert_eq!(error.exit(), Exit::Config);
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.apikey.json");
        std::fs::write(&path, GOOD).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Key::load(&path),
            Err(KeyError::File(FileError::Exposed { .. }))
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Key::load(&path).unwrap().memo(), "my memo");
    }
}
