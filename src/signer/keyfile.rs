//! TOML files that hold keys, read without ever quoting a value: an error names a line and a setting, nothing else.
//!
//! The usual errors of a TOML reader quote the line they complain about, and in these files that line can be a
//! private key.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::ndau::{PrivateKey, PublicKey};

/// What is wrong in a file that holds keys, and where. It never holds a value of that file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFileError {
    line: usize,
    setting: String,
    problem: String,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.setting.is_empty() {
            write!(f, "{}: ", self.setting)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for KeyFileError {}

/// A whole file.
pub(crate) struct Document<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Document<'a>, KeyFileError> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Document { text, root }),
            Err(error) => Err(KeyFileError {
                line: line_of(text, error.span().map_or(0, |span| span.start)),
                setting: String::new(),
                problem: "not valid TOML, or a setting that was given before".to_owned(),
            }),
        }
    }

    pub(crate) fn root(&self) -> Table<'_> {
        Table {
            text: self.text,
            name: String::new(),
            start: 0,
            entries: self.root.get_ref(),
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// A setting's name as it may be shown: a value that was pasted on the left side is not.
fn shown(name: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.len() <= 40 && name.chars().all(plain) && !name.contains("npvt") {
        name
    } else {
        "(name not shown)"
    }
}

/// One table of the file.
pub(crate) struct Table<'a> {
    text: &'a str,
    name: String,
    start: usize,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Its own name, with those of the tables around it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, name: &str) -> String {
        match self.name.as_str() {
            "" => shown(name).to_owned(),
            own => format!("{own}.{}", shown(name)),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries
            .iter()
            .find(|(key, _)| key.get_ref() == name)
            .map(|(_, value)| value)
    }

    /// An error about the setting `name` of this table, or about the table when it has none of that name.
    pub(crate) fn error(&self, name: &str, problem: impl fmt::Display) -> KeyFileError {
        let start = self
            .get(name)
            .map_or(self.start, |value| value.span().start);
        KeyFileError {
            line: line_of(self.text, start),
            setting: self.path(name),
            problem: problem.to_string(),
        }
    }

    /// Refuses every setting that is not one of `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), KeyFileError> {
        for (key, _) in self.entries {
            if !known.contains(&key.get_ref().as_ref()) {
                return Err(KeyFileError {
                    line: line_of(self.text, key.span().start),
                    setting: self.path(key.get_ref()),
                    problem: format!("not a known setting (known here: {})", known.join(", ")),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A string, if it is there.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, KeyFileError> {
        match self.get(name).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text.as_ref())),
            Some(_) => Err(self.error(name, "must be a string in quotes")),
        }
    }

    /// A string that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&'a str, KeyFileError> {
        self.optional_text(name)?
            .ok_or_else(|| self.error(name, "missing"))
    }

    /// The number of an object, above 0, that must be there.
    #[cfg(feature = "yubihsm")]
    pub(crate) fn id(&self, name: &str) -> Result<u16, KeyFileError> {
        let id = match self.get(name).map(Spanned::get_ref) {
            None => return Err(self.error(name, "missing")),
            Some(DeValue::Integer(number)) => {
                u16::from_str_radix(number.as_str(), number.radix()).ok()
            }
            Some(_) => None,
        };
        id.filter(|id| *id > 0)
            .ok_or_else(|| self.error(name, "must be a number from 1 to 65535"))
    }

    /// A list of strings that must be there.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&'a str>, KeyFileError> {
        let text = |value: &'a Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        };
        let texts = match self.get(name).map(Spanned::get_ref) {
            None => return Err(self.error(name, "missing")),
            Some(DeValue::Array(values)) => values.iter().map(text).collect(),
            Some(_) => None,
        };
        texts.ok_or_else(|| self.error(name, "must be a list of strings in quotes"))
    }

    /// `true` or `false`, if it is there.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, KeyFileError> {
        match self.get(name).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.error(name, "must be true or false")),
        }
    }

    /// A table below this one, if it is there.
    pub(crate) fn table(&self, name: &str) -> Result<Option<Table<'a>>, KeyFileError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.get_ref() {
                DeValue::Table(entries) => Ok(Some(Table {
                    text: self.text,
                    name: self.path(name),
                    start: value.span().start,
                    entries,
                })),
                _ => Err(self.error(name, "must be a table")),
            },
        }
    }

    /// Every table below the table `name`, with its own name; none when that is missing.
    pub(crate) fn tables(&self, name: &str) -> Result<Vec<(&'a str, Table<'a>)>, KeyFileError> {
        let Some(group) = self.table(name)? else {
            return Ok(Vec::new());
        };
        let mut tables = Vec::new();
        for (key, _) in group.entries {
            if let Some(table) = group.table(key.get_ref())? {
                tables.push((shown(key.get_ref()), table));
            }
        }
        Ok(tables)
    }

    /// A public key that must be there.
    pub(crate) fn public_key(&self, name: &str) -> Result<PublicKey, KeyFileError> {
        PublicKey::parse(self.text(name)?).map_err(|error| self.error(name, error))
    }

    /// The pair `pub_key`, `priv_key`, which must belong together.
    pub(crate) fn pair(&self) -> Result<PrivateKey, KeyFileError> {
        let public = self.public_key("pub_key")?;
        let private = PrivateKey::parse(self.text("priv_key")?)
            .map_err(|error| self.error("priv_key", error))?;
        if *private.public() != public {
            return Err(self.error("pub_key", "is not the public key of this priv_key"));
        }
        Ok(private)
    }
}
