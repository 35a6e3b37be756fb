//! The JSON types of v2 fields, which could not be relied upon.

use super::Types;
use serde_json::value::RawValue;

/// Decides from field to field whether it is a JSON number or a string.
pub(super) struct Style {
    types: Types,
    seed: u64,
}

impl Style {
    pub(super) fn new(types: Types, seed: u64) -> Style {
        Style { types, seed }
    }

    fn coin(&mut self) -> bool {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.seed >> 60 & 1 == 1
    }

    /// An amount, fee or price.
    pub(super) fn decimal(&mut self, text: &str) -> Box<RawValue> {
        let number = match self.types {
            Types::Documented | Types::Strings => false,
            Types::Numbers => true,
            Types::Mixed => self.coin(),
        };
        raw(text, number)
    }

    /// An id, time or counter.
    pub(super) fn id(&mut self, value: u64) -> Box<RawValue> {
        let number = match self.types {
            Types::Documented => true,
            Types::Strings | Types::Numbers => false,
            Types::Mixed => self.coin(),
        };
        raw(&value.to_string(), number)
    }

    /// `active`, which was always true.
    pub(super) fn truth(&mut self) -> Box<RawValue> {
        match self.types {
            Types::Documented => raw("true", true),
            Types::Strings | Types::Numbers => raw("true", false),
            Types::Mixed => match self.coin() {
                true => raw("1", true),
                false => raw("true", false),
            },
        }
    }
}

/// The text as it is, bare if that is wanted and makes JSON, else in quotes.
fn raw(text: &str, bare: bool) -> Box<RawValue> {
    let quoted = || serde_json::value::to_raw_value(text).expect("a string is JSON");
    if bare {
        RawValue::from_string(text.to_owned()).unwrap_or_else(|_| quoted())
    } else {
        quoted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_numbers_are_sent_bare() {
        assert_eq!(raw("1.0", true).get(), "1.0");
        assert_eq!(raw("010", true).get(), "\"010\"");
        assert_eq!(raw("1.0", false).get(), "\"1.0\"");
    }
}
