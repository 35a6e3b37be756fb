//! One field of an answer. Any number may come as a number or as a string and is read from its text, never through a
//! float.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::Error;

/// A field as it came, or not.
pub(super) type Raw<'a> = Option<&'a RawValue>;

/// The text of a string or of a number.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    let json = raw.get();
    match json.bytes().next() {
        Some(b'"') => serde_json::from_str(json).ok(),
        Some(b'-' | b'0'..=b'9') => Some(json.to_owned()),
        _ => None,
    }
}

/// A whole number that may be negative.
pub(super) fn integer(raw: &RawValue) -> Option<i64> {
    text(raw)?.parse().ok()
}

/// Decimal digits, leading zeros allowed, and nothing else.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A needed field of an answer.
pub(super) struct Field<'a> {
    at: &'static str,
    name: &'static str,
    raw: Raw<'a>,
}

/// Makes the fields of the answer `at`.
pub(super) fn fields_of<'a>(at: &'static str) -> impl Fn(&'static str, Raw<'a>) -> Field<'a> {
    move |name, raw| Field { at, name, raw }
}

impl Field<'_> {
    pub fn wrong(&self, problem: &'static str) -> Error {
        Error::Field {
            at: self.at,
            field: self.name,
            problem,
        }
    }

    pub fn text(&self) -> Result<String, Error> {
        let raw = self.raw.ok_or_else(|| self.wrong("missing"))?;
        text(raw).ok_or_else(|| self.wrong("neither a text nor a number"))
    }

    pub fn number(&self) -> Result<u64, Error> {
        digits(&self.text()?).ok_or_else(|| self.wrong("not a whole number of at most 64 bits"))
    }
}

/// The objects of a list.
pub(super) fn objects<'a, T: Deserialize<'a>>(field: &Field<'a>) -> Result<Vec<T>, Error> {
    let raw = field.raw.ok_or_else(|| field.wrong("missing"))?;
    let list: Vec<&'a RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| field.wrong("not a list"))?;
    let object = |raw: &'a RawValue| {
        let json = raw.get();
        if !json.starts_with('{') {
            return None;
        }
        serde_json::from_str(json).ok()
    };
    list.into_iter()
        .map(|raw| {
            object(raw).ok_or_else(|| field.wrong("not a list of objects with each field once"))
        })
        .collect()
}
