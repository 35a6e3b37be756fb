//! Exact amounts of ndau, counted in napu. No floats, no rounding, no JSON.

use std::fmt;

/// An amount in napu, 10^-8 ndau: 0 to `i64::MAX`, the range of the chain's own signed type.
///
/// `Display` prints ndau as the chain's `Ndau.String` does: `1.5`, `0.00000001`, `2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Napu(u64);

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseNapuError {
    /// Not a plain decimal number.
    NotANumber,
    /// Below zero.
    Negative,
    /// Not a whole number of napu. Such an amount is refused, never rounded.
    NotWholeNapu,
    /// More than `i64::MAX` napu.
    TooLarge,
}

impl fmt::Display for ParseNapuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseNapuError::NotANumber => "not a decimal number",
            ParseNapuError::Negative => "negative",
            ParseNapuError::NotWholeNapu => {
                "not a whole number of napu (more than 8 decimal places)"
            }
            ParseNapuError::TooLarge => "larger than the largest amount, 92233720368.54775807 ndau",
        })
    }
}

impl std::error::Error for ParseNapuError {}

const DECIMALS: i64 = 8;
const MAX: u64 = i64::MAX.unsigned_abs();

impl Napu {
    /// Nothing.
    pub const ZERO: Napu = Napu(0);
    /// The least amount.
    pub const ONE: Napu = Napu(1);
    /// One ndau.
    pub const NDAU: Napu = Napu(100_000_000);
    /// All the ndau there can ever be, 30 million, as the chain's `tx_issue.go` states it. Larger issues are absurd,
    /// and the chain's own check of them overflows.
    pub const SUPPLY: Napu = Napu(30_000_000 * 100_000_000);

    /// `napu` as an amount; `None` above `i64::MAX`.
    pub fn new(napu: u64) -> Option<Napu> {
        (napu <= MAX).then_some(Napu(napu))
    }

    /// The count of napu.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The count of napu in the chain's own signed type.
    pub fn to_i64(self) -> i64 {
        i64::try_from(self.0).expect("an amount is never above i64::MAX")
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above `i64::MAX`.
    pub fn checked_add(self, other: Napu) -> Option<Napu> {
        self.0.checked_add(other.0).and_then(Napu::new)
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, other: Napu) -> Option<Napu> {
        self.0.checked_sub(other.0).map(Napu)
    }

    /// The sum of all, or `None` above `i64::MAX`.
    pub fn sum(amounts: impl IntoIterator<Item = Napu>) -> Option<Napu> {
        amounts.into_iter().try_fold(Napu::ZERO, Napu::checked_add)
    }

    /// Reads ndau as `ParseNdau` of ndaumath's `pkg/types` does: white space around, digits, at most 8 decimal
    /// places. Unlike the original, empty text and amounts above `i64::MAX` are refused (there, they wrap).
    pub fn parse_ndau(text: &str) -> Result<Napu, ParseNapuError> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let (whole, places) = match text.split_once('.') {
            Some((_, "")) => return Err(ParseNapuError::NotANumber),
            Some((whole, places)) => (whole, places),
            None => (text, ""),
        };
        if places.len() > 8 && digits(places) {
            return Err(ParseNapuError::NotWholeNapu);
        }
        exact(whole, places, 0)
    }

    /// Reads an amount as an exchange writes it: a JSON number's grammar, so with an exponent if it likes and any
    /// number of places, as long as the value is a whole number of napu. Leading zeros are decimal.
    pub fn parse_amount(text: &str) -> Result<Napu, ParseNapuError> {
        // One sign, and not by calling itself: a text of nothing but signs must not use up the stack.
        match text.strip_prefix('-') {
            Some(rest) => Err(unsigned(rest).err().unwrap_or(ParseNapuError::Negative)),
            None => unsigned(text),
        }
    }
}

/// An amount in a JSON number's grammar, without a sign.
fn unsigned(text: &str) -> Result<Napu, ParseNapuError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (text, 0),
    };
    match mantissa.split_once('.') {
        Some(("", _) | (_, "")) => Err(ParseNapuError::NotANumber),
        Some((whole, places)) => exact(whole, places, exponent),
        None => exact(mantissa, "", exponent),
    }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// An exponent that could still give a whole amount; anything longer than three digits is refused unread.
fn exponent_of(text: &str) -> Result<i64, ParseNapuError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.is_empty() || !digits(unsigned) {
        return Err(ParseNapuError::NotANumber);
    }
    match (unsigned.len() <= 3, text.starts_with('-')) {
        (true, _) => text.parse().map_err(|_| ParseNapuError::NotANumber),
        (false, true) => Err(ParseNapuError::NotWholeNapu),
        (false, false) => Err(ParseNapuError::TooLarge),
    }
}

/// `whole.places * 10^exponent` ndau, exactly.
fn exact(whole: &str, places: &str, exponent: i64) -> Result<Napu, ParseNapuError> {
    if (whole.is_empty() && places.is_empty()) || !digits(whole) || !digits(places) {
        return Err(ParseNapuError::NotANumber);
    }
    let all = format!("{whole}{places}");
    let significant = all.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Ok(Napu::ZERO);
    }
    let len = |text: &str| i64::try_from(text.len()).map_err(|_| ParseNapuError::TooLarge);
    // The value is `trimmed * 10^power` napu.
    let power = DECIMALS - len(places)? + exponent + (len(significant)? - len(trimmed)?);
    let power = u32::try_from(power).map_err(|_| ParseNapuError::NotWholeNapu)?;
    let mantissa: u64 = trimmed.parse().map_err(|_| ParseNapuError::TooLarge)?;
    10u64
        .checked_pow(power)
        .and_then(|scale| mantissa.checked_mul(scale))
        .and_then(Napu::new)
        .ok_or(ParseNapuError::TooLarge)
}

impl fmt::Display for Napu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Napu::NDAU.0, self.0 % Napu::NDAU.0);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        let places = format!("{rest:08}");
        f.pad(&format!("{whole}.{}", places.trim_end_matches('0')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::group;
    use serde_json::Value;

    /// Each sign was once read by one more call, so that 16 MB of them in an exchange's answer ended the program.
    #[test]
    fn a_text_of_nothing_but_signs_is_refused_in_one_step() {
        for text in ["-".repeat(4_000_000), "--1".to_owned(), "-+1".to_owned()] {
            assert_eq!(Napu::parse_amount(&text), Err(ParseNapuError::NotANumber));
        }
    }

    #[test]
    fn quantities_parse_as_the_chain_parses_them() {
        let cases = group("ndau.json", "quantities.parse");
        for case in &cases {
            let text = case["text"].as_str().unwrap();
            let wraps = case["overflow_wrapped"].as_bool().unwrap_or(false);
            let ours = Napu::parse_ndau(text);
            let empty = text.trim().is_empty();
            if case["accept"].as_bool().unwrap() && !wraps && !empty {
                assert_eq!(
                    ours.map(Napu::to_i64),
                    Ok(case["napu"].as_i64().unwrap()),
                    "{text:?}"
                );
            } else {
                assert!(ours.is_err(), "{text:?} gave {ours:?}");
            }
        }
        assert_eq!(cases.len(), 97);
    }

    #[test]
    fn quantities_print_as_the_chain_prints_them() {
        for case in group("ndau.json", "quantities.format") {
            // Negative amounts, which the chain can print, cannot exist here.
            if let Some(napu) = case["napu"].as_u64() {
                assert_eq!(
                    Napu::new(napu).unwrap().to_string(),
                    case["text"].as_str().unwrap()
                );
            }
        }
    }

    #[test]
    fn amounts_of_the_exchange_are_exact_or_refused() {
        let cases = group("bitmart.json", "amounts");
        for case in &cases {
            let json = case["json"].as_str().unwrap();
            // What is not a string or a number never reaches this parser.
            let text = match serde_json::from_str::<Value>(json) {
                Ok(Value::String(text)) => text,
                _ if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => json.to_owned(),
                _ => continue,
            };
            match case["napu"].as_i64() {
                Some(napu) => assert_eq!(
                    Napu::parse_amount(&text).map(Napu::to_i64),
                    Ok(napu),
                    "{json}"
                ),
                None => assert!(Napu::parse_amount(&text).is_err(), "{json}"),
            }
        }
        assert_eq!(cases.len(), 55);
    }

    #[test]
    fn every_printed_amount_reads_back() {
        let mut napu = 1u64;
        for step in 0..200_000u64 {
            // A walk over all magnitudes; xorshift keeps it the same every time.
            napu ^= napu << 13;
            napu ^= napu >> 7;
            napu ^= napu << 17;
            let amount = Napu::new((napu >> 1) >> (step % 63)).unwrap();
            assert_eq!(Napu::parse_ndau(&amount.to_string()), Ok(amount));
            assert_eq!(Napu::parse_amount(&amount.to_string()), Ok(amount));
        }
    }

    #[test]
    fn sums_refuse_to_overflow() {
        let most = Napu::new(MAX).unwrap();
        assert_eq!(Napu::sum([most, Napu::ZERO]), Some(most));
        assert_eq!(Napu::sum([most, Napu::NDAU]), None);
        assert_eq!(Napu::new(MAX + 1), None);
        assert_eq!(Napu::ZERO.checked_sub(Napu::NDAU), None);
    }
}
